/* pool_catalog.c - fetching the catalog snapshot of a database through one of its own pools.
 *
 * The snapshot says which functions and relations are known to leave session state alone
 * (protocol/catalog.h).  One worker asks per database; the others pick the result up.  It is
 * fetched when the first server is ready, when a definition was seen to change, and on a timer.
 * Thread: the worker's.
 */
#include "base/log.h"
#include "base/mem.h"
#include "proxy/job.h"
#include "proxy/pool/pool.h"
#include "proxy/server.h"
#include "proxy/session_cache.h"

#include <stdatomic.h>

#define REFRESH_US (60 * (int64_t)USEC_PER_SEC)
#define STALE_US (2 * (int64_t)USEC_PER_SEC) /* a migration's many definitions cost one fetch */

struct fetch {
    struct job job;
    struct pool *pool;
    struct catalog *building;
    uint32_t definitions; /* when it was asked for */
    bool details;         /* they have been asked for too */
    bool failed;
};

static void on_row(struct job *j, const struct str *cols, int ncols)
{
    struct fetch *f = container_of(j, struct fetch, job);
    struct error err;
    if (f->failed || catalog_add_row(f->building, cols, ncols, &err) == ST_OK)
        return;
    f->failed = true;
    LOG_LIMITED(LL_WARNING, "catalog of %s: %s", f->pool->shared->db->name, err.text);
}

static void adopt(struct pool *p)
{
    catalog_put(&p->catalog);
    p->catalog = registry_catalog(p->worker->process->registry, p->shared->db);
    session_cache_bind(p);
}

/* The result cache wants to know more. True: that is being asked for. */
static bool ask_details(struct fetch *f)
{
    struct pool *p = f->pool;
    const char *details = p->worker->wire->catalog_details;
    if (f->details || details == NULL || p->cache == NULL)
        return false;
    f->details = true;
    f->job.text = str_of(details);
    job_start(p, &f->job);
    return true;
}

static void on_done(struct job *j, bool ok, struct str message)
{
    struct fetch *f = container_of(j, struct fetch, job);
    struct pool *p = f->pool;
    if (ok && !f->failed && ask_details(f))
        return;
    p->catalog_job = NULL;
    if (ok && !f->failed) {
        registry_set_catalog(p->worker->process->registry, p->shared->db, f->building,
                             f->definitions);
        f->building = NULL;
        adopt(p);
    } else if (!ok) {
        LOG_LIMITED(LL_WARNING, "catalog of %s: " STR_FMT, p->shared->db->name, STR_ARG(message));
    }
    catalog_put(&f->building);
    mem_free(f);
}

static void start(struct pool *p)
{
    struct fetch *f = mem_new(sizeof(*f));
    f->pool = p;
    f->definitions = atomic_load_explicit(&p->shared->db->shared.definitions, memory_order_acquire);
    f->building = catalog_new((uint64_t)clock_wall_us());
    f->job.text = str_of(p->worker->wire->catalog_query);
    f->job.row = on_row;
    f->job.done = on_done;
    p->catalog_job = &f->job;
    job_start(p, &f->job);
}

void catalog_wanted(struct pool *p)
{
    struct db_shared *d = p->shared->db;
    const struct catalog *current = atomic_load_explicit(&d->shared.catalog, memory_order_acquire);
    if (current != p->catalog)
        adopt(p);
    if (p->mode == CONFIG_POOL_SESSION || p->probes || p->catalog_job != NULL || p->gone ||
        !p->ever_ready || p->worker->wire->catalog_query == NULL)
        return;
    int64_t asked = atomic_load_explicit(&d->shared.catalog_asked, memory_order_relaxed);
    int64_t now = p->worker->now;
    bool stale = atomic_load_explicit(&d->shared.catalog_stale, memory_order_relaxed);
    if (asked != 0 && now - asked < (stale ? STALE_US : REFRESH_US))
        return;
    if (!atomic_compare_exchange_strong(&d->shared.catalog_asked, &asked, now))
        return; /* another worker asks */
    atomic_store_explicit(&d->shared.catalog_stale, false, memory_order_relaxed);
    start(p);
}

bool catalog_is_current(const struct pool *p)
{
    struct db_shared *d = p->shared->db;
    return p->catalog != NULL &&
           p->catalog == atomic_load_explicit(&d->shared.catalog, memory_order_acquire) &&
           atomic_load_explicit(&d->shared.catalog_definitions, memory_order_relaxed) ==
               atomic_load_explicit(&d->shared.definitions, memory_order_relaxed);
}

void catalog_stale(struct pool *p)
{
    atomic_fetch_add_explicit(&p->shared->db->shared.definitions, 1, memory_order_relaxed);
    atomic_store_explicit(&p->shared->db->shared.catalog_stale, true, memory_order_relaxed);
}

void catalog_abandon(struct pool *p)
{
    if (p->catalog_job == NULL)
        return;
    struct fetch *f = container_of(p->catalog_job, struct fetch, job);
    p->catalog_job = NULL;
    job_cancel(&f->job);
    catalog_put(&f->building);
    mem_free(f);
}
