/* calls.h - the functions of ggml and libllama that can throw, called so that no C++ exception reaches C. */
#ifndef IFLOW_MODEL_CALLS_H
#define IFLOW_MODEL_CALLS_H

#ifdef __cplusplus
extern "C" {
#endif

#include "base/base.h"

struct ggml_context;
struct gguf_context;
struct llama_chat_message;
struct llama_model;
struct llama_vocab;

enum { IFLOW_CALL_WHY = 256 };

/* What a call threw. A call may run in a thread of its own, and messages belong to threads, so it is kept until iflow_call_failed(). */
typedef struct iflow_call_error {
    iflow_status status;
    char why[IFLOW_CALL_WHY];
} iflow_call_error;

/* Makes it this thread's message, after `what`, and returns the status. */
iflow_status iflow_call_failed(const iflow_call_error *error, const char *what);

/* gguf_init_from_file without data. *gguf is NULL where ggml refuses the file. */
iflow_status iflow_call_gguf(const char *path, struct gguf_context **gguf, struct ggml_context **meta);

/* llama_model_load_from_file of the vocabulary alone. *model is NULL where libllama refuses the file. */
void iflow_call_load_vocab(const char *path, struct llama_model **model, iflow_call_error *error);

/* llama_tokenize, adding nothing; *n is what it returns. */
void iflow_call_tokenize(const struct llama_vocab *vocab, const char *text, int32_t n_bytes, int32_t *out, int32_t room, bool parse_special,
                         int32_t *n, iflow_call_error *error);

/* llama_token_to_piece, control tokens included; *n is what it returns. */
iflow_status iflow_call_piece(const struct llama_vocab *vocab, int32_t token, char *out, int32_t room, int32_t *n);

/* llama_chat_apply_template, with the assistant's turn opened; *n is what it returns. */
iflow_status iflow_call_template(const char *text, const struct llama_chat_message *message, size_t n_messages, char *out, int32_t room,
                                 int32_t *n);

/* Calls a function at this thread's end, for the thread that ends the process before objects of the process are destroyed. One a thread. */
void iflow_call_at_thread_end(void (*call)(void));

/* Loads the backends of ggml that are libraries of their own, each in the variant that suits this processor best: from the directory of
 * ggml's own library, and if no CPU is there, from where ggml was built to look. Without this call ggml would also look in the working
 * directory, where anybody may have put a library. What is linked is there already. */
iflow_status iflow_call_load_backends(void);

#ifdef __cplusplus
}
#endif

#endif
