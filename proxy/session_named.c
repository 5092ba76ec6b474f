/* session_named.c - statements that exist on a server under a name that a client chose.
 *
 * Statements that SQL PREPARE made keep the client's own name on the server: session_prepare_named
 * puts them there before a request that uses them, and session_expel_names takes a stranger's away
 * when the holder changes.  What text did to them is learned from its facts and completion tags,
 * and where that cannot be followed name by name, the database is asked and its answer is the
 * truth. Called by session_reply.c and session_vars.c.  Thread: the worker's.
 */
#include "proxy/session_journal.h"

#include "base/check.h"

/* Makes the server know `name` as the client does, with own requests in front of the client's. They
 * need no waiting: what they fail with, the request that uses the name fails with too. */
void session_prepare_named(struct client *c, struct server *s, struct str name)
{
    const struct wire *wire = conn_wire(&s->conn);
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
        journal_note(f, JOURNAL_UNPREPARE)->named = true;
        journal_forget_entry(s, have);
    }
    if (mine != NULL && !mine->text->by_text)
        stmt_prepare(s, f, &h, mine->text);
    if (mine != NULL && !mine->text->by_text)
        stmt_add_named(s, f, mine, name);
    if (f->tracked > 0)
        wire->sv_sync(s->wire_state, &s->conn.out);
    if (mine != NULL && mine->text->by_text) {
        if (f->tracked > 0)
            f = server_push(s, FLIGHT_PREP, NULL);
        wire->sv_text(s->wire_state, OWN_QUIET, mine->text->text, &s->conn.out);
        f->tracked++;
        stmt_add_named(s, f, mine, name);
    }
}

static bool own_handle(const struct wire *wire, struct str name, struct wire_handle *h)
{
    memset(h, 0, sizeof(*h));
    return name.n == 0 || wire->handle_named(name, h);
}

bool session_can_name(const struct client *c, struct str name)
{
    struct wire_handle h;
    return !c->passthrough || own_handle(conn_wire(&c->conn), name, &h);
}

static void set_name(struct client *c, struct str name, struct stmt *stmt)
{
    struct stmt *old = stmt_names_set(journal_names(c), name, stmt == NULL ? NULL : stmt_get(stmt));
    stmt_put(&old);
}

void session_name(struct client *c, struct str name, struct stmt *stmt)
{
    struct server *s = c->server;
    struct wire_handle h;
    set_name(c, name, stmt);
    if (!c->passthrough || !own_handle(conn_wire(&s->conn), name, &h))
        return;
    struct flight *f = server_push(s, FLIGHT_PREP, NULL);
    stmt_prepare(s, f, &h, stmt->text);
    conn_wire(&s->conn)->sv_sync(s->wire_state, &s->conn.out);
    s->reset.due = true; /* this may be all that its session ever holds */
    conn_dirty(&s->conn);
}

void session_note_kills(struct client *c, const struct wire_req *r)
{
    struct stmt **stmts = c->conn.worker->part_stmts;
    for (int i = 0; i < r->nparts; i++) {
        const struct wire_part *p = &r->parts[i];
        const struct facts *f = stmts[i] == NULL ? NULL : stmts[i]->facts;
        bool kills = p->kind == PART_PARSE && f != NULL && (f->effects & FX_KILL);
        if (kills)
            set_name(c, p->name, stmts[i]);
        else if (c->names != NULL && (p->kind == PART_PARSE || p->kind == PART_CLOSE))
            set_name(c, p->name, NULL);
        else if (c->names != NULL && p->kind == PART_QUERY)
            set_name(c, STR(""), NULL);
    }
}

/* Nothing that other clients have prepared by name may be met by this one, under whatever
 * request. */
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
        if (!conn_wire(&s->conn)->handle_named(e->name, &h))
            continue;
        if (f == NULL)
            f = server_push(s, FLIGHT_PREP, NULL);
        conn_wire(&s->conn)->sv_unprepare(s->wire_state, &h, &s->conn.out);
        f->tracked++;
        journal_note(f, JOURNAL_UNPREPARE)->named = true;
        journal_forget_entry(s, e);
    }
    if (f != NULL)
        conn_wire(&s->conn)->sv_sync(s->wire_state, &s->conn.out);
}

/* SQL PREPARE succeeded: the name means this command from now on, here and wherever the client
 * goes. */
static void learn_prepared(struct client *c, struct server *s, struct flight *f)
{
    struct stmt_key k = {f->text, STR_NONE, c->vars->analysis_hash, true};
    struct stmt *made = stmt_find(&s->conn.worker->stmts, &k);
    if (made == NULL)
        return;
    struct str name = f->facts->prepared;
    if (stmt_set_find_named(&s->stmts, name) == NULL)
        stmt_set_add_named(&s->stmts, made, name);
    struct stmt *old = stmt_names_set(journal_names(c), name, made);
    stmt_put(&old);
}

static void learn_deallocated(struct client *c, struct server *s, struct str name)
{
    struct stmt *old = stmt_names_set(journal_names(c), name, NULL);
    stmt_put(&old);
    struct stmt_entry *e = stmt_set_find_named(&s->stmts, name);
    if (e != NULL)
        journal_forget_entry(s, e);
}

/* What text did to prepared statements. Texts of several statements cannot be followed name by
 * name. */
static void learn_text(struct client *c, struct server *s, struct flight *f, uint32_t tags)
{
    if (c == NULL || f->facts == NULL)
        return;
    bool single = f->facts->complete && (f->effects & FX_MULTI) == 0;
    if ((f->effects & (FX_PREPARE | FX_DEALLOCATE)) == 0)
        return;
    struct wire_handle h;
    if (!single || !conn_wire(&s->conn)->handle_named(f->facts->prepared, &h))
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
        journal_forget_all(s, f);
    journal_accept(f);
    if (f->kind == FLIGHT_CLIENT)
        learn_text(f->client, s, f, ev->tags);
}

/* ---- what the database says it has ----------------------------------------------------------- */

void session_prepared_row(struct server *s, struct str name, struct str text)
{
    const struct stmt_entry *e = stmt_set_find_named(&s->stmts, name);
    if (e != NULL && e->stmt->text->by_text && str_eq(e->stmt->text->text, text))
        s->question.nmatched++;
    else
        s->pins |= PIN_PREPARED;
}

/* All rows have been seen. A statement on record that the database does not have: somebody took it
 * away in a way that could not be followed. */
void session_prepared_end(struct server *s)
{
    struct str name;
    void *v;
    int recorded = 0;
    for (size_t i = 0; map_next(&s->stmts.by_name, &i, &name, &v);)
        recorded += ((struct stmt_entry *)v)->stmt->text->by_text;
    if (recorded != s->question.nmatched)
        s->pins |= PIN_PREPARED;
}
