/* metrics_trouble.c - what is wrong just now, in words; see metrics_trouble.h. */
#include "proxy/metrics/metrics_trouble.h"

#include "base/mem.h"

#include <inttypes.h>
#include <stdlib.h>

#define WAIT_US (usec_t)100000 /* a busy pool always has somebody who waits a moment */
#define IDLE_IN_TX_US (60 * (usec_t)USEC_PER_SEC)

struct lines {
    struct buf *out;
    int n, left_out;
};

static bool line(struct lines *l)
{
    if (l->n == METRICS_TROUBLE_MAX) {
        l->left_out++;
        return false;
    }
    l->n++;
    return true;
}

static void put_seconds(struct buf *b, usec_t us)
{
    buf_printf(b, "%" PRId64 ".%d s", us / USEC_PER_SEC, (int)(us % USEC_PER_SEC / 100000));
}

/* ---- the process ----------------------------------------------------------------------------- */

static void near_limit(struct lines *l, int64_t n, int64_t limit, const char *what)
{
    if (limit > 0 && n * 10 >= limit * 9 && line(l))
        buf_printf(l->out, "%" PRId64 " of %" PRId64 " %s\n", n, limit, what);
}

static void of_process(struct lines *l, const struct metrics_totals *t,
                       const struct metrics_process *p)
{
    if (t->draining && line(l))
        buf_put_text(l->out, "draining: no new clients, the process ends when the last has left\n");
    if (t->suspended && line(l))
        buf_put_text(l->out, "suspended: nothing is read (SUSPEND)\n");
    if (t->paused && line(l))
        buf_put_text(l->out, "paused: no database is used (PAUSE)\n");
    near_limit(l, t->clients, t->client_limit, "clients are connected (max_client_conn)");
    near_limit(l, p->open_fds, p->max_fds, "file descriptors are open");
    near_limit(l, t->buffer_bytes, t->buffer_limit,
               "bytes of buffers are used (max_buffer_memory)");
}

/* ---- pools ----------------------------------------------------------------------------------- */

static int64_t servers_of(const struct admin_pool_row *r)
{
    return r->sv_active + r->sv_idle + r->sv_tested + r->sv_login + r->sv_canceled;
}

static const char *plural(int64_t n)
{
    return n == 1 ? "" : "s";
}

static void put_servers(struct buf *b, const struct admin_pool_row *r)
{
    int64_t all = servers_of(r), in_tx = r->pins[ADMIN_PIN_TX];
    if (all == 0) {
        buf_put_text(b, "no server");
        return;
    }
    bool busy = r->sv_idle == 0 && r->sv_login < all;
    buf_printf(b, "%s%" PRId64 " server%s", busy && all > 1 ? "all " : "", all, plural(all));
    if (r->sv_login == all)
        buf_put_text(b, " connecting");
    else if (busy)
        buf_put_text(b, in_tx != all ? " in use"
                        : all == 1   ? " in a transaction"
                                     : " in transactions");
    if (in_tx > 0 && in_tx < all)
        buf_printf(b, ", %" PRId64 " in transactions", in_tx);
    if (r->sv_login > 0 && r->sv_login < all)
        buf_printf(b, ", %" PRId64 " connecting", r->sv_login);
    if (r->longest_idle_in_tx > 0) {
        buf_put_text(b, ", longest idle in transaction ");
        put_seconds(b, r->longest_idle_in_tx);
    }
}

static void waiting(struct lines *l, const struct admin_pool_row *r)
{
    if (!line(l))
        return;
    buf_printf(l->out, "pool %s/%s: %" PRId64 " client%s waiting, oldest ", r->shared->db->name,
               r->shared->user->name, r->cl_waiting, plural(r->cl_waiting));
    put_seconds(l->out, r->maxwait);
    buf_put_text(l->out, "; ");
    put_servers(l->out, r);
    buf_put_text(l->out, "\n");
}

static void others(struct lines *l, const struct admin_pool_row *r)
{
    if (r->failing > 0 && line(l))
        buf_printf(l->out, "pool %s/%s: the last attempt to connect to the database failed\n",
                   r->shared->db->name, r->shared->user->name);
    if (r->maxwait >= WAIT_US || r->longest_idle_in_tx < IDLE_IN_TX_US || !line(l))
        return;
    buf_printf(l->out, "pool %s/%s: %" PRId64 " client%s idle in a transaction, longest ",
               r->shared->db->name, r->shared->user->name, r->idle_in_tx, plural(r->idle_in_tx));
    put_seconds(l->out, r->longest_idle_in_tx);
    buf_put_text(l->out, "\n");
}

static int by_wait(const void *x, const void *y)
{
    const struct admin_pool_row *a = *(const struct admin_pool_row *const *)x;
    const struct admin_pool_row *b = *(const struct admin_pool_row *const *)y;
    return a->maxwait == b->maxwait ? 0 : a->maxwait > b->maxwait ? -1 : 1;
}

static void of_pools(struct lines *l, const struct metrics_sample *s)
{
    const struct admin_pool_row **wait = mem_new((s->npools + 1) * sizeof(struct admin_pool_row *));
    size_t n = 0;
    for (size_t i = 0; i < s->npools; i++)
        if (s->pools[i].maxwait >= WAIT_US)
            wait[n++] = &s->pools[i];
    qsort(wait, n, sizeof(struct admin_pool_row *), by_wait);
    for (size_t i = 0; i < n; i++)
        waiting(l, wait[i]);
    mem_free(wait);
    for (size_t i = 0; i < s->npools; i++)
        others(l, &s->pools[i]);
}

/* ---- clusters -------------------------------------------------------------------------------- */

static void of_cluster(struct lines *l, const struct admin_cluster_row *c)
{
    static const struct {
        uint32_t bit;
        const char *text;
    } alarms[] = {
        {TOPOLOGY_TWO_PRIMARIES, "two nodes take writes on one timeline"},
        {TOPOLOGY_OTHER_SYSTEM, "a node belongs to another cluster"},
        {TOPOLOGY_OLD_PRIMARY, "a fenced node still takes writes"},
    };
    const struct topology *t = c->topology;
    if (t->primary == TOPOLOGY_NONE && line(l))
        buf_printf(l->out, "cluster %s: no primary is known, nothing can be written\n",
                   c->cluster->name);
    for (size_t i = 0; i < ARRAY_LEN(alarms); i++)
        if ((t->alarms & alarms[i].bit) != 0 && line(l))
            buf_printf(l->out, "cluster %s: %s\n", c->cluster->name, alarms[i].text);
    if (c->waiting > 0 && line(l))
        buf_printf(l->out, "cluster %s: %" PRId64 " request%s held until a node can have %s\n",
                   c->cluster->name, c->waiting, plural(c->waiting),
                   c->waiting == 1 ? "it" : "them");
}

static void of_node(struct lines *l, const struct admin_nodes *all, const struct admin_node_row *r)
{
    const struct topology_node *n = r->node;
    bool lags = n->state == NODE_LAGGING;
    if ((n->state == NODE_UP && !n->drained) || !line(l))
        return;
    buf_printf(l->out, "cluster %s: %s " STR_FMT " is %s", all->clusters[r->cluster].cluster->name,
               n->role == NODE_UNKNOWN ? "node" : topology_role_name(n->role), STR_ARG(n->name),
               n->state == NODE_UP ? "drained" : topology_state_name(n->state));
    if (r->changed_us >= 0 && n->state != NODE_UP) {
        buf_put_text(l->out, " for ");
        put_seconds(l->out, r->changed_us);
    }
    if (lags && r->lag_us >= 0) {
        buf_put_text(l->out, ", it is ");
        put_seconds(l->out, r->lag_us);
        buf_put_text(l->out, " behind");
    }
    if (lags && r->lag_bytes >= 0)
        buf_printf(l->out, ", %" PRId64 " bytes of log", r->lag_bytes);
    buf_put_text(l->out, "\n");
}

static void of_clusters(struct lines *l, const struct admin_nodes *all)
{
    for (size_t i = 0; i < all->nclusters; i++)
        of_cluster(l, &all->clusters[i]);
    for (size_t i = 0; i < all->nnodes; i++)
        of_node(l, all, &all->nodes[i]);
}

/* ---- the result cache ------------------------------------------------------------------------ */

static void of_cache(struct lines *l, const struct metrics_sample *s)
{
    unsigned wanted = 0, open = 0;
    for (unsigned i = 0; i < s->nworkers; i++) {
        wanted += s->workers[i].redis.wanted != 0;
        open += s->workers[i].redis.open != 0;
    }
    if (open > 0 && line(l))
        buf_printf(l->out, "cache: Redis is not to be had on %u of %u threads\n", open, wanted);
    for (size_t i = 0; i < s->ncache; i++) {
        const struct metrics_cache *c = &s->cache[i];
        if (c->refused && line(l))
            buf_printf(l->out, "cache: rule %s is refused for database %s: %s\n", c->rule,
                       c->database, c->why);
    }
}

void metrics_trouble(const struct metrics_sample *s, const struct metrics_process *p,
                     struct buf *out)
{
    struct lines l = {.out = out};
    of_process(&l, &s->totals, p);
    of_clusters(&l, &s->nodes);
    of_pools(&l, s);
    of_cache(&l, s);
    for (size_t i = 0; i < s->ndatabases; i++) {
        const struct metrics_database *d = &s->databases[i];
        if ((d->paused || d->disabled) && line(&l))
            buf_printf(out, "database %s: %s\n", d->name, d->paused ? "paused" : "disabled");
    }
    if (l.left_out > 0)
        buf_printf(out, "and %d more\n", l.left_out);
}
