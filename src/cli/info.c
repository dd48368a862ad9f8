/* info.c - `infoflow info`: devices, architectures, and facts of a model. */
#include "cli/profile.h"
#include "cli/report.h"
#include "cli/terminal.h"
#include "cli/text.h"

#include <stdlib.h>
#include <string.h>

static json_t *list_json(const char *(*name)(size_t)) {
    json_t *list = json_array();
    for (size_t i = 0; name(i); i++) {
        json_array_append_new(list, json_string(name(i)));
    }
    return list;
}

static void print_list(const char *title, const char *(*name)(size_t)) {
    printf("%-15s", title);
    for (size_t i = 0; name(i); i++) {
        printf("%s%s", i ? ", " : "", name(i));
    }
    putchar('\n');
}

/* The layers that can score: those without a window. */
static void print_scoring(const iflow_model_info *info) {
    printf("%-15s", "scoring layers");
    int n = 0;
    for (int il = 0; il < info->n_layer; il++) {
        if (info->score_layer[il] == il) {
            printf("%s%d", n++ ? ", " : "", il);
        }
    }
    puts(n ? "" : "none");
}

static void print_model(const iflow_model_info *info, double load_ms) {
    printf("\n%-15s%s\n", "model", visible(info->path));
    if (info->n_parts > 1) {
        printf("%-15s%d files, of which this is the first\n", "parts", info->n_parts);
    }
    printf("%-15s%s\n%-15s%s\n%-15s%s\n", "architecture", visible(info->architecture), "device", visible(info->device), "fingerprint",
           info->fingerprint);
    printf("%-15s%d, of %d; %s tokens in the vocabulary\n", "layers", info->n_layer, info->n_embd, human_count((uint64_t)info->n_vocab));
    printf("%-15s%d, %d for keys and values, of %d\n", "heads", info->n_head, info->n_head_kv, info->n_embd_head);
    if (info->window) {
        int n_whole = 0;
        for (int il = 0; il < info->n_layer; il++) {
            n_whole += info->score_layer[il] == il;
        }
        printf("%-15s%s tokens, in all layers but %d\n", "window", human_count((uint64_t)info->window), n_whole);
        print_scoring(info);
    }
    printf("%-15s%s tokens\n", "trained for", human_count((uint64_t)info->n_ctx_train));
    uint64_t row = 2 * 2 * (uint64_t)info->n_layer * (uint64_t)info->n_head_kv * (uint64_t)info->n_embd_head; /* K and V of f16 */
    printf("%-15s%s a token, %s for 1,000 tokens, as f16\n", "KV cache", human_bytes(row), human_bytes(row * 1000));
    printf("%-15s%s, loaded in %.0f ms\n", "weights", human_bytes(info->n_bytes), load_ms);
}

int cli_info(int argc, char **argv) {
    common_options options = {0};
    bool json = false;
    const command_usage usage = {"info", "[-m MODEL] [OPTION]...",
                                 "Prints the compute devices and the supported architectures, and the facts of a\nmodel with -m.",
                                 "  infoflow info -m model.gguf"};
    const option_spec spec[] = {
        {'m', "model", "MODEL", OPTION_TEXT, &options.model, 0, 0, "the model, a GGUF file (default: $INFOFLOW_MODEL)"},
        {'\0', "json", NULL, OPTION_FLAG, &json, 0, 0, "print one JSON object"},
        {'\0', "device", "NAME", OPTION_DEVICE, &options.device, 0, 0, "compute device (default: auto, a GPU if any)"},
        {'\0', "no-mmap", NULL, OPTION_FLAG, &options.no_mmap, 0, 0, "read the model into memory; do not map the file"},
        {'\0', "no-repack", NULL, OPTION_FLAG, &options.no_repack, 0, 0, "do not repack the weights"},
        OPTION_ROWS_OUTPUT(options),
        {0}};
    int first = 0;
    int result = options_parse(&usage, spec, argc, argv, &first);
    if (result != OPTIONS_GO) {
        return result;
    }
    if (first < argc) {
        return options_wrong(&usage, "'%s' is one argument too many; a model goes after -m", argv[first]);
    }

    session s = {0};
    profile found = {0};
    cli_session_log(&options);
    if (options.model || iflow_environment("INFOFLOW_MODEL")) {
        result = cli_session_load_model(&usage, &options, &s);
    } else {
        result = CLI_OK;
    }
    if (result == CLI_OK && s.model) {
        result = profile_read(&(profile_options){0}, &s.info, &found);
    }
    if (result != CLI_OK) {
        goto cleanup;
    }
    if (json) {
        json_t *object = json_object();
        json_object_set_new(object, "version", json_string(iflow_version()));
        json_object_set_new(object, "devices", list_json(iflow_device_name));
        json_object_set_new(object, "architectures", list_json(iflow_architecture_name));
        if (s.model) {
            json_object_set_new(object, "model", session_model_json(&s));
        }
        if (s.model) {
            answer_put_profile(object, &found);
        }
        result = json_print(object, JSON_INDENT(2) | JSON_REAL_PRECISION(9), stdout);
        json_decref(object);
    } else {
        printf("%-15s%s\n", "version", iflow_version());
        print_list("devices", iflow_device_name);
        print_list("architectures", iflow_architecture_name);
        if (s.model) {
            print_model(&s.info, s.model_load_ms);
        }
        if (found.path) {
            char *chunks = common_chunks(found.fillers);
            printf("%-15s%s: %s at ratio %g, chunks %s%s%s", "profile", visible(found.path), iflow_method_name(found.method), found.ratio,
                   chunks, found.correct ? "" : ", uncorrected", found.drift ? "" : ", no drift");
            free(chunks);
            printf(found.trusted < 0 && found.few ? "; of too few questions to say which ratio can be trusted\n"
                   : found.trusted < 0            ? "; no ratio was trusted\n"
                                                  : "; trusted from ratio %g on\n",
                   found.trusted);
        }
    }
cleanup:
    profile_free(&found);
    session_close(&s);
    return cli_finish(result);
}
