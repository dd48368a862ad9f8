/* calls.cpp - the functions of ggml and libllama that can throw, called so that no C++ exception reaches C. */
#include "model/calls.h"

#include "model/guarded.h"

#include <dlfcn.h>
#include <ggml-backend.h>
#include <gguf.h>
#include <llama.h>
#include <string>

namespace {

template <typename Call> iflow_status guarded(const char *what, Call call) noexcept {
    return iflow::guarded(what, IFLOW_E_FORMAT, call);
}

/* The directory of the library that a function is in; "" if that cannot be told, as of a program without shared libraries. The function by
 * its name: its address in a program may be one of the program itself. */
std::string directory_of(const char *function) {
    Dl_info where{};
    void *const address = dlsym(RTLD_DEFAULT, function);
    const std::string path = address && dladdr(address, &where) && where.dli_fname ? where.dli_fname : "";
    const size_t slash = path.rfind('/');
    return slash == std::string::npos ? "" : path.substr(0, slash);
}

struct at_end {
    void (*call)() = nullptr;
    ~at_end() {
        if (call) {
            call();
        }
    }
};

bool has_cpu() {
    return ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU) != nullptr;
}

} // namespace

iflow_status iflow_call_failed(const iflow_call_error *error, const char *what) {
    return iflow_fail(error->status, "%s: %s", what, error->why);
}

iflow_status iflow_call_gguf(const char *path, struct gguf_context **gguf, struct ggml_context **meta) {
    return guarded(path, [&] {
        gguf_init_params params{};
        params.no_alloc = true;
        params.ctx = meta;
        *gguf = gguf_init_from_file(path, params);
    });
}

void iflow_call_load_vocab(const char *path, struct llama_model **model, iflow_call_error *error) {
    iflow::guard(error, IFLOW_E_FORMAT, [&] {
        llama_model_params params = llama_model_default_params();
        params.vocab_only = true;
        *model = llama_model_load_from_file(path, params);
    });
}

void iflow_call_tokenize(const struct llama_vocab *vocab, const char *text, int32_t n_bytes, int32_t *out, int32_t room, bool parse_special,
                         int32_t *n, iflow_call_error *error) {
    iflow::guard(error, IFLOW_E_FORMAT, [&] { *n = llama_tokenize(vocab, text, n_bytes, out, room, false, parse_special); });
}

iflow_status iflow_call_piece(const struct llama_vocab *vocab, int32_t token, char *out, int32_t room, int32_t *n) {
    return guarded("the text of a token", [&] { *n = llama_token_to_piece(vocab, token, out, room, 0, true); });
}

iflow_status iflow_call_template(const char *text, const struct llama_chat_message *message, size_t n_messages, char *out, int32_t room,
                                 int32_t *n) {
    return guarded("the chat template", [&] { *n = llama_chat_apply_template(text, message, n_messages, true, out, room); });
}

void iflow_call_at_thread_end(void (*call)(void)) {
    thread_local at_end end;
    end.call = call;
}

iflow_status iflow_call_load_backends(void) {
    return guarded("the backends of ggml", [] {
        const std::string beside = directory_of("ggml_backend_load_all_from_path");
        if (!beside.empty()) {
            ggml_backend_load_all_from_path(beside.c_str());
        }
#ifdef INFOFLOW_GGML_BACKEND_DIR
        if (!has_cpu()) {
            ggml_backend_load_all_from_path(INFOFLOW_GGML_BACKEND_DIR);
        }
#endif
        if (!has_cpu()) {
            ggml_backend_load_all();
        }
    });
}
