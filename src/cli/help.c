/* help.c - prints a command's table of options: as help, short or whole, or as its part of the completion of bash or zsh. */
#include "cli/help.h"

#include <stdio.h>
#include <string.h>

enum { TEXT_COLUMN = 26, LONGEST_VALUE = 16 };

static help_form instead = HELP_SHORT;

void help_instead(help_form form) {
    instead = form;
}

help_value help_value_of(const option_spec *row) {
    static const char *const path[] = {"MODEL", "STORE", "DIR", "FILE", "FILE|none", "PROFILE"};
    help_value found = row->value ? HELP_VALUE_OTHER : HELP_VALUE_NONE;
    for (size_t i = 0; row->value && i < COUNT_OF(path); i++) {
        found = strcmp(row->value, path[i]) == 0 ? HELP_VALUE_PATH : found;
    }
    return row->kind == OPTION_CHOICE ? HELP_VALUE_CHOICE : found;
}

/* ---- For people ---------------------------------------------------------------------------------------------------------------------- */

/* A choice among many is listed in the text, so that the column of names stays narrow. */
static bool is_listed(const option_spec *row) {
    return row->kind == OPTION_CHOICE && strlen(row->value) > LONGEST_VALUE;
}

/* Prints n bytes of words from `column` on; where a line is full, the next one begins at `indent`. first: no space comes before the first
 * word. Returns the column that it ends at. */
static size_t print_words(const char *words, size_t n, size_t column, size_t indent, bool first) {
    for (const char *end = words + n; words < end;) {
        size_t length = strcspn(words, " \n");
        length = length < (size_t)(end - words) ? length : (size_t)(end - words);
        if (!first && column + 1 + length > HELP_WIDTH) {
            printf("\n%*s", (int)indent, "");
            column = indent;
            first = true;
        }
        printf("%s%.*s", first ? "" : " ", (int)length, words);
        column += length + !first;
        first = false;
        words += length;
        words += words < end;
    }
    return column;
}

/* "One of: a, b, c.", from "a|b|c". */
static void print_choices(const char *choices, size_t column) {
    column = print_words("One of:", 7, column, TEXT_COLUMN, false);
    while (*choices) {
        char word[128];
        const size_t n = strcspn(choices, "|");
        const int length = snprintf(word, sizeof word, "%.*s%s", (int)n, choices, choices[n] ? "," : ".");
        column = print_words(word, (size_t)length, column, TEXT_COLUMN, false);
        choices += n + (choices[n] == '|');
    }
}

static void print_option(const option_spec *row, bool whole) {
    char left[160];
    const char *value = is_listed(row) ? "NAME" : row->value;
    const char letter[] = {'-', row->letter, ',', ' ', '\0'};
    const int n =
        snprintf(left, sizeof left, "  %s--%s%s%s", row->letter ? letter : "    ", row->name, value ? " " : "", value ? value : "");
    if (n + 1 > TEXT_COLUMN) {
        printf("%s\n%*s", left, TEXT_COLUMN, "");
    } else {
        printf("%-*s", TEXT_COLUMN, left);
    }
    const size_t length = strcspn(row->help, "\n");
    size_t column = print_words(row->help, length, TEXT_COLUMN, TEXT_COLUMN, true);
    if (whole && row->help[length]) {
        putchar('.');
        column = print_words(row->help + length + 1, strlen(row->help + length + 1), column + 1, TEXT_COLUMN, false);
    }
    if (whole && is_listed(row)) {
        putchar('.');
        print_choices(row->value, column + 1);
    }
    putchar('\n');
}

/* Prints paragraphs, which empty lines part; a line that begins with a space stays as it is. whole: not the first one alone. */
static void print_about(const char *about, bool whole) {
    const char *end = strstr(about, "\n\n");
    end = whole || !end ? about + strlen(about) : end;
    size_t column = 0;
    while (about < end) {
        const size_t length = strcspn(about, "\n");
        const bool kept = about[0] == ' ';
        if (column && (kept || !length)) {
            putchar('\n');
            column = 0;
        }
        if (kept) {
            printf("%.*s\n", (int)length, about);
        } else if (length) {
            column = print_words(about, length, column, 0, column == 0);
        } else {
            putchar('\n');
        }
        about += length + (about[length] == '\n');
    }
    if (column) {
        putchar('\n');
    }
}

/* Whether the whole help says more than the short one. */
static bool has_more(const command_usage *usage, const option_spec *spec) {
    bool more = strstr(usage->about, "\n\n") != NULL;
    for (; spec->help; spec++) {
        more = more || !spec->name || strchr(spec->help, '\n') || is_listed(spec);
    }
    return more;
}

static void print_for_people(const command_usage *usage, const option_spec *spec, bool whole) {
    printf("Usage: infoflow %s%s%s\n\n", usage->name, usage->operands[0] ? " " : "", usage->operands);
    print_about(usage->about, whole);
    printf("\nOptions:\n");
    const option_spec *row = spec;
    for (; row->name; row++) {
        print_option(row, whole);
    }
    const char *text = has_more(usage, spec) ? "show this help; --help all shows all of it" : "show this help";
    print_option(&(option_spec){'h', "help", NULL, OPTION_FLAG, NULL, 0, 0, text}, whole);
    for (; whole && row->help; row++) {
        if (row->name) {
            print_option(row, whole);
        } else {
            printf("\n%s:\n", row->help);
        }
    }
    printf("\nExample:\n%s\n", usage->example);
}

/* ---- For shells ---------------------------------------------------------------------------------------------------------------------- */

/* The names of a row as a shell's pattern or list: "-m", "--model". */
static void print_names(const option_spec *row, const char *between) {
    if (row->letter) {
        printf("-%c%s", row->letter, between);
    }
    printf("--%s", row->name);
}

static void print_list(const char *choices) {
    for (; *choices; choices++) {
        putchar(*choices == '|' ? ' ' : *choices);
    }
}

/* Branches of `case "$command" in`: what a command has, and how each of its values is completed. The words are the program's own: names of
 * options, and choices, have no character that a shell knows. */
static void print_bash(const command_usage *usage, const option_spec *spec) {
    printf("        '%s')\n            case $previous in\n", usage->name);
    for (const option_spec *row = spec; row->help; row++) {
        const help_value value = row->name ? help_value_of(row) : HELP_VALUE_NONE;
        if (value == HELP_VALUE_NONE) {
            continue;
        }
        printf("                ");
        print_names(row, "|");
        if (value == HELP_VALUE_CHOICE) {
            printf(") _infoflow_words '");
            print_list(row->value);
            printf("' ;;\n");
        } else {
            printf(") %s ;;\n", value == HELP_VALUE_PATH ? "_infoflow_paths" : "return");
        }
    }
    printf("                *) _infoflow_options '");
    for (const option_spec *row = spec; row->help; row++) {
        if (row->name) {
            print_names(row, " ");
            putchar(' ');
        }
    }
    printf("-h --help' ;;\n            esac ;;\n");
}

/* A text in single quotes within a specification of _arguments, where brackets and colons mean something. */
static void print_zsh_text(const char *string, size_t n) {
    for (size_t i = 0; i < n && string[i]; i++) {
        if (string[i] == '\'') {
            printf("'\\''");
        } else {
            printf("%s%c", strchr("[]:\\", string[i]) ? "\\" : "", string[i]);
        }
    }
}

static void print_zsh(const command_usage *usage, const option_spec *spec) {
    printf("        '%s')\n            _arguments -s -S", usage->name);
    for (const option_spec *row = spec; row->help; row++) {
        if (!row->name) {
            continue;
        }
        const help_value value = help_value_of(row);
        printf(" \\\n                ");
        if (row->letter) {
            printf("'(-%c --%s)'{-%c,--%s}'", row->letter, row->name, row->letter, row->name);
        } else {
            printf("'--%s", row->name);
        }
        putchar('[');
        print_zsh_text(row->help, strcspn(row->help, "\n"));
        putchar(']');
        if (value == HELP_VALUE_CHOICE) {
            printf(":%s:(", row->name);
            print_list(row->value);
            putchar(')');
        } else if (value != HELP_VALUE_NONE) {
            putchar(':');
            print_zsh_text(row->value, strlen(row->value));
            printf(":%s", value == HELP_VALUE_PATH ? "_files" : " ");
        }
        putchar('\'');
    }
    printf(" \\\n                '(-h --help)'{-h,--help}'[show help]' '*: :_files' ;;\n");
}

int help_print(const command_usage *usage, const option_spec *spec, help_form form) {
    switch (instead != HELP_SHORT ? instead : form) {
    case HELP_SHORT:
        print_for_people(usage, spec, false);
        break;
    case HELP_WHOLE:
        print_for_people(usage, spec, true);
        break;
    case HELP_BASH:
        print_bash(usage, spec);
        break;
    case HELP_ZSH:
        print_zsh(usage, spec);
        break;
    }
    return cli_finish(CLI_OK);
}
