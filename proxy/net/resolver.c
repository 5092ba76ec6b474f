/* resolver.c - names to addresses without blocking a loop; see resolver.h.
 *
 * One lock, one condition, two queues: names to look up and functions to run.  A name is an entry
 * of the cache from its first question on; `busy` says that it is queued or being looked up, and
 * those who wait hang on the entry, so a hundred clients of a cold pool ask once.  Entries are only
 * removed by the sweep (when very many names are known) and at the end, never while busy.
 * Thread: any, everything behind `lock`; done callbacks and lookups run without it.
 */
#include "proxy/net/resolver.h"

#include "base/check.h"
#include "base/hash.h"
#include "base/list.h"
#include "base/map.h"
#include "base/mem.h"
#include "proxy/net/sockopt.h"

#include <netdb.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

#define NAME_CAP 254     /* longest DNS name and its zero byte */
#define SWEEP_ABOVE 1024 /* names; host names come from configuration, so few are known */
#define DEFAULT_TTL (15 * (usec_t)USEC_PER_SEC)

struct waiter {
    struct list link;
    struct resolver_ask ask;
};

struct entry {
    struct list queued;  /* on resolver->names while it waits for a thread */
    struct list waiters; /* struct waiter */
    struct resolver_addrs addrs;
    struct error err; /* of a failure */
    usec_t asked, expires;
    bool known; /* addrs or err is an answer */
    bool busy;
    char host[NAME_CAP];
};

struct job {
    struct list link;
    void (*fn)(void *arg);
    void *arg;
};

struct resolver {
    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct map cache;  /* host -> struct entry, owned */
    struct list names; /* struct entry */
    struct list jobs;  /* struct job, owned */
    usec_t ttl, nx_ttl;
    size_t pending;
    int nthreads, running_jobs;
    bool stop;
    enum status (*lookup)(const char *, struct resolver_addrs *, struct error *);
    pthread_t *threads; /* owned */
};

/* ---- addresses ------------------------------------------------------------------------------- */

static int addr_cmp(const void *a, const void *b)
{
    const struct sockaddr_storage *x = a, *y = b;
    if (x->ss_family != y->ss_family) /* IPv4 reaches more servers: it is tried first */
        return x->ss_family == AF_INET ? -1 : y->ss_family == AF_INET ? 1 : 0;
    return memcmp(x, y, sizeof(*x));
}

/* Sorts, takes repetitions out and computes the generation. */
static void canonical(struct resolver_addrs *a)
{
    int n = 0;
    qsort(a->addr, (size_t)a->n, sizeof(a->addr[0]), addr_cmp);
    for (int i = 0; i < a->n; i++)
        if (n == 0 || addr_cmp(&a->addr[n - 1], &a->addr[i]) != 0)
            a->addr[n++] = a->addr[i];
    a->n = n;
    a->generation = hash_bytes(a->addr, (size_t)n * sizeof(a->addr[0]), 0);
}

static enum status lookup_system(const char *host, struct resolver_addrs *out, struct error *err)
{
    const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct addrinfo *list = NULL;
    int rc = getaddrinfo(host, NULL, &hints, &list);
    if (rc != 0)
        return error_set(err, ST_MISSING, "%s", gai_strerror(rc));
    for (struct addrinfo *ai = list; ai != NULL && out->n < RESOLVER_ADDRS_MAX; ai = ai->ai_next) {
        if (ai->ai_family != AF_INET && ai->ai_family != AF_INET6)
            continue;
        memcpy(&out->addr[out->n], ai->ai_addr, MIN(ai->ai_addrlen, sizeof(out->addr[0])));
        out->n++;
    }
    freeaddrinfo(list);
    if (out->n == 0)
        return error_set(err, ST_MISSING, "the name has no address");
    return ST_OK;
}

/* ---- threads --------------------------------------------------------------------------------- */

static void answer_all(struct list *waiters, const struct resolver_addrs *addrs,
                       const struct error *err)
{
    for (struct list *l; (l = list_pop_front(waiters)) != NULL;) {
        struct waiter *w = container_of(l, struct waiter, link);
        w->ask.done(w->ask.arg, addrs, err);
        mem_free(w);
    }
}

static void move_list(struct list *to, struct list *from)
{
    list_init(to);
    for (struct list *l; (l = list_pop_front(from)) != NULL;)
        list_push_back(to, l);
}

/* A refresh that fails does not take away an answer that is still good. */
static void store(struct resolver *r, struct entry *e, enum status st,
                  const struct resolver_addrs *addrs, const struct error *err)
{
    usec_t now = clock_mono_us();
    e->busy = false;
    r->pending--;
    if (st != ST_OK && e->known && e->addrs.n > 0 && now < e->expires) {
        e->asked = now;
        return;
    }
    e->known = true;
    e->addrs = *addrs;
    e->err = *err;
    e->asked = now;
    e->expires = now + (st == ST_OK ? r->ttl : r->nx_ttl);
}

/* Called with the lock, returns with the lock. */
static void serve_name(struct resolver *r)
{
    struct entry *e = container_of(list_pop_front(&r->names), struct entry, queued);
    struct resolver_addrs addrs;
    struct error why = {""}, err = {""};
    struct list waiters;
    memset(&addrs, 0, sizeof(addrs));
    pthread_mutex_unlock(&r->lock);
    enum status st = r->lookup(e->host, &addrs, &why); /* host never changes, busy keeps e */
    if (st != ST_OK) {
        memset(&addrs, 0, sizeof(addrs));
        (void)error_set(&err, st, "cannot resolve host name \"%s\": %s", e->host, why.text);
    }
    canonical(&addrs);
    pthread_mutex_lock(&r->lock);
    store(r, e, st, &addrs, &err);
    move_list(&waiters, &e->waiters);
    pthread_mutex_unlock(&r->lock);
    answer_all(&waiters, st == ST_OK ? &addrs : NULL, &err);
    pthread_mutex_lock(&r->lock);
}

static void serve_job(struct resolver *r)
{
    struct job *j = container_of(list_pop_front(&r->jobs), struct job, link);
    r->running_jobs++;
    pthread_mutex_unlock(&r->lock);
    j->fn(j->arg);
    mem_free(j);
    pthread_mutex_lock(&r->lock);
    r->running_jobs--;
    pthread_cond_signal(&r->wake); /* one that was held back may run now */
}

static bool may_run_job(const struct resolver *r)
{
    return !list_empty(&r->jobs) && r->running_jobs < MAX(1, r->nthreads - 1);
}

static void *thread_main(void *arg)
{
    struct resolver *r = arg;
    pthread_mutex_lock(&r->lock);
    while (!r->stop) {
        if (!list_empty(&r->names))
            serve_name(r);
        else if (may_run_job(r))
            serve_job(r);
        else
            pthread_cond_wait(&r->wake, &r->lock);
    }
    pthread_mutex_unlock(&r->lock);
    return NULL;
}

/* ---- life ------------------------------------------------------------------------------------ */

struct resolver *resolver_new(int threads)
{
    struct resolver *r = mem_new(sizeof(*r));
    sigset_t all, old;
    CHECK(threads > 0);
    CHECK(pthread_mutex_init(&r->lock, NULL) == 0);
    CHECK(pthread_cond_init(&r->wake, NULL) == 0);
    map_init(&r->cache);
    list_init(&r->names);
    list_init(&r->jobs);
    r->ttl = DEFAULT_TTL;
    r->nx_ttl = DEFAULT_TTL;
    r->lookup = lookup_system;
    r->nthreads = threads;
    r->threads = mem_new((size_t)threads * sizeof(*r->threads));
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old); /* signals belong to the main thread */
    for (int i = 0; i < threads; i++)
        CHECK(pthread_create(&r->threads[i], NULL, thread_main, r) == 0);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return r;
}

static void entry_free(struct entry *e)
{
    for (struct list *l; (l = list_pop_front(&e->waiters)) != NULL;)
        mem_free(container_of(l, struct waiter, link));
    mem_free(e);
}

void resolver_free(struct resolver **r)
{
    struct resolver *mine = *r;
    struct str host;
    void *value = NULL;
    *r = NULL;
    if (mine == NULL)
        return;
    pthread_mutex_lock(&mine->lock);
    mine->stop = true;
    pthread_cond_broadcast(&mine->wake);
    pthread_mutex_unlock(&mine->lock);
    for (int i = 0; i < mine->nthreads; i++)
        pthread_join(mine->threads[i], NULL);
    for (size_t i = 0; map_next(&mine->cache, &i, &host, &value);)
        entry_free(value);
    map_fini(&mine->cache);
    for (struct list *l; (l = list_pop_front(&mine->jobs)) != NULL;)
        mem_free(container_of(l, struct job, link));
    pthread_cond_destroy(&mine->wake);
    pthread_mutex_destroy(&mine->lock);
    mem_free(mine->threads);
    mem_free(mine);
}

void resolver_set_ttl(struct resolver *r, usec_t ttl, usec_t nx_ttl)
{
    pthread_mutex_lock(&r->lock);
    r->ttl = ttl;
    r->nx_ttl = nx_ttl;
    pthread_mutex_unlock(&r->lock);
}

void resolver_set_lookup(struct resolver *r,
                         enum status (*lookup)(const char *host, struct resolver_addrs *out,
                                               struct error *err))
{
    pthread_mutex_lock(&r->lock);
    r->lookup = lookup;
    pthread_mutex_unlock(&r->lock);
}

/* ---- questions ------------------------------------------------------------------------------- */

static void sweep(struct resolver *r, usec_t now)
{
    struct str host;
    void *value = NULL;
    for (size_t i = 0; map_next(&r->cache, &i, &host, &value);) {
        struct entry *e = value;
        if (e->busy || now < e->expires)
            continue;
        map_remove(&r->cache, host);
        entry_free(e);
    }
}

static struct entry *entry_of(struct resolver *r, struct str host, usec_t now)
{
    struct entry *e = map_get(&r->cache, host);
    if (e != NULL)
        return e;
    if (map_count(&r->cache) >= SWEEP_ABOVE)
        sweep(r, now);
    e = mem_new(sizeof(*e));
    list_init(&e->queued);
    list_init(&e->waiters);
    str_copy(e->host, sizeof(e->host), host);
    map_put(&r->cache, host, e);
    return e;
}

static void look_up(struct resolver *r, struct entry *e)
{
    if (e->busy)
        return;
    e->busy = true;
    r->pending++;
    list_push_back(&r->names, &e->queued);
    pthread_cond_signal(&r->wake);
}

/* Called with the lock. true: answered from the cache. */
static bool from_cache(struct resolver *r, struct entry *e, usec_t now, struct resolver_addrs *out,
                       struct error *err)
{
    if (!e->known || now >= e->expires)
        return false;
    *out = e->addrs;
    if (e->addrs.n == 0)
        (void)error_set(err, ST_MISSING, "%s", e->err.text);
    else if (now - e->asked >= (e->expires - e->asked) / 4 * 3)
        look_up(r, e);
    return true;
}

bool resolver_ask(struct resolver *r, const char *host, struct resolver_addrs *out,
                  struct error *err, struct resolver_ask ask)
{
    uint32_t len = 0;
    struct str name = str_of(host);
    memset(out, 0, sizeof(*out));
    if (sockopt_parse(name, 0, &out->addr[0], &len)) {
        out->n = 1;
        out->generation = hash_bytes(out->addr, sizeof(out->addr[0]), 0);
        return true;
    }
    if (name.n == 0 || name.n >= NAME_CAP) {
        (void)error_set(err, ST_INVALID, "\"%.64s\" is not a host name", host);
        return true;
    }
    usec_t now = clock_mono_us();
    pthread_mutex_lock(&r->lock);
    struct entry *e = entry_of(r, name, now);
    bool answered = from_cache(r, e, now, out, err);
    if (!answered) {
        struct waiter *w = mem_new(sizeof(*w));
        list_init(&w->link);
        w->ask = ask;
        list_push_back(&e->waiters, &w->link);
        look_up(r, e);
    }
    pthread_mutex_unlock(&r->lock);
    return answered;
}

void resolver_run(struct resolver *r, void (*fn)(void *arg), void *arg)
{
    struct job *j = mem_new(sizeof(*j));
    list_init(&j->link);
    j->fn = fn;
    j->arg = arg;
    pthread_mutex_lock(&r->lock);
    list_push_back(&r->jobs, &j->link);
    pthread_cond_signal(&r->wake);
    pthread_mutex_unlock(&r->lock);
}

void resolver_each(struct resolver *r,
                   void (*row)(void *arg, const char *host, usec_t ttl,
                               const struct resolver_addrs *a),
                   void *arg)
{
    struct str host;
    void *value = NULL;
    usec_t now = clock_mono_us();
    pthread_mutex_lock(&r->lock);
    for (size_t i = 0; map_next(&r->cache, &i, &host, &value);) {
        const struct entry *e = value;
        row(arg, e->host, now < e->expires ? e->expires - now : 0, &e->addrs);
    }
    pthread_mutex_unlock(&r->lock);
}

void resolver_counts(struct resolver *r, size_t *names, size_t *pending)
{
    pthread_mutex_lock(&r->lock);
    *names = map_count(&r->cache);
    *pending = r->pending;
    pthread_mutex_unlock(&r->lock);
}
