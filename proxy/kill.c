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

/* What there is of the extended protocol's parts in a request that does nothing else; -1: none. */
struct shape {
    int parse, bind, execute;
    const struct stmt *stmt; /* borrowed: the one that is bound */
};

/* Everything that is about a statement is about the one that is bound. The portal must not outlive
 * the request, for the database would not know of it: the unnamed one, or any outside of a
 * transaction. */
static bool fits(const struct client *c, const struct wire_part *p, int i, struct shape *x)
{
    const struct stmt *stmt = c->conn.worker->part_stmts[i];
    switch (p->kind) {
    case PART_PARSE:
        if (x->parse >= 0 || x->bind >= 0)
            return false;
        x->parse = i;
        break;
    case PART_BIND:
        if (x->bind >= 0 || (p->portal.n > 0 && c->server->tx != TX_IDLE))
            return false;
        x->bind = i;
        break;
    case PART_DESCRIBE:
        break;
    case PART_DESCRIBE_PORTAL:
        return x->bind >= 0;
    case PART_EXECUTE:
        if (x->bind < 0 || x->execute >= 0)
            return false;
        x->execute = i;
        return true;
    case PART_SYNC:
        return true;
    case PART_QUERY:
    case PART_CALL:
    case PART_CLOSE:
    case PART_CLOSE_PORTAL:
    case PART_FLUSH:
        return false;
    }
    if (stmt == NULL || stmt->text->by_text || (x->stmt != NULL && x->stmt != stmt))
        return false;
    x->stmt = stmt;
    return true;
}

static bool read_shape(const struct client *c, const struct wire_req *r, struct shape *x)
{
    *x = (struct shape){-1, -1, -1, NULL};
    for (int i = 0; i < r->nparts; i++)
        if (r->parts[i].cut || !fits(c, &r->parts[i], i, x))
            return false;
    if (x->execute < 0)
        return false;
    const struct str *portal = &r->parts[x->bind].portal;
    for (int i = x->bind; i < r->nparts; i++)
        if (r->parts[i].kind != PART_SYNC && r->parts[i].kind != PART_DESCRIBE &&
            !str_eq(r->parts[i].portal, *portal))
            return false;
    if (x->parse < 0)
        return true;
    /* A name that is taken is for the database to refuse. */
    struct str name = r->parts[x->parse].name;
    return str_eq(name, r->parts[x->bind].name) && session_can_name(c, name) &&
           (name.n == 0 || c->names == NULL || stmt_names_find(c->names, name) == NULL);
}

static bool is_kill(const struct client *c, const struct wire_req *r, struct wire_kill *k)
{
    const struct wire *wire = conn_wire(&c->conn);
    struct wire_kill_ask ask = {.peer = (uint16_t)worker_options(c->conn.worker)->peer_id};
    struct shape x;
    if ((r->flags & REQ_END) == 0 || r->nparts == 0 || wire->kill_read == NULL ||
        c->server->tx == TX_FAILED || c->server->tx == TX_UNKNOWN)
        return false;
    if (r->flags & REQ_SIMPLE) {
        if (r->nparts != 1 || r->parts[0].cut)
            return false;
        ask.text = r->parts[0].text;
    } else {
        if (!read_shape(c, r, &x))
            return false;
        ask.text = x.stmt->text->text;
        ask.types = x.stmt->text->types;
        ask.bind = &r->parts[x.bind];
    }
    return wire->kill_read(&ask, k);
}

/* ---- the answer ------------------------------------------------------------------------------ */

static void put_row(struct client *c, const struct wire_kill *k, const struct wire_part *p)
{
    const struct wire *wire = conn_wire(&c->conn);
    wire->cl_row(c->wire_state, &k->yes, 1, &c->conn.out);
    if (p->kind == PART_EXECUTE && p->row_limit == 1)
        wire->cl_suspended(c->wire_state, &c->conn.out);
    else
        wire->cl_complete(c->wire_state, str_of(k->tag), &c->conn.out);
}

static void answer_part(struct client *c, const struct wire_kill *k, const struct wire_part *p,
                        struct stmt *stmt)
{
    const struct wire *wire = conn_wire(&c->conn);
    struct outq *out = &c->conn.out;
    struct wire_column text = {k->column.name, COL_BOOL};
    switch (p->kind) {
    case PART_PARSE:
        session_name(c, p->name, stmt);
        wire->cl_ack(c->wire_state, PART_PARSE, out);
        break;
    case PART_DESCRIBE:
        wire->cl_params(c->wire_state, &k->param, k->nparams, out);
        wire->cl_row_desc(c->wire_state, &text, 1, out);
        break;
    case PART_DESCRIBE_PORTAL:
        wire->cl_row_desc(c->wire_state, &k->column, 1, out);
        break;
    case PART_QUERY:
        wire->cl_row_desc(c->wire_state, &k->column, 1, out);
        put_row(c, k, p);
        break;
    case PART_EXECUTE:
        put_row(c, k, p);
        break;
    case PART_BIND:
        wire->cl_ack(c->wire_state, PART_BIND, out);
        break;
    case PART_CALL:
    case PART_CLOSE:
    case PART_CLOSE_PORTAL:
    case PART_FLUSH:
    case PART_SYNC:
        break;
    }
}

static void answer(struct client *c, const struct wire_kill *k, const struct wire_req *r)
{
    for (int i = 0; i < r->nparts; i++)
        answer_part(c, k, &r->parts[i], c->conn.worker->part_stmts[i]);
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
