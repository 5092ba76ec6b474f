/* session_kept.c - the request that waits, and its plan; see session_kept.h.  Worker thread. */
#include "proxy/session_kept.h"

#include "base/check.h"
#include "base/mem.h"
#include "proxy/session_route.h"

void session_kept_drop(struct client *c)
{
    struct worker *w = c->conn.worker;
    struct route_kept *k = c->route->kept;
    if (k == NULL)
        return;
    facts_put(&k->plan.facts);
    statement_batch_clear(&k->plan.batch);
    stmt_put(&k->stmt);
    c->route->kept = NULL;
    k->next = w->kept_free;
    w->kept_free = k;
}

void session_kept_free(struct worker *w)
{
    while (w->kept_free != NULL) {
        struct route_kept *k = w->kept_free;
        w->kept_free = k->next;
        mem_free(k);
    }
}

void session_kept_put(struct client *c, const struct wire_req *r, struct plan *plan)
{
    struct worker *w = c->conn.worker;
    struct route_kept *k = w->kept_free;
    DCHECK(c->route->kept == NULL);
    if (!plan->whole || c->pool->catalog == NULL || r->nparts > KEPT_PARTS)
        return;
    if (k != NULL)
        w->kept_free = k->next;
    else
        k = mem_new(sizeof(*k));
    k->req = *r;
    memcpy(k->parts, r->parts, r->nparts * sizeof(*r->parts));
    k->plan = *plan;
    k->catalog = catalog_generation(c->pool->catalog);
    k->stmt = NULL;
    k->about = 0;
    plan->facts = NULL;
    plan->batch = (struct statement_batch){0};
    for (int i = 0; i < r->nparts; i++) {
        if (w->part_stmts[i] == NULL)
            continue;
        k->about |= UINT64_C(1) << i;
        if (k->stmt == NULL)
            k->stmt = stmt_get(w->part_stmts[i]);
    }
    c->route->kept = k;
}

/* From where it stood in raw to where the same bytes are now. A constant of the codec stays. */
static void move(struct str *s, struct str raw, const char *to)
{
    uintptr_t at = (uintptr_t)s->p - (uintptr_t)raw.p;
    if (s->n > 0 && at < raw.n)
        s->p = to + at;
}

bool session_kept_reread(struct client *c, struct str data, struct wire_client_event *ev)
{
    const struct route_kept *k = c->route->kept;
    struct worker *w = c->conn.worker;
    if (k == NULL)
        return false;
    const struct str from = k->req.raw;
    DCHECK(data.n >= from.n);
    ev->kind = CE_REQ;
    ev->consumed = from.n;
    ev->req = k->req;
    ev->req.parts = w->parts;
    ev->req.raw.p = data.p;
    memcpy(w->parts, k->parts, k->req.nparts * sizeof(*k->parts));
    for (int i = 0; i < k->req.nparts; i++) {
        struct wire_part *p = &w->parts[i];
        move(&p->raw, from, data.p);
        move(&p->name, from, data.p);
        move(&p->portal, from, data.p);
        move(&p->text, from, data.p);
        move(&p->types, from, data.p);
        move(&p->values, from, data.p);
    }
    return true;
}

bool session_kept_recall(struct client *c, const struct wire_req *r, struct plan *plan)
{
    struct route_kept *k = c->route->kept;
    struct stmt **stmts = c->conn.worker->part_stmts;
    if (k == NULL)
        return false;
    bool same = catalog_is_current(c->pool) && k->catalog == catalog_generation(c->pool->catalog);
    if (same) {
        *plan = k->plan;
        k->plan.facts = NULL;
        k->plan.batch = (struct statement_batch){0};
        for (int i = 0; i < r->nparts; i++)
            stmts[i] = (k->about >> i & 1u) != 0 ? stmt_get(k->stmt) : NULL;
        plan->statement = k->stmt != NULL ? k->stmt->facts : plan->facts;
        plan->text = plan->facts != NULL ? r->parts[0].text : STR_NONE;
    }
    session_kept_drop(c);
    return same;
}
