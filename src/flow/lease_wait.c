/* lease_wait.c - chunks that other processes compute, by their leases, and how long they are left to them. */
#include "flow/lease_wait.h"

#include <string.h>

enum { SILENCE_MS = 1000 }; /* of waiting, before it is said */

static iflow_leased_chunk *find(const iflow_lease_wait *waits, const char *id) {
    for (size_t i = 0; i < waits->n; i++) {
        if (!strcmp(waits->entry[i].id, id)) {
            return &waits->entry[i];
        }
    }
    return NULL;
}

void iflow_lease_wait_end(iflow_lease_wait *waits, const char *id) {
    iflow_leased_chunk *entry = find(waits, id);
    if (entry) {
        *entry = waits->entry[--waits->n];
    }
}

iflow_status iflow_lease_wait_for(iflow_lease_wait *waits, const char *id) {
    const double now = iflow_now_ms();
    iflow_leased_chunk *entry = find(waits, id);
    if (!entry) {
        const iflow_status status = iflow_reserve((void **)&waits->entry, &waits->capacity, waits->n + 1, sizeof *waits->entry);
        if (status) {
            return status;
        }
        entry = &waits->entry[waits->n++];
        *entry = (iflow_leased_chunk){.since_ms = now};
        memcpy(entry->id, id, sizeof entry->id);
    }
    if (now - entry->since_ms >= waits->patience_ms) {
        iflow_log(IFLOW_LOG_WARN, "%s, for more than %.3g s: it is computed here, too", iflow_error_message(), waits->patience_ms / 1e3);
        iflow_lease_wait_end(waits, id);
        return IFLOW_OK;
    }
    if (now - entry->since_ms >= SILENCE_MS && !entry->said) {
        iflow_log(IFLOW_LOG_WARN, "%s: waiting for it, up to %.3g s", iflow_error_message(), waits->patience_ms / 1e3);
        entry->said = true;
    }
    return IFLOW_E_BUSY;
}
