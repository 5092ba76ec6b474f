/* session_plan.c - what a piece of a request does and needs, before anything of it is sent.
 *
 * Fills worker->part_stmts with the statement that each part of the piece is about (one reference
 * each, dropped by session_plan_done), taking into account what earlier parts of the same piece
 * will have changed.  Nothing of the client or the server is changed here, so that a request that
 * must wait can be planned again.
 * Called by session.c.  Thread: the worker's.
 */
#include "proxy/session.h"

#include "base/check.h"

static uint32_t text_effects(struct client *c, struct facts *f)
{
    return sql_effects(f, c->pool->catalog);
}

/* Settings that decide how a statement is analysed are part of its identity. While the server's are
 * in doubt (SET in an open transaction), nobody else may share what is prepared now. */
static uint64_t analysis_of(const struct client *c)
{
    const struct server *s = c->server;
    if (s != NULL && (s->asks & (ASK_VARS | ASK_VARS_ALL)) != 0)
        return c->id | (UINT64_C(1) << 63);
    return c->vars->analysis_hash;
}

static struct stmt *plan_parse(struct client *c, const struct wire_part *p)
{
    struct worker *w = c->conn.worker;
    struct stmt_key k = {p->text, p->types, analysis_of(c), false};
    struct stmt *s = stmt_find(&w->stmts, &k);
    if (s != NULL && s->facts == NULL) {
        s->facts = sql_cache_get(w->sql, p->text, c->dialect);
        s->custom_types = w->wire->types_custom != NULL && w->wire->types_custom(p->types);
    }
    return s;
}

/* What name means to part i: an earlier part of the piece, or the client's names. Borrowed. */
static struct stmt *meaning(const struct client *c, const struct wire_req *r, int i,
                            struct str name)
{
    for (int k = i - 1; k >= 0; k--) {
        const struct wire_part *p = &r->parts[k];
        if (p->kind == PART_PARSE && str_eq(p->name, name))
            return c->conn.worker->part_stmts[k];
        if (p->kind == PART_CLOSE && str_eq(p->name, name))
            return NULL;
    }
    return c->names == NULL ? NULL : stmt_names_find(c->names, name);
}

/* It runs f (NULL: something unknown): kept only if somebody wants to know. */
static void note(struct client *c, struct plan *plan, struct facts *f)
{
    if (c->conn.worker->noting.on)
        statement_batch_add(&plan->batch, f);
}

static void plan_query(struct client *c, const struct wire_part *p, struct plan *plan)
{
    if (p->cut) {
        plan->effects |= FX_UNKNOWN;
        note(c, plan, NULL);
        return;
    }
    plan->text = p->text;
    plan->facts = sql_cache_get(c->conn.worker->sql, p->text, c->dialect);
    plan->effects |= text_effects(c, plan->facts);
    if (!(plan->facts->effects & FX_EMPTY))
        note(c, plan, plan->facts);
}

static void plan_bind(struct client *c, const struct stmt *s, struct plan *plan)
{
    c->pool->stats.binds++;
    note(c, plan, s != NULL ? s->facts : NULL);
    if (s == NULL) {
        /* The database will say that there is no such statement, unless one is there unseen. */
        if (c->server != NULL &&
            ((c->server->pins & (PIN_LARGE | PIN_PREPARED)) || c->server->unnamed_large))
            plan->effects |= FX_UNKNOWN;
        return;
    }
    if (s->facts == NULL)
        plan->effects |= FX_UNKNOWN;
    else
        plan->effects |= text_effects(c, s->facts);
    /* A type may be newer than the snapshot. */
    bool code = s->custom_types &&
                (!catalog_is_current(c->pool) || catalog_has_custom_code(c->pool->catalog));
    if (s->text->by_text || code)
        plan->effects |= FX_UNKNOWN;
}

void session_plan(struct client *c, const struct wire_req *r, struct plan *plan)
{
    struct stmt **stmts = c->conn.worker->part_stmts;
    for (int i = 0; i < r->nparts; i++) {
        const struct wire_part *p = &r->parts[i];
        stmts[i] = NULL;
        switch (p->kind) {
        case PART_QUERY:
            plan_query(c, p, plan);
            break;
        case PART_CALL:
            plan->effects |= FX_UNKNOWN;
            note(c, plan, NULL);
            break;
        case PART_PARSE:
            if (!p->cut)
                stmts[i] = plan_parse(c, p);
            else
                plan->effects |= FX_UNKNOWN;
            break;
        case PART_BIND:
        case PART_DESCRIBE:
        case PART_CLOSE:
            stmts[i] = meaning(c, r, i, p->name);
            if (stmts[i] != NULL)
                stmt_get(stmts[i]);
            if (p->kind == PART_BIND)
                plan_bind(c, stmts[i], plan);
            break;
        case PART_DESCRIBE_PORTAL:
        case PART_EXECUTE:
        case PART_CLOSE_PORTAL:
        case PART_FLUSH:
        case PART_SYNC:
            break;
        }
    }
}

void session_plan_done(struct client *c, const struct wire_req *r, struct plan *plan)
{
    struct stmt **stmts = c->conn.worker->part_stmts;
    for (int i = 0; i < r->nparts; i++)
        stmt_put(&stmts[i]);
    facts_put(&plan->facts);
    statement_batch_clear(&plan->batch);
}

/* ---- batches of one statement ---------------------------------------------------------------- */

/* Part i has its place in the batch b, as far as that is known. */
static bool belongs(const struct client *c, const struct wire_part *p, int i, struct batch *b)
{
    const struct stmt *stmt = c->conn.worker->part_stmts[i];
    switch (p->kind) {
    case PART_PARSE:
        if (b->parse >= 0 || b->bind >= 0)
            return false;
        b->parse = i;
        break;
    case PART_BIND:
        if (b->bind >= 0)
            return false;
        b->bind = i;
        break;
    case PART_DESCRIBE:
        break;
    case PART_DESCRIBE_PORTAL:
    case PART_CLOSE_PORTAL:
        return b->bind >= 0;
    case PART_EXECUTE:
        if (b->bind < 0 || b->execute >= 0)
            return false;
        b->execute = i;
        return true;
    case PART_SYNC:
        return true;
    case PART_QUERY:
    case PART_CALL:
    case PART_CLOSE:
    case PART_FLUSH:
        return false;
    }
    if (stmt == NULL || stmt->text->by_text || (b->stmt != NULL && b->stmt != stmt))
        return false;
    b->stmt = stmt;
    return true;
}

bool session_batch_of_one(const struct client *c, const struct wire_req *r, struct batch *b)
{
    *b = (struct batch){-1, -1, -1, NULL};
    for (int i = 0; i < r->nparts; i++)
        if (r->parts[i].cut || !belongs(c, &r->parts[i], i, b))
            return false;
    return b->execute >= 0;
}
