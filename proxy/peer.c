/* peer.c - cancel requests for other processes of a group, passed on to them; see peer.h.
 *
 * Thread: the worker's that peer_worker names, but for peer_pass_on.
 */
#include "proxy/peer.h"

#include "base/log.h"
#include "base/mem.h"
#include "proxy/cancel_conn.h"
#include "proxy/net/resolver.h"
#include "proxy/net/sockopt.h"

struct peer {
    struct list link; /* worker->peers */
    struct worker *worker;
    int id;
    int nrunning;
    bool choosing;                /* run_waiting is on the stack */
    struct list running, waiting; /* struct passing, oldest first */
};

/* A name being looked up. */
struct peer_ask {
    struct message m;
    struct worker *worker;
    struct passing *passing; /* NULL: given up; the worker's thread only */
    bool ok;
    struct resolver_addrs addrs;
    struct error err;
};

struct peer_conn {
    struct cancel_conn conn; /* first */
    struct passing *passing;
};

struct passing { /* a request on its way */
    struct list link;
    int id;
    struct peer *peer; /* NULL: not on its worker yet */
    struct wire_key key;
    struct cancel_asker asker;
    struct timeout timeout;      /* until the first connection is being opened */
    struct peer_ask *ask;        /* owned by the answer; NULL: none pending */
    struct peer_conn *conn;      /* borrowed: of the address being tried; NULL: none */
    struct resolver_addrs addrs; /* of the peer */
    int at;                      /* the next of them */
    uint32_t unix_len;           /* of a Unix address, else 0 */
    uint16_t port;
    bool running; /* counted in peer->nrunning */
};

static void run_waiting(struct peer *peer);

/* ---- end ------------------------------------------------------------------------------------- */

static void passing_free(struct passing *p)
{
    timeout_stop(&p->timeout);
    list_remove(&p->link);
    if (p->ask != NULL)
        p->ask->passing = NULL;
    mem_wipe(&p->key, sizeof(p->key));
    mem_free(p);
}

static void over(struct passing *p, const char *why)
{
    struct peer *peer = p->peer;
    struct cancel_asker asker = p->asker;
    if (why != NULL)
        LOG_LIMITED(LL_WARNING, "cancel request for peer %d: %s", p->id, why);
    peer->nrunning -= p->running;
    passing_free(p);
    cancel_answer(peer->worker, &asker);
    run_waiting(peer);
}

static void on_timeout(struct timeout *t)
{
    over(container_of(t, struct passing, timeout), "timed out");
}

/* ---- the connection -------------------------------------------------------------------------- */

static void try_address(struct passing *p, const char *why);

static void conn_ended(struct cancel_conn *x, enum cancel_end how)
{
    struct passing *p = ((struct peer_conn *)x)->passing;
    p->conn = NULL;
    switch (how) {
    case CANCEL_SENT:
        over(p, NULL);
        break;
    case CANCEL_UNREACHABLE:
        try_address(p, "no connection");
        break;
    case CANCEL_LATE:
        over(p, "timed out");
        break;
    case CANCEL_ABANDONED: /* peers_free does the rest */
        break;
    }
}

/* The next address of the peer; why: what became of the one before. */
static void try_address(struct passing *p, const char *why)
{
    struct error err = {""};
    while (p->at < p->addrs.n) {
        struct sockaddr_storage addr = p->addrs.addr[p->at++];
        struct peer_conn *x = mem_new(sizeof(*x));
        sockopt_set_port(&addr, p->port);
        x->passing = p;
        x->conn.key = p->key;
        x->conn.ended = conn_ended;
        uint32_t len = p->unix_len > 0 ? p->unix_len : sockopt_len((struct sockaddr *)&addr);
        timeout_stop(&p->timeout);
        if (cancel_conn_open(&x->conn, p->peer->worker, &addr, len, NULL, &err) == ST_OK) {
            p->conn = x;
            return;
        }
        mem_free(x);
        why = err.text;
    }
    over(p, why);
}

/* ---- the address ----------------------------------------------------------------------------- */

static void use_addrs(struct passing *p, const struct resolver_addrs *a, const char *why)
{
    p->addrs = *a;
    try_address(p, why);
}

static void on_resolved(struct message *m, void *ctx)
{
    (void)ctx;
    struct peer_ask *ask = container_of(m, struct peer_ask, m);
    struct passing *p = ask->passing;
    if (p != NULL) {
        p->ask = NULL;
        if (!ask->ok)
            ask->addrs.n = 0;
        use_addrs(p, &ask->addrs, ask->ok ? "its name has no address" : ask->err.text);
    }
    mem_free(ask);
}

/* On a resolver thread. */
static void resolved(void *arg, const struct resolver_addrs *addrs, const struct error *err)
{
    struct peer_ask *ask = arg;
    ask->ok = addrs != NULL;
    if (addrs != NULL)
        ask->addrs = *addrs;
    if (err != NULL)
        ask->err = *err;
    ask->m.deliver = on_resolved;
    if (!mailbox_post(&ask->worker->mailbox, &ask->m))
        mem_free(ask);
}

static void look_up(struct passing *p, const char *host)
{
    struct worker *w = p->peer->worker;
    struct peer_ask *ask = mem_new(sizeof(*ask));
    struct resolver_addrs addrs = {.n = 0};
    struct error err = {""};
    ask->worker = w;
    ask->passing = p;
    if (!resolver_ask(w->process->resolver, host, &addrs, &err,
                      (struct resolver_ask){resolved, ask})) {
        p->ask = ask;
        return;
    }
    mem_free(ask);
    use_addrs(p, &addrs, err.text[0] != '\0' ? err.text : "its name has no address");
}

static void begin(struct passing *p)
{
    const struct config_peer *cfg = config_find_peer(worker_config(p->peer->worker), p->id);
    struct error err;
    list_remove(&p->link);
    list_push_back(&p->peer->running, &p->link);
    p->peer->nrunning++;
    p->running = true;
    if (cfg == NULL) { /* a reload has taken it away */
        over(p, "not a peer any more");
        return;
    }
    p->port = (uint16_t)cfg->port;
    if (cfg->host[0] != '/' && cfg->host[0] != '@') {
        look_up(p, cfg->host);
        return;
    }
    if (sockopt_unix_addr(cfg->host, p->port, &p->addrs.addr[0], &p->unix_len, &err) != ST_OK) {
        over(p, err.text);
        return;
    }
    p->addrs.n = 1;
    try_address(p, NULL);
}

/* ---- taking turns ---------------------------------------------------------------------------- */

static int limit_of(const struct peer *peer)
{
    const struct config_peer *cfg = config_find_peer(worker_config(peer->worker), peer->id);
    if (cfg == NULL)
        return 0;
    return cfg->pool_size >= 0 ? cfg->pool_size : worker_options(peer->worker)->default_pool_size;
}

/* What ends at once must not come back in here for each that waits. */
static void run_waiting(struct peer *peer)
{
    struct list *first;
    int limit = limit_of(peer);
    if (peer->choosing)
        return;
    peer->choosing = true;
    while ((limit == 0 || peer->nrunning < limit) && (first = list_first(&peer->waiting)) != NULL)
        begin(container_of(first, struct passing, link));
    peer->choosing = false;
}

static struct peer *find(const struct worker *w, int id)
{
    struct list *it, *tmp;
    LIST_EACH(it, tmp, &w->peers) {
        struct peer *peer = container_of(it, struct peer, link);
        if (peer->id == id)
            return peer;
    }
    return NULL;
}

static struct peer *make(struct worker *w, int id)
{
    struct peer *peer = mem_new(sizeof(*peer));
    peer->worker = w;
    peer->id = id;
    list_init(&peer->running);
    list_init(&peer->waiting);
    list_init(&peer->link);
    list_push_back(&w->peers, &peer->link);
    return peer;
}

static void take(struct worker *w, void *arg)
{
    struct passing *p = arg;
    p->peer = find(w, p->id);
    if (p->peer == NULL)
        p->peer = make(w, p->id);
    list_push_back(&p->peer->waiting, &p->link);
    worker_timeout(w, &p->timeout, worker_options(w)->cancel_wait_timeout);
    run_waiting(p->peer);
}

unsigned peer_worker(const struct process *p, int peer)
{
    return (unsigned)peer % p->nworkers;
}

void peer_pass_on(struct worker *w, int peer, const struct wire_key *key,
                  const struct cancel_asker *asker)
{
    struct passing *p = mem_new(sizeof(*p));
    struct worker *owner = w->process->workers[peer_worker(w->process, peer)];
    list_init(&p->link);
    timeout_init(&p->timeout, on_timeout);
    p->id = peer;
    p->key = *key;
    p->asker = *asker;
    if (!w->wire->key_pass_on(&p->key)) {
        LOG_LIMITED(LL_WARNING,
                    "cancel request for peer %d: passed on too often, peer_id and "
                    "[peers] of the processes do not agree",
                    peer);
        passing_free(p);
        cancel_answer(w, asker);
    } else if (owner == w) {
        take(w, p);
    } else {
        worker_post_call(owner, take, p);
    }
}

void peer_count(const struct worker *w, int peer, struct peer_counts *out)
{
    struct list *it, *tmp;
    const struct peer *x = find(w, peer);
    *out = (struct peer_counts){0, 0, 0};
    if (x == NULL)
        return;
    out->waiting = (int64_t)list_count(&x->waiting);
    LIST_EACH(it, tmp, &x->running) {
        const struct passing *p = container_of(it, struct passing, link);
        bool sent = p->conn != NULL && p->conn->conn.sent;
        out->sent += sent;
        out->connecting += !sent;
    }
}

void peers_free(struct worker *w)
{
    struct list *first, *it, *tmp;
    while ((first = list_first(&w->peers)) != NULL) {
        struct peer *peer = container_of(first, struct peer, link);
        LIST_EACH(it, tmp, &peer->running)
            passing_free(container_of(it, struct passing, link));
        LIST_EACH(it, tmp, &peer->waiting)
            passing_free(container_of(it, struct passing, link));
        list_remove(&peer->link);
        mem_free(peer);
    }
}
