/* llama_logits.c - prints what libllama makes of a GGUF model: the peer that the reference is checked against.
 *
 *     llama_logits MODEL f32|f16 TOKEN...     logits of every token of one sequence, a line each; the type is the KV cache's.
 *                                             f32 computes attention by plain products, f16 by flash attention, the default of libllama.
 *     llama_logits MODEL tokenize TEXT        token ids of the text, control tokens parsed, nothing added
 *
 * Exit status 1 with a message on standard error when libllama refuses. */
#include <llama.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void log_errors(enum ggml_log_level level, const char *text, void *user) {
    (void)user;
    if (level == GGML_LOG_LEVEL_ERROR) {
        fputs(text, stderr);
    }
}

static int print_logits(struct llama_model *model, int n_vocab, bool f32, int n_tokens, char **ids) {
    int rc = 1;
    struct llama_context *ctx = NULL;
    struct llama_batch batch = llama_batch_init(n_tokens, 0, 1);
    struct llama_context_params params = llama_context_default_params();
    params.n_ctx = 1024;
    params.n_threads = params.n_threads_batch = 1;
    if (f32) {
        params.type_k = params.type_v = GGML_TYPE_F32;
        params.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_DISABLED;
    }
    ctx = llama_init_from_model(model, params);
    if (ctx == NULL) {
        goto cleanup;
    }
    for (int i = 0; i < n_tokens; i++) {
        char *end = NULL;
        long id = strtol(ids[i], &end, 10);
        if (*end != '\0' || id < 0 || id >= n_vocab) {
            fprintf(stderr, "%s is no token id below %d\n", ids[i], n_vocab);
            goto cleanup;
        }
        batch.token[i] = (llama_token)id;
        batch.pos[i] = i;
        batch.n_seq_id[i] = 1;
        batch.seq_id[i][0] = 0;
        batch.logits[i] = 1;
    }
    batch.n_tokens = n_tokens;
    if (llama_decode(ctx, batch) != 0) {
        fputs("llama_decode failed\n", stderr);
        goto cleanup;
    }
    for (int i = 0; i < n_tokens; i++) {
        const float *row = llama_get_logits_ith(ctx, i);
        for (int j = 0; j < n_vocab; j++) {
            printf("%.9g%c", (double)row[j], j + 1 < n_vocab ? ' ' : '\n');
        }
    }
    rc = 0;
cleanup:
    llama_batch_free(batch);
    llama_free(ctx);
    return rc;
}

static int print_tokens(const struct llama_vocab *vocab, const char *text) {
    llama_token token[1024];
    int n = llama_tokenize(vocab, text, (int32_t)strlen(text), token, 1024, false, true);
    for (int i = 0; i < n; i++) {
        printf("%d%c", token[i], i + 1 < n ? ' ' : '\n');
    }
    return n < 0;
}

int main(int argc, char **argv) {
    if (argc < 4) {
        fputs("usage: llama_logits MODEL f32|f16 TOKEN... | llama_logits MODEL tokenize TEXT\n", stderr);
        return 2;
    }
    llama_log_set(log_errors, NULL);
    struct llama_model_params params = llama_model_default_params();
    params.n_gpu_layers = 0;
    struct llama_model *model = llama_model_load_from_file(argv[1], params);
    if (model == NULL) {
        return 1;
    }
    const struct llama_vocab *vocab = llama_model_get_vocab(model);
    int rc = strcmp(argv[2], "tokenize") == 0
                 ? print_tokens(vocab, argv[3])
                 : print_logits(model, llama_vocab_n_tokens(vocab), strcmp(argv[2], "f32") == 0, argc - 3, argv + 3);
    llama_model_free(model);
    return rc;
}
