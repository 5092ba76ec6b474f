/* pool_dns.c - servers whose name has come to mean other addresses are retired; see pool.h.
 *
 * The resolver is asked once a second for each host of a pool that has servers; a name in use is
 * kept fresh by that.  What is not in its cache comes later, as a message: the next question might
 * find it expired again, and so for ever.  A server goes when its own address is no longer among
 * the answer's: a name that hands out a changing choice of many addresses does not make everything
 * reconnect.  The machine that the name now means may lack what the old one had, so cached answers
 * go with the first server that does.
 * Thread: the worker's.
 */
#include "base/mem.h"
#include "proxy/pool/pool.h"
#include "proxy/server.h"
#include "proxy/session_cache.h"

#include <netinet/in.h>

#define ASK_US USEC_PER_SEC

struct question { /* owned by whoever will answer it */
    struct worker *worker;
    struct pool_shared *pool;
    struct str host; /* owned */
    struct resolver_addrs addrs;
};

static bool same_address(const struct sockaddr_storage *a, const struct sockaddr_storage *b)
{
    if (a->ss_family != b->ss_family)
        return false;
    if (a->ss_family == AF_INET)
        return ((const struct sockaddr_in *)(const void *)a)->sin_addr.s_addr ==
               ((const struct sockaddr_in *)(const void *)b)->sin_addr.s_addr;
    return memcmp(&((const struct sockaddr_in6 *)(const void *)a)->sin6_addr,
                  &((const struct sockaddr_in6 *)(const void *)b)->sin6_addr,
                  sizeof(struct in6_addr)) == 0;
}

/* True: some are to go. */
static bool compare_list(struct list *servers, int host, const struct resolver_addrs *now)
{
    struct list *it, *tmp;
    bool any = false;
    LIST_EACH(it, tmp, servers) {
        struct server *s = container_of(it, struct server, link);
        if (s->host_index != host || s->dns_generation == 0 || s->dns_generation == now->generation)
            continue;
        s->dns_generation = now->generation;
        s->dns_stale = true;
        for (int i = 0; i < now->n; i++)
            s->dns_stale = s->dns_stale && !same_address(&s->addr, &now->addr[i]);
        any = any || s->dns_stale;
    }
    return any;
}

static void compare(struct pool *p, int host, const struct resolver_addrs *now)
{
    bool gone = compare_list(&p->idle, host, now);
    gone = compare_list(&p->active, host, now) || gone;
    gone = compare_list(&p->sharing, host, now) || gone;
    if (gone)
        session_cache_retarget(p);
}

static void question_free(struct question *q)
{
    mem_free((void *)(uintptr_t)q->host.p);
    mem_free(q);
}

static int nhosts(const struct pool *p)
{
    return (int)MIN(p->db->nhosts, (size_t)POOL_HOSTS_MAX);
}

/* The pool may have gone meanwhile, or its hosts may be others. */
static void on_answer(struct worker *w, void *arg)
{
    struct question *q = arg;
    struct pool *p = pool_by_shared(w, q->pool);
    for (int i = 0; p != NULL && i < nhosts(p); i++)
        if (str_eq(str_of(p->db->hosts[i].host), q->host))
            compare(p, i, &q->addrs);
    question_free(q);
}

/* A name that cannot be resolved for now says nothing about its servers. Resolver thread. */
static void answered(void *arg, const struct resolver_addrs *addrs, const struct error *err)
{
    struct question *q = arg;
    (void)err;
    if (addrs == NULL) {
        question_free(q);
        return;
    }
    q->addrs = *addrs;
    worker_post_call(q->worker, on_answer, q);
}

static void ask(struct pool *p, int host)
{
    struct str name = str_of(p->db->hosts[host].host);
    struct question *q = mem_new(sizeof(*q));
    struct resolver_addrs addrs = {0};
    struct error err;
    q->worker = p->worker;
    q->pool = p->shared;
    q->host = (struct str){str_dup(name), name.n};
    struct resolver_ask later = {answered, q};
    if (!resolver_ask(p->worker->process->resolver, name.p, &addrs, &err, later))
        return;
    question_free(q);
    if (addrs.n > 0)
        compare(p, host, &addrs);
}

void pool_dns_check(struct pool *p)
{
    if (p->nidle + p->nactive + p->nsharing == 0 || p->worker->now - p->dns_asked_at < ASK_US)
        return;
    p->dns_asked_at = p->worker->now;
    for (int i = 0; i < nhosts(p); i++)
        if (p->db->hosts[i].host[0] != '/' && p->db->hosts[i].host[0] != '@')
            ask(p, i);
}
