/* lease_wait.h - chunks that other processes compute, by their leases, and how long they are left to them. */
#ifndef IFLOW_FLOW_LEASE_WAIT_H
#define IFLOW_FLOW_LEASE_WAIT_H

#include "base/base.h"

/* After this time a chunk that another process has the lease of is computed here as well: that process may have been stopped. */
enum { IFLOW_LEASE_PATIENCE_MS = 30000 };

typedef struct iflow_leased_chunk {
    char id[IFLOW_ID_SIZE];
    double since_ms; /* when it was first found leased */
    bool said;
} iflow_leased_chunk;

/* Zero-initialised but for patience_ms; free(entry). */
typedef struct iflow_lease_wait {
    iflow_leased_chunk *entry;
    size_t n, capacity;
    double patience_ms;
} iflow_lease_wait;

/* What comes of a lease that failed with E_BUSY, whose message is still there: the same, or IFLOW_OK once that has lasted too long, and the
 * chunk is to be computed without a lease. Both are said in the log. E_MEMORY. */
iflow_status iflow_lease_wait_for(iflow_lease_wait *waits, const char *id);
/* The chunk is there, or leased. */
void iflow_lease_wait_end(iflow_lease_wait *waits, const char *id);

#endif
