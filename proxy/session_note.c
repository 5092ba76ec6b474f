/* session_note.c - what is remembered of a request when it is over; see session.h.
 *
 * A flight carries what it runs (struct statement_batch) only while somebody wants to know:
 * worker->noting.  Its time is counted from when it became what the server works on: behind other
 * clients' requests on a shared server it waited, as it did for the server itself.
 * Called by session_reply.c for answers and by server.c for what was lost.  Thread: the worker's.
 */
#include "proxy/session.h"

void session_note(struct server *s, const struct flight *f, uint64_t rows, bool failed)
{
    struct worker *w = s->conn.worker;
    usec_t began = s->state == SV_SHARED ? MAX(f->start, s->front_at) : f->start;
    const struct statement_run run = {
        .batch = &f->batch,
        .db = s->pool->shared->db,
        .host = s->host,
        .took = w->now - began,
        .waited = f->waited + (began - f->start),
        .rows = rows,
        .failed = failed,
    };
    if (statements_on(w->statements))
        statements_note(w->statements, &run);
}
