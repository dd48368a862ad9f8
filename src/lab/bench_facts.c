/* bench_facts.c - what a run of `infoflow bench` stands on: the machine, the model, and the tokens of the documents. */
#include "cli/page.h"
#include "cli/report.h"
#include "cli/text.h"
#include "lab/bench_measure.h"
#include "lab/bench_peer.h"
#include "service/input.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PROBE = 16 };

/* ---- The machine -------------------------------------------------------------------------------------------------------------------- */

/* The value of the first line of /proc/cpuinfo that begins with a key; NULL if none does. */
static char *cpuinfo(const char *key) {
    FILE *file = fopen("/proc/cpuinfo", "r");
    char *line = NULL, *value = NULL;
    size_t capacity = 0;
    while (file && !value && getline(&line, &capacity, file) > 0) {
        const char *colon = strchr(line, ':');
        if (colon && strncmp(line, key, strlen(key)) == 0) {
            value = text_format("%.*s", (int)strcspn(colon + 1 + (colon[1] == ' '), "\n"), colon + 1 + (colon[1] == ' '));
        }
    }
    if (file) {
        fclose(file);
    }
    free(line);
    return value;
}

/* Of the processor's flags those that matrix products are made of. */
static json_t *flags_json(void) {
    static const char *const wanted[] = {"avx", "f16c", "fma", "amx", "asimd", "i8mm", "bf16", "sve"};
    json_t *list = json_array();
    char *flags = cpuinfo("flags");
    flags = flags ? flags : cpuinfo("Features"); /* ARM */
    for (const char *at = flags; at && *at; at += strcspn(at, " "), at += *at == ' ') {
        const size_t n = strcspn(at, " ");
        for (size_t i = 0; i < COUNT_OF(wanted); i++) {
            if (strncmp(at, wanted[i], strlen(wanted[i])) == 0) {
                json_array_append_new(list, json_stringn(at, n));
                break;
            }
        }
    }
    free(flags);
    return list;
}

/* What of the environment decides how OpenMP's threads behave, where ggml was built with it. */
static json_t *environment_json(void) {
    static const char *const name[] = {"OMP_NUM_THREADS", "OMP_WAIT_POLICY",  "OMP_PROC_BIND",  "OMP_PLACES",
                                       "OMP_DYNAMIC",     "OMP_THREAD_LIMIT", "GOMP_SPINCOUNT", "GOMP_CPU_AFFINITY"};
    json_t *object = json_object();
    for (size_t i = 0; i < COUNT_OF(name); i++) {
        const char *value = getenv(name[i]);
        if (value) {
            json_object_set_new(object, name[i], json_text(value));
        }
    }
    return object;
}

static json_t *machine_json(void) {
    char *name = cpuinfo("model name");
    json_t *machine = json_pack("{s:s, s:I, s:I, s:o, s:o}", "processor", name ? name : "unknown", "processors",
                                (json_int_t)sysconf(_SC_NPROCESSORS_ONLN), "memory_bytes",
                                (json_int_t)sysconf(_SC_PHYS_PAGES) * (json_int_t)sysconf(_SC_PAGESIZE), "flags", flags_json(),
                                "environment", environment_json());
    free(name);
    return machine;
}

/* ---- The documents ------------------------------------------------------------------------------------------------------------------ */

/* Made-up text, no two sentences alike in a long stretch. */
static void make_text(size_t n_bytes, text *out) {
    static const char *const who[] = {"The keeper",   "An engineer",     "The harbour master", "A brewer",
                                      "The surveyor", "A schoolteacher", "The mayor"};
    static const char *const did[] = {"wrote down", "measured", "argued about", "drew a map of", "paid for", "remembered", "sold"};
    static const char *const what[] = {"the northern lighthouse", "seven stone bridges",  "the winter storms",
                                       "an unfinished canal",     "the old library",      "forty crates of glass",
                                       "the ferry's timetable",   "a diary of the voyage"};
    for (unsigned i = 0; out->n < n_bytes; i++) {
        text_printf(out, "%s %s %s in the year %u, and again %u days later%s", who[i % 7], did[i / 7 % 7], what[i * 5 % 8],
                    1700 + i * 37 % 300, i * 11 % 97 + 2, i % 6 == 5 ? ".\n\n" : ". ");
    }
}

static int read_text(const char *path, text *out) {
    input in;
    const bool ok = input_open(&in, path) && input_all(&in, out);
    if (!ok) {
        cli_error("cannot read %s: %s", path, in.why);
    }
    input_close(&in);
    return ok ? CLI_OK : CLI_FAILED;
}

static size_t tokens_needed(const bench *b) {
    size_t n = b->parts & BENCH_INGEST ? BENCH_INGESTED : BENCH_DECODED + 1;
    for (size_t i = 0; i < b->n_lengths; i++) {
        n = b->length[i] > n ? b->length[i] : n;
    }
    return n;
}

static int tokens_json(const bench *b, const iflow_model *model, json_t *out) {
    text documents = {0};
    int32_t *token = NULL;
    const size_t n_needed = tokens_needed(b);
    size_t n = 0;
    int result = b->text ? read_text(b->text, &documents) : CLI_OK;
    if (result != CLI_OK) {
        goto cleanup;
    }
    for (size_t n_bytes = n_needed * 6; !b->text && n < n_needed; n_bytes *= 2) { /* few tokenizers have longer tokens */
        iflow_free(token);
        token = NULL;
        make_text(n_bytes, &documents);
        const iflow_status status = iflow_tokenize(model, documents.text, documents.n, false, &token, &n);
        if (status) {
            result = cli_failed(status, NULL);
            goto cleanup;
        }
    }
    if (b->text) {
        const iflow_status status = iflow_tokenize(model, documents.text ? documents.text : "", documents.n, false, &token, &n);
        if (status || n < PROBE) {
            result = status ? cli_failed(status, b->text) : CLI_FAILED;
            if (!status) {
                cli_error("%s has %zu tokens, which is no text to measure with", b->text, n);
            }
            goto cleanup;
        }
    }
    json_t *list = json_array();
    for (size_t i = 0; i < n && i < n_needed; i++) {
        json_array_append_new(list, json_integer(token[i]));
    }
    json_object_set_new(out, "token", list);
cleanup:
    iflow_free(token);
    text_free(&documents);
    return result;
}

/* ---- All of it ---------------------------------------------------------------------------------------------------------------------- */

static json_t *model_json(const iflow_model_info *info) {
    const json_int_t row = (json_int_t)2 * 2 * info->n_layer * info->n_head_kv * info->n_embd_head; /* K and V of f16 */
    return json_pack("{s:o, s:s, s:s, s:s, s:I, s:i, s:i, s:I}", "name", json_text(page_file_name(info->path)), "architecture",
                     info->architecture, "device", info->device, "fingerprint", info->fingerprint, "n_bytes", (json_int_t)info->n_bytes,
                     "n_layer", info->n_layer, "n_ctx_train", info->n_ctx_train, "kv_bytes_a_token", row);
}

/* Head and prompt have a length of their own for every model: a small question tells. */
static iflow_status count_around(const bench *b, const iflow_model *model, const json_t *tokens, json_t *out) {
    iflow_context *ctx = NULL;
    iflow_answer *answer = NULL;
    int32_t probe[PROBE];
    for (size_t i = 0; i < PROBE; i++) {
        probe[i] = (int32_t)json_integer_value(json_array_get(tokens, i));
    }
    iflow_status status = iflow_context_new(model, NULL, &IFLOW_PARAMS(iflow_context_params, .n_threads = b->threads), &ctx);
    if (!status && !(status = iflow_context_add_tokens(ctx, probe, PROBE))) {
        iflow_ask_params params = iflow_ask_default_params();
        params.question = bench_question;
        params.method = IFLOW_METHOD_NONE;
        params.max_tokens = 1;
        status = iflow_context_ask(ctx, &params, &answer);
    }
    if (!status) {
        json_object_set_new(out, "n_around", json_integer((json_int_t)(answer->n_context + answer->n_prompt) - PROBE));
    }
    iflow_answer_free(answer);
    iflow_context_free(ctx);
    return status;
}

int bench_facts(const bench *b, json_t *out) {
    iflow_model *model = NULL;
    int result = CLI_OK;
    iflow_status status = iflow_model_load(b->model, &IFLOW_PARAMS(iflow_model_params, .device = b->device), &model);
    if (status) {
        result = cli_failed(status, NULL);
        goto cleanup;
    }
    const iflow_model_info info = iflow_model_get_info(model);
    const peer_facts facts = peer_get_facts();
    json_object_set_new(out, "version", json_string(iflow_version()));
    json_object_set_new(out, "machine", machine_json());
    json_object_set_new(
        out, "ggml", json_pack("{s:s, s:s, s:s}", "version", facts.ggml_version, "commit", facts.ggml_commit, "features", facts.features));
    json_object_set_new(out, "model", model_json(&info));
    json_object_set_new(out, "settings",
                        json_pack("{s:i, s:i, s:i, s:b, s:b, s:o, s:i, s:b, s:o}", "threads", b->threads, "chunk", b->chunk, "fillers",
                                  b->fillers, "corrected", b->correction != NULL, "exact", b->exact, "ratio", json_finite(b->ratio),
                                  "turns", b->turns, "made_up_text", b->text == NULL, "store_in", json_text(b->place)));
    if ((result = tokens_json(b, model, out)) != CLI_OK) {
        goto cleanup;
    }
    if ((status = count_around(b, model, json_object_get(out, "token"), out))) {
        result = cli_failed(status, NULL);
    }
cleanup:
    iflow_model_free(model);
    return result;
}
