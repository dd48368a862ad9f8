/* test_parity.c - logits of our full pass against libllama's on the same GGUF, with the same threads. */
#include "support.h"
#include "tolerance.h"

#include <dirent.h>
#include <llama.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { N_THREADS = 2, N_TOKENS = 700 }; /* more than one slice of 512, so that slices meet */

/* libllama's logits of every token: [n, n_vocab]. */
static float *peer_logits(const char *path, int32_t *token, int n, int n_vocab) {
    struct llama_model *model = llama_model_load_from_file(path, llama_model_default_params());
    assert_non_null(model);
    struct llama_context_params params = llama_context_default_params();
    params.n_ctx = params.n_batch = (uint32_t)n;
    params.n_ubatch = 512;
    params.n_threads = params.n_threads_batch = N_THREADS;
    params.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_ENABLED;
    struct llama_context *ctx = llama_init_from_model(model, params);
    assert_non_null(ctx);
    struct llama_batch batch = llama_batch_init(n, 0, 1);
    for (int i = 0; i < n; i++) {
        batch.token[i] = token[i];
        batch.pos[i] = i;
        batch.n_seq_id[i] = 1;
        batch.seq_id[i][0] = 0;
        batch.logits[i] = 1;
    }
    batch.n_tokens = n;
    assert_int_equal(llama_decode(ctx, batch), 0);
    const size_t count = (size_t)n * (size_t)n_vocab;
    float *out = malloc(count * sizeof *out);
    assert_non_null(out);
    memcpy(out, llama_get_logits(ctx), count * sizeof *out);
    llama_batch_free(batch);
    llama_free(ctx);
    llama_model_free(model);
    return out;
}

static void compare(const char *name, const float *ours, const float *peers, int n, size_t n_vocab) {
    const double scale = support_max_size(peers, (size_t)n * n_vocab), tolerance = TOLERANCE_LIBLLAMA * scale;
    const double difference = support_max_difference(ours, peers, (size_t)n * n_vocab);
    int n_decided = 0;
    for (int i = 0; i < n; i++) {
        const float *a = ours + (size_t)i * n_vocab, *b = peers + (size_t)i * n_vocab;
        const size_t best = support_argmax(b, n_vocab);
        double second = -1e30;
        for (size_t k = 0; k < n_vocab; k++) {
            second = k != best && (double)b[k] > second ? (double)b[k] : second;
        }
        if ((double)b[best] - second > tolerance) {
            n_decided++;
            assert_int_equal(support_argmax(a, n_vocab), best);
        }
    }
    print_message("%-32s largest difference %.2g of %.3g, top-1 equal at %d of %d decided\n", name, difference, scale, n_decided, n);
    assert_true(n_decided * 10 > n * 8); /* a comparison that decides nothing proves nothing */
    assert_true(difference <= tolerance);
}

static void check_model(const char *path, const char *text) {
    iflow_model *model = NULL;
    assert_ok(iflow_model_load(path, &IFLOW_PARAMS(iflow_model_params, .exact = true), &model));
    int32_t *token = NULL;
    size_t n = N_TOKENS;
    if (text) {
        assert_ok(iflow_tokenize(model, text, strlen(text), false, &token, &n));
        assert_true(n > 520);
    } else { /* tiny models have no language: any tokens will do */
        token = malloc(n * sizeof *token);
        assert_non_null(token);
        uint32_t state = 12345;
        for (size_t i = 0; i < n; i++) {
            state = state * 1664525u + 1013904223u;
            token[i] = (int32_t)(state >> 8) % model->n_vocab;
        }
    }
    float *ours = support_every_logits(model, token, NULL, (int)n, N_THREADS), *peers = peer_logits(path, token, (int)n, model->n_vocab);
    compare(strrchr(path, '/') + 1, ours, peers, (int)n, (size_t)model->n_vocab);
    free(ours);
    free(peers);
    free(token);
    iflow_model_free(model);
}

static void test_tiny_models(void **state) {
    (void)state;
    DIR *dir = opendir(support_env("INFOFLOW_TEST_MODELS"));
    assert_non_null(dir);
    int n = 0;
    for (struct dirent *entry; (entry = readdir(dir));) {
        const size_t length = strlen(entry->d_name);
        if (length > 5 && !strcmp(entry->d_name + length - 5, ".gguf") && strncmp(entry->d_name, "refuse-", 7) != 0) {
            char name[256];
            snprintf(name, sizeof name, "%.*s", (int)length - 5, entry->d_name);
            check_model(support_tiny_model(name), NULL);
            n++;
        }
    }
    closedir(dir);
    assert_true(n >= 21); /* every architecture and feature */
}

static void test_smollm2(void **state) {
    (void)state;
    char text[8192];
    int used = 0;
    for (int i = 1; used < 3500; i++) {
        used +=
            snprintf(text + used, sizeof text - (size_t)used,
                     "Entry %d. The keeper of the northern light wrote down the wind, the state of the sea and every ship that passed; on "
                     "day %d he counted %d sails before noon and none after it.\n",
                     i, i * 7, i * 3 % 11);
    }
    check_model(support_env("INFOFLOW_SMOLLM2"), text);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_tiny_models), cmocka_unit_test(test_smollm2)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
