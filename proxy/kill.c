/* kill.c - cancelling and terminating clients by number; see kill.h.
 *
 * Allowed: a client of the same database entry that logged in as the same user, or anyone for a
 * user of the console (admin_users).  Who is on another worker is reached by a message; the request
 * stays unread meanwhile and is looked at again when the answer is there.
 */
#include "proxy/kill.h"

#include "base/mem.h"
#include "proxy/cancel.h"
#include "proxy/config/config.h"

struct order {
    uint32_t target, from_slot;
    uint64_t from_id;
    const struct db_shared *db;
    bool terminate, admin;
    enum kill_outcome outcome;
    char user[]; /* of the one who asks */
};

static void act(struct client *t, bool terminate)
{
    if (terminate)
        client_fatal(t, C_KILLED, STR("terminating connection due to administrator command"));
    else
        cancel_client(t);
}

static enum kill_outcome carry_out(struct worker *w, const struct order *o)
{
    struct client *t = worker_slot_find(w, o->target);
    if (t == NULL || t->user == NULL || t->pool == NULL || t->pool->shared->db != o->db ||
        t->state == CL_ENDING || t->state == CL_CLOSED || t->console != NULL)
        return KILL_NOBODY;
    if (!o->admin && strcmp(t->user, o->user) != 0)
        return KILL_DENIED;
    act(t, o->terminate);
    return KILL_SENT;
}

static void report(struct worker *w, void *arg)
{
    struct order *o = arg;
    struct client *c = worker_slot_find(w, o->from_slot);
    if (c != NULL && c->id == o->from_id && c->kill_outcome == KILL_ASKED) {
        c->kill_outcome = o->outcome;
        session_go_on(c);
    }
    mem_free(o);
}

static void receive(struct worker *w, void *arg)
{
    struct order *o = arg;
    const struct process *p = w->process;
    o->outcome = carry_out(w, o);
    worker_post_call(p->workers[o->from_slot % p->nworkers], report, o);
}

static enum kill_outcome give(struct client *c, const struct wire_kill *k)
{
    struct worker *w = c->conn.worker;
    size_t n = strlen(c->user) + 1;
    struct order *o = mem_new(sizeof(*o) + n);
    o->target = k->id;
    o->from_slot = c->slot;
    o->from_id = c->id;
    o->db = c->pool->shared->db;
    o->terminate = k->terminate;
    o->admin = config_list_has(worker_options(w)->admin_users, str_of(c->user));
    memcpy(o->user, c->user, n);
    struct worker *owner = w->process->workers[k->id % w->process->nworkers];
    if (owner != w) {
        worker_post_call(owner, receive, o);
        return KILL_ASKED;
    }
    enum kill_outcome done = carry_out(w, o);
    mem_free(o);
    return done;
}

static void answer(struct client *c, const struct wire_kill *k)
{
    const struct wire *wire = c->conn.worker->wire;
    struct outq *out = &c->conn.out;
    struct wire_column col = {k->column, COL_BOOL};
    struct str yes = STR("t");
    wire->cl_row_desc(c->wire_state, &col, 1, out);
    wire->cl_row(c->wire_state, &yes, 1, out);
    wire->cl_complete(c->wire_state, str_of(k->tag), out);
    wire->cl_idle(c->wire_state, c->server->tx, out);
    conn_dirty(&c->conn);
}

enum kill_step kill_request(struct client *c, const struct wire_req *r)
{
    const struct wire *wire = c->conn.worker->wire;
    const uint32_t plain = REQ_SIMPLE | REQ_START | REQ_END;
    struct wire_kill k;
    enum kill_outcome done = c->kill_outcome;
    c->kill_outcome = KILL_NONE;
    if ((r->flags & plain) != plain || r->nparts != 1 || r->parts[0].cut ||
        wire->kill_read == NULL || c->server->tx == TX_FAILED || c->server->tx == TX_UNKNOWN ||
        !wire->kill_read(r->parts[0].text, (uint16_t)worker_options(c->conn.worker)->peer_id, &k))
        return KILL_PASS;
    if (done == KILL_NONE)
        done = give(c, &k);
    switch (done) {
    case KILL_NONE:
    case KILL_NOBODY:
        return KILL_PASS;
    case KILL_ASKED:
        c->kill_outcome = KILL_ASKED;
        c->barrier = true;
        return KILL_WAIT;
    case KILL_DENIED:
        if (c->server->tx != TX_IDLE)
            return KILL_PASS; /* an error of ours would not end the transaction */
        client_tell(c, &(struct wire_fault){.cause = C_DENIED});
        return KILL_DONE;
    case KILL_SENT:
        if (c->state != CL_ENDING && c->state != CL_CLOSED)
            answer(c, &k);
        return KILL_DONE;
    }
    return KILL_PASS;
}
