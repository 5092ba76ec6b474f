/* ready.c - whether new clients can be served; see ready.h.  Main thread, but on_resolved. */
#include "proxy/http/ready.h"

#include "base/mem.h"
#include "proxy/config/config.h"
#include "proxy/net/sockopt.h"
#include "proxy/pool/registry.h"

#include <errno.h>
#include <ev.h>
#include <stdatomic.h>
#include <unistd.h>

#define FRESH_US (1 * USEC_PER_SEC)
#define TRY_S 2.0
#define LINES_MAX 20

struct probe { /* of one host */
    struct message m;
    struct list link;
    struct ready *ready; /* borrowed */
    char *host;          /* owned */
    int port;
    bool running, resolving; /* resolving: `found` and `refused` belong to the resolver's thread */
    bool wanted, ok;
    usec_t at; /* of the last result; 0: none yet */
    struct error why;
    struct resolver_addrs found, addrs;
    struct error refused;
    int addr_at, fd;
    ev_io io;
    ev_timer limit;
};

struct ready {
    struct process *process; /* borrowed */
    void (*done)(void *arg);
    void *arg;
    struct list probes;
    int nprobes, running;
    bool stopped;
};

/* ---- one try --------------------------------------------------------------------------------- */

static struct ev_loop *loop_of(const struct probe *p)
{
    return p->ready->process->main_box->loop;
}

static void close_socket(struct probe *p)
{
    ev_io_stop(loop_of(p), &p->io);
    if (p->fd >= 0)
        close(p->fd);
    p->fd = -1;
}

static const char *reason(int e)
{
    const char *text = strerrordesc_np(e);
    return text != NULL ? text : "connecting failed";
}

/* why NULL: it is reachable. */
static void finish(struct probe *p, const char *why)
{
    struct ready *r = p->ready;
    if (!p->running)
        return;
    close_socket(p);
    ev_timer_stop(loop_of(p), &p->limit);
    p->running = false;
    p->ok = why == NULL;
    p->at = clock_mono_us();
    if (why != NULL)
        str_copy(p->why.text, sizeof(p->why.text), str_of(why));
    if (--r->running == 0 && !r->stopped)
        r->done(r->arg);
}

static void try_next(struct probe *p, const char *why);

static void on_writable(struct ev_loop *loop, ev_io *io, int revents)
{
    (void)loop;
    (void)revents;
    struct probe *p = container_of(io, struct probe, io);
    int e = 0;
    socklen_t n = sizeof(e);
    if (getsockopt(p->fd, SOL_SOCKET, SO_ERROR, &e, &n) != 0)
        e = errno;
    if (e == 0)
        finish(p, NULL);
    else
        try_next(p, reason(e));
}

static void connect_to(struct probe *p, const struct sockaddr *sa, uint32_t len)
{
    p->fd = socket(sa->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (p->fd < 0) {
        finish(p, reason(errno));
        return;
    }
    if (connect(p->fd, sa, len) == 0) {
        finish(p, NULL);
    } else if (errno == EINPROGRESS) {
        ev_io_set(&p->io, p->fd, EV_WRITE);
        ev_io_start(loop_of(p), &p->io);
    } else {
        try_next(p, reason(errno));
    }
}

/* The next address of the host; why: what became of the last. */
static void try_next(struct probe *p, const char *why)
{
    close_socket(p);
    if (p->addr_at >= p->addrs.n) {
        finish(p, why);
        return;
    }
    struct sockaddr_storage ss = p->addrs.addr[p->addr_at++];
    sockopt_set_port(&ss, (uint16_t)p->port);
    connect_to(p, (const struct sockaddr *)&ss, sockopt_len((const struct sockaddr *)&ss));
}

static void use_answer(struct probe *p)
{
    p->addrs = p->found;
    p->addr_at = 0;
    try_next(p, p->refused.text[0] != '\0' ? p->refused.text : "it has no address");
}

static void deliver(struct message *m, void *ctx)
{
    struct probe *p = container_of(m, struct probe, m);
    (void)ctx;
    p->resolving = false;
    if (p->running)
        use_answer(p);
}

/* On a resolver thread. */
static void on_resolved(void *arg, const struct resolver_addrs *addrs, const struct error *err)
{
    struct probe *p = arg;
    p->found.n = 0;
    p->refused.text[0] = '\0';
    if (addrs != NULL)
        p->found = *addrs;
    if (err != NULL)
        p->refused = *err;
    p->m.deliver = deliver;
    (void)!mailbox_post(p->ready->process->main_box, &p->m); /* refused: the process ends */
}

static void on_limit(struct ev_loop *loop, ev_timer *t, int revents)
{
    (void)loop;
    (void)revents;
    finish(container_of(t, struct probe, limit), "no answer in time");
}

static void begin(struct probe *p)
{
    struct sockaddr_storage ss;
    uint32_t len;
    struct error err;
    p->running = true;
    p->ready->running++;
    ev_timer_set(&p->limit, TRY_S, 0.);
    ev_timer_start(loop_of(p), &p->limit);
    if (p->host[0] == '/' || p->host[0] == '@') {
        p->addrs.n = p->addr_at = 0;
        if (sockopt_unix_addr(p->host, (uint16_t)p->port, &ss, &len, &err) != ST_OK)
            finish(p, err.text);
        else
            connect_to(p, (const struct sockaddr *)&ss, len);
        return;
    }
    if (p->resolving)
        return; /* the answer to the last question is still to come: it will do */
    p->refused.text[0] = '\0';
    if (resolver_ask(p->ready->process->resolver, p->host, &p->found, &p->refused,
                     (struct resolver_ask){on_resolved, p}))
        use_answer(p);
    else
        p->resolving = true;
}

/* ---- all of them ----------------------------------------------------------------------------- */

static struct probe *find(const struct ready *r, const struct config_host *h)
{
    struct list *it, *tmp;
    LIST_EACH(it, tmp, &r->probes) {
        struct probe *p = container_of(it, struct probe, link);
        if (p->port == h->port && strcmp(p->host, h->host) == 0)
            return p;
    }
    return NULL;
}

static void want(struct ready *r, const struct config_host *h)
{
    struct probe *p = find(r, h);
    if (p == NULL && r->nprobes < READY_HOSTS_MAX) {
        p = mem_new(sizeof(*p));
        p->ready = r;
        p->host = str_dup(str_of(h->host));
        p->port = h->port;
        p->fd = -1;
        ev_io_init(&p->io, on_writable, -1, EV_WRITE);
        ev_timer_init(&p->limit, on_limit, TRY_S, 0.);
        list_init(&p->link);
        list_push_back(&r->probes, &p->link);
        r->nprobes++;
    }
    if (p != NULL)
        p->wanted = true;
}

static void probe_free(struct probe *p)
{
    p->ready->nprobes--;
    list_remove(&p->link);
    mem_free(p->host);
    mem_free(p);
}

/* Those of hosts that no entry names any more go. */
static void follow(struct ready *r, const struct config *cfg)
{
    struct list *it, *tmp;
    LIST_EACH(it, tmp, &r->probes)
        container_of(it, struct probe, link)->wanted = false;
    for (size_t i = 0; i < cfg->entries->ndatabases; i++)
        for (size_t k = 0; k < cfg->entries->databases[i]->nhosts; k++)
            want(r, &cfg->entries->databases[i]->hosts[k]);
    LIST_EACH(it, tmp, &r->probes) {
        struct probe *p = container_of(it, struct probe, link);
        if (!p->wanted && !p->running && !p->resolving)
            probe_free(p);
    }
}

bool ready_refresh(struct ready *r, const struct config *cfg)
{
    struct list *it, *tmp;
    usec_t now = clock_mono_us();
    if (r->running > 0)
        return false;
    follow(r, cfg);
    r->running++; /* one that ends at once must not end all */
    LIST_EACH(it, tmp, &r->probes) {
        struct probe *p = container_of(it, struct probe, link);
        if (p->wanted && (p->at == 0 || now - p->at > FRESH_US))
            begin(p);
    }
    return --r->running == 0;
}

/* ---- the verdict ----------------------------------------------------------------------------- */

/* Of the whole process; NULL: nothing is in the way. */
static const char *obstacle(const struct process *p, const struct config *cfg)
{
    if (process_phase(p) != PHASE_RUN)
        return "draining";
    if (atomic_load(&p->shared.suspended))
        return "suspended";
    if (atomic_load(&p->shared.paused))
        return "paused";
    if (atomic_load_explicit(&p->shared.clients, memory_order_relaxed) >= cfg->opt.max_client_conn)
        return "max_client_conn clients are connected";
    return NULL;
}

static const char *hold_of(const struct ready *r, const struct config_database *d)
{
    if (d->is_auto)
        return NULL;
    const struct db_shared *s = registry_db(r->process->registry, str_of(d->name));
    uint32_t hold = atomic_load_explicit(&s->shared.hold, memory_order_relaxed);
    if (hold & DB_DISABLED)
        return "disabled";
    return hold & DB_PAUSED ? "paused" : NULL;
}

/* The host it failed at; NULL: some host is reachable, or has not been tried. */
static const struct probe *unreachable(const struct ready *r, const struct config_database *d)
{
    const struct probe *bad = NULL;
    for (size_t i = 0; i < d->nhosts; i++) {
        const struct probe *p = find(r, &d->hosts[i]);
        if (p == NULL || p->ok)
            return NULL;
        bad = p;
    }
    return bad;
}

/* Whether it can be used; appends why not. */
static bool database_ready(const struct ready *r, const struct config_database *d, struct buf *why)
{
    const char *hold = hold_of(r, d);
    const struct probe *bad = hold == NULL ? unreachable(r, d) : NULL;
    if (hold == NULL && bad == NULL)
        return true;
    if (why == NULL)
        return false;
    if (hold != NULL)
        buf_printf(why, "database %s: %s\n", d->name, hold);
    else
        buf_printf(why, "database %s: cannot connect to %s:%d: %s\n", d->name, bad->host, bad->port,
                   bad->why.text);
    return false;
}

bool ready_report(const struct ready *r, const struct config *cfg, struct buf *why)
{
    const struct config_entries *e = cfg->entries;
    const char *text = obstacle(r->process, cfg);
    if (text != NULL) {
        buf_printf(why, "%s\n", text);
        return false;
    }
    size_t good = 0, bad = 0;
    for (size_t i = 0; i < e->ndatabases; i++) {
        if (database_ready(r, e->databases[i], bad < LINES_MAX ? why : NULL))
            good++;
        else
            bad++;
    }
    if (bad > LINES_MAX)
        buf_printf(why, "and %zu more\n", bad - LINES_MAX);
    return good > 0 || bad == 0;
}

/* ---- life ------------------------------------------------------------------------------------ */

struct ready *ready_new(struct process *p, void (*done)(void *arg), void *arg)
{
    struct ready *r = mem_new(sizeof(*r));
    r->process = p;
    r->done = done;
    r->arg = arg;
    list_init(&r->probes);
    return r;
}

void ready_stop(struct ready *r)
{
    struct list *it, *tmp;
    r->stopped = true;
    LIST_EACH(it, tmp, &r->probes)
        finish(container_of(it, struct probe, link), "the process ends");
}

void ready_free(struct ready **rp)
{
    struct ready *r = *rp;
    struct list *l;
    *rp = NULL;
    if (r == NULL)
        return;
    while ((l = list_first(&r->probes)) != NULL)
        probe_free(container_of(l, struct probe, link));
    mem_free(r);
}
