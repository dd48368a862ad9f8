/* main.c - the entry point: one table of the subcommands of the product (cli) and of the laboratory (lab), and their dispatch. */
#include "cli/cli.h"
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
    {"ingest", "compute the KV caches of documents and keep them", cli_ingest},
    {"ask", "answer a question over documents", cli_ask},
    {"chat", "ask on over the same documents", cli_chat},
    {"store", "list, show, verify, pin, delete and prune what is kept", cli_store},
    {"eval", "measure answers and times on a question set", LAB(lab_eval)},
    {"learn", "learn from documents how KV changes among others, once a model", LAB(lab_learn)},
    {"calibrate", "find which settings suit a model, and its least ratio", LAB(lab_calibrate)},
    {"bench", "measure speed and memory against libllama", LAB(lab_bench)},
    {"methods", "what --method, --score and --geometry can be", cli_methods},
    {"info", "devices, architectures, and facts of a model", cli_info},
};

static void print_usage(FILE *to) {
    fputs("Usage: infoflow COMMAND [OPTION]... [ARGUMENT]...\n\n"
          "Answers questions over documents whose KV caches were computed once (InfoFlow KV, arXiv 2603.05353).\n\n"
          "Commands:\n",
          to);
    for (size_t i = 0; i < COUNT_OF(command); i++) {
        if (command[i].run) {
            fprintf(to, "  %-10s%s\n", command[i].name, command[i].about);
        }
    }
    fputs("  help      show this, or the help of a command\n\n"
          "`infoflow COMMAND --help` lists a command's options. `infoflow --version` prints the version.\n\n"
          "Environment: INFOFLOW_MODEL and INFOFLOW_STORE stand in for -m and -s.\n"
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
    cli_error("there is no command '%s'", argv[0]);
    fputs("Try `infoflow help`.\n", stderr);
    return CLI_USAGE;
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
    bool help = strcmp(word, "help") == 0 || strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0;
    if (help && argc == 2) {
        print_usage(stdout);
        return cli_finish(CLI_OK);
    }
    if (help) { /* the command's own --help; `help store list` comes as store's list */
        char *arguments[4] = {argv[2], argc > 3 ? argv[3] : "--help", argc > 3 ? "--help" : NULL, NULL};
        return run(argc > 3 ? 3 : 2, arguments);
    }
    if (word[0] == '-') {
        cli_error("there is no option %s before a command", word);
        fputs("Try `infoflow help`.\n", stderr);
        return CLI_USAGE;
    }
    return run(argc - 1, argv + 1);
}
