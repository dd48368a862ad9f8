/* model.h - a loaded model: hyperparameters, weights where they are multiplied, tokenizer. Immutable after loading. */
#ifndef IFLOW_MODEL_MODEL_H
#define IFLOW_MODEL_MODEL_H

#include "kernels/matmul.h"
#include "model/arch/arch.h"
#include "model/parts.h"

#include <ggml-backend.h>
#include <ggml.h>

struct iflow_template;
struct llama_model;

enum { IFLOW_MAX_BUFTS = 8 };

/* A file that is mapped, and what it was when it was. */
typedef struct iflow_watch {
    int fd;
    int64_t n_bytes;
    struct timespec written;
} iflow_watch;

typedef enum iflow_chat_by {
    IFLOW_CHAT_PLAIN, /* nothing: plain text */
    IFLOW_CHAT_KNOWN, /* libllama, which knows the template */
    IFLOW_CHAT_JINJA, /* the template itself */
} iflow_chat_by;

struct iflow_model {
    char *path;
    const iflow_arch *arch;
    iflow_hparams h;
    int n_vocab;
    int *score_layer; /* [n_layer]: iflow_plan_whole_layer() */
    int n_embd_kv;    /* elements of one row of K or V, in every layer */
    char fingerprint[IFLOW_ID_SIZE];
    uint64_t n_bytes;
    int n_parts; /* files */

    ggml_backend_dev_t device, cpu;
    struct ggml_tensor *tok_embd;    /* [n_embd, n_vocab], read by rows */
    struct ggml_tensor *output_norm; /* [n_embd] */
    struct ggml_tensor *output;      /* [n_embd, n_vocab]; the token embeddings where tied, in the layout that multiplies best */
    struct ggml_tensor *output_b;    /* [n_vocab], or NULL */
    struct ggml_tensor *rope_freqs;  /* [n_embd_head / 2] Llama-3 factors, or NULL */
    iflow_layer *layer;              /* [n_layer]: weights; what is done with them is h.spec[] */

    struct ggml_context *ctx[IFLOW_MAX_BUFTS]; /* tensors by buffer type */
    ggml_backend_buffer_t buffer[IFLOW_MAX_BUFTS];
    bool plain[IFLOW_MAX_BUFTS];     /* the buffer's weights lie as in the file */
    uint64_t rows8[IFLOW_MAX_BUFTS]; /* the types, as bits, that lie as IFLOW_LAYOUT_ROWS8 in it */
    int n_bufts;
    bool exact; /* ggml's products and attention alone */
    void *map;  /* the mapped files, one after the other, each from a page of its own; or NULL */
    size_t map_bytes;

    bool digits_take_long; /* tokenising a run of digits takes time by the square of its length */
    iflow_watch *watch;    /* [n_parts]: the mapped files, or NULL */

    struct llama_model *vocab;            /* tokenizer and chat template only */
    iflow_chat_by chat_by;                /* what renders conversations */
    struct iflow_template *chat_template; /* JINJA: parsed; else NULL */
    bool opens_control[256];              /* bytes that control tokens' texts begin with */
    char **marker;                        /* control tokens that libllama finds in any text, as the vocabulary has them as a user's own */
    size_t n_markers;
    int32_t *sink; /* the tokens that stand before every chunk while it is prefilled */
    size_t n_sink;
};

/* weights.c: checks every tensor's shape and type, places it and loads it. */
iflow_status iflow_weights_load(iflow_model *model, iflow_parts *parts, const iflow_model_params *params);
void iflow_weights_free(iflow_model *model);

/* load.c: E_IO where a mapped file was written to since the model was loaded: what is computed now is not of the model's identity. */
iflow_status iflow_model_unchanged(const iflow_model *model);

/* How a weight lies, for our products; OTHER also where ggml's are to be used. */
iflow_layout iflow_weight_layout(const iflow_model *model, const struct ggml_tensor *weight);

/* vocab.c */
iflow_status iflow_vocab_load(iflow_model *model, const struct gguf_context *gguf);
void iflow_vocab_free(iflow_model *model);

bool iflow_token_is_end(const iflow_model *model, int32_t token);

#endif
