/* pool_dns.c - servers whose name has come to mean other addresses are retired; see pool.h.
 *
 * The resolver's cache is asked once a second for each host of a pool that has servers; a name in
 * use is kept fresh by that.  A server goes when its own address is no longer among the answer's: a
 * name that hands out a changing choice of many addresses does not make everything reconnect.
 * Thread: the worker's.
 */
#include "proxy/pool/pool.h"
#include "proxy/server.h"

#include <netinet/in.h>

#define ASK_US USEC_PER_SEC

/* The answer is for the cache; the next question finds it there. */
static void ignore(void *arg, const struct resolver_addrs *addrs, const struct error *err)
{
    (void)arg;
    (void)addrs;
    (void)err;
}

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

static void compare(struct list *servers, int host, const struct resolver_addrs *now)
{
    struct list *it, *tmp;
    LIST_EACH(it, tmp, servers) {
        struct server *s = container_of(it, struct server, link);
        if (s->host_index != host || s->dns_generation == 0 || s->dns_generation == now->generation)
            continue;
        s->dns_generation = now->generation;
        s->dns_stale = true;
        for (int i = 0; i < now->n; i++)
            s->dns_stale = s->dns_stale && !same_address(&s->addr, &now->addr[i]);
    }
}

void pool_dns_check(struct pool *p)
{
    if (p->nidle + p->nactive + p->nsharing == 0 || p->worker->now - p->dns_asked_at < ASK_US)
        return;
    p->dns_asked_at = p->worker->now;
    for (int i = 0; i < (int)MIN(p->db->nhosts, (size_t)POOL_HOSTS_MAX); i++) {
        const char *host = p->db->hosts[i].host;
        struct resolver_addrs addrs = {0};
        struct error err;
        struct resolver_ask ask = {ignore, NULL};
        if (host[0] == '/' || host[0] == '@' ||
            !resolver_ask(p->worker->process->resolver, host, &addrs, &err, ask) || addrs.n == 0)
            continue; /* a name that cannot be resolved for now says nothing about its servers */
        compare(&p->idle, i, &addrs);
        compare(&p->active, i, &addrs);
        compare(&p->sharing, i, &addrs);
    }
}
