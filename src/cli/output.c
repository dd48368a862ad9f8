/* output.c - files that the command writes where the user says: looked at before the work begins, and never somebody's own document. */
#include "cli/output.h"

#include "base/publish.h"
#include "cli/text.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *const kind_name[] = {
    [OUTPUT_PAGE] = "page", [OUTPUT_CHART] = "chart", [OUTPUT_PROFILE] = "profile", [OUTPUT_CORRECTION] = "correction"};

enum { HEAD_BYTES = 256 };

static bool begins(const char *bytes, size_t n, const char *with, size_t n_with) {
    return n >= n_with && memcmp(bytes, with, n_with) == 0;
}

/* A GGUF file whose first key says that it is a correction. */
static bool is_correction(const char *bytes, size_t n) {
    enum { AT_KEY = 24 };
    static const char key[] = "\x14\0\0\0\0\0\0\0general.architecture\x08\0\0\0\x13\0\0\0\0\0\0\0infoflow-correction";
    return begins(bytes, n, "GGUF", 4) && n > AT_KEY && begins(bytes + AT_KEY, n - AT_KEY, key, sizeof key - 1);
}

static bool is_profile(const char *path) {
    static const char *const member[] = {"version", "fingerprint", "method", "score", "score_layers", "ratio", "trusted_ratio"};
    json_t *root = json_load_file(path, 0, NULL);
    bool all = json_is_object(root);
    for (size_t i = 0; i < COUNT_OF(member); i++) {
        all = all && json_object_get(root, member[i]);
    }
    json_decref(root);
    return all;
}

/* Whether a regular file that is there may be replaced: it is empty, or an earlier one of the same kind. */
static bool is_ours(int fd, const char *path, off_t n_bytes, output_kind kind) {
    static const char page[] = "<!DOCTYPE html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<meta "
                               "http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'";
    static const char chart[] = "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 560 430\">\n<style>";
    enum { MOST_OF_A_PROFILE = 16 << 20 };
    char bytes[HEAD_BYTES];
    const ssize_t n = pread(fd, bytes, sizeof bytes, 0);
    if (n <= 0) {
        return n == 0;
    }
    switch (kind) {
    case OUTPUT_PAGE:
        return begins(bytes, (size_t)n, page, sizeof page - 1);
    case OUTPUT_CHART:
        return begins(bytes, (size_t)n, chart, sizeof chart - 1);
    case OUTPUT_PROFILE:
        return n_bytes <= MOST_OF_A_PROFILE && is_profile(path);
    case OUTPUT_CORRECTION:
        return is_correction(bytes, (size_t)n);
    }
    return false;
}

/* The directory that the file would be made in; a new string. */
static char *directory_of(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? text_format("%.*s", (int)(slash + 1 - path), path) : text_format(".");
}

/* Where the links lead that path is, also where nothing is there yet: that file is written, and they stay. A new string. */
static char *follow(const char *path) {
    int error = 0; /* what is wrong there shows when the file is opened */
    return iflow_follow_links(text_format("%s", path), &error);
}

/* Whether something can be written into the nearest directory above that is there; made: directories that lack are made. A new message, or
 * NULL. */
static char *unwritable(const char *path, bool made) {
    char *directory = directory_of(path), *why = NULL;
    while (made && access(directory, F_OK) != 0 && errno == ENOENT) {
        size_t n = strlen(directory);
        while (n > 1 && directory[n - 1] == '/') {
            directory[--n] = '\0';
        }
        char *above = directory_of(directory);
        free(directory);
        directory = above;
    }
    if (access(directory, F_OK) != 0) {
        why = errno == ENOENT ? text_format("there is no directory %s", directory) : text_format("%s: %s", directory, strerror(errno));
    } else if (faccessat(AT_FDCWD, directory, W_OK | X_OK, AT_EACCESS) != 0) {
        why = text_format("the directory %s: %s", directory, strerror(errno));
    }
    free(directory);
    return why;
}

/* Why a file that is there cannot be replaced; a new message, or NULL. */
static char *unreplaceable(const char *path, const struct stat *file, output_kind kind) {
    const bool is_public = kind == OUTPUT_PAGE || kind == OUTPUT_CHART; /* written in place where the directory refuses */
    if (faccessat(AT_FDCWD, path, W_OK, AT_EACCESS) != 0) {
        return text_format("%s", strerror(errno));
    }
    if (!S_ISREG(file->st_mode)) {
        return S_ISSOCK(file->st_mode) ? text_format("it is a socket") : NULL;
    }
    char *real = follow(path), *why = is_public ? NULL : unwritable(real, false);
    free(real);
    return why;
}

bool same_file(const char *a, const char *b) {
    struct stat x, y;
    const bool both = (strcmp(a, "-") == 0 ? fstat(STDIN_FILENO, &x) : stat(a, &x)) == 0 && stat(b, &y) == 0;
    return strcmp(a, b) == 0 || (both && x.st_dev == y.st_dev && x.st_ino == y.st_ino);
}

/* Where a file of this name is, or would be: its directory as resolved, and its last name. A new string. */
static char *place_of(const char *path) {
    char *real = follow(path), *directory = directory_of(real), *resolved = realpath(directory, NULL);
    const char *slash = strrchr(real, '/');
    char *place = text_format("%s/%s", resolved ? resolved : directory, slash ? slash + 1 : real);
    free(real);
    free(directory);
    free(resolved);
    return place;
}

bool same_place(const char *a, const char *b) {
    char *x = place_of(a), *y = place_of(b);
    const bool same = same_file(a, b) || strcmp(x, y) == 0;
    free(x);
    free(y);
    return same;
}

int output_check(const char *option, const char *path, output_kind kind) {
    struct stat file = {0}, link = {0};
    char *why = NULL;
    int result = CLI_FAILED;
    if (strcmp(path, "-") == 0) {
        cli_error("%s writes to a file, not to standard output: give its name (./- is a file of the name -)", option);
        return CLI_USAGE;
    }
    const bool exists = stat(path, &file) == 0;
    const int error = exists ? 0 : errno;
    /* Only what is a file is opened: to open a pipe would end it for who reads it. */
    const int fd = exists && S_ISREG(file.st_mode) ? open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC) : -1;
    if (exists && S_ISDIR(file.st_mode)) {
        cli_error("%s %s is a directory: give the name of a file", option, path);
        goto cleanup;
    }
    if (exists && S_ISREG(file.st_mode) && fd < 0) {
        cli_error("%s: cannot read %s, so that it would be replaced unseen: %s", option, path, strerror(errno));
        goto cleanup;
    }
    if (fd >= 0 && !is_ours(fd, path, file.st_size, kind)) {
        cli_error("%s %s would replace a file that is no %s of infoflow: give another name, or delete the file first", option, path,
                  kind_name[kind]);
        goto cleanup;
    }
    if (exists) {
        why = unreplaceable(path, &file, kind);
    } else if (error == ENOENT) {
        const bool is_link = lstat(path, &link) == 0; /* pages and charts lie where somebody looks; the others make directories */
        char *real = follow(path);
        why = unwritable(real, !is_link && (kind == OUTPUT_PROFILE || kind == OUTPUT_CORRECTION));
        free(real);
    } else {
        why = text_format("%s", strerror(error));
    }
    if (why) {
        cli_error("%s: cannot write %s: %s", option, path, why);
    } else {
        result = CLI_OK;
    }
cleanup:
    if (fd >= 0) {
        close(fd);
    }
    free(why);
    return result;
}
