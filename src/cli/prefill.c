/* prefill.c - computes the chunks of documents before a question is asked over them, and shows how far that is. */
#include "cli/prefill.h"

#include "cli/progress.h"
#include "cli/text.h"

#include <stdlib.h>
#include <string.h>

static void show(const chunks_state *state, void *user) {
    (void)user;
    if (!state->n_computed) { /* passing over what is stored takes no time that anybody could wait for */
        return;
    }
    char *rate = text_format("%s tokens/s", human_count((uint64_t)((double)state->n_computed / state->seconds)));
    char *what = text_format("computing chunk %zu of %zu", state->n < state->n_all ? state->n + 1 : state->n, state->n_all);
    progress_show(pace_share(&state->pace), pace_left(&state->pace), rate, what);
    free(rate);
    free(what);
}

iflow_status documents_prefill(const session *s, const common_options *common, const context_documents *documents,
                               const iflow_ask_params *params, double *ms) {
    const chunk_list *chunks = &documents->chunks;
    const chunks_room room = cli_session_room(common, s);
    const chunks_events events = {.progress = show};
    chunks_state state = {0};
    iflow_status status = IFLOW_OK;
    const double start = now_seconds();
    stream_waiting(documents, common->quiet);
    if (params->method != IFLOW_METHOD_FULL && chunks_fit(&room, chunks, params) == IFLOW_OK && chunks_are_kept(&room, chunks, 1)) {
        status = chunks_prefill(chunks, s->ctx, &events, &state);
    }
    *ms = state.n_computed ? (now_seconds() - start) * 1e3 : 0;
    if (state.n_computed) {
        progress_end();
        stream_waiting(documents, common->quiet);
    }
    return status;
}

void documents_waited(iflow_answer *answer, double ms) {
    if (answer) {
        answer->ms.prefill += ms;
        answer->ms.ttft += ms;
        answer->ms.total += ms;
    }
}

int context_failed(iflow_status status, const common_options *common, const session *s) {
    const int result = cli_failed(status, NULL);
    if (status == IFLOW_E_CONTEXT && common->ctx && common->ctx < s->info.n_ctx_train) {
        cli_note("--ctx sets the size of the context; this model was trained for up to %d tokens", s->info.n_ctx_train);
    }
    return result;
}

const char *documents_last_word(const session *s) {
    return !s->store || strcmp(s->store_dir, "memory:") == 0 ? "interrupted; nothing is kept\n"
                                                             : "interrupted; the chunks that were computed are kept in the store\n";
}
