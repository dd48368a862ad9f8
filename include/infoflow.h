/* infoflow.h - answers over documents whose KV caches were computed once.
 *
 * Treat an iflow_model as the loaded weights (immutable, shared between threads), an iflow_store as the place where the KV caches of
 * documents survive (shared between threads and processes), and an iflow_context as one mutable inference timeline (one thread at a time).
 *
 *     iflow_model *model = NULL; iflow_context *ctx = NULL; iflow_answer *answer = NULL;
 *     iflow_model_load("model.gguf", NULL, &model);
 *     iflow_context_new(model, NULL, NULL, &ctx);
 *     iflow_context_add_text(ctx, text, strlen(text), 0);          // once a document
 *     iflow_ask_params ask = iflow_ask_default_params();
 *     ask.question = "Who wrote it?";
 *     iflow_context_ask(ctx, &ask, &answer);                       // assemble, score, select, recompute, prompt, decode
 *     puts(answer->text);
 *     iflow_answer_free(answer); iflow_context_free(ctx); iflow_model_free(model);
 *
 * Words (InfoFlow KV, arXiv 2603.05353): a chunk is a run of tokens whose KV was computed apart from others'; the context is the
 * chunks in reading order; the head is chunk 0 (sink and chat header, never selected); the prompt is instruction, question and chat footer.
 *
 * Errors. A function that can fail returns an iflow_status, 0 or negative; iflow_error_message() then has a sentence that names the thing
 * and what would be right. Out parameters are untouched on failure unless said otherwise. The library never prints and never exits.
 * NULL where a function needs an object, an array with a count, its parameters or an out parameter is E_ARG, saying which;
 * functions that return a struct give one of zeros then, others 0, false or NULL. A number out of range is E_ARG, one that no memory is
 * left for E_MEMORY.
 *
 * Threads, cancelling, cost. Each group of functions says at its head, and a function where it differs, from which threads it may be
 * called, whether a raised token (iflow_cancel) ends it with E_CANCELLED and what can be used then, and how time and memory grow. Costs: N
 * is the tokens of a context, n those of the call, L the layers. A pass of n tokens takes time that grows with n times the weights and, for
 * attention, with n N L; its memory is one slice of n_ubatch tokens and what it leaves in the cache. A handle of one thread at a time may
 * go from thread to thread, but two must not use it at once; two handles never disturb each other. Free functions: no other thread uses the
 * handle; not cancelled; time grows with what is freed.
 *
 * Ownership. What a function hands out through `T **out` is the caller's, to be freed by the free function of its type; plain arrays and
 * strings go to iflow_free(). Free functions take NULL. A model must outlive its contexts, a store the contexts that use it.
 *
 * A process that is forked from one that has asked with several threads can ask with one thread only: E_BACKEND. */
#ifndef INFOFLOW_H
#define INFOFLOW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define IFLOW_API __attribute__((visibility("default")))
#else
#define IFLOW_API
#endif

#define IFLOW_VERSION "0.2.0"

/* ---- Status ------------------------------------------------------------------------------------------------------------------------- */

#define IFLOW_STATUS_LIST(X)                                                                                                               \
    X(OK, 0, "success")                                                                                                                    \
    X(E_ARG, -1, "invalid argument")                                                                                                       \
    X(E_IO, -2, "input or output failed")                                                                                                  \
    X(E_NOT_FOUND, -3, "not found")                                                                                                        \
    X(E_FORMAT, -4, "malformed input")                                                                                                     \
    X(E_UNSUPPORTED, -5, "unsupported")                                                                                                    \
    X(E_MEMORY, -6, "out of memory")                                                                                                       \
    X(E_CONTEXT, -7, "does not fit the model's context")                                                                                   \
    X(E_CORRUPT, -8, "corrupt chunk file")                                                                                                 \
    X(E_BUSY, -9, "in use by another process")                                                                                             \
    X(E_BACKEND, -10, "the compute backend failed")                                                                                        \
    X(E_CANCELLED, -11, "cancelled by the caller")                                                                                         \
    X(E_FULL, -12, "no space left")                                                                                                        \
    X(E_NOT_FINITE, -13, "a number is not finite")

typedef enum iflow_status {
#define IFLOW_STATUS_ENUM(name, value, sentence) IFLOW_##name = (value),
    IFLOW_STATUS_LIST(IFLOW_STATUS_ENUM)
#undef IFLOW_STATUS_ENUM
} iflow_status;

/* Threads: all at once; each has a message of its own. Cancelling: no. Cost: constant. */

/* The sentence of a status. Static. */
IFLOW_API const char *iflow_status_string(iflow_status status);

/* The message of the last failure in this thread, never NULL. Valid until the next failure in the same thread. */
IFLOW_API const char *iflow_error_message(void);

IFLOW_API const char *iflow_version(void);

/* Frees an array or a string that the library handed out. */
IFLOW_API void iflow_free(void *memory);

typedef enum iflow_log_level { IFLOW_LOG_DEBUG, IFLOW_LOG_INFO, IFLOW_LOG_WARN, IFLOW_LOG_ERROR } iflow_log_level;
typedef void (*iflow_log_fn)(iflow_log_level level, const char *message, void *user);

/* Where the library's warnings and ggml's messages go; NULL: nowhere (the default). Process-wide; set it before anything else. fn is called
 * in whichever thread has something to say, by several at once, and must not call the library. */
IFLOW_API void iflow_set_log(iflow_log_fn fn, void *user);

/* ---- Parameters ------------------------------------------------------------------------------------------------------------------- */

/* Every struct of parameters begins with its size, by which the library knows which fields the caller's header has: a later version can add
 * fields at the end and breaks nobody. Take one from its iflow_*_default_params(), or in C write for example
 *     iflow_context_new(model, store, &IFLOW_PARAMS(iflow_context_params, .n_threads = 2), &ctx);
 * iflow_ask_params has defaults other than 0: take it from iflow_ask_default_params(). Of the others a pointer may be NULL. A size of 0, or
 * one with fields that are set and that the library does not know, is E_ARG.
 *
 * The rule for adding a field, which `make abi` checks: it goes to the end, begins at or after the size that the struct had, so that the
 * size grows, and means by 0 what was done before it. A bool that the compiler would put into the padding after the last field breaks old
 * callers, whose padding has any value: make it an int or a uint64_t, or put it after a field that takes its own alignment. No field is
 * removed, moved or retyped. */
#define IFLOW_PARAMS(type, ...) ((type){.size = sizeof(type), __VA_ARGS__})

#ifdef __cplusplus
#define IFLOW_ZERO_PARAMS                                                                                                                  \
    {}
#else
#define IFLOW_ZERO_PARAMS                                                                                                                  \
    { 0 }
#endif
#define IFLOW_DEFAULT_PARAMS(type, function)                                                                                               \
    static inline type function(void) {                                                                                                    \
        type params = IFLOW_ZERO_PARAMS;                                                                                                   \
        params.size = sizeof params;                                                                                                       \
        return params;                                                                                                                     \
    }

/* ---- Cancelling --------------------------------------------------------------------------------------------------------------------- */

/* Ends calls from another thread, or from a signal handler. Once the token that a thread uses is raised, its calls that work for long fail
 * with E_CANCELLED soon: prefill, asking, learning, loading a model, cutting and tokenising, verifying, and waiting for a lock or for
 * another process. Soon is within 100 ms with models of some billion weights on a CPU, and after the slice at hand on a GPU. Single steps
 * of libllama and of the disk are finished first: a grammar's pass over the vocabulary, syncing a file. Long ones cannot be stopped either,
 * and are left to a thread of their own: reading a vocabulary or a grammar, tokenising a long text. The thread that was cancelled waits for
 * them at its own end, iflow_model_free() for those of its model. The process must not end (exit(), a return from main) before other
 * threads' calls have ended, nor before threads that were cancelled have. Context, store
 * and model can be used afterwards, and chunks that were computed before are stored. An answer whose first token is there is given as far
 * as it came (IFLOW_FINISH_CANCELLED); before that a question gives none and must be asked anew, and a follow-up leaves the conversation as
 * it was. */
typedef struct iflow_cancel iflow_cancel;

/* Threads: as each says. Cost: constant; no locks. */
IFLOW_API iflow_status iflow_cancel_new(iflow_cancel **out);
/* No thread may use it any more: give each iflow_cancel_use(NULL) first. */
IFLOW_API void iflow_cancel_free(iflow_cancel *cancel);
/* Raises the token, which stays raised, or lowers it. From any thread and from a signal handler. */
IFLOW_API void iflow_cancel_raise(iflow_cancel *cancel, bool raised);
/* The token of this thread's later calls; NULL: none (the default). One token may serve several threads. */
IFLOW_API void iflow_cancel_use(const iflow_cancel *cancel);

/* ---- Model -------------------------------------------------------------------------------------------------------------------------- */

typedef struct iflow_model iflow_model;

/* Threads: all at once, on one model too, which never changes. */

/* Called now and then while a long thing is done: `what` is being worked on, `done` of `total` bytes are. false cancels: E_CANCELLED. */
typedef bool (*iflow_on_progress)(const char *what, uint64_t done, uint64_t total, void *user);

typedef struct iflow_model_params {
    size_t size;        /* of this struct */
    const char *device; /* NULL or "auto": the first GPU, else the CPU. "cpu", or a name that iflow_device_name() gives. */
    bool no_mmap;       /* read the weights into memory instead of mapping the file */
    bool no_repack;     /* leave out the CPU's repacked weight layouts: less memory, slower prefill */
    bool exact;         /* multiply and attend as libllama does, whose logits it then gives to the bit; slower on the CPU */
    /* A model is known by all bytes of its files, which are read once; then the result is remembered by path, size, inode and times in this
     * directory, made as needed. NULL: infoflow/identities in $XDG_CACHE_HOME or else ~/.cache. "": nothing is remembered. If it cannot
     * be remembered, the log has a warning. A file that changed in the last seconds is not remembered. */
    const char *cache_dir;
    iflow_on_progress on_progress; /* of that reading, and then of looking whether weights are finite; NULL: none */
    void *progress_user;
} iflow_model_params;
IFLOW_DEFAULT_PARAMS(iflow_model_params, iflow_model_default_params)

typedef struct iflow_model_info {
    const char *path;
    const char *architecture; /* "llama", "qwen2", ... */
    const char *device;       /* where the layers' weights are */
    char fingerprint[33];     /* XXH3 of all bytes of the model's files; chunks of another fingerprint are not used */
    int n_vocab, n_layer, n_embd, n_head, n_head_kv, n_embd_head, n_ctx_train;
    uint64_t n_bytes; /* of tensor data in the files */
    int n_parts;      /* files that the model is in */
    int window;       /* tokens that a layer with a window sees; 0: all layers see the whole context */
    /* [n_layer]: the layer itself where it sees the whole context and so can score it, else the nearest that does (the deeper of two; -1:
     * none). The model's. */
    const int *score_layer;
} iflow_model_info;

/* Loads a GGUF model. One in parts (NAME-00001-of-00003.gguf and so on, in one directory) is loaded by the path of its first. params NULL:
 * defaults. E_NOT_FOUND (a part, too), E_IO (also where a file changes meanwhile), E_FORMAT (not a GGUF, truncated, a tensor missing or of
 * a wrong shape, a part of another model), E_ARG (another part than the first), E_UNSUPPORTED (architecture, tensor type, device),
 * E_NOT_FINITE (a weight, naming its tensor), E_MEMORY, E_CANCELLED (by on_progress or the token; there is no model then). Cost: the first
 * time, a hash of all bytes; each time, a look at all weights; memory of the weights, and again of those that are repacked for the CPU. */
IFLOW_API iflow_status iflow_model_load(const char *path, const iflow_model_params *params, iflow_model **out);
/* Waits for texts that its tokenizer is still at after a call was cancelled. */
IFLOW_API void iflow_model_free(iflow_model *model);
/* Strings inside belong to the model. Cost: constant. */
IFLOW_API iflow_model_info iflow_model_get_info(const iflow_model *model);

/* Name of the i-th compute device, NULL past the last. Static. The first call, or loading a model, loads ggml's backends. */
IFLOW_API const char *iflow_device_name(size_t i);
/* Name of the i-th supported architecture, NULL past the last. Static. */
IFLOW_API const char *iflow_architecture_name(size_t i);

/* ---- Text --------------------------------------------------------------------------------------------------------------------------- */

/* Threads: all at once, on one model. Cancelling: yes; nothing is handed out, and the model can be used. */

/* Tokenises UTF-8 text, adding nothing. parse_special: whether text like "<|im_end|>" becomes the control token (false for documents and
 * questions, which must not be able to forge a turn). E_FORMAT on invalid UTF-8, naming the offset; E_UNSUPPORTED: a run of characters or
 * digits that is too long for this model's tokenizer; E_ARG: more than 2^30 bytes. *tokens: iflow_free(). Cost: time and memory grow with
 * the bytes; a long run of characters without spaces or line ends takes a stack of 1 KiB a character meanwhile. */
IFLOW_API iflow_status iflow_tokenize(const iflow_model *model, const char *text, size_t n_bytes, bool parse_special, int32_t **tokens,
                                      size_t *n_tokens);
/* The text of tokens, control tokens included, NUL-terminated; a token may hold part of a UTF-8 character. *text: iflow_free(). Cost: time
 * and memory grow with the tokens. */
IFLOW_API iflow_status iflow_detokenize(const iflow_model *model, const int32_t *tokens, size_t n_tokens, char **text);

/* One piece of a document: text[byte_start, byte_end), and its tokens when tokenised alone (in the array of the iflow_pieces). */
typedef struct iflow_piece {
    size_t byte_start, byte_end;
    size_t token_start, n_tokens;
} iflow_piece;

typedef struct iflow_pieces {
    iflow_piece *piece;
    size_t n_pieces;
    int32_t *token;
    size_t n_tokens;
} iflow_pieces;

/* Cuts a document into pieces of at most chunk_tokens tokens (0: 512; below 2^31), at the last paragraph end that fits, else sentence end,
 * else word, else character. The pieces joined are the text; white space at a cut stays with the piece before it. E_ARG on an empty
 * document, else as iflow_tokenize(). Cost: tokenises every part of the text a few times. */
IFLOW_API iflow_status iflow_cut(const iflow_model *model, const char *text, size_t n_bytes, size_t chunk_tokens, iflow_pieces **out);
IFLOW_API void iflow_pieces_free(iflow_pieces *pieces);

/* ---- Store -------------------------------------------------------------------------------------------------------------------------- */

typedef struct iflow_store iflow_store;

/* Threads: all at once, on one store; other processes too. Cancelling: while a call waits for another process's lock, and
 * iflow_store_verify_all() between two chunks; else no. Nothing is half done then: a chunk, record or pin is as it was or as it shall be.
 * Cost: a call for one chunk opens its file and reads what it tells of; a change waits until the disk has it. Calls that say "all" open
 * every chunk. Memory of the store in a directory is a few bytes a chunk meanwhile; one in memory keeps what is put. */

/* What an id is of. */
typedef enum iflow_kind { IFLOW_CHUNK, IFLOW_DOCUMENT } iflow_kind;

#define IFLOW_ID_SIZE 33 /* 32 hexadecimal digits (XXH3, 128 bits) and the NUL */

typedef struct iflow_store_params {
    size_t size;        /* of this struct */
    uint64_t max_bytes; /* of chunks; 0: no limit. Old chunks go first, then least recently used ones; pinned ones stay. */
    bool must_exist;    /* E_NOT_FOUND instead of creating the directory */
    bool shared;        /* what is created in it, now and by all who open it later, has the permissions that the umask leaves, and what */
                        /* it has already and is this user's gets them; a warning where others cannot get to it all the same. Else it */
                        /* is its owner's alone */
    uint64_t
        keep_own; /* not 0: a chunk that a context of this handle was to compute, whether it was there or not, is not evicted by this */
                  /* handle: what needs its room fails with E_FULL, and nothing is evicted. iflow_store_prune() deletes it */
} iflow_store_params;
IFLOW_DEFAULT_PARAMS(iflow_store_params, iflow_store_default_params)

typedef struct iflow_chunk_info {
    char id[IFLOW_ID_SIZE];
    char fingerprint[IFLOW_ID_SIZE]; /* of the model */
    char parent[IFLOW_ID_SIZE];      /* the chunk of the same document before it, after which it was prefilled; "": none */
    int n_tokens, n_layer;
    int n_embd_kv;      /* elements of the longest row of K or V */
    int n_root;         /* tokens that stood before its document while it was prefilled: sink, generic texts, or a head */
    int n_before;       /* tokens of its document that stood before it then; 0 without a parent */
    bool has_staleness; /* it has an estimate of how stale each of its tokens will be after other chunks */
    bool after_rope;    /* its keys are kept as they are after RoPE, at the positions that they were computed at; else before it */
    const char *type;   /* "f16" or "q8_0". Static. */
    uint64_t n_bytes;
    int64_t used_at; /* Unix seconds of the last use */
    bool pinned;
    bool exact;       /* computed as libllama does it, to the bit (iflow_model_params.exact); another chunk than one that was not */
    bool damaged;     /* the file cannot be read as this chunk: only id, n_bytes, used_at and pinned are known. iflow_store_verify() */
                      /* sets it aside */
    bool old;         /* sound, but of an older format, or of a fingerprint that was made in an older way: known are the same. It is */
                      /* never used, counts to the limit, and is evicted first; iflow_store_prune_old() removes it */
    bool unsupported; /* sound, but of a newer format or with something that this library does not read: known are the same */
    bool unreadable;  /* the file could not be read, for want of permission, say: known are the same. It is left where it is */
} iflow_chunk_info;

typedef struct iflow_document {
    char id[IFLOW_ID_SIZE];          /* hash of fingerprint and name */
    char fingerprint[IFLOW_ID_SIZE]; /* of the model */
    char *name;                      /* a path, or what the caller called it */
    char (*chunk_id)[IFLOW_ID_SIZE];
    size_t n_chunks, n_tokens;
    bool replaced; /* put: there was a record of this name with other chunks */
    bool pinned;   /* list, get: it was pinned as a whole, so that pins of its chunks are its own */
} iflow_document;

/* Opens a store. name:
 *   "dir:PATH" or a path    the store in a directory, which is created
 *   "memory:"               one that is gone when it is closed, and is this handle's alone; of params, max_bytes alone matters
 * Any other name of the form SCHEME://... is E_UNSUPPORTED; a name with a colon that has none of these forms is a path, and one that has is
 * a path with ./ before it. params NULL: no limit.
 * A directory: any number of processes may have it open; one that holds the store's
 * lock for more than 10 seconds (it was stopped, say) makes functions that change the store fail with E_BUSY, which then wait 0.2 seconds
 * until they get it. The file system must have locks (flock): without them whatever changes the store fails with E_IO. E_ARG: the directory
 * has files that are no store's; E_FORMAT: parts of the store are links or not what they should be; E_UNSUPPORTED, E_IO, E_MEMORY. */
IFLOW_API iflow_status iflow_store_open(const char *name, const iflow_store_params *params, iflow_store **out);
IFLOW_API void iflow_store_close(iflow_store *store);

/* All chunks, most recently used first, damaged ones included; an id can come twice, where a file of its name lies in a wrong directory.
 * *list: iflow_free(). Cost: reads the beginning of every chunk. */
IFLOW_API iflow_status iflow_store_list(iflow_store *store, iflow_chunk_info **list, size_t *n);
/* One chunk's facts and, where tokens is not NULL, its token ids (iflow_free()). E_NOT_FOUND; E_CORRUPT. */
IFLOW_API iflow_status iflow_store_inspect(iflow_store *store, const char *id, iflow_chunk_info *info, int32_t **tokens);
/* Reads a chunk whole and checks format, name, checksum, and that its numbers are finite; of a document its record, not its chunks. A bad
 * one is set aside (moved to the directory bad/): E_CORRUPT. Where a document is set aside that was pinned, its chunks stay pinned: a
 * warning. So are all files of a chunk's name in wrong directories set aside, which readers do not see: E_FORMAT, where there is nothing to
 * be said against the chunk itself, which may be there or not; else the message has both. E_UNSUPPORTED: of another format version, old
 * ones too; it is left. E_IO (it may not be read, say), E_MEMORY, E_BUSY: it could not be verified, and is left. Cost: time and memory
 * of the chunk's bytes. */
IFLOW_API iflow_status iflow_store_verify(iflow_store *store, iflow_kind kind, const char *id);
/* Verifies every chunk and record that is there, and calls on_verified after each (message: NULL, or what was wrong), and once more for an
 * id of which files lay in wrong directories (E_FORMAT). What stands where the store has something of its own and is something else, is set
 * aside as well: E_CORRUPT, with the first two digits of ids for id, where the directory of such chunks belongs; E_FORMAT where a pin or a
 * lease does. A directory of chunks that cannot be read is E_IO, with such digits. Return false to stop. What is found bad is no failure of
 * this function; it fails at its end where it could not list something. E_CANCELLED: what was found until then has been called for. Cost:
 * reads all bytes of the store, in the memory of one chunk. */
typedef bool (*iflow_on_verified)(const char *id, iflow_kind kind, iflow_status status, const char *message, void *user);
IFLOW_API iflow_status iflow_store_verify_all(iflow_store *store, iflow_on_verified on_verified, void *user);
/* Pins keep chunks from being evicted and pruned. A document's pins all of its chunks, which must be there (E_NOT_FOUND, and none is
 * pinned); pinned false takes the pins off those that no other pinned document has. Cost: a file a chunk; pinned false also reads the
 * records of all pinned documents. */
IFLOW_API iflow_status iflow_store_pin(iflow_store *store, iflow_kind kind, const char *id, bool pinned);
/* Deletes a chunk, or a document's record: its chunks stay, and its pins are taken off. Where they cannot be taken off, it fails (E_BUSY,
 * E_IO, E_MEMORY) and the record stays. A damaged record is deleted all the same: then which chunks it had is not known any more, and the
 * log has a warning that they stay pinned. */
IFLOW_API iflow_status iflow_store_delete(iflow_store *store, iflow_kind kind, const char *id);
/* Deletes old chunks, then least recently used ones, but none that is pinned, until at most max_bytes remain, and temporary files that dead
 * processes left. What cannot be deleted or listed is passed over, and the failure at the end; what was deleted is counted then, too. Cost:
 * as iflow_store_list(), and a file a chunk deleted. */
IFLOW_API iflow_status iflow_store_prune(iflow_store *store, uint64_t max_bytes, size_t *n_deleted, uint64_t *n_bytes);
/* Deletes all old chunks (iflow_chunk_info.old), pinned ones too, since nothing uses them. Counts and fails as iflow_store_prune() does. */
IFLOW_API iflow_status iflow_store_prune_old(iflow_store *store, size_t *n_deleted, uint64_t *n_bytes);

/* Records which chunks a document consists of, so that it can be named by its id, which goes by its name (any bytes): a record of the same
 * name and model is replaced. Where that document is pinned, so are its new chunks then, and those that only it had before no longer;
 * E_NOT_FOUND: one of them is not there to be pinned, and nothing changed. E_IO also where there is a record that may not be read: it
 * stays. Writes document->id and document->replaced. */
IFLOW_API iflow_status iflow_store_put_document(iflow_store *store, iflow_document *document);
/* All documents, by name; a record that cannot be read is left out, with a warning in the log. Cost: reads all records. */
IFLOW_API iflow_status iflow_store_list_documents(iflow_store *store, iflow_document ***list, size_t *n);
/* One document by its whole id. E_NOT_FOUND; E_FORMAT, E_CORRUPT: its record is damaged; E_UNSUPPORTED: of a newer version. */
IFLOW_API iflow_status iflow_store_get_document(iflow_store *store, const char *id, iflow_document **out);
IFLOW_API void iflow_document_free(iflow_document *document);
IFLOW_API void iflow_documents_free(iflow_document **list, size_t n);
/* Resolves the beginning of an id (at least 4 digits) to a document's or a chunk's id; documents are looked at first.
 * *kind says which. E_NOT_FOUND; E_ARG when it is ambiguous or no id at all. Cost: lists the names of all documents and chunks. */
IFLOW_API iflow_status iflow_store_resolve(iflow_store *store, const char *prefix, char id[IFLOW_ID_SIZE], iflow_kind *kind);

/* ---- Context ------------------------------------------------------------------------------------------------------------------------ */

typedef struct iflow_context iflow_context;

/* Threads: a context, one thread at a time; contexts of one model and store at once, whose passes then take turns on the device.
 * Cancelling: iflow_context_prefill() and iflow_context_add_text(), by the token; the context and its list are as before then. */

enum { IFLOW_MAX_FILLERS = 4, IFLOW_DEFAULT_FILLERS = 2, IFLOW_NO_FILLERS = -1 };

typedef struct iflow_correction iflow_correction;

typedef struct iflow_context_params {
    size_t size;         /* of this struct */
    int n_ctx;           /* rows of the cache, at most 2^30; 0: grows as needed, up to the model's training context */
    int n_ubatch;        /* tokens a slice of a forward pass, at most 65,536; 0: 512 */
    int n_threads;       /* at most 512; 0: the processors this process may use */
    size_t chunk_tokens; /* how iflow_context_add_text cuts, below 2^31; 0: 512 */
    const char *kv_type; /* of newly stored chunks: NULL or "f16"; "q8_0" */
    int fillers;         /* generic texts that a chunk is prefilled after, each in its turn; 0: the default; IFLOW_NO_FILLERS: after the */
                         /* sink only, as the paper does. They are dropped, and the mean of the chunk's KV is kept, which is nearer to */
                         /* what it is after other chunks. They are part of a chunk's id */
    bool
        estimate_staleness; /* note in chunks how stale each token will be after other chunks. With 2 fillers or more it is always noted; */
                            /* else it takes a second prefill */
    const iflow_correction *correction; /* of this model, or NULL; it must outlive the context */
} iflow_context_params;
IFLOW_DEFAULT_PARAMS(iflow_context_params, iflow_context_default_params)

/* store NULL: chunks live in memory, for the context's lifetime. E_ARG: a param out of range, or the correction was learned from chunks
 * with other fillers than this version's; E_BACKEND, E_MEMORY. Cost: small; rows of the cache are allocated when they are needed, with the
 * bytes of K and V of a token (4 n_embd_kv L where both are f16) each. */
IFLOW_API iflow_status iflow_context_new(const iflow_model *model, iflow_store *store, const iflow_context_params *params,
                                         iflow_context **out);
IFLOW_API void iflow_context_free(iflow_context *ctx);

/* Computes the KV of chunks, as the context's parameters say, and stores it: tokens[start[i]] to tokens[start[i + 1]] each; start
 * [n_chunks + 1], ascending; ids and was_stored [n_chunks]. What is there already is not computed again (was_stored). Short chunks are
 * computed together, up to 512 tokens in one pass, which is faster and gives the same files. E_BUSY: all are there but those whose id is
 * "", which another process is computing; from 30 seconds on, they are computed here as well. E_NOT_FINITE: the model's KV of these tokens
 * does not fit f16. E_IO also where another process has had the store locked for 10 seconds. On any other failure than E_BUSY ids are void;
 * what was computed before is stored. Cost: a pass of the tokens, once for each filler (at least once), and writing what is new. */
IFLOW_API iflow_status iflow_context_prefill(iflow_context *ctx, const int32_t *tokens, const size_t *start, size_t n_chunks,
                                             char (*ids)[IFLOW_ID_SIZE], bool *was_stored);

/* Append to the context's list of chunks. Nothing is computed or read before iflow_context_ask(). Cost: a copy of the tokens. */
IFLOW_API iflow_status iflow_context_add_tokens(iflow_context *ctx, const int32_t *tokens, size_t n_tokens);
/* A chunk of the store. E_NOT_FOUND; E_ARG: of another model, or exact where the model is not, or the reverse; E_UNSUPPORTED. Cost: reads
 * its facts and tokens. */
IFLOW_API iflow_status iflow_context_add_chunk(iflow_context *ctx, const char *id);
/* Cuts a document and adds its pieces: all or, on failure, none. An empty line is put after a text that does not end in one. Cost: as
 * iflow_cut(). */
IFLOW_API iflow_status iflow_context_add_text(iflow_context *ctx, const char *text, size_t n_bytes, size_t chunk_tokens);
/* Empties the list. */
IFLOW_API void iflow_context_clear(iflow_context *ctx);

/* ---- Corrections -------------------------------------------------------------------------------------------------------------------- */

/* How K and V of a chunk's tokens change when other chunks stand before it can in good part be computed from what they are and
 * where they stand: by an affine map a layer, which is learned once a model from documents, without questions or answers (ours). A context
 * with a correction applies it to chunks as it puts them together; the chunks in the store stay as they are.
 *
 * Threads: a correction never changes and is shared by all; a learner, one thread at a time, and no other uses its context meanwhile.
 * Cancelling: iflow_learner_add() and iflow_learner_write(); the learner and its context can be used then. */

/* E_NOT_FOUND, E_FORMAT, E_CORRUPT, E_UNSUPPORTED (another version's), E_ARG (another model's), E_IO, E_MEMORY. The model must outlive it.
 * Cost: time and memory of the file's bytes. */
IFLOW_API iflow_status iflow_correction_load(const char *path, const iflow_model *model, iflow_correction **out);
IFLOW_API void iflow_correction_free(iflow_correction *correction);

typedef struct iflow_correction_info {
    char id[IFLOW_ID_SIZE]; /* of its content */
    int fillers;            /* of the chunks that it is for; 0: none. Other chunks are left as they are */
    size_t n_tokens;        /* that it was learned from */
} iflow_correction_info;

IFLOW_API iflow_correction_info iflow_correction_get_info(const iflow_correction *correction);

typedef struct iflow_learner iflow_learner;

/* Learns for chunks as ctx makes them. ctx must outlive it. It keeps 16 bytes a layer and pair of the 2 n_embd_kv numbers of K and V. */
IFLOW_API iflow_status iflow_learner_new(iflow_context *ctx, iflow_learner **out);
/* Compares the chunks in the context's list, in their order, with full prefill of all of them. Several contexts of one to several thousand
 * tokens each, 10,000 in all, are what it takes. E_ARG: fewer than two chunks, or a chunk made in another way; E_CONTEXT; E_CANCELLED: in
 * the middle of adding, all that was learned before is forgotten, too (iflow_learner_tokens() is 0 then); E_NOT_FINITE: KV that is no
 * number, and nothing of this context is learned then. Cost: two prefills of the context, and N products of the 2 n_embd_kv numbers with
 * each other a layer. */
IFLOW_API iflow_status iflow_learner_add(iflow_learner *learner);
/* Tokens learned from so far. */
IFLOW_API size_t iflow_learner_tokens(const iflow_learner *learner);
/* Writes the correction's file, for its owner alone, whole or not at all. E_ARG: fewer than 1,024 tokens; E_NOT_FINITE: what was learned is
 * no number; E_FULL, E_IO, E_MEMORY; E_CANCELLED: no file is written or changed. Cost: a layer, time that grows with the cube of
 * 2 n_embd_kv. */
IFLOW_API iflow_status iflow_learner_write(const iflow_learner *learner, const char *path);
IFLOW_API void iflow_learner_free(iflow_learner *learner);

/* ---- Asking ------------------------------------------------------------------------------------------------------------------------- */

/* Threads: as the context; functions of names and iflow_fidelity_of() from all at once, at constant cost (that one: of the logits).
 * Cancelling: every call of a context, by the token; iflow_context_ask() and iflow_context_follow_up() by on_text, too. The context, its
 * list and its chunks can be used then; what is left of a conversation stands with iflow_cancel. Cost of a question: prefill of the chunks
 * that are not stored (as iflow_context_prefill()); reading and rotating those that are, bytes of K and V of N tokens; scoring, a pass of
 * the scoring text up to the last scoring layer; recompute, a pass of the selected tokens; then a pass of the prompt and one a token of the
 * answer. Method full is one pass of all N tokens instead. Memory: N rows of the cache and the largest chunk. */

typedef enum iflow_method {
    IFLOW_METHOD_INFOFLOW,   /* assemble, score, select the best, recompute them, prompt */
    IFLOW_METHOD_FULL,       /* prefill the whole sequence */
    IFLOW_METHOD_NONE,       /* assemble, prompt: no recompute */
    IFLOW_METHOD_EPIC,       /* recompute the first 4 tokens of every chunk (EPIC) */
    IFLOW_METHOD_EPIC_RATIO, /* recompute the first ratio of every chunk */
    IFLOW_METHOD_CACHEBLEND, /* recompute ratio of the tokens: those whose V changes most at layer 1 (CacheBlend) */
    IFLOW_METHOD_RANDOM,     /* recompute ratio of the tokens, drawn from seed: the floor that a score must beat */
    IFLOW_METHOD_STALENESS,  /* recompute the tokens whose estimated staleness is largest; ours */
    IFLOW_METHOD_UNION,      /* recompute the choice of staleness for a part of the budget, infoflow's for the rest; ours */
    IFLOW_METHOD_PRODUCT,    /* as infoflow, by the score times the root of the estimated staleness; ours */
    IFLOW_METHOD_GIVEN,      /* recompute positions, or the best by scores, that the caller gives: see given_positions */
} iflow_method;

/* What a token's score is, a mean over the scoring layers. a[h,q,k] is the attention weight of query q for token k in head h, m[q,k] its
 * mean over heads. */
typedef enum iflow_score {
    IFLOW_SCORE_NORM,     /* sqrt(sum_q m^2): the paper's */
    IFLOW_SCORE_MASS,     /* sum_q m */
    IFLOW_SCORE_ENTROPY,  /* -sum_q m log m */
    IFLOW_SCORE_VATP,     /* sum_h sum_q a |v| */
    IFLOW_SCORE_COMBINED, /* mean of norm, entropy and vatp, each scaled to 0..1 */
} iflow_score;

/* Where keys and scoring text stand while the context is scored. Recompute and generation are always global. */
typedef enum iflow_geometry {
    IFLOW_GEOMETRY_GLOBAL, /* chunks one after another, text after them: the paper's */
    IFLOW_GEOMETRY_HL_HP,  /* chunks at their local positions, text right after the longest */
    IFLOW_GEOMETRY_HL_TP,  /* chunks local, text where it stands globally */
    IFLOW_GEOMETRY_TL_TP,  /* every chunk ends where the context ends, text after it */
} iflow_geometry;

/* Whether something of ours is done. */
typedef enum iflow_switch {
    IFLOW_AUTO, /* as iflow_method_info.repairs says, where it can be done at all */
    IFLOW_ON,
    IFLOW_OFF,
} iflow_switch;

typedef enum iflow_score_text {
    IFLOW_SCORE_QUESTION, /* the attention of the question, without what stands around it */
    IFLOW_SCORE_PROMPT,   /* the attention of the whole prompt */
} iflow_score_text;

/* Called with each piece of the answer as it is generated (text: NUL-terminated, whole UTF-8 characters at its end); what a stop string can
 * begin with comes once it is known that it does not. Return false to stop.
 * The context that answers cannot be used meanwhile: E_ARG; iflow_context_clear() does nothing then, and it must not be freed. */
typedef bool (*iflow_on_text)(const char *text, void *user);

/* One message of a conversation. Contents are never parsed for control tokens. */
typedef struct iflow_message {
    const char *role;    /* "system", "user", "assistant" or "tool" */
    const char *content; /* UTF-8 */
} iflow_message;

/* Limits of a question: scoring layers, stop strings, and bytes of a stop string. */
enum { IFLOW_MAX_SCORE_LAYERS = 16, IFLOW_MAX_STOPS = 16, IFLOW_MAX_STOP_BYTES = 256 };

typedef struct iflow_ask_params {
    size_t size;                 /* of this struct */
    const char *question;        /* required, but for messages */
    const char *instruction;     /* stands before the question; NULL: a general one */
    const char *system;          /* system message of the chat header; NULL: the template's own, if it is ChatML and has one; "": none. */
                                 /* Like the other texts it is never parsed for control tokens */
    iflow_method method;         /* INFOFLOW */
    double ratio;                /* share of the context's tokens to recompute, 0 to 1; 0.15 */
    double coverage;             /* 0: ratio is the budget. Else, for methods with a score, the budget is as many of the best tokens as */
                                 /* hold this share of the whole score (0 to 1), but not less than min_ratio and not more than max_ratio */
    double min_ratio, max_ratio; /* 0.05, 0.3 */
    double staleness_share;      /* union: the part of the budget that goes by staleness; 2/3 */
    iflow_switch correct;        /* change reused KV by the context's correction; AUTO: as drift, if there is one. E_ARG: ON */
                                 /* without one */
    iflow_switch drift;          /* how far the keys of a chunk's recomputed tokens moved, on the average, is added to those of its */
                                 /* other tokens, which are not run again; AUTO */
    iflow_score score;           /* NORM */
    iflow_geometry geometry;     /* for scoring; GLOBAL */
    bool reorder;                /* infoflow: first put the most informative chunks last, next to the prompt */
    const int *score_layers;     /* layers whose attention is scored, from 0, negative from the end; NULL: 0.55 .. 0.625 of the
                                  * depth, by iflow_model_info.score_layer. A layer with a window is E_ARG */
    size_t n_score_layers;       /* 0 with NULL; at most IFLOW_MAX_SCORE_LAYERS */
    iflow_score_text score_text; /* QUESTION */
    int max_tokens;              /* of the answer; 256 */
    /* Sampling. What is not neutral is done in this order: penalties, top_k, top_p, min_p, temperature, draw. If the grammar does not allow
     * what is drawn, it is drawn again, in the same way, from the tokens that it allows. E_ARG: out of range. */
    double temperature;    /* 0 or more; 0: greedy, the default: the most likely token, whatever seed, top_k, top_p and min_p are */
    uint64_t seed;         /* of the draws: the same seed, the same answer; 0 */
    int top_k;             /* draw among so many most likely tokens; 0: all, the default */
    double top_p;          /* draw among the fewest most likely tokens that have this probability together, 0 to 1; 1: all, the default */
    double min_p;          /* draw among the tokens that are at least this part as likely as the most likely one, 0 to 1; 0: all, the */
                           /* default */
    double repeat_penalty; /* logits of tokens that the answer has: divided by this if they are positive, else multiplied; 0.1 to 10; */
                           /* 1: none, the default */
    double frequency_penalty; /* taken from a token's logit, times how often the answer has it; -2 to 2; 0 */
    double presence_penalty;  /* taken from a token's logit if the answer has it; -2 to 2; 0 */
    int penalty_last_n;       /* the penalties look at so many last tokens of the answer: -1: all, the default; 0: none; 2^20 at most */
    const char *grammar; /* NULL: none. GBNF, of which the answer's text is a sentence of `root`, or the beginning of one if the answer */
                         /* was cut. The answer ends where the grammar allows no more. E_ARG says where the grammar is wrong */
    const char *const *stop; /* [n_stop]: the answer ends where its text has one of these, and before it. UTF-8, of 1 to */
                             /* IFLOW_MAX_STOP_BYTES bytes each */
    size_t n_stop;           /* at most IFLOW_MAX_STOPS; 0 */
    const int32_t *forced;   /* NULL: sample. Else the answer is these n_forced tokens, whatever the model would say, one after another; */
                             /* grammar and stop do nothing */
    size_t n_forced;         /* at most max_tokens */
    bool keep_logits;        /* fill the answer's logits */
    iflow_on_text on_text;   /* NULL: none */
    void *user;
    /* Method given takes one of these two; the others use neither. Positions are those of the context as answers tell them (chunk,
     * context_token, selected): the head's come first and cannot be recomputed. */
    const int32_t *given_positions; /* to recompute: in any order, each once, n_given_positions of them (0: none is recomputed) */
    size_t n_given_positions;
    const float *given_scores; /* one a context position, the head's too, which do not count: finite, and with coverage 0 or greater. */
    size_t n_given_scores;     /* The best are recomputed, as many as ratio or coverage say */
    /* A conversation instead of question, instruction and system: n_messages of them (0: none), the last usually a user's. The documents
     * stand at the beginning of the first user's message, system messages before it, all else after them. question is then the text that
     * scores the context; NULL: the last user's message. E_ARG: a role that is none of the four, or no message of a user; E_UNSUPPORTED:
     * the model's chat template refuses them, or has no place for a tool's message. A follow-up takes a question alone. */
    const iflow_message *messages;
    size_t n_messages;
} iflow_ask_params;

typedef struct iflow_chunk_span {
    char id[IFLOW_ID_SIZE];
    size_t index;      /* in the context's list as it was added, from 1; 0: the head */
    int start, length; /* positions in the context */
    int n_selected;
} iflow_chunk_span;

/* What a user waits for, in milliseconds. ttft runs from the call to the first token and contains all stages before it. */
typedef struct iflow_timings {
    double prefill;  /* chunks that were not in the store; method full: the whole sequence, prompt included */
    double load;     /* chunks from the store into the cache */
    double assemble; /* rotation to global positions */
    double score, select, recompute;
    double prompt;
    double ttft;
    double decode; /* from the first token to the last */
    double total;
} iflow_timings;

/* Why an answer ended. */
typedef enum iflow_finish {
    IFLOW_FINISH_STOP,      /* the model or the grammar ended it, a stop string came, or the forced tokens ran out */
    IFLOW_FINISH_LENGTH,    /* it has max_tokens, or the context is full (context_full): cut */
    IFLOW_FINISH_CANCELLED, /* on_text said stop, or the token was raised after the first token: cut */
} iflow_finish;

/* "stop", "length", "cancelled". Static; NULL past the last. */
IFLOW_API const char *iflow_finish_name(iflow_finish finish);

typedef struct iflow_answer {
    char *text;     /* whole UTF-8 characters at its end: what the answer began and did not finish is left out; up to a stop string */
    int32_t *token; /* generated, without the end-of-generation token, with those of a stop string */
    int32_t *context_token;  /* [n_context]; method full: after them the n_prompt of the prompt, which it ran with them */
    float *score;            /* one a context position (0 for the head); NULL unless scored. union: infoflow's; product: the product; */
                             /* given: those given */
    float *logits;           /* [n_generated, n_vocab]: those that each generated token was taken by; NULL unless kept */
    int32_t *selected;       /* positions, ascending */
    iflow_chunk_span *chunk; /* in reading order; chunk[0] is the head */
    size_t n_corrected;      /* of those reused from chunks, before some were recomputed */
    double evidence;         /* the part of it that came about in the recomputed ones; NaN: nothing to tell. Less than 1: the others keep */
                             /* that part */
    size_t n_generated, n_context, n_reused, n_recomputed, n_prompt, n_selected, n_chunks;
    iflow_finish finish;
    bool context_full; /* LENGTH: the context was full before there were max_tokens */
    int stopped_by;    /* STOP: which of the stop strings ended it, from 0; -1: none */
    iflow_method method;
    double ratio; /* what was asked for, 0 where positions were given; the share recomputed is n_recomputed / n_context */
    iflow_timings ms;
    uint64_t cache_bytes; /* of the context's cache on the device */
} iflow_answer;

/* Sets the defaults in a struct of that size. */
IFLOW_API void iflow_ask_params_init(iflow_ask_params *params, size_t size);
static inline iflow_ask_params iflow_ask_default_params(void) {
    iflow_ask_params params = IFLOW_ZERO_PARAMS;
    iflow_ask_params_init(&params, sizeof params);
    return params;
}

/* Answers a question over the context's chunks. May be called again with another question or method: each call assembles anew.
 * E_ARG (no question, ratio out of range, a layer that is not there, positions or scores given that do not fit the context), E_CONTEXT (too
 * long, saying by how much), E_BACKEND, E_CANCELLED;
 * E_NOT_FINITE: scores, logits or what is compared for a repair are not numbers, saying at which stage and position. An answer that was cut
 * is no failure: see finish. A warning goes to the log, once a context, where positions go beyond what the model was trained for. */
IFLOW_API iflow_status iflow_context_ask(iflow_context *ctx, const iflow_ask_params *params, iflow_answer **out);

/* Goes on after the last answer, over the same repaired context; of params, question, max_tokens, what is of sampling, stop, forced,
 * keep_logits and on_text count. E_ARG if nothing was asked before; E_CONTEXT; E_NOT_FINITE, after which it must be asked anew. Cost: a
 * pass of the question, and one a token of the answer. */
IFLOW_API iflow_status iflow_context_follow_up(iflow_context *ctx, const iflow_ask_params *params, iflow_answer **out);

/* Takes back the last answer (to a question or a follow-up) and has the model say these n_tokens instead (teacher forcing), in one pass:
 * logits [n_tokens, n_vocab] are what each is predicted by, and void on failure. The context goes on from them. Costs a pass of n_tokens;
 * nothing is repaired again. E_ARG if nothing was asked before, or a token is none; E_CONTEXT; E_NOT_FINITE. */
IFLOW_API iflow_status iflow_context_replay(iflow_context *ctx, const int32_t *tokens, size_t n_tokens, float *logits);

/* How near next-token distributions are to full prefill's, at n_tokens places of a text. */
typedef struct iflow_fidelity {
    double kl;   /* mean KL(full || method) in nats */
    double top1; /* share of the places at which both have the same most likely token */
    size_t n_tokens;
} iflow_fidelity;

/* Of logits, both [n_tokens, n_vocab] and taken after the same tokens (keep_logits, iflow_context_replay). n_tokens and n_vocab: at least
 * 1, else kl is not a number. A token that the method holds impossible and full prefill does not makes kl infinite; a logit that is not a
 * number makes it none, and no agreement in top1. */
IFLOW_API iflow_fidelity iflow_fidelity_of(const float *full, const float *method, size_t n_tokens, size_t n_vocab);

/* Checks an answer: prefills everything for the same question (params as they were asked by) and replays the answer's tokens after that.
 * Here top1 is the share of the answer's tokens that full prefill would have said there, and kl is not a number unless the answer kept its
 * logits. An answer without tokens (kl not a number, n_tokens 0) has top1 1 if full prefill ends at once, too, else 0. The context then
 * goes on from that answer over the fully prefilled context, chunks in the order of the list. Costs what method full costs and a pass of
 * the answer. E_ARG if the context is another one by now; else as iflow_context_ask. */
IFLOW_API iflow_status iflow_context_verify(iflow_context *ctx, const iflow_ask_params *params, const iflow_answer *answer,
                                            iflow_fidelity *out);

IFLOW_API void iflow_answer_free(iflow_answer *answer);

/* Names as the command takes them. Static; NULL past the last, so that counting up from 0 lists them. There may be more methods and scores
 * than the enums name: the number that a name gives is as good. */
IFLOW_API const char *iflow_method_name(iflow_method method);
IFLOW_API const char *iflow_score_name(iflow_score score);
IFLOW_API const char *iflow_geometry_name(iflow_geometry geometry);
IFLOW_API const char *iflow_score_about(iflow_score score);
IFLOW_API const char *iflow_geometry_about(iflow_geometry geometry);

/* What a method is, and which settings it has. */
typedef struct iflow_method_info {
    const char *name, *about; /* as the command takes it; one line on what it does */
    bool by_ratio;            /* the ratio says how many tokens are recomputed; the others' number is fixed. given: with scores */
    bool by_question;         /* the question's attention scores the tokens: score, geometry, scoring layers and reordering are settings */
    bool by_staleness;        /* it needs the estimated staleness of chunks */
    bool has_scores;          /* every token has a score, so that coverage can be its budget */
    bool repairs;             /* reused KV is corrected, and drifts, unless said otherwise: infoflow and ours */
} iflow_method_info;

/* NULL past the last. Static. */
IFLOW_API const iflow_method_info *iflow_method_get_info(iflow_method method);
/* E_ARG, listing the names. */
IFLOW_API iflow_status iflow_method_from_name(const char *name, iflow_method *method);
IFLOW_API iflow_status iflow_score_from_name(const char *name, iflow_score *score);
IFLOW_API iflow_status iflow_geometry_from_name(const char *name, iflow_geometry *geometry);

#ifdef __cplusplus
}
#endif

#endif
