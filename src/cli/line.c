/* line.c - the prompt of a terminal: reads a line, with editing and a history where the build has libedit. */
#include "cli/line.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#ifdef INFOFLOW_LIBEDIT
#include <histedit.h>
#include <langinfo.h>
#include <locale.h>
#include <wchar.h>
#endif

enum { MAX_KEPT = 500, MAX_LINE = 1 << 20 };

struct line_reader {
    const char *prompt;
    char *path; /* of the history; NULL: none is kept */
    bool interrupted;
#ifdef INFOFLOW_LIBEDIT
    EditLine *edit; /* NULL: the terminal cannot move its cursor, or there is no locale with UTF-8 */
    History *history;
    locale_t utf8; /* libedit counts columns by it */
#endif
};

/* Waits for the terminal or a signal, and reads bytes. As read(2); -1 with EINTR after a signal, however it came. */
static ssize_t read_some(void *bytes, size_t n_bytes) {
    struct pollfd ready[] = {{STDIN_FILENO, POLLIN, 0}, {cli_wake_fd(), POLLIN, 0}};
    while (!cli_interrupted()) {
        if (poll(ready, 2, -1) < 0 && errno != EINTR) {
            return -1;
        }
        if (cli_interrupted() || !ready[0].revents) {
            continue;
        }
        const ssize_t n = read(STDIN_FILENO, bytes, n_bytes);
        if (n >= 0 || errno != EINTR) {
            return n;
        }
    }
    errno = EINTR;
    return -1;
}

/* ---- History ------------------------------------------------------------------------------------------------------------------------- */

/* NULL where nothing says where. */
static char *history_path(void) {
    const char *state = iflow_environment("XDG_STATE_HOME"), *home = iflow_environment("HOME");
    if (state && state[0] == '/') {
        return text_format("%s/infoflow/history", state);
    }
    return home && home[0] == '/' ? text_format("%s/.local/state/infoflow/history", home) : NULL;
}

/* Calls back for each line of the history's file, the oldest first; there may be no such file, and what is no text is left out. */
static void each_kept(const char *path, void (*take)(const char *line, void *user), void *user) {
    struct stat st;
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a pipe there is not waited for */
    FILE *file = fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) ? fdopen(fd, "r") : NULL;
    char *line = NULL;
    size_t room = 0;
    ssize_t n = 0;
    while (file && (n = getline(&line, &room, file)) > 0) {
        n -= line[n - 1] == '\n';
        line[n] = '\0';
        if (n && iflow_utf8_check(line, (size_t)n) == (size_t)n && strlen(line) == (size_t)n) {
            take(line, user);
        }
    }
    free(line);
    if (file) {
        fclose(file);
    } else if (fd >= 0) {
        close(fd);
    }
}

typedef struct kept_lines {
    char *line[MAX_KEPT];
    size_t n;
} kept_lines;

/* Drops the oldest line where there are too many, and an equal one. */
static void add_kept(const char *line, void *user) {
    kept_lines *kept = user;
    size_t drop = 0;
    while (drop < kept->n && strcmp(kept->line[drop], line) != 0) {
        drop++;
    }
    drop = drop == kept->n && kept->n == MAX_KEPT ? 0 : drop;
    if (drop < kept->n) {
        free(kept->line[drop]);
        memmove(&kept->line[drop], &kept->line[drop + 1], (--kept->n - drop) * sizeof *kept->line);
    }
    kept->line[kept->n++] = must_copy(line, strlen(line));
}

/* Adds a line to the file, which another chat may have written to meanwhile. */
static void keep_in_file(line_reader *reader, const char *line) {
    kept_lines kept = {0};
    text all = {0};
    each_kept(reader->path, add_kept, &kept);
    add_kept(line, &kept);
    for (size_t i = 0; i < kept.n; i++) {
        text_printf(&all, "%s\n", kept.line[i]);
        free(kept.line[i]);
    }
    iflow_make_parents(reader->path);
    if (write_file(reader->path, all.text, all.n, true) != CLI_OK) {
        free(reader->path);
        reader->path = NULL;
    }
    text_free(&all);
}

/* ---- Editing ------------------------------------------------------------------------------------------------------------------------- */

#ifdef INFOFLOW_LIBEDIT
static line_reader *reader_of(EditLine *edit) {
    void *reader = NULL;
    el_get(edit, EL_CLIENTDATA, &reader);
    return reader;
}

static char *prompt_of(EditLine *edit) {
    return (char *)reader_of(edit)->prompt; /* libedit reads it */
}

/* Bytes of a character of UTF-8 that begins with this one; 0: none does. */
static size_t bytes_from(unsigned char first) {
    return first < 0x80 ? 1 : first < 0xC2 ? 0 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : first < 0xF5 ? 4 : 0;
}

/* libedit's source of characters: the next one of UTF-8, without the bytes that are none. 1; 0 at the end; -1 after a signal. */
static int next_character(EditLine *edit, wchar_t *out) {
    char bytes[4], byte = 0;
    size_t n = 0;
    for (;;) {
        const ssize_t got = read_some(&byte, 1);
        if (got <= 0) {
            reader_of(edit)->interrupted = got < 0 && errno == EINTR;
            return (int)got;
        }
        if (n && ((unsigned char)byte & 0xC0) != 0x80) { /* the character before was cut off */
            n = 0;
        }
        bytes[n++] = byte;
        const size_t wanted = bytes_from((unsigned char)bytes[0]);
        if (n >= wanted) {
            mbstate_t state = {0};
            if (wanted && mbrtowc(out, bytes, n, &state) == n) { /* it refuses surrogates and longer forms than need be */
                return 1;
            }
            n = 0;
        }
    }
}

/* The user's locale if it has UTF-8, else the one without a language. */
static locale_t utf8_locale(void) {
    static const char *const name[] = {"", "C.UTF-8"};
    for (size_t i = 0; i < COUNT_OF(name); i++) {
        const locale_t locale = newlocale(LC_CTYPE_MASK, name[i], (locale_t)0);
        if (locale && strcmp(nl_langinfo_l(CODESET, locale), "UTF-8") == 0) {
            return locale;
        }
        if (locale) {
            freelocale(locale);
        }
    }
    return (locale_t)0;
}

static void enter(const char *line, void *user) {
    line_reader *reader = user;
    HistEvent event;
    history(reader->history, &event, H_ENTER, line);
}

static void open_editing(line_reader *reader) {
    const char *kind = iflow_environment("TERM");
    HistEvent event;
    reader->utf8 = kind && strcmp(kind, "dumb") != 0 ? utf8_locale() : (locale_t)0;
    reader->history = reader->utf8 ? history_init() : NULL;
    if (!reader->history) {
        return;
    }
    const locale_t was = uselocale(reader->utf8);
    reader->edit = el_init("infoflow", stdin, stdout, stderr);
    if (reader->edit) {
        history(reader->history, &event, H_SETSIZE, (int)MAX_KEPT);
        history(reader->history, &event, H_SETUNIQUE, 1);
        el_set(reader->edit, EL_CLIENTDATA, reader);
        el_set(reader->edit, EL_PROMPT, prompt_of);
        el_set(reader->edit, EL_EDITOR, "emacs");
        el_set(reader->edit, EL_GETCFN, next_character);
        el_set(reader->edit, EL_HIST, history, reader->history);
        el_source(reader->edit, NULL); /* the user's ~/.editrc, if there is one */
        if (reader->path) {
            each_kept(reader->path, enter, reader);
        }
    }
    uselocale(was);
}

static line_event read_edited(line_reader *reader, text *line) {
    int n = 0;
    reader->interrupted = false;
    const locale_t was = uselocale(reader->utf8);
    el_resize(reader->edit);
    el_set(reader->edit, EL_PREP_TERM, 1); /* before the prompt comes: else the terminal itself still takes the first keys */
    const char *got = el_gets(reader->edit, &n);
    uselocale(was);
    if (reader->interrupted) {
        el_reset(reader->edit);
        return LINE_INTERRUPTED;
    }
    if (!got || n <= 0) {
        return LINE_END;
    }
    text_add(line, got, strcspn(got, "\r\n"));
    return LINE_READ;
}
#endif

/* ---- Plain lines --------------------------------------------------------------------------------------------------------------------- */

/* The terminal itself gathers a line, and drops it at an interrupt. */
static line_event read_plain(line_reader *reader, text *line) {
    fputs(reader->prompt, stdout);
    fflush(stdout);
    for (;;) {
        char bytes[4096];
        const ssize_t n = read_some(bytes, sizeof bytes);
        if (n < 0 && errno == EINTR) {
            return LINE_INTERRUPTED;
        }
        if (n <= 0 || line->n > MAX_LINE) {
            return line->n ? LINE_READ : LINE_END;
        }
        const char *end = memchr(bytes, '\n', (size_t)n);
        text_add(line, bytes, end ? (size_t)(end - bytes) : (size_t)n);
        if (end) { /* nothing comes after it: a terminal gives a line at a time */
            return LINE_READ;
        }
    }
}

/* ---- The reader ---------------------------------------------------------------------------------------------------------------------- */

line_reader *line_open(const char *prompt, bool history) {
    line_reader *reader = must_alloc(1, sizeof *reader);
    *reader = (line_reader){.prompt = prompt, .path = history ? history_path() : NULL};
#ifdef INFOFLOW_LIBEDIT
    open_editing(reader);
#endif
    return reader;
}

line_event line_read(line_reader *reader, text *line) {
    line->n = 0;
    text_add(line, "", 0);
    line_event event = LINE_END;
#ifdef INFOFLOW_LIBEDIT
    event = reader->edit ? read_edited(reader, line) : read_plain(reader, line);
#else
    event = read_plain(reader, line);
#endif
    if (event != LINE_READ) { /* the cursor still stands after the prompt */
        putchar('\n');
        fflush(stdout);
    }
    return event == LINE_READ && iflow_utf8_check(line->text, line->n) != line->n ? LINE_BAD : event;
}

void line_keep(line_reader *reader, const char *line) {
#ifdef INFOFLOW_LIBEDIT
    if (reader->edit) {
        enter(line, reader);
    }
#endif
    if (reader->path) {
        keep_in_file(reader, line);
    }
}

void line_close(line_reader *reader) {
    if (!reader) {
        return;
    }
#ifdef INFOFLOW_LIBEDIT
    if (reader->edit) {
        el_end(reader->edit);
    }
    if (reader->history) {
        history_end(reader->history);
    }
    if (reader->utf8) {
        freelocale(reader->utf8);
    }
#endif
    free(reader->path);
    free(reader);
}
