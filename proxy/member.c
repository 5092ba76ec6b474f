/* member.c - see member.h. */
#include "proxy/member.h"

#include "base/check.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/random.h"
#include "proxy/session_cache.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

#define PERIOD_US 100000 /* of a presence */
#define TICK_US 12500.   /* a renewal is due every quarter of it */

struct member {
    struct {
        pthread_mutex_t lock;
        struct cache_member state;
        char names[MEMBER_NAMES_MAX]; /* of those that the view is about */
        char name[MEMBER_NAME_MAX];   /* ours; empty: no rules yet */
        uint64_t place;               /* hash of where the world is; 0: not known yet */
        uint64_t definitions;         /* their number in Redis, as far as it is known */
        uint32_t defined, told;       /* changes through this process so far; told to Redis */
        _Atomic uint32_t version;     /* of the view */
    } shared;
    /* the first worker's: */
    struct worker *worker; /* borrowed; NULL: nothing is renewed */
    struct cache_batch batch;
    uint32_t telling; /* defined, when what is under way was sent */
    ev_timer timer;
};

static void lock(struct member *m)
{
    CHECK(pthread_mutex_lock(&m->shared.lock) == 0);
}

static void unlock(struct member *m)
{
    CHECK(pthread_mutex_unlock(&m->shared.lock) == 0);
}

/* Under the lock. */
static void changed(struct member *m)
{
    atomic_fetch_add_explicit(&m->shared.version, 1, memory_order_release);
}

/* ---- any worker ------------------------------------------------------------------------------ */

void member_look(struct member *m, struct member_view *copy)
{
    if (copy->version == atomic_load_explicit(&m->shared.version, memory_order_acquire))
        return;
    lock(m);
    copy->version = atomic_load_explicit(&m->shared.version, memory_order_relaxed);
    copy->view = m->shared.state.view;
    copy->joined = m->shared.state.joined;
    memcpy(copy->names, m->shared.names, sizeof(copy->names));
    unlock(m);
}

void member_name(struct member *m, char *dst, size_t cap)
{
    lock(m);
    (void)str_copy(dst, cap, str_of(m->shared.name));
    unlock(m);
}

usec_t member_lapse(struct member *m, usec_t now)
{
    lock(m);
    usec_t at = cache_member_lapse(&m->shared.state, now);
    unlock(m);
    return at;
}

usec_t member_forgotten(struct member *m)
{
    lock(m);
    usec_t at = cache_member_forgotten(&m->shared.state);
    unlock(m);
    return at;
}

void member_cut_off(struct member *m)
{
    usec_t now = clock_mono_us(), at = member_lapse(m, now);
    if (at != CACHE_MEMBER_NEVER && at > now)
        (void)usleep((useconds_t)(at - now));
}

void member_resume(struct member *m)
{
    lock(m);
    cache_member_resume(&m->shared.state);
    unlock(m);
}

void member_dirty(struct member *m)
{
    lock(m);
    cache_member_dirty(&m->shared.state);
    unlock(m);
}

void member_void(struct member *m)
{
    lock(m);
    cache_member_void(&m->shared.state);
    changed(m);
    unlock(m);
}

void member_defined(struct member *m)
{
    lock(m);
    m->shared.defined++;
    unlock(m);
}

void member_adopt(struct member *m, const struct config_cache *cfg)
{
    lock(m);
    (void)snprintf(m->shared.name, sizeof(m->shared.name), "%s/%s", cfg->member, cfg->rules_name);
    m->shared.state.view.expected = (uint32_t)cfg->opt.redis_members;
    uint64_t place = hash_bytes(cfg->opt.store, strlen(cfg->opt.store), 1) ^
                     hash_bytes(cfg->opt.prefix, strlen(cfg->opt.prefix), 2);
    if (m->shared.place != 0 && m->shared.place != place)
        cache_member_moved(&m->shared.state);
    m->shared.place = place;
    cache_member_rules(&m->shared.state, str_of(cfg->rules_name));
    changed(m);
    unlock(m);
}

/* ---- the first worker ------------------------------------------------------------------------ */

static void answered(struct cache_batch *b)
{
    struct member *m = container_of(b, struct member, batch);
    const struct cache_answer *a = &b->answers[0];
    lock(m);
    struct cache_view was = m->shared.state.view;
    bool joined = m->shared.state.joined;
    /* Not the turn's time: Redis may have looked at its clock since, and the estimate must not run
     * ahead of it. */
    cache_member_answer(&m->shared.state, a, clock_mono_us());
    const struct cache_view *is = &m->shared.state.view;
    if (a->state == CACHE_ANSWER_OK && a->value.p != NULL &&
        !str_copy(m->shared.names, sizeof(m->shared.names), a->value))
        m->shared.state.view.members = 0; /* more than can be asked for */
    bool renewed = a->state == CACHE_ANSWER_OK && m->batch.cmds[0].kind == CACHE_CMD_RENEW;
    /* Our own change counts as one. */
    uint64_t known = m->shared.definitions + (m->telling != m->shared.told);
    bool news = renewed && a->c != known;
    if (renewed) {
        m->shared.definitions = a->c;
        m->shared.told = m->telling;
    }
    if (was.members != is->members || was.names != is->names || was.server != is->server ||
        joined != m->shared.state.joined)
        changed(m);
    bool alone = renewed && is->members == 0 && was.names != is->names &&
                 m->shared.state.clean >= m->shared.state.need;
    unlock(m);
    if (alone)
        LOG_LIMITED(LL_WARNING, "cache: processes that share Redis have other rules: " STR_FMT,
                    STR_ARG(a->value));
    if (news)
        registry_reshaped(m->worker->process->registry);
}

/* What is due, if anything is and there is somebody to say it. */
static void step(struct member *m)
{
    struct worker *w = m->worker;
    char name[MEMBER_NAME_MAX];
    lock(m);
    bool due = m->shared.name[0] != '\0' && cache_member_step(&m->shared.state, clock_mono_us(),
                                                              random_u64() | 1u, &m->batch.cmds[0]);
    memcpy(name, m->shared.name, sizeof(name));
    m->telling = due ? m->shared.defined : m->telling;
    bool defines = m->telling != m->shared.told;
    uint64_t definitions = m->shared.definitions;
    unlock(m);
    if (!due)
        return;
    struct cache_redis_where where = {.prefix = str_of(w->cache->config->opt.prefix),
                                      .member = str_of(name),
                                      .server = redis_server(w->cache->redis),
                                      .period_ms = PERIOD_US / 1000,
                                      .definitions = definitions,
                                      .defines = defines};
    if (redis_send(w->cache->redis, &m->batch, 1, &where))
        return;
    m->batch.answers[0] = (struct cache_answer){.state = CACHE_ANSWER_REFUSED}; /* not sent */
    answered(&m->batch);
}

static void on_timer(struct ev_loop *loop, ev_timer *t, int revents)
{
    struct member *m = container_of(t, struct member, timer);
    (void)loop;
    (void)revents;
    if (redis_is_up(m->worker->cache->redis) &&
        !atomic_load_explicit(&m->worker->process->shared.predecessor, memory_order_acquire))
        step(m);
}

void member_connected(struct worker *w, uint64_t server)
{
    struct member *m = w->process->member;
    lock(m);
    cache_member_connected(&m->shared.state, server);
    changed(m);
    unlock(m);
}

void member_configure(struct worker *w)
{
    struct member *m = w->process->member;
    ev_timer_stop(w->loop, &m->timer);
    m->worker = w;
    ev_timer_set(&m->timer, 0., TICK_US / USEC_PER_SEC);
    if (w->cache->config->leased)
        ev_timer_start(w->loop, &m->timer);
}

void member_leave(struct worker *w)
{
    struct member *m = w->process->member;
    const struct cache_cmd leave = {.kind = CACHE_CMD_LEAVE, .fresh = random_u64() | 1u};
    ev_timer_stop(w->loop, &m->timer);
    cache_batch_forget(&m->batch);
    /* What could not be recorded may still go on in the database: others must not forget us. */
    bool may = m->shared.state.joined && m->shared.state.holders == 0 && w->cache->config->leased &&
               process_phase(w->process) != PHASE_HANDED_OVER;
    if (may)
        redis_last_words(
            w->cache->redis, &leave,
            &(struct cache_redis_where){.prefix = str_of(w->cache->config->opt.prefix),
                                        .member = str_of(m->shared.name),
                                        .server = redis_server(w->cache->redis),
                                        .defines = m->shared.defined != m->shared.told});
    m->worker = NULL;
}

struct member *member_new(void)
{
    struct member *m = mem_new(sizeof(*m));
    CHECK(pthread_mutex_init(&m->shared.lock, NULL) == 0);
    atomic_init(&m->shared.version, 1);
    cache_member_init(&m->shared.state, PERIOD_US, random_u64() | 1u, 0);
    cache_batch_init(&m->batch, answered);
    ev_timer_init(&m->timer, on_timer, 0., 0.);
    return m;
}

void member_free(struct member **mp)
{
    struct member *m = *mp;
    *mp = NULL;
    cache_batch_fini(&m->batch);
    CHECK(pthread_mutex_destroy(&m->shared.lock) == 0);
    mem_free(m);
}
