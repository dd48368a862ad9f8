/* answer.c - documents in, answer out: the library in one page. Usage: answer MODEL.gguf QUESTION DOCUMENT... */
#include <infoflow.h>

#include <stdio.h>
#include <stdlib.h>

/* Reads a file whole; NULL if it cannot be read. */
static char *read_file(const char *path, size_t *n_bytes) {
    char *text = NULL;
    long size = -1;
    FILE *file = fopen(path, "rb");
    if (file && fseek(file, 0, SEEK_END) == 0 && (size = ftell(file)) >= 0 && fseek(file, 0, SEEK_SET) == 0) {
        text = malloc((size_t)size + 1);
    }
    *n_bytes = text ? fread(text, 1, (size_t)size, file) : 0;
    if (file) {
        fclose(file);
    }
    return text;
}

static bool print(const char *piece, void *user) {
    (void)user;
    return fputs(piece, stdout) >= 0 && fflush(stdout) == 0;
}

int main(int argc, char **argv) {
    if (argc < 4) {
        fprintf(stderr, "Usage: %s MODEL.gguf QUESTION DOCUMENT...\n", argv[0]);
        return 2;
    }
    iflow_model *model = NULL;
    iflow_context *context = NULL;
    iflow_answer *answer = NULL;
    iflow_ask_params params = iflow_ask_default_params();
    params.question = argv[2];
    params.on_text = print; /* as it is generated; answer->text has all of it at the end */

    iflow_status status = iflow_model_load(argv[1], NULL, &model);
    if (status == IFLOW_OK) {
        status =
            iflow_context_new(model, NULL, NULL, &context); /* with a store instead of NULL, documents are computed once for all runs */
    }
    for (int i = 3; i < argc && status == IFLOW_OK; i++) {
        size_t n_bytes = 0;
        char *text = read_file(argv[i], &n_bytes);
        if (!text) {
            fprintf(stderr, "cannot read %s\n", argv[i]);
            status = IFLOW_E_IO;
            goto cleanup;
        }
        status = iflow_context_add_text(context, text, n_bytes, 0);
        free(text);
    }
    if (status == IFLOW_OK) {
        status = iflow_context_ask(context, &params, &answer);
    }
    if (status == IFLOW_OK) {
        printf("\n[%zu of %zu tokens recomputed, first token after %.0f ms]\n", answer->n_recomputed, answer->n_context, answer->ms.ttft);
    } else {
        fprintf(stderr, "%s\n", iflow_error_message());
    }
    if (status == IFLOW_OK && answer->finish != IFLOW_FINISH_STOP) {
        printf("[the answer was cut: %s]\n", iflow_finish_name(answer->finish));
    }
cleanup:
    iflow_answer_free(answer);
    iflow_context_free(context);
    iflow_model_free(model);
    return status == IFLOW_OK ? 0 : 1;
}
