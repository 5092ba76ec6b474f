/* wire_answer.h - what a protocol does so that answers can be kept and given again: the result
 * cache.
 *
 * Implemented by protocol/pg/pg_answer.c and reached through struct wire; called by proxy/ only.
 * Pure; any thread.
 */
#ifndef PENSTOCK_WIRE_ANSWER_H
#define PENSTOCK_WIRE_ANSWER_H

#include "protocol/wire.h"

/* One complete result, for answering the same request again: opaque runs of bytes. */
struct wire_kept {
    struct str desc; /* of the columns; empty: nobody had asked for it */
    struct str rows, complete;
    uint32_t nrows;
};

struct wire_answers {
    /* raw is all that a client was sent for a request that fits; out borrows from it. False: it is
     * not one complete result. */
    bool (*read)(struct str raw, struct wire_kept *out);
    /* What comes from outside is one complete result. */
    bool (*whole)(const struct wire_kept *k);
    /* r is one statement that is run once and to its end, with nothing asked for that was not kept.
     * k NULL: whether any answer could fit. */
    bool (*fits)(const struct wire_kept *k, const struct wire_req *r);
    /* Answers r to its end from an answer that fits; st is the client's. Its bytes are borrowed by
     * out (outq_put_borrowed). */
    void (*give)(void *st, const struct wire_req *r, const struct wire_kept *k, struct outq *out);
};

#endif
