/* busy.h - chunks that other processes compute, and how long they are left to them. */
#ifndef IFLOW_FLOW_BUSY_H
#define IFLOW_FLOW_BUSY_H

#include "base/base.h"

/* After this time a chunk that another process has the lease of is computed here as well: that process may have been stopped. */
enum { IFLOW_BUSY_PATIENCE_MS = 30000 };

typedef struct iflow_busy_entry {
    char id[IFLOW_ID_SIZE];
    double since_ms; /* when it was first found busy */
    bool said;
} iflow_busy_entry;

/* Zero-initialised but for patience_ms; free(entry). */
typedef struct iflow_busy {
    iflow_busy_entry *entry;
    size_t n, capacity;
    double patience_ms;
} iflow_busy;

/* What comes of a lease that failed with E_BUSY, whose message is still there: the same, or IFLOW_OK once that has lasted too long, and the
 * chunk is to be computed without a lease. Both are said in the log. E_MEMORY. */
iflow_status iflow_busy_wait(iflow_busy *busy, const char *id);
/* The chunk is there, or leased. */
void iflow_busy_forget(iflow_busy *busy, const char *id);

#endif
