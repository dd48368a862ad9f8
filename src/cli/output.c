/* output.c - files that the command writes where the user says: looked at before the work begins, and never somebody's own document. */
#include "output.h"

#include "text.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* What a kind is called, what its files begin with, and a word that follows soon. */
static const struct {
    const char *name, *beginning, *word;
} known[] = {
    [OUTPUT_PAGE] = {"page", "<!DOCTYPE html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<meta http-equiv=\"Content-Security-Policy\"",
                     "default-src 'none'"},
    [OUTPUT_CHART] = {"chart", "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 560 430\">\n<style>", ""},
    [OUTPUT_PROFILE] = {"profile", "{", "\"fingerprint\""},
    [OUTPUT_CORRECTION] = {"correction", "GGUF", "infoflow-correction"},
};

static bool has_word(const char *bytes, size_t n, const char *word) {
    return memmem(bytes, n, word, strlen(word)) != NULL;
}

/* Whether a file that is there may be replaced. */
static bool is_ours(int fd, output_kind kind) {
    char bytes[1024];
    const size_t length = strlen(known[kind].beginning);
    const ssize_t n = pread(fd, bytes, sizeof bytes, 0);
    return n == 0 || (n > 0 && (size_t)n >= length && memcmp(bytes, known[kind].beginning, length) == 0 &&
                      has_word(bytes, (size_t)n, known[kind].word));
}

/* The directory that the file would be made in; a new string. */
static char *directory_of(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? text_format("%.*s", (int)(slash + 1 - path), path) : text_format(".");
}

int output_check(const char *option, const char *path, output_kind kind) {
    int result = CLI_OK;
    struct stat file = {0};
    const int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC); /* a pipe that nobody writes to must not hold us up */
    if (fd >= 0 && fstat(fd, &file) == 0 && S_ISREG(file.st_mode) && !is_ours(fd, kind)) {
        cli_error("%s %s would replace a file that is no %s of infoflow: give another name, or delete the file first", option, path,
                  known[kind].name);
        result = CLI_FAILED;
    } else if (fd >= 0 && S_ISDIR(file.st_mode)) {
        cli_error("%s %s is a directory: give the name of a file", option, path);
        result = CLI_FAILED;
    } else if (fd < 0 && errno == ENOENT && (kind == OUTPUT_PAGE || kind == OUTPUT_CHART)) { /* the others make their directories */
        char *directory = directory_of(path);
        if (access(directory, F_OK) != 0) {
            cli_error("%s: cannot write %s: there is no directory %s", option, path, directory);
            result = CLI_FAILED;
        }
        free(directory);
    }
    if (fd >= 0)
        close(fd);
    return result;
}
