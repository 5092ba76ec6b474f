/* pool_share.c - several clients' reads on one server: which server, how many, and when no more.
 *
 * A server in SV_SHARED is fed with repeatable reads of any clients (session_share.c decides which
 * requests are such), up to multiplex_depth behind each other.  The policy, with its reasons in
 * docs/adr/011:
 *  - On how many servers at once: `width`, found by measurement.  Below it a free server is taken
 *    first; at it a read stands behind others on the least recently fed server.
 *  - Never behind an answer that is overdue; a sweep takes away those who stand behind one.
 *  - A shared server is fed no more ("draining") while somebody who needs a server alone, or
 *    another worker's client, has waited longer than those it would be fed with; while it must be
 *    replaced; and while more servers are shared than the width says.  Empty, it goes through the
 *    release test like any other.
 *  - Reads for which there is no place are no reason to open a server, or to ask other workers for
 *    one, once as many are fed as the width says: they would not use it.
 * Thread: the owning worker's.
 */
#include "base/check.h"
#include "proxy/pool/pool.h"
#include "proxy/server.h"
#include "proxy/session.h"

#include <limits.h>

#define EPOCH_US 50000    /* of measuring the width */
#define EPOCH_MIN_DONE 50 /* an epoch with fewer requests tells nothing */
#define START_WIDTH 8     /* where the search begins */
#define OVERDUE_US 5000   /* an answer awaited for longer is not waited for by others */
#define STUCK_US 20000    /* after that those behind it go elsewhere */
#define SWEEP_US (STUCK_US / 2)

/* ---- configuration --------------------------------------------------------------------------- */

static void on_sweep(struct timeout *t)
{
    struct pool *p = container_of(t, struct pool, share.sweep);
    struct list *it, *tmp;
    LIST_EACH(it, tmp, &p->sharing) {
        struct server *s = container_of(it, struct server, link);
        usec_t waited = p->worker->now - s->front_at;
        if (s->fl_count == 0 || s->conn.paused != 0 || waited <= STUCK_US)
            continue;
        pace_note(p->share.pace, server_front(s)->digest, waited);
        session_unshare(s);
    }
    if (p->nsharing > 0)
        worker_timeout(p->worker, &p->share.sweep, SWEEP_US);
}

/* Nothing was shared so far, so nobody who waits has been asked whether it could. */
static void forget_alone(struct pool *p)
{
    struct list *it, *tmp;
    LIST_EACH(it, tmp, &p->waiting[WAIT_ALONE]) {
        struct waiter *w = container_of(it, struct waiter, link);
        if (w->offered != NULL)
            pool_requeue_as(p, w, WAIT_UNSEEN);
    }
}

void pool_share_configure(struct pool *p)
{
    const struct config_options *o = worker_options(p->worker);
    struct str user = str_of(p->shared->user->name);
    int depth = config_multiplex_depth(worker_config(p->worker), p->db,
                                       config_find_user(worker_config(p->worker), user));
    /* Without the right to look into requests, or with a reset after each, nothing can be
     * shared. */
    if (p->mode == CONFIG_POOL_SESSION || o->disable_pqexec || o->server_reset_query_always)
        depth = 1;
    bool begins = depth > 1 && p->share.depth == 1;
    p->share.depth = depth;
    if (begins)
        forget_alone(p);
    if (depth > 1 && p->share.pace == NULL) {
        p->share.pace = pace_new();
        width_init(&p->share.width, MIN(pool_limit(p), START_WIDTH));
        timeout_init(&p->share.sweep, on_sweep);
    }
}

void pool_share_free(struct pool *p)
{
    if (p->share.pace == NULL)
        return;
    timeout_stop(&p->share.sweep);
    pace_free(&p->share.pace);
}

bool pool_shares(const struct pool *p)
{
    return p->share.depth > 1;
}

/* ---- measuring ------------------------------------------------------------------------------- */

static int fed(const struct pool *p)
{
    return p->nsharing - p->share.ndraining;
}

static void measure(struct pool *p)
{
    usec_t span = p->worker->now - p->share.epoch_at;
    if (span < EPOCH_US)
        return;
    bool loaded = span < 4 * EPOCH_US && p->share.done >= EPOCH_MIN_DONE &&
                  p->share.behind * 4 >= p->share.done;
    const struct width_measure m = {p->share.done, (uint64_t)span};
    width_epoch(&p->share.width, m, loaded, fed(p), pool_limit(p));
    p->share.epoch_at = p->worker->now;
    p->share.done = p->share.behind = 0;
    if (loaded && p->nsharing < p->share.width.now && p->nidle + p->nconnecting == 0) {
        p->share.wants_more = true;
        pool_schedule(p); /* not from here: opening may fail at once */
    }
}

/* ---- feeding --------------------------------------------------------------------------------- */

static bool room(const struct server *s)
{
    const struct pool *p = s->pool;
    return s->fed && (int)s->fl_count < p->share.depth && s->conn.paused == 0 &&
           (s->fl_count == 0 || p->worker->now - s->front_at <= OVERDUE_US);
}

/* How many more servers reads would be spread over. */
static int not_fed_yet(const struct pool *p)
{
    return pool_shares(p) ? MAX(p->share.width.now - fed(p), 0) : INT_MAX;
}

unsigned pool_users(const struct pool *p)
{
    return not_fed_yet(p) > 0 ? WAIT_FOR_SERVER : 1u << WAIT_ALONE;
}

int pool_servers_wanted(const struct pool *p)
{
    int places = p->nwaiting[WAIT_UNSEEN] + p->nwaiting[WAIT_SHARE];
    return p->nwaiting[WAIT_ALONE] + MIN(places, not_fed_yet(p));
}

void pool_look_at_unseen(struct pool *p)
{
    int n = p->nwaiting[WAIT_UNSEEN]; /* not those who come meanwhile */
    struct waiter *w;
    while (n-- > 0 && (w = pool_oldest(p, 1u << WAIT_UNSEEN)) != NULL) {
        (void)w->offered(w, NULL);
        if (list_linked(&w->link) && w->kind == WAIT_UNSEEN)
            return; /* it cannot be asked now */
    }
}

bool pool_has_room(const struct pool *p)
{
    struct list *l = list_first(&p->sharing);
    return l != NULL && room(container_of(l, struct server, link));
}

static struct server *shared_for(struct pool *p, const struct varset *vars, const struct stmt *stmt)
{
    struct list *it, *tmp;
    LIST_EACH(it, tmp, &p->sharing) {
        struct server *s = container_of(it, struct server, link);
        if (room(s) && server_may_share(s, vars, stmt))
            return s;
    }
    return NULL;
}

static struct server *free_for(struct pool *p, const struct varset *vars, const struct stmt *stmt)
{
    struct server *s = pool_pick_idle(p, vars);
    return s != NULL && server_may_share(s, vars, stmt) && !server_needs_check(s) ? s : NULL;
}

struct server *pool_share(struct pool *p, const struct varset *vars, const struct stmt *stmt)
{
    measure(p);
    /* Those who wait and could have a place go first; those who need a server alone do not need
     * one. */
    if (pool_wanting(p) > p->nwaiting[WAIT_ALONE] || pool_paused(p))
        return NULL;
    bool may_take = p->nidle > 0 && pool_wanting(p) == 0;
    struct server *s = NULL;
    if (may_take && fed(p) < p->share.width.now)
        s = free_for(p, vars, stmt);
    if (s == NULL)
        s = shared_for(p, vars, stmt);
    if (s == NULL && may_take && fed(p) >= p->share.width.now)
        s = free_for(p, vars, stmt);
    return s;
}

void pool_share_begin(struct server *s)
{
    struct pool *p = s->pool;
    s->was_idle = s->state == SV_IDLE;
    server_set_state(s, SV_SHARED);
    s->session_begun = true;
    s->fed = true;
    pool_publish(p);
    if (!timeout_running(&p->share.sweep))
        worker_timeout(p->worker, &p->share.sweep, SWEEP_US);
}

void pool_share_fed(struct server *s)
{
    struct pool *p = s->pool;
    if (s->fl_count == 1) {
        s->front_at = p->worker->now;
        s->written = s->conn.bytes_out; /* what comes before more is written answers nothing */
    } else
        p->share.behind++;
    list_remove(&s->link);
    list_push_back(&p->sharing, &s->link);
}

void pool_unfeed(struct server *s)
{
    s->pool->share.ndraining += s->fed;
    s->fed = false;
}

void pool_share_end(struct server *s)
{
    s->pool->share.ndraining -= !s->fed;
    s->fed = true;
}

/* Places go to those who wait, oldest first. */
static void fill(struct server *s)
{
    struct pool *p = s->pool;
    while (s->state == SV_SHARED && room(s) && !pool_paused(p)) {
        struct waiter *w = pool_oldest(p, 1u << WAIT_UNSEEN | 1u << WAIT_SHARE);
        if (w == NULL || (!w->offered(w, s) && list_linked(&w->link) && w->kind != WAIT_ALONE))
            return;
    }
}

/* Whether this server is needed more elsewhere than for further reads of ours. */
static bool must_drain(const struct pool *p)
{
    if (fed(p) > p->share.width.now)
        return true;
    if (p->share.ndraining == 0 && p->nidle == 0 && pool_wanted_elsewhere(p))
        return true;
    if (p->nwaiting[WAIT_ALONE] <= p->share.ndraining)
        return false;
    const struct waiter *next = pool_oldest(p, WAIT_FOR_SERVER);
    return next->kind == WAIT_ALONE;
}

void pool_share_done(struct server *s)
{
    struct pool *p = s->pool;
    s->front_at = p->worker->now;
    p->share.done++;
    if (s->fed && must_drain(p))
        pool_unfeed(s);
    fill(s);
    if (s->state == SV_SHARED && s->fl_count == 0) {
        server_set_state(s, SV_ACTIVE);
        server_release(s);
    }
}

void pool_share_check(struct pool *p)
{
    struct list *it, *tmp;
    LIST_EACH(it, tmp, &p->sharing) {
        struct server *s = container_of(it, struct server, link);
        if (server_unwanted(s) != NULL || (p->share.ndraining == 0 && pool_too_large(p)))
            pool_unfeed(s);
    }
}

/* ---- handing out ----------------------------------------------------------------------------- */

static void rest(struct pool *p, struct server *s)
{
    if (s->state != SV_IDLE)
        server_set_state(s, SV_IDLE);
    pool_publish(p);
}

void pool_hand(struct pool *p, struct server *s)
{
    for (;;) {
        bool start = fed(p) < p->share.width.now;
        unsigned kinds = 1u << WAIT_UNSEEN | 1u << WAIT_ALONE | (start ? 1u << WAIT_SHARE : 0);
        struct waiter *w = pool_oldest(p, kinds);
        if (w == NULL) {
            rest(p, s);
            return;
        }
        enum waiter_kind was = w->kind;
        if (was == WAIT_ALONE) {
            pool_grant(p, w, s);
            return;
        }
        if (w->offered(w, start ? s : NULL)) {
            fill(s);
            return;
        }
        if (list_linked(&w->link) && w->kind == was) { /* it cannot be asked now */
            rest(p, s);
            pool_schedule(p);
            return;
        }
    }
}
