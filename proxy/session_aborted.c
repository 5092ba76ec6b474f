/* session_aborted.c - a client whose transaction went with its server and that may go on, on
 * another node of its cluster.
 *
 * To the client its transaction has failed, as PostgreSQL has it: everything is refused until it
 * ends the transaction, and then it is told that it was rolled back.  No server is needed for that.
 * Called by session.c.  Thread: the worker's.
 */
#include "proxy/session_answer.h"

/* The one statement of r ends a transaction and begins no other. */
static bool ends_it(const struct client *c, const struct wire_req *r, const struct plan *plan)
{
    struct batch b;
    uint32_t effects;
    if ((r->flags & (REQ_START | REQ_END)) != (REQ_START | REQ_END))
        return false;
    if (r->flags & REQ_SIMPLE) {
        if (r->nparts != 1 || plan->facts == NULL)
            return false;
        effects = plan->facts->effects;
    } else {
        if (!session_batch_of_one(c, r, &b) || b.stmt->facts == NULL)
            return false;
        effects = b.stmt->facts->effects;
    }
    return (effects & FX_END) != 0 && (effects & (FX_BEGIN | FX_MULTI)) == 0;
}

void session_aborted(struct client *c, const struct wire_req *r, const struct plan *plan)
{
    bool untold = c->aborted == ABORTED_UNTOLD, ends = ends_it(c, r, plan);
    c->aborted = ends ? ABORTED_NOT : ABORTED_TOLD;
    /* Who commits without having heard of it must not take it for committed. */
    if (!ends || untold) {
        bool open = (r->flags & REQ_END) == 0;
        c->skipping = open;
        client_tell(c, &(struct wire_fault){.cause = untold ? C_SERVER_LOST_IN_TX : C_TX_ABORTED,
                                            .req_open = open,
                                            .tx = ends ? TX_IDLE : TX_FAILED});
        return;
    }
    session_answer_none(c, r, str_of(conn_wire(&c->conn)->rollback_tag));
    conn_wire(&c->conn)->cl_idle(c->wire_state, TX_IDLE, &c->conn.out);
    conn_dirty(&c->conn);
}
