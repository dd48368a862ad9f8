/* busy.c - chunks that other processes compute, and how long they are left to them. */
#include "flow/busy.h"

#include <string.h>

enum { SILENCE_MS = 1000 }; /* of waiting, before it is said */

static iflow_busy_entry *find(const iflow_busy *busy, const char *id) {
    for (size_t i = 0; i < busy->n; i++) {
        if (!strcmp(busy->entry[i].id, id)) {
            return &busy->entry[i];
        }
    }
    return NULL;
}

void iflow_busy_forget(iflow_busy *busy, const char *id) {
    iflow_busy_entry *entry = find(busy, id);
    if (entry) {
        *entry = busy->entry[--busy->n];
    }
}

iflow_status iflow_busy_wait(iflow_busy *busy, const char *id) {
    const double now = iflow_now_ms();
    iflow_busy_entry *entry = find(busy, id);
    if (!entry) {
        const iflow_status status = iflow_reserve((void **)&busy->entry, &busy->capacity, busy->n + 1, sizeof *busy->entry);
        if (status) {
            return status;
        }
        entry = &busy->entry[busy->n++];
        *entry = (iflow_busy_entry){.since_ms = now};
        memcpy(entry->id, id, sizeof entry->id);
    }
    if (now - entry->since_ms >= busy->patience_ms) {
        iflow_log(IFLOW_LOG_WARN, "%s, for more than %.3g s: it is computed here, too", iflow_error_message(), busy->patience_ms / 1e3);
        iflow_busy_forget(busy, id);
        return IFLOW_OK;
    }
    if (now - entry->since_ms >= SILENCE_MS && !entry->said) {
        iflow_log(IFLOW_LOG_WARN, "%s: waiting for it, up to %.3g s", iflow_error_message(), busy->patience_ms / 1e3);
        entry->said = true;
    }
    return IFLOW_E_BUSY;
}
