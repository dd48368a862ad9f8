/* support.h - what the tests share: files from the environment, models, contexts, the last prompt's logits. */
#ifndef IFLOW_TESTS_SUPPORT_H
#define IFLOW_TESTS_SUPPORT_H

#include "flow/context.h"

/* cmocka wants these before it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

/* The value of an environment variable that make test sets; fails the test when it is missing. */
const char *support_env(const char *name);

/* assert_int_equal(status, IFLOW_OK) that shows the message. */
#define assert_ok(status) support_assert_ok((status), __FILE__, __LINE__)
void support_assert_ok(iflow_status status, const char *file, int line);

/* Path of a tiny model by name. Static buffer. */
const char *support_tiny_model(const char *name);

/* A tiny model that is loaded with other metadata or weights: edit gets both, data being the tensors' at their offsets in gguf.
 * iflow_model_free(). */
typedef void (*support_edit)(struct gguf_context *gguf, char *data, const void *user);
iflow_status support_load_edited(const char *name, support_edit edit, const void *user, iflow_model **out);
iflow_model *support_edited_model(const char *name, support_edit edit, const void *user);

/* A new empty directory under TMPDIR; support_remove_dir deletes it and all in it. */
char *support_make_dir(void);
void support_remove_dir(char *dir);

/* What a context teaches, looked at again and again: that changes whether it is enough, not what is learned. iflow_correction_free(). */
iflow_correction *support_learn(iflow_context *ctx);

/* Multiplies all that a correction adds. */
void support_overdo(const iflow_correction *correction, int n_layer, float factor);

/* Logits [n_vocab] of the token at row n_rows - 1 of a context's cache, run again: after an ask, with n_rows = context + prompt, those of
 * the prompt's last token. free(). */
float *support_logits(iflow_context *ctx, int32_t token, int n_rows);

/* Logits [n, n_vocab] of all n tokens at positions 0, 1, ... in cache rows row[] (NULL: the same), in one pass. free(). */
float *support_every_logits(const iflow_model *model, const int32_t *token, const int32_t *row, int n, int n_threads);

/* Largest |a - b| over n, and largest |a|. */
double support_max_difference(const float *a, const float *b, size_t n);
double support_max_size(const float *a, size_t n);
size_t support_argmax(const float *a, size_t n);

/* Prefills one chunk as iflow_context_prefill(); id and was_stored may be NULL. */
iflow_status support_prefill(iflow_context *ctx, const int32_t *tokens, size_t n_tokens, char id[IFLOW_ID_SIZE], bool *was_stored);

#endif
