/* what.c - says what a file is that was given as a model and is none, and what would be right instead. */
#include "model/parts.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const char CONVERT[] = "convert it to GGUF (llama.cpp's convert_hf_to_gguf.py does), or fetch the model as GGUF";

/* Files that begin with bytes of their own. */
static const struct {
    const char *magic;
    size_t n;
    const char *is, *advice;
} known[] = {
#define MAGIC(bytes) (bytes), sizeof(bytes) - 1
    {MAGIC("version https://git-lfs.github.com/spec"), "a git-lfs pointer, not the model itself", "fetch it with `git lfs pull`"},
    {MAGIC("PK\x03\x04"), "a ZIP archive or a PyTorch checkpoint", CONVERT},
    {MAGIC("\x80\x02"), "a PyTorch checkpoint", CONVERT},
    {MAGIC("\x1f\x8b"), "compressed with gzip", "unpack it"},
    {MAGIC("\x28\xb5\x2f\xfd"), "compressed with zstd", "unpack it"},
    {MAGIC("\xfd"
           "7zXZ"),
     "compressed with xz", "unpack it"},
    {MAGIC("BZh"), "compressed with bzip2", "unpack it"},
    {MAGIC("lmgg"), "a model of GGML's format before GGUF", CONVERT},
    {MAGIC("fmgg"), "a model of GGML's format before GGUF", CONVERT},
    {MAGIC("tjgg"), "a model of GGML's format before GGUF", CONVERT},
    {MAGIC("algg"), "an adapter of GGML's format before GGUF", "give a model"},
    {MAGIC("\x89HDF"), "an HDF5 file", CONVERT},
    {MAGIC("#!"), "a script", "give a model's GGUF file"},
#undef MAGIC
};

static bool begins(const char *text, size_t n, const char *word) {
    return n >= strlen(word) && strncasecmp(text, word, strlen(word)) == 0;
}

static uint64_t little_endian(const char *bytes, size_t n) {
    uint64_t value = 0;
    for (size_t i = n; i > 0; i--) {
        value = value << 8 | (unsigned char)bytes[i - 1];
    }
    return value;
}

static iflow_status not_gguf(const char *path, const char *is, const char *advice) {
    return iflow_fail(IFLOW_E_FORMAT, "model %s: not a GGUF file: it is %s; %s", path, is, advice);
}

/* What begins like GGUF and yet cannot be read. */
static iflow_status bad_gguf(const char *path, const char *head, size_t n) {
    if (n < 8) {
        return iflow_fail(IFLOW_E_FORMAT, "model %s: truncated: it ends at byte %zu; fetch it again", path, n);
    }
    const uint64_t version = little_endian(head + 4, 4);
    if (version != 0 && (version & 0xffff) == 0) {
        return iflow_fail(IFLOW_E_FORMAT,
                          "model %s: a GGUF file of the other byte order (big-endian); fetch or convert the little-endian model", path);
    }
    if (version == 1) {
        return iflow_fail(IFLOW_E_FORMAT, "model %s: GGUF version 1, which is no longer read; fetch or convert the model again", path);
    }
    if (version > GGUF_VERSION) {
        return iflow_fail(IFLOW_E_FORMAT, "model %s: GGUF version %llu, and ggml here reads versions up to %d; use a newer ggml", path,
                          (unsigned long long)version, GGUF_VERSION);
    }
    return iflow_fail(IFLOW_E_FORMAT, "model %s: the GGUF metadata is malformed or truncated; fetch it again", path);
}

iflow_status iflow_not_a_model(const char *path, const char *head, size_t n, uint64_t file_bytes) {
    if (n == 0) {
        return not_gguf(path, "empty", "fetch it again");
    }
    if (n >= 4 && memcmp(head, GGUF_MAGIC, 4) == 0) {
        return bad_gguf(path, head, n);
    }
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (n >= known[i].n && memcmp(head, known[i].magic, known[i].n) == 0) {
            return not_gguf(path, known[i].is, known[i].advice);
        }
    }
    if (n > 8 && head[8] == '{' && little_endian(head, 8) < file_bytes) {
        return not_gguf(path, "a safetensors file", CONVERT);
    }
    size_t at = n >= 3 && memcmp(head, "\xef\xbb\xbf", 3) == 0 ? 3 : 0; /* a byte-order mark */
    while (at < n && strchr(" \t\r\n", head[at]) && head[at]) {
        at++;
    }
    if (begins(head + at, n - at, "<!doctype html") || begins(head + at, n - at, "<html") || begins(head + at, n - at, "<head")) {
        return not_gguf(path, "an HTML page", "fetch the file itself (on Hugging Face, after 'resolve' and not 'blob' in the address)");
    }
    if (begins(head + at, n - at, "<?xml")) {
        return not_gguf(path, "an XML page, as servers answer with when they refuse", "fetch the file again and see what they say");
    }
    if (at < n && (head[at] == '{' || head[at] == '[')) {
        return not_gguf(path, "a JSON text", "give the model's GGUF file");
    }
    return iflow_fail(IFLOW_E_FORMAT, "model %s: not a GGUF file; give a model's GGUF file", path);
}

/* A directory: whether it holds GGUF files, or is a model as Hugging Face's libraries keep them. */
static iflow_status a_directory(const char *path) {
    char *gguf = NULL;
    bool config = false;
    DIR *dir = opendir(path);
    for (const struct dirent *entry; dir && (entry = readdir(dir));) {
        const size_t n = strlen(entry->d_name);
        config = config || strcmp(entry->d_name, "config.json") == 0;
        if (n > 5 && strcasecmp(entry->d_name + n - 5, ".gguf") == 0 && (!gguf || strcmp(entry->d_name, gguf) < 0)) {
            free(gguf);
            gguf = iflow_strdup(entry->d_name);
        }
    }
    if (dir) {
        closedir(dir);
    }
    const iflow_status status =
        gguf     ? iflow_fail(IFLOW_E_FORMAT, "model %s: a directory, not a GGUF file; give the file in it, such as %s", path, gguf)
        : config ? iflow_fail(IFLOW_E_FORMAT, "model %s: a directory with a model of Hugging Face's libraries, not a GGUF file; %s", path,
                              CONVERT)
                 : iflow_fail(IFLOW_E_FORMAT, "model %s: a directory, not a GGUF file", path);
    free(gguf);
    return status;
}

iflow_status iflow_not_a_file(const char *path, const struct stat *st) {
    if (S_ISDIR(st->st_mode)) {
        return a_directory(path);
    }
    return iflow_fail(IFLOW_E_FORMAT, "model %s: %s, not a GGUF file; a model must be a regular file, since it is mapped", path,
                      S_ISFIFO(st->st_mode)                          ? "a pipe"
                      : S_ISSOCK(st->st_mode)                        ? "a socket"
                      : S_ISCHR(st->st_mode) || S_ISBLK(st->st_mode) ? "a device"
                                                                     : "no regular file");
}
