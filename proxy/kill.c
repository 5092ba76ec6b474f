/* kill.c - cancelling and terminating clients by number; see kill.h.
 *
 * A request of the extended protocol is taken when it is one statement, prepared now or before, and
 * nothing else.
 * Allowed: a client of the same database entry that logged in as the same user, or anyone for a
 * user of the console (admin_users).  Who is on another worker is reached by a message; the request
 * stays unread meanwhile and is looked at again when the answer is there.
 */
#include "proxy/kill.h"

#include "base/mem.h"
#include "proxy/cancel.h"
#include "proxy/config/config.h"
#include "proxy/session_answer.h"

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

/* ---- the request ----------------------------------------------------------------------------- */

/* The portal must not outlive the request, for the database would not know of it: the unnamed one,
 * or any outside of a transaction. A name that is taken is for the database to refuse. */
static bool fits(const struct client *c, const struct wire_req *r, const struct batch *b)
{
    const struct str *portal = &r->parts[b->bind].portal;
    if (portal->n > 0 && c->server->tx != TX_IDLE)
        return false;
    for (int i = b->bind; i < r->nparts; i++) {
        const struct wire_part *p = &r->parts[i];
        if (p->kind == PART_CLOSE_PORTAL)
            return false;
        if (p->kind != PART_SYNC && p->kind != PART_DESCRIBE && !str_eq(p->portal, *portal))
            return false;
    }
    if (b->parse < 0)
        return true;
    struct str name = r->parts[b->parse].name;
    return str_eq(name, r->parts[b->bind].name) && session_can_name(c, name) &&
           (name.n == 0 || c->names == NULL || stmt_names_find(c->names, name) == NULL);
}

static bool is_kill(const struct client *c, const struct wire_req *r, struct wire_kill *k)
{
    const struct wire *wire = conn_wire(&c->conn);
    struct wire_kill_ask ask = {.peer = (uint16_t)worker_options(c->conn.worker)->peer_id};
    struct batch b;
    if ((r->flags & REQ_END) == 0 || r->nparts == 0 || wire->kill_read == NULL ||
        c->server->tx == TX_FAILED || c->server->tx == TX_UNKNOWN)
        return false;
    if (r->flags & REQ_SIMPLE) {
        if (r->nparts != 1 || r->parts[0].cut)
            return false;
        ask.text = r->parts[0].text;
    } else {
        if (!session_batch_of_one(c, r, &b) || !fits(c, r, &b))
            return false;
        ask.text = b.stmt->text->text;
        ask.types = b.stmt->text->types;
        ask.bind = &r->parts[b.bind];
    }
    return wire->kill_read(&ask, k);
}

/* ---- the answer ------------------------------------------------------------------------------ */

static void answer(struct client *c, const struct wire_kill *k, const struct wire_req *r)
{
    const struct wire_column stated = {k->column.name, COL_BOOL};
    session_answer_parts(c, r,
                         &(struct session_answer){.columns = &k->column,
                                                  .stated = &stated,
                                                  .values = &k->yes,
                                                  .n = 1,
                                                  .params = &k->param,
                                                  .nparams = k->nparams,
                                                  .tag = k->tag});
    if (r->flags & REQ_START)
        conn_wire(&c->conn)->cl_idle(c->wire_state, c->server->tx, &c->conn.out);
    conn_dirty(&c->conn);
}

/* May an error of ours take the place of the answer? It would not end a transaction, nor what the
 * database has begun of the request. */
static bool may_refuse(const struct client *c, const struct wire_req *r)
{
    return c->server->tx == TX_IDLE && (r->flags & REQ_START);
}

enum kill_step kill_request(struct client *c, const struct wire_req *r)
{
    struct wire_kill k;
    enum kill_outcome done = c->kill_outcome;
    c->kill_outcome = KILL_NONE;
    if (!is_kill(c, r, &k))
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
        if (!may_refuse(c, r))
            return KILL_PASS;
        client_tell(c, &(struct wire_fault){.cause = C_DENIED});
        return KILL_DONE;
    case KILL_SENT:
        if (c->state != CL_ENDING && c->state != CL_CLOSED)
            answer(c, &k, r);
        return KILL_DONE;
    }
    return KILL_PASS;
}
