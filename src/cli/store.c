/* store.c - `infoflow store`: its actions, their options, and pins. */
#include "cli/store.h"

#include "cli/nearest.h"
#include "cli/report.h"
#include "cli/text.h"

#include <string.h>
#include <time.h>

/* ---- What the actions share --------------------------------------------------------------------------------------------------------- */

iflow_status store_resolve_id(const store_call *f, const char *operand, char id[IFLOW_ID_SIZE], iflow_kind *kind) {
    const iflow_status status = iflow_store_resolve(f->s.store, operand, id, kind);
    const size_t length = strlen(operand);
    if (status == IFLOW_E_ARG && (length < 4 || length >= IFLOW_ID_SIZE || strspn(operand, "0123456789abcdef") != length)) {
        cli_error("%s; `infoflow store list` shows them", iflow_error_message());
    } else if (status == IFLOW_E_NOT_FOUND) {
        cli_error("%s; what was deleted or pruned must be ingested again", iflow_error_message());
    } else if (status != IFLOW_OK) {
        cli_failed(status, NULL);
    }
    return status;
}

int store_resolve(const store_call *f, const char *operand, store_target *out) {
    *out = (store_target){0};
    if (store_resolve_id(f, operand, out->id, &out->kind) != IFLOW_OK) {
        return CLI_FAILED;
    }
    const bool is_document = out->kind == IFLOW_DOCUMENT;
    out->document = is_document ? inventory_document(&f->all, out->id) : NULL;
    if (is_document && !out->document) {
        cli_error("document %s is no longer in the store", out->id);
        return CLI_FAILED;
    }
    out->chunk = is_document ? (const char(*)[IFLOW_ID_SIZE])out->document->chunk_id : (const char(*)[IFLOW_ID_SIZE]) & out->id;
    out->n_chunks = is_document ? out->document->n_chunks : 1;
    return CLI_OK;
}

const char *store_age(int64_t used_at) {
    return used_at > 0 ? human_age((int64_t)time(NULL) - used_at) : "-";
}

int store_dump(json_t *object) {
    const int result = object ? report_dump(object, stdout) : cli_failed(IFLOW_E_MEMORY, NULL);
    json_decref(object);
    return result;
}

/* ---- Pins --------------------------------------------------------------------------------------------------------------------------- */

int store_pin(store_call *f, char **operand, size_t n, bool pinned) {
    for (size_t i = 0; i < n; i++) {
        store_target t;
        int result = store_resolve(f, operand[i], &t);
        if (result != CLI_OK) {
            return result;
        }
        const iflow_status status = iflow_store_pin(f->s.store, t.document ? IFLOW_DOCUMENT : IFLOW_CHUNK, t.id, pinned);
        if (status != IFLOW_OK) {
            return cli_failed(status, NULL);
        }
        printf("%s  %s\n", t.id, pinned ? "pinned" : "unpinned");
    }
    return CLI_OK;
}

/* ---- Dispatch ----------------------------------------------------------------------------------------------------------------------- */

/* The first line of what an action is about stands in the list of actions. */
static const command_usage action[] = {
    {"store list", "[OPTION]...", "Lists the documents, the size of their chunks, and the total.", "  infoflow store list -s ~/kv"},
    {"store show", "[OPTION]... ID...", "Shows documents or chunks.\nOf an id the first 4 digits are enough.",
     "  infoflow store show 3fa94c --tokens -m model.gguf"},
    {"store verify", "[OPTION]... [ID]...",
     "Checks that chunks and records of documents are intact.\n"
     "Without an ID it checks all files of the store. A damaged file, or a file in a wrong directory, is named and moved to the store's "
     "directory `bad`, so that it is computed again. A file that cannot be read is named and stays. The exit status is 1 in these cases.",
     "  infoflow store verify"},
    {"store pin", "[OPTION]... ID...", "Keeps documents or chunks when others are deleted to make room.", "  infoflow store pin 3fa94c"},
    {"store unpin", "[OPTION]... ID...", "Ends a pin.\nA chunk of another pinned document stays pinned.", "  infoflow store unpin 3fa94c"},
    {"store delete", "[OPTION]... ID...",
     "Deletes documents or chunks.\n"
     "Of a document, the chunks that another document has or that were pinned by their own ids stay.",
     "  infoflow store delete 3fa94c"},
    {"store prune", "[OPTION]...",
     "Deletes chunks until the store is not larger than --max-size.\n"
     "Chunks of older formats go first, then those that were not used for the longest time; pinned ones stay. Files that killed "
     "processes left are deleted, too.",
     "  infoflow store prune --max-size 10G"},
};

enum { LIST, SHOW, VERIFY, PIN, UNPIN, DELETE, PRUNE };

static void print_store_usage(FILE *to) {
    fputs("Usage: infoflow store ACTION [OPTION]... [ID]...\n\nShows, checks and cleans the store of KV caches.\n\nActions:\n", to);
    for (size_t i = 0; i < COUNT_OF(action); i++) {
        fprintf(to, "  %-8s%.*s\n", strchr(action[i].name, ' ') + 1, (int)strcspn(action[i].about, "\n"), action[i].about);
    }
    fputs("\n`infoflow store ACTION --help` lists an action's options.\n\nExample:\n  infoflow store list\n", to);
}

static int run_action(size_t which, int argc, char **argv) {
    const command_usage *usage = &action[which];
    store_call f = {.options = {.max_bytes = UINT64_MAX}};
    bool tokens = false, old = false;
    option_spec spec[10] = {OPTION_ROW_STORE(f.options), OPTION_ROWS_OUTPUT(f.options)};
    size_t n = 3;
    if (which != PIN && which != UNPIN && which != DELETE) {
        spec[n++] = (option_spec){'\0', "json", NULL, OPTION_FLAG, &f.json, 0, 0, "print one JSON object"};
    }
    if (which == SHOW) {
        spec[n++] = (option_spec){'\0', "tokens", NULL, OPTION_FLAG, &tokens, 0, 0, "print the tokens: with -m their text, else numbers"};
        spec[n++] = (option_spec){'m', "model", "MODEL", OPTION_TEXT, &f.options.model, 0, 0, "the model, a GGUF file (default: none)"};
    }
    if (which == PRUNE) {
        spec[n++] = (option_spec){'\0', "old", NULL, OPTION_FLAG, &old, 0, 0, "delete all chunks of older formats; nothing uses them"};
        spec[n++] = (option_spec){'\0',
                                  "max-size",
                                  "BYTES",
                                  OPTION_BYTES,
                                  &f.options.max_bytes,
                                  0,
                                  0,
                                  "size that may remain, like 20G; 0: nothing but what is pinned"};
    }
    int first = 0;
    int result = options_parse(usage, spec, argc, argv, &first);
    if (result != OPTIONS_GO) {
        return result;
    }
    char **operand = argv + first;
    size_t n_operands = (size_t)(argc - first);
    if (n_operands && (which == LIST || which == PRUNE)) {
        return options_wrong(usage, "takes no argument, but was given '%s'", operand[0]);
    }
    if (!n_operands && which != LIST && which != PRUNE && which != VERIFY) {
        return options_wrong(usage, "which ones? Give ids of documents or chunks");
    }
    if (which == PRUNE && !old && !options_given(&f.options.max_bytes)) {
        return options_wrong(usage, "what may remain? Give --max-size, like 20G (0 deletes all that is not pinned), or --old");
    }
    uint64_t prune_to = f.options.max_bytes;
    f.options.max_bytes = 0; /* of the store itself: opening it must evict nothing */
    result = cli_session_open_store(usage, &f.options, &f.s);
    f.options.max_bytes = prune_to;
    if (result == CLI_OK && f.options.model) {
        result = cli_session_load_model(usage, &f.options, &f.s);
    }
    if (result == CLI_OK && (which != VERIFY || n_operands)) { /* it looks at all files by itself, whether they can be listed or not */
        const iflow_status status = inventory_take(&f.all, f.s.store);
        result = status == IFLOW_OK ? CLI_OK : cli_failed(status, NULL);
    }
    if (result != CLI_OK) {
        goto cleanup;
    }
    switch (which) {
    case LIST:
        result = store_list(&f);
        break;
    case SHOW:
        result = store_show(&f, operand, n_operands, tokens || f.options.model);
        break;
    case VERIFY:
        result = store_verify(&f, operand, n_operands);
        break;
    case PIN:
    case UNPIN:
        result = store_pin(&f, operand, n_operands, which == PIN);
        break;
    case DELETE:
        result = store_delete(&f, operand, n_operands);
        break;
    default:
        result = store_prune(&f, old);
        break;
    }
cleanup:
    inventory_free(&f.all);
    session_close(&f.s);
    return cli_finish(result);
}

const char *cli_store_action(size_t i) {
    return i < COUNT_OF(action) ? strchr(action[i].name, ' ') + 1 : NULL;
}

int cli_store(int argc, char **argv) {
    if (argc < 2) {
        print_store_usage(stderr);
        return CLI_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "help") == 0) {
        print_store_usage(stdout);
        return cli_finish(CLI_OK);
    }
    for (size_t i = 0; i < COUNT_OF(action); i++) {
        if (strcmp(argv[1], strchr(action[i].name, ' ') + 1) == 0) {
            return run_action(i, argc - 1, argv + 1);
        }
    }
    if (argv[1][0] == '-') {
        cli_error("store: an action comes first, as in `infoflow store list`, not '%s'", argv[1]);
    } else {
        const char *names[COUNT_OF(action)];
        for (size_t i = 0; i < COUNT_OF(action); i++) {
            names[i] = cli_store_action(i);
        }
        const char *near = nearest(argv[1], strlen(argv[1]), names, COUNT_OF(names));
        cli_error("store: there is no action '%s'%s%s%s", argv[1], near ? "; did you mean `infoflow store " : "", near ? near : "",
                  near ? "`?" : "");
    }
    print_store_usage(stderr);
    return CLI_USAGE;
}
