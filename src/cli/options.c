/* options.c - parses command lines by table and says what is wrong with them; help.c prints the same table. */
#include "cli/options.h"

#include "cli/help.h"
#include "cli/nearest.h"
#include "cli/text.h"

#include <assert.h>
#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { MAX_OPTIONS = 96, LONG_BASE = 256, RENAMED_BASE = 1024 };

/* The options of the command line that was parsed last. */
static struct {
    const char *name, *value; /* value: the last one; NULL for a flag */
    const void *target;
} seen[MAX_OPTIONS];
static size_t n_seen;

static size_t count_rows(const option_spec *spec) {
    size_t n = 0;
    while (spec[n].name || spec[n].help) {
        n++;
    }
    return n;
}

int options_wrong(const command_usage *usage, const char *format, ...) {
    char message[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    cli_error("%s: %s", usage->name, message);
    fprintf(stderr, "Try `infoflow %s --help`.\n", usage->name);
    return CLI_USAGE;
}

/* The length of a number that begins with a digit or a point: digits with at most one point among them; 0 if there is no digit. */
static size_t decimal_length(const char *string) {
    const size_t whole = strspn(string, "0123456789"), point = string[whole] == '.';
    const size_t fraction = point ? strspn(string + whole + 1, "0123456789") : 0;
    return whole + fraction ? whole + point + fraction : 0;
}

bool parse_number(const char *string, size_t n, double low, double high, double *out) {
    size_t length = decimal_length(string);
    if (length && (string[length] == 'e' || string[length] == 'E')) {
        const size_t sign = string[length + 1] == '-' || string[length + 1] == '+';
        const size_t digits = strspn(string + length + 1 + sign, "0123456789");
        length += digits ? 1 + sign + digits : 0;
    }
    const double value = length == n && n ? strtod(string, NULL) : NAN;
    if (!isfinite(value) || value < low || value > high) { /* 1e999 is infinite */
        return false;
    }
    *out = value;
    return true;
}

static const double LEAST_WITHOUT_UNIT = 1 << 20;

bool parse_bytes(const char *string, double low, uint64_t *n_bytes) {
    static const char unit[] = "KMGT";
    const char *end = string + decimal_length(string);
    if (end == string || string[0] == '.' || end[-1] == '.') {
        return false;
    }
    double value = strtod(string, NULL); /* reads on where an exponent follows, which is refused below */
    const char *found = *end ? strchr(unit, *end >= 'a' && *end <= 'z' ? *end - 'a' + 'A' : *end) : NULL;
    if (found) {
        end++;
        for (const char *u = unit; u <= found; u++) {
            value *= 1024;
        }
        if (*end == 'i') {
            end++;
        }
    }
    const bool has_unit = found || *end == 'B';
    if (*end == 'B') {
        end++;
    }
    if (!has_unit && value > 0 && value < LEAST_WITHOUT_UNIT) { /* somebody who types 20 means 20G */
        return false;
    }
    if (*end || value < low || (value > 0 && value < 1) || value >= 18e18) {
        return false;
    }
    *n_bytes = (uint64_t)value;
    return true;
}

/* Digits, n of them. */
static bool parse_whole(const char *string, size_t n, double low, double high, int *out) {
    errno = 0;
    const long value = strspn(string, "0123456789") == n && n ? strtol(string, NULL, 10) : -1;
    if (value < 0 || errno || (double)value < low || (double)value > high) {
        return false;
    }
    *out = (int)value;
    return true;
}

static bool parse_seed(const char *string, uint64_t *out) {
    char *end = NULL;
    errno = 0;
    unsigned long long value = strtoull(string, &end, 10);
    if (string[0] < '0' || string[0] > '9' || *end || errno) {
        return false;
    }
    *out = value;
    return true;
}

/* An item of a layer list, which ends at a comma or the string's end. */
static bool parse_layer(const char *item, int *layer, double *fraction) {
    enum { MOST = 4096 };
    const size_t n = strcspn(item, ","), sign = item[0] == '-';
    int number = 0;
    *layer = 0;
    *fraction = -1;
    if (memchr(item, '.', n)) {
        return parse_number(item, n, 0, 1, fraction) && *fraction < 1;
    }
    if (n <= sign || !parse_whole(item + sign, n - sign, 0, MOST, &number)) {
        return false;
    }
    *layer = sign ? -number : number;
    return true;
}

static bool is_device(const char *string) {
    bool found = strcasecmp(string, "auto") == 0 || strcasecmp(string, "cpu") == 0;
    for (size_t i = 0; !found && iflow_device_name(i); i++) {
        found = strcasecmp(string, iflow_device_name(i)) == 0;
    }
    return found;
}

/* *wrong: the item that is none, or that is one too many. */
static bool parse_layers(const char *string, layer_list *out, const char **wrong) {
    out->n = 0;
    for (const char *item = string;; item++) {
        *wrong = item;
        if (out->n == COUNT_OF(out->layer) || !parse_layer(item, &out->layer[out->n], &out->fraction[out->n])) {
            return false;
        }
        out->n++;
        item += strcspn(item, ",");
        if (!*item) {
            return true;
        }
    }
}

static bool parse_signed(const char *string, double low, double high, double *out) {
    double value = 0;
    const bool minus = string[0] == '-', found = parse_number(string + minus, strlen(string + minus), 0, fmax(-low, high), &value);
    value = minus ? -value : value;
    if (!found || value < low || value > high) {
        return false;
    }
    *out = value;
    return true;
}

static bool add_stop(const char *string, stop_list *out) {
    const size_t n = strlen(string);
    if (n < 1 || n > IFLOW_MAX_STOP_BYTES || iflow_utf8_check(string, n) != n || out->n == COUNT_OF(out->item)) {
        return false;
    }
    out->item[out->n++] = string;
    return true;
}

static bool is_choice(const char *string, const char *choices) {
    size_t n = strlen(string);
    for (const char *c = choices; c && *c; c += strcspn(c, "|"), c += *c == '|') {
        if (strcspn(c, "|") == n && memcmp(c, string, n) == 0) {
            return true;
        }
    }
    return false;
}

static int wrong_layer(const command_usage *usage, const option_spec *row, const char *given) {
    layer_list list;
    const char *item = given;
    parse_layers(given, &list, &item);
    if (list.n == COUNT_OF(list.layer)) {
        return options_wrong(usage, "--%s takes at most %d layers", row->name, (int)IFLOW_MAX_SCORE_LAYERS);
    }
    return options_wrong(usage,
                         "--%s takes layer numbers separated by commas, like 13, -9 from the end, or 0.55 of the depth (from 0.0 to below "
                         "1.0), not '%.*s'",
                         row->name, (int)strcspn(item, ","), item);
}

static int wrong_bytes(const command_usage *usage, const option_spec *row, const char *given) {
    uint64_t n_bytes = 0;
    char *with_unit = text_format("%sB", given);
    const bool lacks_unit = parse_bytes(with_unit, row->low, &n_bytes);
    free(with_unit);
    return lacks_unit
               ? options_wrong(usage, "--%s %s is only %s bytes: write a unit, like 500M or 20G (or %sB)", row->name, given, given, given)
               : options_wrong(usage, "--%s takes a number of bytes from %.0f on, like 500M or 20G, not '%s'", row->name, row->low, given);
}

static int wrong_value(const command_usage *usage, const option_spec *row, const char *given) {
    switch (row->kind) {
    case OPTION_INT:
        return options_wrong(usage, "--%s takes a whole number from %.0f to %.0f, not '%s'", row->name, row->low, row->high, given);
    case OPTION_STOPS:
        return options_wrong(usage, "--%s takes UTF-8 text of 1 to %d bytes, and can be given %d times, not '%s'", row->name,
                             (int)IFLOW_MAX_STOP_BYTES, (int)IFLOW_MAX_STOPS, given);
    case OPTION_REAL:
    case OPTION_SIGNED:
        return options_wrong(usage, "--%s takes a number from %g to %g, not '%s'", row->name, row->low, row->high, given);
    case OPTION_SEED:
        return options_wrong(usage, "--%s takes a whole number from 0 on, below 2^64, not '%s'", row->name, given);
    case OPTION_BYTES:
        return wrong_bytes(usage, row, given);
    case OPTION_DEVICE:
        return options_wrong(usage, "--%s takes auto or a device that `infoflow info` lists, not '%s'", row->name, given);
    case OPTION_TEXT:
        return options_wrong(usage, "--%s needs a value that is not empty: --%s %s", row->name, row->name, row->value);
    case OPTION_LAYERS:
        return wrong_layer(usage, row, given);
    case OPTION_CHOICE:
        return options_wrong(usage, "--%s takes one of %s, not '%s'", row->name, row->value, given);
    case OPTION_FLAG:
    case OPTION_COUNT:
    case OPTION_WORDS:
        break;
    }
    return options_wrong(usage, "--%s: '%s' is not a value of it", row->name, given);
}

common_options common_options_default(void) {
    return (common_options){.fillers = IFLOW_DEFAULT_FILLERS};
}

common_options common_options_for_questions(void) {
    common_options options = common_options_default();
    options.correction = "auto";
    return options;
}

char *common_chunks(int fillers) {
    return fillers ? text_format("after %d filler%s", fillers, fillers == 1 ? "" : "s") : text_format("without fillers");
}

int common_fillers(int fillers) {
    return fillers ? fillers : IFLOW_NO_FILLERS;
}

static bool store_value(const option_spec *row, const char *given) {
    switch (row->kind) {
    case OPTION_FLAG:
        *(bool *)row->target = true;
        return true;
    case OPTION_COUNT:
        ++*(int *)row->target;
        return true;
    case OPTION_TEXT:
        *(const char **)row->target = given;
        return given[0] != '\0';
    case OPTION_WORDS:
        *(const char **)row->target = given;
        return true;
    case OPTION_DEVICE:
        *(const char **)row->target = given;
        return is_device(given);
    case OPTION_CHOICE:
        *(const char **)row->target = given;
        return is_choice(given, row->value);
    case OPTION_INT:
        return parse_whole(given, strlen(given), row->low, row->high, row->target);
    case OPTION_REAL:
        return parse_number(given, strlen(given), row->low, row->high, row->target);
    case OPTION_SIGNED:
        return parse_signed(given, row->low, row->high, row->target);
    case OPTION_STOPS:
        return add_stop(given, row->target);
    case OPTION_SEED:
        return parse_seed(given, row->target);
    case OPTION_BYTES:
        return parse_bytes(given, row->low, row->target);
    case OPTION_LAYERS:
        return parse_layers(given, row->target, &(const char *){NULL});
    }
    return false;
}

/* Names of earlier versions, which are still taken, with a note. value: what the new name is given; NULL: what the old one was. */
static const struct {
    const char *old, *now, *value;
} renamed[] = {{"behind", "fillers", NULL},
               {"alone", "fillers", "0"},
               {"foresee", "estimate-staleness", NULL},
               {"foreseen-share", "staleness-share", NULL}};

static const struct { const char *option, *old, *now; } renamed_value[] = {{"method", "foreseen", "staleness"}};

/* What getopt stumbled over. It may be a letter among others, so that argv alone doesn't tell. */
static int unknown_option(const command_usage *usage, const option_spec *spec, size_t n, const char *argument) {
    if (optopt > 0 && optopt < LONG_BASE) {
        for (size_t i = 0; i < n; i++) { /* `-h` with letters after it, or a flag given a value: --json=1 */
            if (spec[i].name && spec[i].letter == optopt) {
                return options_wrong(usage, "--%s takes no value", spec[i].name);
            }
        }
        return options_wrong(usage, "there is no option -%c", optopt);
    }
    if (optopt >= RENAMED_BASE) {
        return options_wrong(usage, "--%s takes no value", renamed[optopt - RENAMED_BASE].old);
    }
    if (optopt >= LONG_BASE && (size_t)(optopt - LONG_BASE) < n) {
        return options_wrong(usage, "--%s takes no value", spec[optopt - LONG_BASE].name);
    }
    size_t length = strcspn(argument, "=");
    const char *near = NULL;
    size_t n_near = 0;
    for (size_t i = 0; i < n; i++) {
        if (spec[i].name && length > 2 && strncmp(spec[i].name, argument + 2, length - 2) == 0) {
            near = spec[i].name;
            n_near++;
        }
    }
    if (n_near > 1) {
        return options_wrong(usage, "%.*s can mean several options, --%s for one", (int)length, argument, near);
    }
    const char *names[MAX_OPTIONS + 1] = {"help"};
    size_t n_names = 1;
    for (size_t i = 0; i < n; i++) {
        names[n_names] = spec[i].name;
        n_names += spec[i].name != NULL;
    }
    near = length > 2 ? nearest(argument + 2, length - 2, names, n_names) : NULL;
    return near ? options_wrong(usage, "there is no option %.*s; did you mean --%s?", (int)length, argument, near)
                : options_wrong(usage, "there is no option %.*s", (int)length, argument);
}

static void note_given(const option_spec *row, const char *value) {
    size_t i = 0;
    while (i < n_seen && seen[i].name != row->name) {
        i++;
    }
    seen[i].name = row->name;
    seen[i].value = value;
    seen[i].target = row->target;
    n_seen += i == n_seen; /* an option can be given twice */
}

bool options_given(const void *target) {
    for (size_t i = 0; i < n_seen; i++) {
        if (seen[i].target == target) {
            return true;
        }
    }
    return false;
}

static const char *value_given(const char *name, bool *is_given) {
    for (size_t i = 0; i < n_seen; i++) {
        if (strcmp(seen[i].name, name) == 0) {
            *is_given = true;
            return seen[i].value;
        }
    }
    *is_given = false;
    return NULL;
}

bool options_named(const char *name) {
    bool is_given = false;
    value_given(name, &is_given);
    return is_given;
}

/* What says two things at once, in whichever command has both. */
static int check_contradictions(const command_usage *usage) {
    static const char *const exclusive[][2] = {{"whole", "chunk"},        {"no-store", "store"}, {"no-store", "max-size"},
                                               {"no-store", "shared"},    {"quiet", "verbose"},  {"json", "tokens"},
                                               {"profile", "no-profile"}, {"questions", "jsonl"}};
    for (size_t i = 0; i < COUNT_OF(exclusive); i++) {
        if (options_named(exclusive[i][0]) && options_named(exclusive[i][1])) {
            return options_wrong(usage, "--%s and --%s exclude one another", exclusive[i][0], exclusive[i][1]);
        }
    }
    return CLI_OK;
}

static const option_spec *row_named(const option_spec *spec, size_t n, const char *name) {
    for (size_t i = 0; i < n; i++) {
        if (spec[i].name && strcmp(spec[i].name, name) == 0) {
            return &spec[i];
        }
    }
    return NULL;
}

const char *options_method_today(const char *option, const char *given) {
    for (size_t i = 0; i < COUNT_OF(renamed_value); i++) {
        if (strcmp(given, renamed_value[i].old) == 0) {
            cli_note("infoflow: %s %s is %s now", option, given, renamed_value[i].now);
            return renamed_value[i].now;
        }
    }
    return given;
}

/* The value as it is called today. */
static const char *value_today(const option_spec *row, const char *given) {
    for (size_t i = 0; given && i < COUNT_OF(renamed_value); i++) {
        if (strcmp(row->name, renamed_value[i].option) == 0 && strcmp(given, renamed_value[i].old) == 0) {
            cli_note("infoflow: --%s %s is --%s %s now", row->name, given, row->name, renamed_value[i].now);
            return renamed_value[i].now;
        }
    }
    return given;
}

/* Adds the old names of options that the command has. */
static size_t add_renamed(const option_spec *spec, size_t n, struct option *longs, size_t n_longs) {
    for (size_t i = 0; i < COUNT_OF(renamed); i++) {
        const option_spec *row = row_named(spec, n, renamed[i].now);
        if (row) {
            const int takes = row->value && !renamed[i].value ? required_argument : no_argument;
            longs[n_longs++] = (struct option){renamed[i].old, takes, NULL, RENAMED_BASE + (int)i};
        }
    }
    return n_longs;
}

/* The row that getopt's number or letter means. *value: what it is given, already called as today. */
static const option_spec *row_of(const option_spec *spec, size_t n, int wanted, const char **value) {
    const option_spec *row = NULL;
    if (wanted >= RENAMED_BASE) {
        const size_t i = (size_t)(wanted - RENAMED_BASE);
        row = row_named(spec, n, renamed[i].now);
        *value = renamed[i].value ? renamed[i].value : *value;
        cli_note("infoflow: --%s is --%s%s%s now", renamed[i].old, renamed[i].now, renamed[i].value ? " " : "",
                 renamed[i].value ? renamed[i].value : "");
    }
    for (size_t i = 0; i < n && !row; i++) {
        if (spec[i].name && (wanted == LONG_BASE + (int)i || (spec[i].letter && wanted == spec[i].letter))) {
            row = &spec[i];
        }
    }
    *value = row ? value_today(row, *value) : *value;
    return row;
}

/* value: of --help=VALUE, or NULL; next: the argument after --help, or NULL. */
static int print_help(const command_usage *usage, const option_spec *spec, const char *value, const char *next) {
    const char *wanted = value ? value : next && next[0] != '-' ? next : NULL;
    if (wanted && strcmp(wanted, "all") != 0) {
        return options_wrong(usage, "--help takes nothing, or all, not '%s'", wanted);
    }
    return help_print(usage, spec, wanted ? HELP_WHOLE : HELP_SHORT);
}

int options_parse(const command_usage *usage, const option_spec *spec, int argc, char **argv, int *first) {
    size_t n = count_rows(spec);
    assert(n <= MAX_OPTIONS);
    struct option longs[MAX_OPTIONS + COUNT_OF(renamed) + 2] = {0};
    char shorts[2 * MAX_OPTIONS + 4] = ":h";
    size_t n_longs = 0, n_shorts = strlen(shorts);
    for (size_t i = 0; i < n; i++) {
        if (!spec[i].name) {
            continue;
        }
        int takes = spec[i].value ? required_argument : no_argument;
        longs[n_longs++] = (struct option){spec[i].name, takes, NULL, LONG_BASE + (int)i};
        if (spec[i].letter) {
            shorts[n_shorts++] = spec[i].letter;
            if (takes == required_argument) {
                shorts[n_shorts++] = ':';
            }
        }
    }
    n_longs = add_renamed(spec, n, longs, n_longs);
    longs[n_longs] = (struct option){"help", optional_argument, NULL, 'h'};

    n_seen = 0;
    optind = 0; /* glibc: begin afresh, whatever an earlier parse left */
    opterr = 0;
    for (;;) {
        int got = getopt_long(argc, argv, shorts, longs, NULL);
        if (got == -1) {
            break;
        }
        if (got == 'h') {
            return print_help(usage, spec, optarg, argv[optind]);
        }
        if (got == '?') {
            return unknown_option(usage, spec, n, argv[optind - 1]);
        }
        const char *value = optarg;
        const option_spec *row = row_of(spec, n, got == ':' ? optopt : got, &value);
        if (!row) {
            return options_wrong(usage, "cannot make sense of '%s'", argv[optind - 1]);
        }
        if (got == ':') {
            return options_wrong(usage, "--%s needs a value: --%s %s", row->name, row->name, row->value);
        }
        if (!store_value(row, value)) {
            return wrong_value(usage, row, value);
        }
        note_given(row, row->value ? value : NULL);
    }
    *first = optind;
    const int result = check_contradictions(usage);
    return result == CLI_OK ? OPTIONS_GO : result;
}
