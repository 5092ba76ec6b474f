/* resolver.h - names to addresses without blocking a loop, with a process-wide cache.
 *
 * Workers ask; two threads call getaddrinfo; the answer comes to the worker's mailbox.  Also runs
 * other blocking checks of a login (PAM, LDAP) so that no worker ever waits for them.
 * The cache keeps answers for dns_max_ttl and failures for dns_nxdomain_ttl.  A name that is asked
 * for in the last quarter of its time is looked up again while nobody waits, so a name in use never
 * expires; `generation` tells whether the set of addresses differs.  An expired name is waited for:
 * an address that was right long ago is not used.
 * Of several threads one is always kept for names, so that a slow PAM or LDAP server cannot stop
 * them. The mutex inside is one of the named exceptions of design.md ("Threads"): held for a table
 * look-up, never during one of the network's, and only when a server connection is opened.
 */
#ifndef PENSTOCK_PROXY_RESOLVER_H
#define PENSTOCK_PROXY_RESOLVER_H

#include "base/clock.h"
#include "base/status.h"
#include "base/str.h"

#include <netinet/in.h>
#include <sys/socket.h>

#define RESOLVER_ADDRS_MAX 16

struct resolver;

struct resolver_addrs { /* sorted: IPv4 first, then by value; ports are zero */
    int n;
    struct sockaddr_storage addr[RESOLVER_ADDRS_MAX];
    uint64_t generation; /* a hash of the set of addresses: equal sets, equal generations */
};

struct resolver *resolver_new(int threads); /* their signals are blocked */
/* Waits for what the threads are doing now (getaddrinfo cannot be interrupted); what is queued is
 * dropped without an answer, resolver_run's functions unrun. */
void resolver_free(struct resolver **r);
void resolver_set_ttl(struct resolver *r, usec_t ttl, usec_t nx_ttl);

/* Numeric addresses and fresh cache entries are answered at once: true and *out filled (or *err for
 * a cached failure, then out->n is 0). Otherwise false, and done is called later, on a resolver
 * thread (it must only post to a mailbox; addrs NULL: failed with err). Any thread may ask. */
struct resolver_ask {
    void (*done)(void *arg, const struct resolver_addrs *addrs, const struct error *err);
    void *arg;
};
bool resolver_ask(struct resolver *r, const char *host, struct resolver_addrs *out,
                  struct error *err, struct resolver_ask ask);
/* Runs a blocking function on a resolver thread. Nothing bounds the queue: the caller's limits
 * do. */
void resolver_run(struct resolver *r, void (*fn)(void *arg), void *arg);

/* For SHOW DNS_HOSTS: calls row for each name under the lock; ttl: what is left, a->n is 0 for a
 * failure. row must not call the resolver. pending: names being looked up. */
void resolver_each(struct resolver *r,
                   void (*row)(void *arg, const char *host, usec_t ttl,
                               const struct resolver_addrs *a),
                   void *arg);
void resolver_counts(struct resolver *r, size_t *names, size_t *pending);

/* Test hook, before the first question: looks names up instead of getaddrinfo, on a resolver
 * thread. Fills addr in any order, with repetitions if it likes; n: how many, at most
 * RESOLVER_ADDRS_MAX. */
void resolver_set_lookup(struct resolver *r,
                         enum status (*lookup)(const char *host, struct resolver_addrs *out,
                                               struct error *err));

#endif
