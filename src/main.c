/* main.c - the entry point: one table of the subcommands of the product (cli) and of the laboratory (lab), and their dispatch. */
#include "cli/cli.h"
#include "cli/help.h"
#include "cli/nearest.h"
#ifdef INFOFLOW_LAB
#include "lab/lab.h"
#define LAB(run) (run)
#else
#define LAB(run) NULL
#endif

#include <signal.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *name, *about;
    int (*run)(int argc, char **argv); /* NULL: one of the laboratory's, in a build without it */
} command[] = {
    {"ingest", "compute the KV caches of documents, once, and keep them", cli_ingest},
    {"ask", "answer a question over documents", cli_ask},
    {"chat", "answer several questions over the same documents", cli_chat},
    {"store", "list, show, check, pin, delete and prune what is kept", cli_store},
    {"eval", "measure answers and times of methods on a data set", LAB(lab_eval)},
    {"learn", "learn a correction of reused KV from documents, once a model", LAB(lab_learn)},
    {"calibrate", "measure which settings suit a model, and the least ratio", LAB(lab_calibrate)},
    {"bench", "measure speed and memory, compared with libllama", LAB(lab_bench)},
    {"methods", "list the values of --method, --score and --geometry", cli_methods},
    {"info", "show devices, architectures, and facts of a model", cli_info},
};

static void print_usage(FILE *to) {
    fputs("Usage: infoflow COMMAND [OPTION]... [ARGUMENT]...\n\n"
          "Answers questions over documents whose KV caches are computed once and reused.\n\n"
          "Commands:\n",
          to);
    for (size_t i = 0; i < COUNT_OF(command); i++) {
        if (command[i].run) {
            fprintf(to, "  %-10s%s\n", command[i].name, command[i].about);
        }
    }
    fputs("\n`infoflow COMMAND --help` shows everyday options, `COMMAND --help all` all.\n"
          "`infoflow --version` prints the version.\n"
          "Environment: INFOFLOW_MODEL and INFOFLOW_STORE are the defaults of -m and -s.\n"
          "Exit status: 0 success, 1 failure, 2 wrong usage, 130 interrupted.\n\n"
          "Example:\n"
          "  infoflow ingest -m model.gguf report.txt\n"
          "  infoflow ask -m model.gguf -q \"Who wrote the report?\" report.txt\n",
          to);
}

static int run(int argc, char **argv) {
    for (size_t i = 0; i < COUNT_OF(command); i++) {
        if (strcmp(argv[0], command[i].name) != 0) {
            continue;
        }
        if (command[i].run) {
            return command[i].run(argc, argv);
        }
        cli_error("this build has no command '%s': it was made without the laboratory (INFOFLOW_LAB=OFF)", argv[0]);
        return CLI_USAGE;
    }
    const char *names[COUNT_OF(command) + 1] = {"help"};
    for (size_t i = 0; i < COUNT_OF(command); i++) {
        names[i + 1] = command[i].name;
    }
    const char *near = nearest(argv[0], strlen(argv[0]), names, COUNT_OF(names));
    if (near) {
        cli_error("there is no command '%s'; did you mean `infoflow %s`?", argv[0], near);
    } else {
        cli_error("there is no command '%s'", argv[0]);
    }
    fputs("Try `infoflow help`.\n", stderr);
    return CLI_USAGE;
}

/* The tables of all commands, as branches on "$command" of a shell's `case`: "ask", "store list". */
static int print_tables(help_form form) {
    int result = CLI_OK;
    help_instead(form);
    for (size_t i = 0; i < COUNT_OF(command) && result == CLI_OK; i++) {
        char *const name = (char *)command[i].name; /* nothing writes to it */
        if (!command[i].run) {
            continue;
        }
        if (command[i].run != cli_store) {
            char *arguments[] = {name, "--help", NULL};
            result = command[i].run(2, arguments);
        }
        for (size_t a = 0; command[i].run == cli_store && cli_store_action(a) && result == CLI_OK; a++) {
            char *arguments[] = {name, (char *)cli_store_action(a), "--help", NULL};
            result = cli_store(3, arguments);
        }
    }
    help_instead(HELP_SHORT);
    return result;
}

static void print_names(void) {
    for (size_t i = 0; i < COUNT_OF(command); i++) {
        if (command[i].run) {
            printf("%s ", command[i].name);
        }
    }
}

static void print_actions(void) {
    for (size_t a = 0; cli_store_action(a); a++) {
        printf("%s ", cli_store_action(a));
    }
}

static int complete_bash(void) {
    fputs("# Completion of the command infoflow for bash. Made by `infoflow completion bash`.\n"
          "_infoflow_words() { mapfile -t COMPREPLY < <(compgen -W \"$1\" -- \"$current\"); }\n"
          "_infoflow_paths() { compopt -o filenames; mapfile -t COMPREPLY < <(compgen -f -- \"$current\"); }\n"
          "_infoflow_options() { case $current in -*) _infoflow_words \"$1\" ;; *) _infoflow_paths ;; esac; }\n"
          "_infoflow() {\n"
          "    local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]} command=${COMP_WORDS[1]}\n"
          "    COMPREPLY=()\n"
          "    if [ \"$COMP_CWORD\" -eq 1 ]; then\n"
          "        _infoflow_words '",
          stdout);
    print_names();
    fputs("help --version'\n        return\n    fi\n"
          "    if [ \"$command\" = store ]; then\n"
          "        if [ \"$COMP_CWORD\" -eq 2 ]; then\n            _infoflow_words '",
          stdout);
    print_actions();
    fputs("'\n            return\n        fi\n        command=\"store ${COMP_WORDS[2]}\"\n    fi\n    case $command in\n        help) "
          "_infoflow_words '",
          stdout);
    print_names();
    fputs("' ;;\n", stdout);
    const int result = print_tables(HELP_BASH);
    fputs("    esac\n}\ncomplete -F _infoflow infoflow\n", stdout);
    return result;
}

static int complete_zsh(void) {
    fputs("#compdef infoflow\n# Completion of the command infoflow for zsh. Made by `infoflow completion zsh`.\n"
          "_infoflow() {\n"
          "    local -a commands actions\n    commands=(",
          stdout);
    for (size_t i = 0; i < COUNT_OF(command); i++) {
        if (command[i].run) {
            printf("\n        '%s:%s'", command[i].name, command[i].about);
        }
    }
    fputs(")\n    actions=(", stdout);
    print_actions();
    fputs(")\n"
          "    if (( CURRENT == 2 )); then\n        _describe command commands\n        return\n    fi\n"
          "    if [[ $words[2] == store ]]; then\n"
          "        if (( CURRENT == 3 )); then\n            _describe action actions\n            return\n        fi\n"
          "        words=(\"store $words[3]\" \"${(@)words[4,-1]}\")\n        (( CURRENT -= 2 ))\n"
          "    else\n        shift words\n        (( CURRENT -= 1 ))\n    fi\n"
          "    case $words[1] in\n        help) _describe command commands ;;\n",
          stdout);
    const int result = print_tables(HELP_ZSH);
    fputs("    esac\n}\nif [ \"$funcstack[1]\" = _infoflow ]; then _infoflow \"$@\"; else compdef _infoflow infoflow; fi\n", stdout);
    return result;
}

/* `infoflow completion SHELL`: not listed, since `make install` runs it and puts the result where the shells look. */
static int run_completion(int argc, char **argv) {
    int result = CLI_USAGE;
    if (argc == 1 && strcmp(argv[0], "bash") == 0) {
        result = complete_bash();
    } else if (argc == 1 && strcmp(argv[0], "zsh") == 0) {
        result = complete_zsh();
    } else {
        cli_error("completion: of which shell? Name bash or zsh");
    }
    return cli_finish(result);
}

/* `infoflow help [COMMAND [ACTION]] [all]`: the command's own --help. */
static int run_help(int argc, char **argv) {
    const bool whole = argc > 1 && strcmp(argv[argc - 1], "all") == 0;
    const int most = argc && strcmp(argv[0], "store") == 0 ? 2 : 1, n_words = argc - whole;
    char *arguments[5] = {0};
    int n = 0;
    if (argc == 0) {
        print_usage(stdout);
        return cli_finish(CLI_OK);
    }
    if (n_words > most) {
        cli_error("help: '%s' is no part of `infoflow help %s`", argv[most], argv[0]);
        return CLI_USAGE;
    }
    for (int i = 0; i < n_words; i++) {
        arguments[n++] = argv[i];
    }
    arguments[n++] = "--help";
    if (whole) {
        arguments[n++] = "all";
    }
    return run(n, arguments);
}

int main(int argc, char **argv) {
    cli_signals(CLI_SIGNAL_IMMEDIATE);
    signal(SIGXFSZ, SIG_IGN); /* a limit on the size of files is a write that fails, and is said */
    if (argc < 2) {
        print_usage(stderr);
        return CLI_USAGE;
    }
    const char *word = argv[1];
    if (strcmp(word, "--version") == 0 || strcmp(word, "-V") == 0 || strcmp(word, "version") == 0) {
        printf("infoflow %s\n", iflow_version());
        return cli_finish(CLI_OK);
    }
    if (strcmp(word, "help") == 0 || strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0) {
        return run_help(argc - 2, argv + 2);
    }
    if (strcmp(word, "completion") == 0) {
        return run_completion(argc - 2, argv + 2);
    }
    if (word[0] == '-') {
        cli_error("there is no option %s before a command", word);
        fputs("Try `infoflow help`.\n", stderr);
        return CLI_USAGE;
    }
    return run(argc - 1, argv + 1);
}
