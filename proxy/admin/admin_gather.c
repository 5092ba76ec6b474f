/* admin_gather.c - one question to all workers, and their parts put together.
 *
 * Every worker fills its own part, without locks; the last one posts the whole to the main thread,
 * which merges and answers.  A gather is on admin->gathers while it is under way, so that nothing
 * is lost when the process ends.  Thread: main, but for collect().
 */
#include "base/check.h"
#include "base/mem.h"
#include "proxy/admin/admin_work.h"
#include "proxy/pool/pool.h"
#include "proxy/worker.h"

#include <stdatomic.h>
#include <stdlib.h>

struct admin_gather *admin_gather_new(struct admin *a, struct admin_reply *reply)
{
    unsigned n = a->process->nworkers;
    struct admin_gather *g = mem_new(sizeof(*g) + n * sizeof(g->parts[0]));
    g->admin = a;
    g->reply = reply;
    g->nparts = n;
    atomic_init(&g->left, n);
    for (unsigned i = 0; i < n; i++)
        buf_init(&g->parts[i].rows, ADMIN_ROWS_MAX);
    list_init(&g->link);
    list_push_back(&a->gathers, &g->link);
    return g;
}

static void gather_free(struct admin_gather *g)
{
    list_remove(&g->link);
    for (unsigned i = 0; i < g->nparts; i++) {
        buf_fini(&g->parts[i].rows);
        mem_free(g->parts[i].pools);
        mem_free(g->parts[i].times);
        mem_free(g->parts[i].peers);
        mem_free(g->parts[i].statements);
        mem_free(g->parts[i].routes);
        mem_free(g->parts[i].routed);
        mem_free(g->parts[i].cache);
    }
    admin_reply_free(&g->reply);
    if (g->started)
        atomic_fetch_sub(&g->admin->process->shared.gathers, 1);
    if (g->free_arg != NULL)
        g->free_arg(g->arg);
    mem_free(g);
}

void admin_gather_free_all(struct admin *a)
{
    struct list *l;
    while ((l = list_first(&a->gathers)) != NULL)
        gather_free(container_of(l, struct admin_gather, link));
}

static void on_gathered(struct message *m, void *ctx)
{
    (void)ctx;
    struct admin_gather *g = container_of(m, struct admin_gather, m);
    g->finish(g);
    gather_free(g);
}

static void on_worker(struct worker *w, void *arg)
{
    struct admin_gather *g = arg;
    struct admin_part *part = &g->parts[w->index];
    part->more = false;
    g->collect(w, g, part);
    if (part->more) {
        worker_post_call(w, on_worker, g);
        return;
    }
    if (!part->later)
        admin_gather_done(g);
}

void admin_gather_done(struct admin_gather *g)
{
    if (atomic_fetch_sub_explicit(&g->left, 1, memory_order_acq_rel) > 1)
        return;
    g->m.deliver = on_gathered;
    (void)mailbox_post(g->admin->process->main_box, &g->m); /* refused: admin_free has it */
}

void admin_gather_start(struct admin_gather *g)
{
    struct process *p = g->admin->process;
    for (unsigned i = 0; i < g->nparts; i++)
        CHECK(p->workers[i] != NULL); /* admin_run refuses commands when they are gone */
    g->started = true;
    atomic_fetch_add(&p->shared.gathers, 1);
    for (unsigned i = 0; i < g->nparts; i++)
        worker_post_call(p->workers[i], on_worker, g);
}

bool admin_gather_in_scope(const struct admin_gather *g, const struct pool *p)
{
    return g->scope.db == NULL || g->scope.db == p->shared->db;
}

/* ---- merging --------------------------------------------------------------------------------- */

void admin_gather_counts(const struct admin_gather *g, struct admin_counts *out)
{
    memset(out, 0, sizeof(*out));
    int64_t *sum = (int64_t *)out;
    for (unsigned i = 0; i < g->nparts; i++) {
        const int64_t *n = (const int64_t *)&g->parts[i].counts;
        for (size_t k = 0; k < sizeof(*out) / sizeof(*sum); k++)
            sum[k] += n[k];
    }
}

struct admin_pool_row *admin_gather_add_pool(struct admin_part *part, size_t expected)
{
    if (part->npools == part->cap_pools) {
        part->cap_pools = MAX(part->cap_pools * 2, expected);
        part->pools = mem_resize(part->pools, part->cap_pools * sizeof(*part->pools));
    }
    struct admin_pool_row *row = &part->pools[part->npools++];
    memset(row, 0, sizeof(*row));
    return row;
}

static int by_name(const void *x, const void *y)
{
    const struct admin_pool_row *a = *(const struct admin_pool_row *const *)x;
    const struct admin_pool_row *b = *(const struct admin_pool_row *const *)y;
    int d = strcmp(a->shared->db->name, b->shared->db->name);
    if (d == 0)
        d = strcmp(a->shared->user->name, b->shared->user->name);
    return d != 0 ? d : strcmp(a->shared->node, b->shared->node);
}

enum merging { PER_DATABASE, PER_USER, PER_NODE, PER_NODE_COUNTED };

static bool are_merged(const struct pool_shared *a, const struct pool_shared *b, enum merging how)
{
    return a->db == b->db && (how < PER_USER || a->user == b->user) &&
           (how < PER_NODE || strcmp(a->node, b->node) == 0);
}

static void merge(struct admin_pool_row *into, const struct admin_pool_row *r)
{
    if (into->left_only) {
        into->mode = r->mode;
        into->balance = r->balance;
        into->limit = r->limit;
        into->probes = r->probes;
        into->left_only = r->left_only;
    }
    if (into->cluster == NULL)
        into->cluster = r->cluster;
    into->cl_active += r->cl_active;
    into->cl_waiting += r->cl_waiting;
    into->cl_idle += r->cl_idle;
    into->cl_busy += r->cl_busy;
    into->cl_sharing += r->cl_sharing;
    into->cl_held += r->cl_held;
    into->cancels += r->cancels;
    into->sv_active += r->sv_active;
    into->sv_alone += r->sv_alone;
    into->sv_canceled += r->sv_canceled;
    into->sv_idle += r->sv_idle;
    into->sv_tested += r->sv_tested;
    into->sv_login += r->sv_login;
    into->sv_pinned += r->sv_pinned;
    into->sv_shared += r->sv_shared;
    into->in_flight += r->in_flight;
    into->share_width += r->share_width;
    for (int i = 0; i < ADMIN_PINS; i++)
        into->pins[i] += r->pins[i];
    into->idle_in_tx += r->idle_in_tx;
    into->failing += r->failing;
    into->maxwait = MAX(into->maxwait, r->maxwait);
    into->longest_tx = MAX(into->longest_tx, r->longest_tx);
    into->longest_idle_in_tx = MAX(into->longest_idle_in_tx, r->longest_idle_in_tx);
    stats_add(&into->stats, &r->stats);
    measure_add(&into->measured, &r->measured);
}

struct rows {
    struct admin_pool_row *list; /* owned array */
    size_t n, cap;
};

static void add_row(struct rows *r, const struct admin_pool_row *row)
{
    if (r->n == r->cap) {
        r->cap = MAX(r->cap * 2, (size_t)16);
        r->list = mem_resize(r->list, r->cap * sizeof(*r->list));
    }
    r->list[r->n++] = *row;
}

/* What pools have counted that a worker has closed since. */
static void add_left(void *arg, struct pool_shared *p)
{
    static const struct stats none;
    if (memcmp(&p->shared.left, &none, sizeof(none)) == 0)
        return;
    struct admin_pool_row row = {.shared = p,
                                 .left_only = true,
                                 .stats = p->shared.left,
                                 .measured = p->shared.left_measured};
    add_row(arg, &row);
}

static bool wanted(const struct admin_gather *g, const struct admin_pool_row *row, enum merging how)
{
    if (!row->left_only || how == PER_NODE_COUNTED) /* these: drop_closed() */
        return true;
    return how == PER_DATABASE &&
           config_find_database(admin_config(g->admin), str_of(row->shared->db->name)) != NULL;
}

/* All that there are, in the order of names. The rows are large and stay where they are. */
static const struct admin_pool_row **in_order(const struct admin_gather *g, const struct rows *left,
                                              size_t *n)
{
    size_t all = left->n;
    for (unsigned i = 0; i < g->nparts; i++)
        all += g->parts[i].npools;
    const struct admin_pool_row **order = mem_new((all + 1) * sizeof(struct admin_pool_row *));
    *n = 0;
    for (unsigned i = 0; i < g->nparts; i++)
        for (size_t k = 0; k < g->parts[i].npools; k++)
            order[(*n)++] = &g->parts[i].pools[k];
    for (size_t i = 0; i < left->n; i++)
        order[(*n)++] = &left->list[i];
    qsort(order, *n, sizeof(struct admin_pool_row *), by_name);
    return order;
}

static struct admin_pool_row *merged(const struct admin_gather *g, size_t *n, enum merging how)
{
    struct rows left = {NULL, 0, 0}, r = {NULL, 0, 0};
    size_t all;
    registry_each_pool(g->admin->process->registry, add_left, &left);
    const struct admin_pool_row **order = in_order(g, &left, &all);
    r.cap = all + 1; /* rows are large: they are copied once */
    r.list = mem_resize(NULL, r.cap * sizeof(*r.list));
    for (size_t i = 0; i < all; i++) {
        struct admin_pool_row *last = r.n > 0 ? &r.list[r.n - 1] : NULL;
        if (last != NULL && are_merged(last->shared, order[i]->shared, how)) {
            merge(last, order[i]);
            continue;
        }
        if (last != NULL && !wanted(g, last, how))
            r.n--;
        add_row(&r, order[i]);
    }
    if (r.n > 0 && !wanted(g, &r.list[r.n - 1], how))
        r.n--;
    mem_free(order);
    mem_free(left.list);
    *n = r.n;
    return r.list;
}

struct admin_pool_row *admin_gather_pools(const struct admin_gather *g, size_t *n)
{
    return merged(g, n, PER_USER);
}

struct admin_pool_row *admin_gather_nodes(const struct admin_gather *g, size_t *n)
{
    return merged(g, n, PER_NODE);
}

/* Of each database and user: all rows, or none if no worker has a pool of them for clients. */
static size_t drop_closed(struct admin_pool_row *rows, size_t n)
{
    size_t kept = 0;
    for (size_t from = 0, to; from < n; from = to) {
        bool open = false;
        for (to = from; to < n && are_merged(rows[from].shared, rows[to].shared, PER_USER); to++)
            open |= !rows[to].left_only && !rows[to].probes;
        for (size_t i = from; i < to && open; i++, kept++)
            if (kept < i)
                rows[kept] = rows[i];
    }
    return kept;
}

struct admin_pool_row *admin_gather_counted(const struct admin_gather *g, size_t *n)
{
    struct admin_pool_row *rows = merged(g, n, PER_NODE_COUNTED);
    *n = drop_closed(rows, *n);
    return rows;
}

struct admin_pool_row *admin_gather_databases(const struct admin_gather *g, size_t *n)
{
    return merged(g, n, PER_DATABASE);
}
