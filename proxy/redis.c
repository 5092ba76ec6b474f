/* redis.c - see redis.h. */
#include "proxy/redis.h"

#include "base/check.h"
#include "base/log.h"
#include "base/mem.h"
#include "proxy/config/config_cache.h"
#include "proxy/net/conn.h"
#include "proxy/net/conn_tls.h"
#include "proxy/net/sockopt.h"
#include "proxy/worker.h"

#include <errno.h>
#include <unistd.h>

#define GREET_US USEC_PER_SEC /* of each step until the connection is there */
#define PAUSE_MAX_US (5 * (int64_t)USEC_PER_SEC)
#define REPLY_MAX ((size_t)32 << 20)
#define TIMER_MIN_US 100 /* libev rounds; a timer that fires too early is set again */

enum redis_state {
    REDIS_OFF,     /* not wanted */
    REDIS_PAUSE,   /* until the link's time */
    REDIS_RESOLVE, /* waits for the address */
    REDIS_CONNECT,
    REDIS_LINKED, /* the link has it */
};

struct lookup; /* of the address */

struct redis {
    struct conn conn; /* first */
    struct worker *worker;
    enum redis_state state;
    struct cache_link link;
    struct cache_link_setup setup; /* borrows from these, which are owned: */
    char *host, *user, *password;
    int port;
    struct tls_ctx *tls; /* reference; NULL: plain */
    usec_t connect_until;
    int64_t refused;
    ev_timer timer;
    void (*up)(struct worker *w);
    struct lookup *lookup; /* owned by its answer */
};

struct lookup {
    struct message m;
    struct worker *worker;
    struct redis *redis; /* NULL: no longer wanted */
    struct resolver_addrs addrs;
};

/* ---- states ---------------------------------------------------------------------------------- */

static usec_t due(const struct redis *r)
{
    switch (r->state) {
    case REDIS_OFF:
        break;
    case REDIS_RESOLVE:
    case REDIS_CONNECT:
        return r->connect_until;
    case REDIS_PAUSE:
    case REDIS_LINKED:
        return cache_link_due(&r->link);
    }
    return INT64_MAX;
}

/* A timer that fires too early is set again, so it is only moved when it would fire too late. */
static void arm(struct redis *r)
{
    usec_t at = due(r);
    double after = (double)MAX(at - r->worker->now, TIMER_MIN_US) / USEC_PER_SEC;
    if (at == INT64_MAX ||
        (ev_is_active(&r->timer) && ev_timer_remaining(r->worker->loop, &r->timer) <= after))
        return;
    ev_timer_stop(r->worker->loop, &r->timer);
    ev_timer_set(&r->timer, after, 0.);
    ev_timer_start(r->worker->loop, &r->timer);
}

/* The one place that changes it; the timer belongs to the state. */
static void set_state(struct redis *r, enum redis_state to)
{
    r->state = to;
    if (to == REDIS_RESOLVE)
        r->connect_until = r->worker->now + GREET_US;
    ev_timer_stop(r->worker->loop, &r->timer);
    arm(r);
}

static void drop(struct redis *r)
{
    if (r->lookup != NULL)
        r->lookup->redis = NULL;
    r->lookup = NULL;
    if (r->state >= REDIS_CONNECT)
        conn_close(&r->conn);
}

/* Who waits hears that there is no answer. why NULL: the link knows. */
static void fail(struct redis *r, const char *why)
{
    drop(r);
    r->state = REDIS_PAUSE;
    cache_link_lost(&r->link, why, r->worker->now);
    LOG_LIMITED(LL_WARNING, "Redis %s:%d: %s", r->host, r->port, r->link.reason);
    set_state(r, REDIS_PAUSE);
}

/* What the link has to say goes out at the turn's end. */
static void pass_on(struct redis *r)
{
    if (buf_len(&r->link.out) == 0)
        return;
    outq_put_str(&r->conn.out, buf_str(&r->link.out));
    buf_reset(&r->link.out);
    conn_dirty(&r->conn);
    arm(r);
}

/* ---- commands -------------------------------------------------------------------------------- */

bool redis_is_up(const struct redis *r)
{
    return r->state == REDIS_LINKED && r->link.state == CACHE_LINK_UP;
}

static bool takes_more(struct redis *r)
{
    return redis_is_up(r) && !conn_above_high(&r->conn);
}

bool redis_send(struct redis *r, struct cache_batch *b, int n, const struct cache_redis_where *w)
{
    if (!takes_more(r) || !cache_link_send(&r->link, b, n, w, r->worker->now)) {
        r->refused++;
        return false;
    }
    pass_on(r);
    return true;
}

bool redis_tell(struct redis *r, const struct cache_cmd *c, const struct cache_redis_where *w)
{
    if (!takes_more(r) || !cache_link_tell(&r->link, c, w))
        return false;
    pass_on(r);
    return true;
}

void redis_last_words(struct redis *r, const struct cache_cmd *c, const struct cache_redis_where *w)
{
    if (redis_tell(r, c, w))
        conn_flush(&r->conn);
}

uint64_t redis_server(const struct redis *r)
{
    return redis_is_up(r) ? r->link.server : 0;
}

/* ---- the connection -------------------------------------------------------------------------- */

static size_t on_data(struct conn *c, struct str data, bool full)
{
    struct redis *r = (struct redis *)c;
    bool was_up = redis_is_up(r);
    (void)full;
    if (cache_link_input(&r->link, data, r->worker->now) != ST_OK) {
        fail(r, NULL);
        return data.n;
    }
    if (!was_up && redis_is_up(r))
        r->up(r->worker);
    pass_on(r); /* scripts may have had to be sent again */
    return data.n;
}

static void on_gone(struct conn *c, const char *why)
{
    fail((struct redis *)c, why);
}

static void on_drained(struct conn *c)
{
    (void)c;
}

static void on_ready(struct conn *c)
{
    struct redis *r = (struct redis *)c;
    cache_link_connected(&r->link, r->worker->now);
    set_state(r, REDIS_LINKED);
    pass_on(r);
}

static void on_connected(struct conn *c)
{
    struct redis *r = (struct redis *)c;
    struct tls *t = r->tls != NULL ? tls_start(r->tls, c->fd, false, r->host, false) : NULL;
    if (t != NULL)
        conn_secure(c, t);
    else if (r->tls != NULL)
        fail(r, "out of memory for TLS");
    else
        on_ready(c);
}

static const struct conn_ops redis_ops = {.on_data = on_data,
                                          .on_gone = on_gone,
                                          .on_drained = on_drained,
                                          .on_connected = on_connected,
                                          .on_secure = on_ready};

static void dial(struct redis *r, const struct resolver_addrs *a)
{
    struct sockaddr_storage addr = a->addr[0];
    struct error err = {.text = "no socket"};
    sockopt_set_port(&addr, (uint16_t)r->port);
    int fd = socket(addr.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        fail(r, err.text);
        return;
    }
    memset(&r->conn, 0, sizeof(r->conn));
    conn_init(&r->conn, r->worker, &redis_ops, fd);
    r->conn.is_server = true;
    set_state(r, REDIS_CONNECT);
    if (conn_connect(&r->conn, (const struct sockaddr *)&addr,
                     sockopt_len((struct sockaddr *)&addr), &err) != ST_OK)
        fail(r, err.text);
}

static void on_resolved(struct message *m, void *ctx)
{
    struct lookup *l = container_of(m, struct lookup, m);
    struct redis *r = l->redis;
    (void)ctx;
    if (r != NULL) {
        r->lookup = NULL;
        if (l->addrs.n > 0)
            dial(r, &l->addrs);
        else
            fail(r, "its name cannot be resolved");
    }
    mem_free(l);
}

static void resolved(void *arg, const struct resolver_addrs *addrs, const struct error *err)
{
    struct lookup *l = arg;
    (void)err;
    if (addrs != NULL)
        l->addrs = *addrs;
    if (!mailbox_post(&l->worker->mailbox, &l->m))
        mem_free(l);
}

static void start(struct redis *r)
{
    struct lookup *l = mem_new(sizeof(*l));
    struct error err;
    struct resolver_addrs addrs = {.n = 0};
    l->m.deliver = on_resolved;
    l->worker = r->worker;
    l->redis = r;
    r->lookup = l;
    set_state(r, REDIS_RESOLVE);
    if (!resolver_ask(r->worker->process->resolver, r->host, &addrs, &err,
                      (struct resolver_ask){resolved, l}))
        return;
    r->lookup = NULL;
    mem_free(l);
    if (addrs.n > 0)
        dial(r, &addrs);
    else
        fail(r, "its name cannot be resolved");
}

static void on_timer(struct ev_loop *loop, ev_timer *t, int revents)
{
    struct redis *r = container_of(t, struct redis, timer);
    usec_t at = due(r);
    (void)loop;
    (void)revents;
    if (at > r->worker->now) {
        arm(r);
        return;
    }
    switch (r->state) {
    case REDIS_OFF:
        break;
    case REDIS_PAUSE:
        start(r);
        break;
    case REDIS_RESOLVE:
    case REDIS_CONNECT:
        fail(r, "does not answer");
        break;
    case REDIS_LINKED:
        if (cache_link_step(&r->link, r->worker->now)) {
            pass_on(r);
            arm(r);
        } else {
            fail(r, NULL);
        }
        break;
    }
}

/* ---- life ------------------------------------------------------------------------------------ */

struct redis *redis_new(struct worker *w, void (*up)(struct worker *w))
{
    struct redis *r = mem_new(sizeof(*r));
    r->worker = w;
    r->up = up;
    ev_timer_init(&r->timer, on_timer, 0., 0.);
    cache_link_init(&r->link, &r->setup);
    return r;
}

static void forget_setup(struct redis *r)
{
    if (r->password != NULL)
        mem_wipe(r->password, strlen(r->password));
    mem_free(r->host);
    mem_free(r->user);
    mem_free(r->password);
    r->host = r->user = r->password = NULL;
    tls_ctx_put(&r->tls);
    r->setup = (struct cache_link_setup){.timeout = 0};
}

static void stop(struct redis *r)
{
    if (r->state == REDIS_OFF)
        return;
    drop(r);
    set_state(r, REDIS_OFF);
    cache_link_lost(&r->link, "no longer wanted", r->worker->now);
}

static bool same(const struct redis *r, const struct config_cache *cfg)
{
    const struct config_cache_redis *at = &cfg->redis;
    return r->state != REDIS_OFF && strcmp(r->host, at->host) == 0 && r->port == at->port &&
           str_eq(r->setup.user, str_of(at->user)) &&
           str_eq(r->setup.password, str_of(at->password)) &&
           r->setup.database == (uint32_t)at->database &&
           r->setup.timeout == cfg->opt.redis_timeout &&
           (at->tls ? r->tls == r->worker->runtime->redis_tls : r->tls == NULL);
}

void redis_configure(struct redis *r, const struct config_cache *cfg)
{
    const struct config_cache_redis *at = &cfg->redis;
    bool wanted = at->host != NULL && cfg->nrules > 0;
    if (wanted && same(r, cfg))
        return;
    stop(r);
    forget_setup(r);
    if (!wanted)
        return;
    r->host = str_dup(str_of(at->host));
    r->user = str_dup(str_of(at->user));
    r->password = str_dup(str_of(at->password));
    r->port = at->port;
    r->tls = at->tls ? tls_ctx_get(r->worker->runtime->redis_tls) : NULL;
    r->setup = (struct cache_link_setup){.user = str_of(r->user),
                                         .password = str_of(r->password),
                                         .database = (uint32_t)at->database,
                                         .timeout = cfg->opt.redis_timeout,
                                         .greet_timeout = GREET_US,
                                         .pause_max = PAUSE_MAX_US,
                                         .reply_max = REPLY_MAX};
    start(r);
}

void redis_free(struct redis **rp)
{
    struct redis *r = *rp;
    *rp = NULL;
    stop(r);
    ev_timer_stop(r->worker->loop, &r->timer);
    cache_link_fini(&r->link);
    forget_setup(r);
    mem_free(r);
}

void redis_count(const struct redis *r, struct redis_counts *out)
{
    const struct cache_link_counts *n = &r->link.counts;
    uint64_t octaves[HISTOGRAM_OCTAVES] = {0};
    *out = (struct redis_counts){.asked = (int64_t)n->sent,
                                 .late = (int64_t)n->late,
                                 .refused = r->refused,
                                 .errors = (int64_t)n->errors,
                                 .connects = (int64_t)n->connects,
                                 .failures = (int64_t)n->losses,
                                 .wanted = r->state != REDIS_OFF,
                                 .up = redis_is_up(r)};
    out->open = out->wanted && !out->up;
    out->sum_us = (int64_t)histogram_fold(&r->link.took, octaves, NULL);
    for (int i = 0; i < HISTOGRAM_OCTAVES; i++)
        out->octaves[i] = (int64_t)octaves[i];
}
