/* bench_report.c - the result of `infoflow bench`, which is a JSON object, as tables and as a chart. */
#include "lab/bench_report.h"

#include "cli/options.h"
#include "cli/terminal.h"
#include "lab/bench_measure.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char *const side_title[N_SIDES] = {"libllama, full prefill", "infoflow's own full prefill", "infoflow, warm store",
                                                "infoflow, cold store", "no recompute"};

/* A number of a path like "ttft_ms", "full", "median"; NAN if it is not there. */
static double number(const json_t *object, const char *a, const char *b, const char *c) {
    const char *const key[] = {a, b, c};
    for (size_t i = 0; i < COUNT_OF(key); i++) {
        object = key[i] ? json_object_get(object, key[i]) : object;
    }
    return json_is_number(object) ? json_number_value(object) : NAN;
}

static const char *string(const json_t *object, const char *a, const char *b) {
    const char *value = json_string_value(json_object_get(json_object_get(object, a), b));
    return value ? visible(value) : "?";
}

static double median(const json_t *object, const char *a, const char *b) {
    return number(object, a, b, "median");
}

/* "123 (120 .. 130)"; empty where nothing was measured. digits: of numbers below 100. */
static char *with_range(const json_t *object, const char *a, const char *b, int digits) {
    const double value = median(object, a, b);
    digits = value < 100 ? digits : 0;
    if (isnan(value)) {
        return text_format("%s", "");
    }
    return text_format("%.*f (%.*f .. %.*f)", digits, value, digits, number(object, a, b, "min"), digits, number(object, a, b, "max"));
}

static void print_run(const json_t *result) {
    const json_t *flags = json_object_get(json_object_get(result, "machine"), "flags");
    printf("%-12s%s, %s, %s, on %s\n", "model", string(result, "model", "name"), string(result, "model", "architecture"),
           human_bytes((uint64_t)number(result, "model", "n_bytes", NULL)), string(result, "model", "device"));
    printf("%-12s%s, %.0f online, %s\n%-12s", "processor", string(result, "machine", "processor"),
           number(result, "machine", "processors", NULL), human_bytes((uint64_t)number(result, "machine", "memory_bytes", NULL)), "");
    size_t column = 12;
    for (size_t i = 0; i < json_array_size(flags); i++) {
        const char *flag = json_string_value(json_array_get(flags, i));
        if (column + strlen(flag) > 96) {
            column = (size_t)printf("\n%-12s", "") - 1;
        }
        column += (size_t)printf("%s ", flag);
    }
    printf("\n%-12s%s, commit %s\n", "ggml", string(result, "ggml", "version"), string(result, "ggml", "commit"));
    char *chunks = common_chunks((int)number(result, "settings", "fillers", NULL));
    const bool exact = json_is_true(json_object_get(json_object_get(result, "settings"), "exact"));
    const bool corrected = json_is_true(json_object_get(json_object_get(result, "settings"), "corrected"));
    printf("%-12s%.0f threads, chunks of %.0f %s%s,%s ratio %g, %.0f turn%s after one that warms up; store in %s\n", "settings",
           number(result, "settings", "threads", NULL), number(result, "settings", "chunk", NULL), chunks, corrected ? ", corrected" : "",
           exact ? " exact," : "", number(result, "settings", "ratio", NULL), number(result, "settings", "turns", NULL),
           plural((uint64_t)number(result, "settings", "turns", NULL)), string(result, "settings", "store_in"));
    free(chunks);
}

static void print_sides(const json_t *length) {
    const bool memory_too = json_object_get(length, "peak_memory_bytes") != NULL;
    printf("  %-28s%-26s%-26s%s\n", "", "TTFT ms", "libllama / this", memory_too ? "peak memory" : "");
    for (int side = 0; side < N_SIDES; side++) {
        char *ttft = with_range(length, "ttft_ms", bench_side_key[side], 1);
        char *ratio = side == SIDE_LIBLLAMA ? text_format("%s", "") : with_range(length, "libllama_over", bench_side_key[side], 2);
        const double memory = number(length, "peak_memory_bytes", bench_side_key[side], NULL);
        if (ttft[0] || !isnan(memory)) {
            printf("  %-28s%-26s", side_title[side], ttft);
            if (isnan(memory)) {
                printf("%s\n", ratio);
            } else {
                printf("%-26s%s\n", ratio, human_bytes((uint64_t)memory));
            }
        }
        free(ttft);
        free(ratio);
    }
}

/* A line of both sides' rates and their ratio. */
static void print_rates(const char *title, const json_t *object, const char *unit) {
    char *ratio = with_range(object, "ratio", NULL, 2);
    printf("  %-28s%.1f %s against %.1f: %s\n", title, median(object, "infoflow", NULL), unit, median(object, "libllama", NULL), ratio);
    free(ratio);
}

static void print_stages(const json_t *length) {
    static const char *const stage[] = {"load", "assemble", "score", "select", "recompute", "prompt"};
    static const bench_side side[] = {SIDE_INFOFLOW, SIDE_COLD};
    printf("\n  %-28s", "stages, ms (% of libllama's)");
    for (size_t k = 0; k < COUNT_OF(stage); k++) {
        printf("%15s", stage[k]);
    }
    for (size_t i = 0; i < COUNT_OF(side); i++) {
        const json_t *ms = json_object_get(json_object_get(length, "stages_ms"), bench_side_key[side[i]]);
        if (!ms) {
            continue;
        }
        printf("\n  %-28s", side_title[side[i]]);
        for (size_t k = 0; k < COUNT_OF(stage); k++) {
            const double value = median(ms, stage[k], NULL);
            char *cell = text_format("%.1f (%.2f)", value, value / median(length, "ttft_ms", "libllama") * 100);
            printf("%15s", cell);
            free(cell);
        }
    }
    printf("\n\n");
}

static void print_length(const json_t *length) {
    printf("\n%s tokens of documents", human_count((uint64_t)number(length, "tokens", NULL, NULL)));
    const json_t *attention = json_object_get(length, "flash_attention");
    if (attention) {
        printf(" in a sequence of %s; libllama with flash attention %s (warming up: %.0f ms with, %.0f without)",
               human_count((uint64_t)number(length, "n_sequence", NULL, NULL)), json_is_true(attention) ? "on" : "off",
               number(length, "attention_ms", "on", NULL), number(length, "attention_ms", "off", NULL));
    }
    putchar('\n');
    if (json_object_get(length, "ttft_ms") || json_object_get(length, "peak_memory_bytes")) {
        print_sides(length);
    }
    if (json_object_get(length, "ttft_ms")) {
        print_stages(length);
    }
    if (json_object_get(length, "recompute_tokens_per_s")) {
        print_rates("recompute and full prefill", json_object_get(length, "recompute_tokens_per_s"), "tokens/s");
    }
    if (json_object_get(length, "decode_tokens_per_s")) {
        print_rates("decode", json_object_get(length, "decode_tokens_per_s"), "tokens/s");
    }
    if (json_is_false(json_object_get(length, "same_first_token"))) {
        printf("  The two full prefills differ in their first token: rounding, or one of them is wrong.\n");
    }
}

/* A line of the busy machine. */
static void print_busy(const char *title, const json_t *ms) {
    char *idle = with_range(ms, "idle", NULL, 1), *busy = with_range(ms, "busy", NULL, 1), *ratio = with_range(ms, "ratio", NULL, 2);
    printf("  %-28s%-26s%-26s%s\n", title, idle, busy, ratio);
    free(idle), free(busy), free(ratio);
}

void bench_print(const json_t *result) {
    print_run(result);
    size_t i = 0;
    const json_t *each = NULL;
    json_array_foreach(json_object_get(result, "lengths"), i, each) print_length(each);
    const json_t *ingest = json_object_get(result, "ingest"), *load = json_object_get(result, "model_load_ms");
    if (ingest || load) {
        printf("\nOurs against libllama's, and ours / libllama's\n");
    }
    json_array_foreach(ingest, i, each) {
        char *title = text_format("ingest, chunks of %s", human_count((uint64_t)number(each, "chunk", NULL, NULL)));
        print_rates(title, json_object_get(each, "tokens_per_s"), "tokens/s");
        free(title);
    }
    if (load) {
        print_rates("model load", load, "ms");
    }
    const json_t *busy = json_object_get(result, "busy");
    if (busy) {
        printf("\nBeside %.0f processes that spin, %s tokens of documents\n  %-28s%-26s%-26s%s\n", number(busy, "processes", NULL, NULL),
               human_count((uint64_t)number(busy, "tokens", NULL, NULL)), "", "idle", "busy", "busy / idle");
        print_busy("TTFT ms", json_object_get(busy, "ttft_ms"));
        print_busy("decoding, ms a token", json_object_get(busy, "decode_ms_a_token"));
    }
}
