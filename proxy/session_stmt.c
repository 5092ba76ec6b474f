/* session_stmt.c - prepared statements between client and server: names, handles, and what to undo.
 *
 * session_send passes a request on and maps statement names to the server's handles on the way,
 * preparing what the server lacks in the same write.  What changes is noted in the flight's
 * journal, each line with the number of the confirmation that makes it final; the codec counts
 * confirmations, so that after an error exactly what was not confirmed is taken back
 * (session_apply, session_undo). Called by session.c, session_reply.c and session_vars.c.  Thread:
 * the worker's.
 */
#include "proxy/session_journal.h"

#include "base/check.h"
#include "base/mem.h"

#include <stdatomic.h>

static const struct wire_handle unnamed_handle; /* all zero: the statement without a name */

/* ---- statements on the server ---------------------------------------------------------------- */

/* The database closes a statement of ours. */
static void unprepare(struct server *s, struct flight *f, struct stmt_entry *e)
{
    conn_wire(&s->conn)->sv_unprepare(s->wire_state, &e->handle, &s->conn.out);
    f->tracked++;
    journal_note(f, JOURNAL_UNPREPARE);
    journal_forget_entry(s, e);
}

static void make_room(struct server *s, struct flight *f)
{
    int limit = worker_options(s->conn.worker)->max_prepared_statements;
    while (s->stmts.count >= (size_t)MAX(limit, 1))
        unprepare(s, f, stmt_set_oldest(&s->stmts));
}

void stmt_prepare(struct server *s, struct flight *f, const struct wire_handle *h,
                  const struct stmt_text *t)
{
    conn_wire(&s->conn)->sv_prepare(s->wire_state, h, t->text, t->types, &s->conn.out);
    f->tracked++;
    s->pool->stats.server_parses++;
}

/* Statements prepared under other definitions are prepared anew: the database would refuse to run
 * one whose result has changed its type. */
static uint32_t definitions_of(const struct server *s)
{
    return atomic_load_explicit(&s->pool->shared->db->shared.definitions, memory_order_relaxed);
}

static struct stmt_entry *add_entry(struct server *s, struct stmt *stmt)
{
    struct stmt_entry *e = stmt_set_add(&s->stmts, stmt, conn_wire(&s->conn));
    e->definitions = definitions_of(s);
    e->flight = s->flights_done + s->fl_count;
    return e;
}

static bool fresh(const struct server *s, const struct stmt_entry *e)
{
    return e->definitions == definitions_of(s);
}

struct sending { /* what the functions below have in common */
    struct client *c;
    struct server *s;
    struct flight *f;
    const struct wire *wire;
};

/* A client that was told what rows a statement gives takes them apart by that. Whether they are
 * still the same is then for the database to say: it refuses, and the client prepares anew. */
static bool told_of(const struct client *c, struct str name, const struct stmt_entry *e)
{
    uint32_t definitions;
    return c->names != NULL && stmt_names_description(c->names, name, &definitions) &&
           (int32_t)(e->definitions - definitions) >= 0;
}

static struct stmt_entry *ensure(struct sending *x, const struct wire_part *p, struct stmt *stmt)
{
    struct server *s = x->s;
    struct flight *f = x->f;
    struct stmt_entry *e = stmt_set_find(&s->stmts, stmt);
    if (e != NULL && (fresh(s, e) || s->tx == TX_FAILED))
        return e;
    if (e != NULL && p->kind == PART_BIND && told_of(x->c, p->name, e))
        return e;
    if (e != NULL)
        unprepare(s, f, e);
    make_room(s, f);
    e = add_entry(s, stmt);
    stmt_prepare(s, f, &e->handle, stmt->text);
    journal_note(f, JOURNAL_PREPARE)->entry = e;
    return e;
}

/* A statement that exists on the server under a name the client chose. */
struct stmt_entry *stmt_add_named(struct server *s, struct flight *f, struct stmt *stmt,
                                  struct str name)
{
    struct stmt_entry *e = stmt_set_add_named(&s->stmts, stmt, name);
    e->flight = s->flights_done + s->fl_count;
    journal_note(f, JOURNAL_PREPARE)->entry = e;
    return e;
}

/* ---- sending --------------------------------------------------------------------------------- */

/* The part as it came, but confirmed. */
static void send_tracked(struct sending *x, const struct wire_part *p)
{
    x->wire->sv_part_tracked(x->s->wire_state, p, &x->s->conn.out);
    x->f->tracked++;
}

static void send_fake(struct sending *x, const struct wire_part *p)
{
    x->wire->sv_part_fake(x->s->wire_state, p);
    x->f->tracked++;
    x->s->wire_fakes = true;
}

/* The name is taken: the database itself shall say so, so it is given a statement of that name. */
static void send_duplicate(struct sending *x, const struct wire_part *p)
{
    struct wire_handle own;
    struct stmt_key empty = {STR(""), STR(""), 0, false};
    struct stmt *placeholder = stmt_find(&x->s->conn.worker->stmts, &empty);
    if (placeholder != NULL && x->wire->handle_named(p->name, &own) &&
        stmt_set_find_named(&x->s->stmts, p->name) == NULL) {
        stmt_prepare(x->s, x->f, &own, placeholder->text);
        stmt_add_named(x->s, x->f, placeholder, p->name);
    } else if (!x->wire->handle_named(p->name, &own)) {
        x->s->reset.due = true; /* longer than any name the database keeps apart */
    }
    stmt_put(&placeholder);
    send_tracked(x, p);
}

static void send_named_parse(struct sending *x, const struct wire_part *p, struct stmt *stmt)
{
    struct server *s = x->s;
    if (stmt_names_find(journal_names(x->c), p->name) != NULL) {
        send_duplicate(x, p);
        return;
    }
    struct stmt_entry *e = stmt_set_find(&s->stmts, stmt);
    bool alone = s->tx == TX_IDLE || (s->tx == TX_OPEN && s->fl_count == 1);
    if (e != NULL && alone && fresh(s, e)) {
        send_fake(x, p);
        journal_rename(x->c, x->f, p->name, stmt);
        return;
    }
    if (e != NULL) /* whether it would succeed is for the database to say: prepare it once more */
        unprepare(s, x->f, e);
    make_room(s, x->f);
    e = add_entry(s, stmt);
    x->wire->sv_part_named(s->wire_state, p, &e->handle, &s->conn.out);
    x->f->tracked++;
    journal_note(x->f, JOURNAL_PREPARE)->entry = e;
    journal_rename(x->c, x->f, p->name, stmt);
    s->pool->stats.server_parses++;
}

static void send_parse(struct sending *x, const struct wire_part *p, struct stmt *stmt)
{
    x->c->pool->stats.client_parses++;
    if (stmt != NULL && p->name.n > 0) {
        send_named_parse(x, p, stmt);
        return;
    }
    /* Unnamed; or too large to be kept: then it lives under the client's own name. With a name it
     * pins until it is closed; without, it is there for the transaction it was parsed in. */
    send_tracked(x, p);
    journal_rename(x->c, x->f, p->name, stmt);
    x->s->pool->stats.server_parses++;
    if (p->name.n == 0) {
        journal_set_unnamed(x->s, stmt);
        x->s->unnamed_large = stmt == NULL;
    } else {
        x->s->pins |= PIN_LARGE;
        x->s->nlarge++;
    }
}

/* The server's unnamed statement is stmt for certain: prepared by this flight, or by one that has
 * been answered; what another flight still in the air was to prepare may have been skipped. */
static bool unnamed_settled(const struct server *s)
{
    return s->unnamed_by <= s->flights_done || s->unnamed_by == s->flights_done + s->fl_count;
}

static bool unnamed_is(struct server *s, const struct stmt *stmt)
{
    return unnamed_settled(s) && stmt == s->unnamed && s->unnamed_definitions == definitions_of(s);
}

static void use_unnamed(struct sending *x, struct stmt *stmt)
{
    struct server *s = x->s;
    if (stmt != NULL && !unnamed_is(s, stmt)) {
        stmt_prepare(s, x->f, &unnamed_handle, stmt->text);
        journal_set_unnamed(s, stmt);
    } else if (stmt == NULL && !s->unnamed_large &&
               !(unnamed_settled(s) && s->unnamed_known && s->unnamed == NULL)) {
        x->wire->sv_unprepare(s->wire_state, &unnamed_handle, &s->conn.out);
        x->f->tracked++;
        journal_set_unnamed(s, NULL);
    }
}

/* BIND and DESCRIBE of a statement. True: the part goes out as it came. */
static bool send_use(struct sending *x, const struct wire_part *p, struct stmt *stmt)
{
    if (p->name.n == 0) {
        use_unnamed(x, stmt);
        return true;
    }
    if (stmt == NULL || stmt->text->by_text)
        return true; /* under the client's own spelling, or nowhere */
    struct stmt_entry *e = ensure(x, p, stmt);
    if (p->kind == PART_DESCRIBE)
        journal_describe(x->f, p->name, e->definitions);
    x->wire->sv_part_named(x->s->wire_state, p, &e->handle, &x->s->conn.out);
    return false;
}

/* The client gives a name up. What only the proxy knows under that name is confirmed by the
 * proxy. */
static void send_close(struct sending *x, const struct wire_part *p, const struct stmt *stmt)
{
    struct server *s = x->s;
    struct stmt_entry *own = p->name.n == 0 ? NULL : stmt_set_find_named(&s->stmts, p->name);
    bool large = stmt == NULL && own == NULL && s->nlarge > 0 && p->name.n > 0;
    if (p->name.n > 0 && own == NULL && !large) {
        send_fake(x, p);
        journal_rename(x->c, x->f, p->name, NULL);
        return;
    }
    send_tracked(x, p);
    journal_rename(x->c, x->f, p->name, NULL);
    if (p->name.n == 0)
        journal_set_unnamed(s, NULL);
    if (own != NULL) {
        journal_note(x->f, JOURNAL_UNPREPARE)->named = true;
        journal_forget_entry(s, own);
    }
    if (large && --s->nlarge == 0)
        s->pins &= ~(uint32_t)PIN_LARGE;
}

/* False: the part can go out unchanged with its neighbours. */
static bool needs_care(const struct wire_part *p)
{
    return p->kind == PART_PARSE || p->kind == PART_BIND || p->kind == PART_DESCRIBE ||
           p->kind == PART_CLOSE;
}

static void flush_run(struct sending *x, const struct wire_part *first, const struct wire_part *end)
{
    if (first == end)
        return;
    const struct wire_part *last = end - 1;
    struct str raw = {first->raw.p, (size_t)(last->raw.p + last->raw.n - first->raw.p)};
    x->wire->sv_parts(x->s->wire_state, first, (int)(end - first), raw, &x->s->conn.out);
}

static void forget_unnamed(struct client *c, struct server *s)
{
    journal_set_unnamed(s, NULL);
    if (c->names != NULL)
        stmt_put(&c->names->unnamed);
}

/* Whether part p, about stmt, needs anything but its own bytes. What precedes it is flushed first,
 * because what is put in front of p must not overtake it. */
static bool plain_use(const struct sending *x, const struct wire_part *p, const struct stmt *stmt)
{
    if (!needs_care(p))
        return true;
    if (stmt != NULL && stmt->facts != NULL &&
        (stmt->facts->effects & (FX_DISCARD_ALL | FX_DEALLOCATE_ALL)))
        return false;
    return (p->kind == PART_BIND || p->kind == PART_DESCRIBE) && p->name.n == 0 && stmt != NULL &&
           unnamed_is(x->s, stmt);
}

void session_send(struct client *c, struct server *s, struct flight *f, const struct wire_req *r)
{
    struct sending x = {c, s, f, conn_wire(&s->conn)};
    if (c->passthrough) { /* session mode: the server is its own, nothing needs to be mapped */
        session_note_kills(c, r);
        flush_run(&x, r->parts, r->parts + r->nparts);
        s->unnamed_known = false;
        return;
    }
    struct stmt **stmts = c->conn.worker->part_stmts;
    const struct wire_part *run = r->parts; /* first part that is still to go out unchanged */
    for (int i = 0; i < r->nparts; i++) {
        const struct wire_part *p = &r->parts[i];
        if (p->kind == PART_QUERY)
            forget_unnamed(c, s);
        if (p->kind == PART_BIND && stmts[i] != NULL && stmts[i]->facts != NULL)
            session_note_bound(s, stmts[i]->facts, p);
        if (plain_use(&x, p, stmts[i]))
            continue;
        flush_run(&x, run, p);
        run = p + 1;
        if (p->kind == PART_BIND && stmts[i] != NULL && stmts[i]->facts != NULL &&
            (stmts[i]->facts->effects & (FX_DISCARD_ALL | FX_DEALLOCATE_ALL)))
            journal_note(f, JOURNAL_FORGET);
        if (p->kind == PART_PARSE)
            send_parse(&x, p, stmts[i]);
        else if (p->kind == PART_CLOSE)
            send_close(&x, p, stmts[i]);
        else if (send_use(&x, p, stmts[i]))
            run = p;
    }
    flush_run(&x, run, r->parts + r->nparts);
    if (f->effects & (FX_SEQ_WRITE | FX_UNKNOWN))
        s->seq_client = c->id;
}
