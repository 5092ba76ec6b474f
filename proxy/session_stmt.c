/* session_stmt.c - prepared statements between client and server: names, handles, and what to undo.
 *
 * session_send passes a request on and maps statement names to the server's handles on the way, preparing
 * what the server lacks in the same write.  What changes is noted in the flight's journal, each line with
 * the number of the confirmation that makes it final; the codec counts confirmations, so that after an
 * error exactly what was not confirmed is taken back (session_apply, session_undo).
 * Statements that SQL PREPARE made keep the client's own name on the server: session_prepare_named puts
 * them there before a request that uses them, and takes a stranger's of the same name away.
 * Called by session.c, session_reply.c and session_vars.c.  Thread: the worker's.
 */
#include "proxy/session.h"

#include "base/check.h"
#include "base/mem.h"

#include <stdatomic.h>

static const struct wire_handle unnamed_handle; /* all zero: the statement without a name */

/* ---- journal -------------------------------------------------------------------------------------- */

static struct journal *note(struct flight *f, enum journal_kind kind)
{
    if (f->njournal == f->cap_journal) {
        f->cap_journal = (uint16_t)(f->cap_journal == 0 ? 4 : f->cap_journal * 2);
        f->journal = mem_resize(f->journal, f->cap_journal * sizeof(*f->journal));
    }
    struct journal *j = &f->journal[f->njournal++];
    memset(j, 0, sizeof(*j));
    j->kind = kind;
    j->ack = f->tracked;
    return j;
}

static struct stmt_names *names_of(struct client *c)
{
    if (c->names == NULL) {
        c->names = mem_new(sizeof(*c->names));
        stmt_names_init(c->names);
    }
    return c->names;
}

/* The client's name means stmt (NULL: nothing) from now on; takes a reference of its own. */
static void rename_to(struct client *c, struct flight *f, struct str name, struct stmt *stmt)
{
    struct stmt *old = stmt_names_set(names_of(c), name, stmt == NULL ? NULL : stmt_get(stmt));
    struct journal *j = note(f, JOURNAL_NAME);
    j->stmt = old;
    if (name.n > 0)
        j->name = (struct str){str_dup(name), name.n};
}

static void journal_drop(struct journal *j)
{
    stmt_put(&j->stmt);
    mem_free((void *)(uintptr_t)j->name.p);
    j->name = STR_NONE;
}

static void undo_one(struct server *s, struct client *c, struct journal *j)
{
    switch (j->kind) {
    case JOURNAL_NAME:
        if (c != NULL) {
            struct stmt *now = stmt_names_set(names_of(c), j->name, j->stmt);
            j->stmt = now;
        }
        break;
    case JOURNAL_PREPARE:
        if (j->entry != NULL)
            stmt_set_remove(&s->stmts, j->entry);
        break;
    case JOURNAL_UNPREPARE:
        /* Still there though the set has forgotten it. Under a handle that is harmless, but it would
         * never be closed; under a client's own name the next client could meet it. */
        s->leaked++;
        s->must_clean = s->must_clean || j->named;
        break;
    case JOURNAL_FORGET:
        break;
    }
}

void session_undo(struct server *s, struct flight *f)
{
    for (int i = f->njournal - 1; i >= 0; i--) {
        if (f->journal[i].ack > f->acks)
            undo_one(s, f->client, &f->journal[i]);
        journal_drop(&f->journal[i]);
    }
    f->njournal = 0;
    s->unnamed_known = false;
    stmt_put(&s->unnamed);
}

/* An entry leaves the set while an earlier line of a journal may still name it. */
static void forget_entry(struct server *s, struct stmt_entry *e)
{
    for (uint32_t k = 0; k < s->fl_count; k++) {
        struct flight *f = server_flight(s, k);
        for (int i = 0; i < f->njournal; i++)
            if (f->journal[i].entry == e)
                f->journal[i].entry = NULL;
    }
    stmt_set_remove(&s->stmts, e);
}

/* Names that f gave behind line `mark` of its journal stay. */
static void forget_names(struct stmt_names *n, const struct flight *f, int mark)
{
    struct stmt_names kept;
    stmt_names_init(&kept);
    for (int i = mark; i < f->njournal; i++) {
        const struct journal *j = &f->journal[i];
        struct stmt *now = j->kind == JOURNAL_NAME ? stmt_names_find(n, j->name) : NULL;
        if (now == NULL)
            continue;
        struct stmt *old = stmt_names_set(&kept, j->name, stmt_get(now));
        stmt_put(&old);
    }
    stmt_names_fini(n);
    *n = kept;
}

static void set_unnamed(struct server *s, struct stmt *stmt)
{
    if (stmt != NULL)
        stmt_get(stmt);
    stmt_put(&s->unnamed);
    s->unnamed = stmt;
    s->unnamed_known = true;
    s->unnamed_large = false;
    s->unnamed_by = s->flights_done + s->fl_count;
}

/* All statements of the server are gone but those that f prepared behind its last JOURNAL_FORGET line;
 * likewise the client's names. */
static void forget_all(struct server *s, struct flight *f)
{
    struct list *it, *tmp;
    int mark = f->njournal;
    while (mark > 0 && f->journal[mark - 1].kind != JOURNAL_FORGET)
        mark--;
    LIST_EACH(it, tmp, &s->stmts.lru) {
        struct stmt_entry *e = container_of(it, struct stmt_entry, lru);
        bool kept = false;
        for (int i = mark; i < f->njournal && !kept; i++)
            kept = f->journal[i].kind == JOURNAL_PREPARE && f->journal[i].entry == e;
        if (!kept)
            forget_entry(s, e);
    }
    struct str name;
    void *v;
    for (size_t i = 0; map_next(&s->stmts.by_name, &i, &name, &v);)
        forget_entry(s, v);
    set_unnamed(s, NULL);
    s->unnamed_known = false;
    s->pins &= ~(uint32_t)(PIN_PREPARED | PIN_LARGE);
    s->nlarge = 0;
    if (f->client != NULL && f->client->names != NULL)
        forget_names(f->client->names, f, mark);
}

static void journal_accept(struct flight *f)
{
    for (int i = 0; i < f->njournal; i++)
        journal_drop(&f->journal[i]);
    f->njournal = 0;
}

/* ---- statements on the server --------------------------------------------------------------------- */

static const struct wire *wire_of(const struct server *s)
{
    return s->conn.worker->wire;
}

/* The database closes a statement of ours. */
static void unprepare(struct server *s, struct flight *f, struct stmt_entry *e)
{
    wire_of(s)->sv_unprepare(s->wire_state, &e->handle, &s->conn.out);
    f->tracked++;
    note(f, JOURNAL_UNPREPARE);
    forget_entry(s, e);
}

static void make_room(struct server *s, struct flight *f)
{
    int limit = worker_options(s->conn.worker)->max_prepared_statements;
    while (s->stmts.count >= (size_t)MAX(limit, 1))
        unprepare(s, f, stmt_set_oldest(&s->stmts));
}

static void prepare(struct server *s, struct flight *f, const struct wire_handle *h, const struct stmt_text *t)
{
    wire_of(s)->sv_prepare(s->wire_state, h, t->text, t->types, &s->conn.out);
    f->tracked++;
    s->pool->stats.server_parses++;
}

/* Statements prepared under other definitions are prepared anew: the database would refuse to run one
 * whose result has changed its type. */
static uint32_t definitions_of(const struct server *s)
{
    return atomic_load_explicit(&s->pool->shared->db->shared.definitions, memory_order_relaxed);
}

static struct stmt_entry *add_entry(struct server *s, struct stmt *stmt)
{
    struct stmt_entry *e = stmt_set_add(&s->stmts, stmt, wire_of(s));
    e->definitions = definitions_of(s);
    return e;
}

static bool fresh(const struct server *s, const struct stmt_entry *e)
{
    return e->definitions == definitions_of(s);
}

static struct stmt_entry *ensure(struct server *s, struct flight *f, struct stmt *stmt)
{
    struct stmt_entry *e = stmt_set_find(&s->stmts, stmt);
    if (e != NULL && (fresh(s, e) || s->tx == TX_FAILED))
        return e;
    if (e != NULL)
        unprepare(s, f, e);
    make_room(s, f);
    e = add_entry(s, stmt);
    prepare(s, f, &e->handle, stmt->text);
    note(f, JOURNAL_PREPARE)->entry = e;
    return e;
}

/* A statement that exists on the server under a name the client chose. */
static struct stmt_entry *add_named(struct server *s, struct flight *f, struct stmt *stmt, struct str name)
{
    struct stmt_entry *e = stmt_set_add_named(&s->stmts, stmt, name);
    note(f, JOURNAL_PREPARE)->entry = e;
    return e;
}

/* ---- sending -------------------------------------------------------------------------------------- */

struct sending { /* what the functions below have in common */
    struct client *c;
    struct server *s;
    struct flight *f;
    const struct wire *wire;
};

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
        prepare(x->s, x->f, &own, placeholder->text);
        add_named(x->s, x->f, placeholder, p->name);
    } else if (!x->wire->handle_named(p->name, &own)) {
        x->s->must_clean = true; /* longer than any name the database keeps apart */
    }
    stmt_put(&placeholder);
    send_tracked(x, p);
}

static void send_named_parse(struct sending *x, const struct wire_part *p, struct stmt *stmt)
{
    struct server *s = x->s;
    if (stmt_names_find(names_of(x->c), p->name) != NULL) {
        send_duplicate(x, p);
        return;
    }
    struct stmt_entry *e = stmt_set_find(&s->stmts, stmt);
    bool alone = s->tx == TX_IDLE || (s->tx == TX_OPEN && s->fl_count == 1);
    if (e != NULL && alone && fresh(s, e)) {
        send_fake(x, p);
        rename_to(x->c, x->f, p->name, stmt);
        return;
    }
    if (e != NULL) /* whether it would succeed is for the database to say: prepare it once more */
        unprepare(s, x->f, e);
    make_room(s, x->f);
    e = add_entry(s, stmt);
    x->wire->sv_part_named(s->wire_state, p, &e->handle, &s->conn.out);
    x->f->tracked++;
    note(x->f, JOURNAL_PREPARE)->entry = e;
    rename_to(x->c, x->f, p->name, stmt);
    s->pool->stats.server_parses++;
}

static void send_parse(struct sending *x, const struct wire_part *p, struct stmt *stmt)
{
    x->c->pool->stats.client_parses++;
    if (stmt != NULL && p->name.n > 0) {
        send_named_parse(x, p, stmt);
        return;
    }
    /* Unnamed; or too large to be kept: then it lives under the client's own name. With a name it pins
     * until it is closed; without, it is there for the transaction it was parsed in. */
    send_tracked(x, p);
    rename_to(x->c, x->f, p->name, stmt);
    x->s->pool->stats.server_parses++;
    if (p->name.n == 0) {
        set_unnamed(x->s, stmt);
        x->s->unnamed_large = stmt == NULL;
    } else {
        x->s->pins |= PIN_LARGE;
        x->s->nlarge++;
    }
}

/* The server's unnamed statement is stmt for certain: prepared by this flight, or by one that has been
 * answered; what another flight still in the air was to prepare may have been skipped. */
static bool unnamed_is(struct server *s, const struct stmt *stmt)
{
    bool settled = s->unnamed_by <= s->flights_done || s->unnamed_by == s->flights_done + s->fl_count;
    return settled && stmt == s->unnamed && s->unnamed_definitions == definitions_of(s);
}

static void use_unnamed(struct sending *x, struct stmt *stmt)
{
    struct server *s = x->s;
    if (stmt != NULL && !unnamed_is(s, stmt)) {
        prepare(s, x->f, &unnamed_handle, stmt->text);
        set_unnamed(s, stmt);
    } else if (stmt == NULL && !s->unnamed_large && !(s->unnamed_known && s->unnamed == NULL)) {
        x->wire->sv_unprepare(s->wire_state, &unnamed_handle, &s->conn.out);
        x->f->tracked++;
        set_unnamed(s, NULL);
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
    struct stmt_entry *e = ensure(x->s, x->f, stmt);
    x->wire->sv_part_named(x->s->wire_state, p, &e->handle, &x->s->conn.out);
    return false;
}

/* The client gives a name up. What only the proxy knows under that name is confirmed by the proxy. */
static void send_close(struct sending *x, const struct wire_part *p, const struct stmt *stmt)
{
    struct server *s = x->s;
    struct stmt_entry *own = p->name.n == 0 ? NULL : stmt_set_find_named(&s->stmts, p->name);
    bool large = stmt == NULL && own == NULL && s->nlarge > 0 && p->name.n > 0;
    if (p->name.n > 0 && own == NULL && !large) {
        send_fake(x, p);
        rename_to(x->c, x->f, p->name, NULL);
        return;
    }
    send_tracked(x, p);
    rename_to(x->c, x->f, p->name, NULL);
    if (p->name.n == 0)
        set_unnamed(s, NULL);
    if (own != NULL) {
        note(x->f, JOURNAL_UNPREPARE)->named = true;
        forget_entry(s, own);
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
    set_unnamed(s, NULL);
    if (c->names != NULL)
        stmt_put(&c->names->unnamed);
}

/* Whether part p, about stmt, needs anything but its own bytes. What precedes it is flushed first, because
 * what is put in front of p must not overtake it. */
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
    struct sending x = {c, s, f, s->conn.worker->wire};
    if (c->passthrough) { /* session mode: the server is its own, nothing needs to be mapped */
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
        if (plain_use(&x, p, stmts[i]))
            continue;
        flush_run(&x, run, p);
        run = p + 1;
        if (p->kind == PART_BIND && stmts[i] != NULL && stmts[i]->facts != NULL &&
            (stmts[i]->facts->effects & (FX_DISCARD_ALL | FX_DEALLOCATE_ALL)))
            note(f, JOURNAL_FORGET);
        if (p->kind == PART_BIND && stmts[i] != NULL && stmts[i]->facts != NULL)
            session_note_bound(s, stmts[i]->facts, p);
        if (p->kind == PART_PARSE)
            send_parse(&x, p, stmts[i]);
        else if (p->kind == PART_CLOSE)
            send_close(&x, p, stmts[i]);
        else if (send_use(&x, p, stmts[i]))
            run = p;
    }
    flush_run(&x, run, r->parts + r->nparts);
    if (f->effects & (FX_SEQ_WRITE | FX_UNKNOWN)) {
        s->seq_mixed = s->seq_mixed || (s->seq_client != 0 && s->seq_client != c->id);
        s->seq_client = c->id;
    }
}

/* ---- statements prepared by text ------------------------------------------------------------------ */

/* Makes the server know `name` as the client does, with own requests in front of the client's. They need
 * no waiting: what they fail with, the request that uses the name fails with too. */
void session_prepare_named(struct client *c, struct server *s, struct str name)
{
    const struct wire *wire = wire_of(s);
    struct wire_handle h;
    struct stmt *mine = c->names == NULL ? NULL : stmt_names_find(c->names, name);
    struct stmt_entry *have = stmt_set_find_named(&s->stmts, name);
    if (name.n == 0 || !wire->handle_named(name, &h) || s->tx == TX_FAILED)
        return;
    if (s->pins & PIN_PREPARED)
        return; /* its names are not known for sure, but they are all this client's */
    if (have == NULL ? mine == NULL : have->stmt == mine)
        return;
    struct flight *f = server_push(s, FLIGHT_PREP, NULL);
    if (have != NULL) {
        wire->sv_unprepare(s->wire_state, &h, &s->conn.out);
        f->tracked++;
        note(f, JOURNAL_UNPREPARE)->named = true;
        forget_entry(s, have);
    }
    if (mine != NULL && !mine->text->by_text)
        prepare(s, f, &h, mine->text);
    if (mine != NULL && !mine->text->by_text)
        add_named(s, f, mine, name);
    if (f->tracked > 0)
        wire->sv_sync(s->wire_state, &s->conn.out);
    if (mine != NULL && mine->text->by_text) {
        if (f->tracked > 0)
            f = server_push(s, FLIGHT_PREP, NULL);
        wire->sv_text(s->wire_state, OWN_QUIET, mine->text->text, &s->conn.out);
        f->tracked++;
        add_named(s, f, mine, name);
    }
}

/* Nothing that other clients have prepared by name may be met by this one, under whatever request. */
void session_expel_names(struct client *c, struct server *s)
{
    struct str name;
    struct flight *f = NULL;
    void *v;
    for (size_t i = 0; map_next(&s->stmts.by_name, &i, &name, &v);) {
        struct stmt_entry *e = v;
        struct wire_handle h;
        if (c->names != NULL && stmt_names_find(c->names, e->name) == e->stmt)
            continue;
        if (!wire_of(s)->handle_named(e->name, &h))
            continue;
        if (f == NULL)
            f = server_push(s, FLIGHT_PREP, NULL);
        wire_of(s)->sv_unprepare(s->wire_state, &h, &s->conn.out);
        f->tracked++;
        note(f, JOURNAL_UNPREPARE)->named = true;
        forget_entry(s, e);
    }
    if (f != NULL)
        wire_of(s)->sv_sync(s->wire_state, &s->conn.out);
}

/* SQL PREPARE succeeded: the name means this command from now on, here and wherever the client goes. */
static void learn_prepared(struct client *c, struct server *s, struct flight *f)
{
    struct stmt_key k = {f->text, STR_NONE, c->vars->analysis_hash, true};
    struct stmt *made = stmt_find(&s->conn.worker->stmts, &k);
    if (made == NULL)
        return;
    struct str name = f->facts->prepared;
    if (stmt_set_find_named(&s->stmts, name) == NULL)
        stmt_set_add_named(&s->stmts, made, name);
    struct stmt *old = stmt_names_set(names_of(c), name, made);
    stmt_put(&old);
}

static void learn_deallocated(struct client *c, struct server *s, struct str name)
{
    struct stmt *old = stmt_names_set(names_of(c), name, NULL);
    stmt_put(&old);
    struct stmt_entry *e = stmt_set_find_named(&s->stmts, name);
    if (e != NULL)
        forget_entry(s, e);
}

/* What text did to prepared statements. Texts of several statements cannot be followed name by name. */
static void learn_text(struct client *c, struct server *s, struct flight *f, uint32_t tags)
{
    if (c == NULL || f->facts == NULL)
        return;
    bool single = f->facts->complete && (f->effects & FX_MULTI) == 0;
    if ((f->effects & (FX_PREPARE | FX_DEALLOCATE)) == 0)
        return;
    struct wire_handle h;
    if (!single || !wire_of(s)->handle_named(f->facts->prepared, &h))
        s->asks |= ASK_PREPARED;
    else if (tags & WT_PREPARE)
        learn_prepared(c, s, f);
    else if (tags & WT_DEALLOCATE)
        learn_deallocated(c, s, f->facts->prepared);
}

void session_apply(struct server *s, struct flight *f, const struct wire_server_event *ev)
{
    bool forgot = f->kind == FLIGHT_CLIENT && (ev->tags & (WT_DEALLOCATE_ALL | WT_DISCARD)) != 0;
    if (ev->error != SE_NONE)
        session_undo(s, f);
    if (forgot)
        forget_all(s, f);
    journal_accept(f);
    if (f->kind == FLIGHT_CLIENT)
        learn_text(f->client, s, f, ev->tags);
}

/* ---- what the database says it has ---------------------------------------------------------------- */

void session_prepared_row(struct server *s, struct str name, struct str text)
{
    const struct stmt_entry *e = stmt_set_find_named(&s->stmts, name);
    if (e != NULL && e->stmt->text->by_text && str_eq(e->stmt->text->text, text))
        s->nmatched++;
    else
        s->pins |= PIN_PREPARED;
}

/* All rows have been seen. A statement on record that the database does not have: somebody took it away
 * in a way that could not be followed. */
void session_prepared_end(struct server *s)
{
    struct str name;
    void *v;
    int recorded = 0;
    for (size_t i = 0; map_next(&s->stmts.by_name, &i, &name, &v);)
        recorded += ((struct stmt_entry *)v)->stmt->text->by_text;
    if (recorded != s->nmatched)
        s->pins |= PIN_PREPARED;
}

bool session_unconfirmed(struct server *s)
{
    for (uint32_t i = 0; i < s->fl_count; i++) {
        const struct flight *f = server_flight(s, i);
        for (int k = 0; k < f->njournal; k++) {
            const struct journal *j = &f->journal[k];
            if (j->kind != JOURNAL_NAME || j->name.n > 0)
                return true;
        }
    }
    return false;
}
