/* admin_hold_work.c - what holding, resuming and killing do on each worker.
 *
 * Run by admin_gather.c on every worker in its own time; a worker touches only what it owns and its
 * part of the gather.  Lists are walked to the end even while members leave: closing removes only
 * the member itself.
 */
#include "proxy/admin/admin_work.h"
#include "proxy/client.h"
#include "proxy/pool/pool.h"
#include "proxy/server.h"
#include "proxy/session_cache.h"
#include "proxy/worker.h"

#include <stdatomic.h>

static struct pool *pool_at(struct list *l)
{
    return container_of(l, struct pool, link);
}

static void each_pool(struct worker *w, struct admin_gather *g,
                      void (*fn)(struct pool *p, struct admin_part *part), struct admin_part *part)
{
    struct list *it, *tmp;
    LIST_EACH(it, tmp, &w->pool_list) {
        if (admin_gather_in_scope(g, pool_at(it)))
            fn(pool_at(it), part);
    }
}

/* ---- pause ----------------------------------------------------------------------------------- */

static void close_idle(struct pool *p, struct admin_part *part)
{
    struct list *l;
    (void)part;
    if (!pool_paused(p)) /* resumed meanwhile */
        return;
    while ((l = list_first(&p->idle)) != NULL)
        server_quit(container_of(l, struct server, link), "database paused");
}

void admin_hold_work_close_idle(struct worker *w, struct admin_gather *g, struct admin_part *part)
{
    each_pool(w, g, close_idle, part);
}

static void wake(struct pool *p, struct admin_part *part)
{
    (void)part;
    pool_schedule(p);
}

void admin_hold_work_wake(struct worker *w, struct admin_gather *g, struct admin_part *part)
{
    each_pool(w, g, wake, part);
}

/* ---- suspend --------------------------------------------------------------------------------- */

/* Stops reading and writes what is there; true: something could not be written yet. */
static bool quiet(struct conn *c)
{
    conn_pause(c, PAUSE_ADMIN);
    conn_flush(c);
    return conn_is_open(c) && c->out.len > 0;
}

static bool suspends(const struct client *c)
{
    return c->state != CL_ADMIN && c->state != CL_ENDING && c->state != CL_CLOSED;
}

void admin_hold_work_suspend(struct worker *w, struct admin_gather *g, struct admin_part *part)
{
    struct list *it, *tmp;
    if (!atomic_load(&w->process->shared.suspended))
        return;
    LIST_EACH(it, tmp, &w->servers) {
        struct server *s = container_of(it, struct server, all);
        bool left = quiet(&s->conn);
        if (left && g->last_call)
            server_close(s, "suspend_timeout");
        else
            part->counts.found += left;
    }
    LIST_EACH(it, tmp, &w->clients) {
        struct client *c = container_of(it, struct client, all);
        bool left = suspends(c) && quiet(&c->conn);
        if (left && g->last_call)
            client_close(c, "suspend_timeout");
        else
            part->counts.found += left;
    }
}

void admin_hold_work_unsuspend(struct worker *w, struct admin_gather *g, struct admin_part *part)
{
    struct list *it, *tmp;
    LIST_EACH(it, tmp, &w->servers)
        conn_resume(&container_of(it, struct server, all)->conn, PAUSE_ADMIN);
    LIST_EACH(it, tmp, &w->clients)
        conn_resume(&container_of(it, struct client, all)->conn, PAUSE_ADMIN);
    admin_hold_work_wake(w, g, part);
}

/* ---- reconnect ------------------------------------------------------------------------------- */

static bool is_closing(const struct server *s)
{
    uint32_t epoch = atomic_load_explicit(&s->pool->shared->db->shared.epoch, memory_order_relaxed);
    return s->state != SV_CLOSED && s->epoch != epoch;
}

static void close_old(struct pool *p, struct admin_part *part)
{
    struct list *it, *tmp;
    (void)part;
    session_cache_retarget(p); /* whoever reconnects may find another server there */
    LIST_EACH(it, tmp, &p->idle) {
        struct server *s = container_of(it, struct server, link);
        if (is_closing(s))
            server_quit(s, "database configuration changed");
    }
}

void admin_hold_work_reconnect(struct worker *w, struct admin_gather *g, struct admin_part *part)
{
    each_pool(w, g, close_old, part);
}

void admin_hold_work_count_closing(struct worker *w, struct admin_gather *g,
                                   struct admin_part *part)
{
    struct list *it, *tmp;
    LIST_EACH(it, tmp, &w->servers) {
        struct server *s = container_of(it, struct server, all);
        part->counts.found += admin_gather_in_scope(g, s->pool) && is_closing(s);
    }
}

/* ---- kill ------------------------------------------------------------------------------------ */

static void kill_pool(struct pool *p, struct admin_part *part)
{
    struct list *it, *tmp;
    (void)part;
    LIST_EACH(it, tmp, &p->clients)
        client_fatal(container_of(it, struct client, in_pool), C_KILLED, STR("database removed"));
    pool_close_servers(p, "database removed");
}

void admin_hold_work_kill(struct worker *w, struct admin_gather *g, struct admin_part *part)
{
    each_pool(w, g, kill_pool, part);
}

void admin_hold_work_kill_client(struct worker *w, struct admin_gather *g, struct admin_part *part)
{
    struct list *it, *tmp;
    LIST_EACH(it, tmp, &w->clients) {
        struct client *c = container_of(it, struct client, all);
        if (c->id != g->client || c->state == CL_ENDING || c->state == CL_CLOSED)
            continue;
        part->counts.found++;
        client_fatal(c, C_KILLED, STR("admin forced disconnect"));
        return;
    }
}
