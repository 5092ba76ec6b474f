/* redis.c - see redis.h. */
#include "proxy/redis.h"

#include "base/check.h"
#include "base/log.h"
#include "base/mem.h"
#include "proxy/config/config_cache.h"
#include "proxy/net/conn.h"
#include "proxy/net/sockopt.h"
#include "proxy/worker.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#define LATE_MAX 8                /* answers in a row that came too late */
#define VERY_LATE_US USEC_PER_SEC /* an answer; also a connection that does not come up */
#define PAUSE_MIN_US (100 * USEC_PER_SEC / 1000)
#define PAUSE_MAX_US (5 * (int64_t)USEC_PER_SEC)
#define ROW_MAX (1u << 16) /* answers awaited */
#define COMMAND_MAX ((size_t)32 << 20)
#define REPLY_MAX ((size_t)32 << 20)

static const char choose_database[] = "SELECT"; /* Redis' word for it */

enum redis_state {
    REDIS_OFF,     /* not wanted */
    REDIS_PAUSE,   /* until the timer */
    REDIS_RESOLVE, /* waits for the address */
    REDIS_CONNECT,
    REDIS_GREET, /* AUTH, SELECT, PING are under way */
    REDIS_READY,
};

struct row_slot {
    struct redis_ask *ask; /* borrowed; NULL: nobody waits */
    usec_t since;
};

struct lookup; /* of the address */

struct redis {
    struct conn conn; /* first */
    struct worker *worker;
    const struct config_cache *config; /* borrowed; NULL: not wanted */
    enum redis_state state;
    struct cache_redis_reader *reader; /* owned; of this connection */
    struct row_slot *row;              /* owned ring */
    uint32_t head, count, cap;
    uint64_t first;        /* number of the answer at the head */
    struct lookup *lookup; /* owned by its answer */
    struct timeout timer;
    usec_t pause;
    int late, greetings;
    struct redis_counts counts;
};

struct lookup {
    struct message m;
    struct worker *worker;
    struct redis *redis; /* NULL: no longer wanted */
    struct resolver_addrs addrs;
};

static void dial(struct redis *r, const struct resolver_addrs *a);

/* ---- states ---------------------------------------------------------------------------------- */

/* The one place that changes it; the timer belongs to the state. */
static void set_state(struct redis *r, enum redis_state to)
{
    r->state = to;
    switch (to) {
    case REDIS_OFF:
        timeout_stop(&r->timer);
        break;
    case REDIS_PAUSE:
        worker_timeout(r->worker, &r->timer, r->pause);
        break;
    case REDIS_RESOLVE:
    case REDIS_CONNECT:
    case REDIS_GREET:
        worker_timeout(r->worker, &r->timer, VERY_LATE_US);
        break;
    case REDIS_READY:
        r->pause = PAUSE_MIN_US;
        r->late = 0;
        worker_timeout(r->worker, &r->timer, VERY_LATE_US);
        break;
    }
}

/* ---- the row of answers ---------------------------------------------------------------------- */

static struct row_slot *slot(struct redis *r, uint32_t i)
{
    return &r->row[(r->head + i) & (r->cap - 1)];
}

static void push(struct redis *r, struct redis_ask *a)
{
    if (r->count == r->cap) {
        uint32_t cap = MAX(r->cap * 2, 64u);
        struct row_slot *bigger = mem_new(cap * sizeof(*bigger));
        for (uint32_t i = 0; i < r->count; i++)
            bigger[i] = *slot(r, i);
        mem_free(r->row);
        r->row = bigger;
        r->cap = cap;
        r->head = 0;
    }
    *slot(r, r->count) = (struct row_slot){a, r->worker->now};
    if (a != NULL)
        a->number = r->first + r->count;
    r->count++;
}

static struct redis_ask *pop(struct redis *r)
{
    struct redis_ask *a = slot(r, 0)->ask;
    r->head = (r->head + 1) & (r->cap - 1);
    r->count--;
    r->first++;
    return a;
}

static void answer(struct redis_ask *a, const struct cache_reply *reply)
{
    timeout_stop(&a->timeout);
    a->redis = NULL;
    a->done(a, reply);
}

void redis_forget(struct redis_ask *a)
{
    struct redis *r = a->redis;
    if (r == NULL)
        return;
    timeout_stop(&a->timeout);
    a->redis = NULL;
    slot(r, (uint32_t)(a->number - r->first))->ask = NULL;
}

/* ---- lost ------------------------------------------------------------------------------------ */

static void drop(struct redis *r)
{
    if (r->lookup != NULL)
        r->lookup->redis = NULL;
    r->lookup = NULL;
    if (r->state >= REDIS_CONNECT)
        conn_close(&r->conn);
    cache_redis_reader_free(&r->reader);
}

/* Who waits hears that there is no answer. */
static void fail(struct redis *r, const char *why)
{
    LOG_LIMITED(LL_WARNING, "Redis %s:%d: %s", r->config->redis.host, r->config->redis.port, why);
    r->counts.lost += r->state == REDIS_READY;
    drop(r);
    set_state(r, REDIS_PAUSE);
    r->pause = MIN(r->pause * 2, PAUSE_MAX_US);
    while (r->count > 0) {
        struct redis_ask *a = pop(r);
        if (a != NULL)
            answer(a, NULL);
    }
}

static void ask_is_late(struct timeout *t)
{
    struct redis_ask *a = container_of(t, struct redis_ask, timeout);
    struct redis *r = a->redis;
    slot(r, (uint32_t)(a->number - r->first))->ask = NULL;
    r->counts.late++;
    bool broken = ++r->late >= LATE_MAX;
    answer(a, NULL);
    if (broken && r->state == REDIS_READY)
        fail(r, "several answers in a row came too late");
}

/* ---- commands -------------------------------------------------------------------------------- */

static bool put(struct redis *r, const struct str *argv, int n, struct redis_ask *a)
{
    struct buf b;
    buf_init(&b, COMMAND_MAX);
    cache_redis_plain(argv, n, &b);
    bool ok = !b.failed && r->count < ROW_MAX;
    if (ok) {
        outq_put_str(&r->conn.out, buf_str(&b));
        push(r, a);
        conn_dirty(&r->conn);
    }
    buf_fini(&b);
    return ok;
}

bool redis_ask(struct redis *r, struct redis_ask *a, const struct str *argv, int n)
{
    if (r->state != REDIS_READY || conn_above_high(&r->conn) || !put(r, argv, n, a)) {
        r->counts.refused++;
        return false;
    }
    a->redis = r;
    r->counts.asked++;
    timeout_init(&a->timeout, ask_is_late);
    worker_timeout(r->worker, &a->timeout, r->config->opt.redis_timeout);
    return true;
}

void redis_tell(struct redis *r, const struct str *argv, int n)
{
    if (r->state == REDIS_READY && !conn_above_high(&r->conn))
        (void)put(r, argv, n, NULL);
}

/* ---- the connection -------------------------------------------------------------------------- */

static void greet(struct redis *r)
{
    const struct config_cache_redis *at = &r->config->redis;
    struct str auth[3] = {STR("AUTH"), str_of(at->user), str_of(at->password)};
    struct str password[2] = {STR("AUTH"), str_of(at->password)};
    struct str ping[1] = {STR("PING")};
    char number[16];
    snprintf(number, sizeof(number), "%d", at->database);
    struct str choose[2] = {str_of(choose_database), str_of(number)};
    r->greetings = 1;
    if (at->password[0] != '\0' && at->user[0] != '\0')
        r->greetings += put(r, auth, 3, NULL);
    else if (at->password[0] != '\0')
        r->greetings += put(r, password, 2, NULL);
    if (at->database != 0)
        r->greetings += put(r, choose, 2, NULL);
    (void)put(r, ping, 1, NULL);
}

static void greeted(struct redis *r, const struct cache_reply *reply)
{
    char why[160];
    if (reply->type == CACHE_REPLY_ERROR) {
        snprintf(why, sizeof(why), "refused: %.120s", reply->text.n < 120 ? reply->text.p : "");
        fail(r, why);
    } else if (--r->greetings == 0) {
        set_state(r, REDIS_READY);
    }
}

static void on_reply(struct redis *r, const struct cache_reply *reply)
{
    struct redis_ask *a = pop(r);
    if (r->state == REDIS_GREET) {
        greeted(r, reply);
    } else if (a != NULL) {
        r->late = 0;
        answer(a, reply);
    }
}

static size_t on_data(struct conn *c, struct str data, bool full)
{
    struct redis *r = (struct redis *)c;
    struct cache_reply reply;
    struct error err = {.text = ""};
    (void)full;
    enum status st = cache_redis_feed(r->reader, data);
    while (st == ST_OK && r->state >= REDIS_GREET) {
        st = cache_redis_next(r->reader, &reply, &err);
        if (st == ST_OK && r->count == 0)
            st = ST_INVALID;
        if (st == ST_OK)
            on_reply(r, &reply);
    }
    if (st != ST_OK && st != ST_AGAIN && r->state >= REDIS_GREET)
        fail(r, "answers cannot be understood");
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

static void on_connected(struct conn *c)
{
    struct redis *r = (struct redis *)c;
    r->reader = cache_redis_reader_new(REPLY_MAX);
    set_state(r, REDIS_GREET);
    greet(r);
}

static const struct conn_ops redis_ops = {
    .on_data = on_data, .on_gone = on_gone, .on_drained = on_drained, .on_connected = on_connected};

static void dial(struct redis *r, const struct resolver_addrs *a)
{
    struct sockaddr_storage addr = a->addr[0];
    struct error err = {.text = "no socket"};
    sockopt_set_port(&addr, (uint16_t)r->config->redis.port);
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
    if (!resolver_ask(r->worker->process->resolver, r->config->redis.host, &addrs, &err,
                      (struct resolver_ask){resolved, l}))
        return;
    r->lookup = NULL;
    mem_free(l);
    if (addrs.n > 0)
        dial(r, &addrs);
    else
        fail(r, "its name cannot be resolved");
}

static void on_timer(struct timeout *t)
{
    struct redis *r = container_of(t, struct redis, timer);
    switch (r->state) {
    case REDIS_OFF:
        break;
    case REDIS_PAUSE:
        start(r);
        break;
    case REDIS_RESOLVE:
    case REDIS_CONNECT:
    case REDIS_GREET:
        fail(r, "does not answer");
        break;
    case REDIS_READY:
        if (r->count > 0 && r->worker->now - slot(r, 0)->since > VERY_LATE_US)
            fail(r, "does not answer any more");
        else
            worker_timeout(r->worker, &r->timer, VERY_LATE_US);
        break;
    }
}

/* ---- life ------------------------------------------------------------------------------------ */

struct redis *redis_new(struct worker *w)
{
    struct redis *r = mem_new(sizeof(*r));
    r->worker = w;
    r->pause = PAUSE_MIN_US;
    timeout_init(&r->timer, on_timer);
    return r;
}

static void stop(struct redis *r)
{
    if (r->state == REDIS_OFF)
        return;
    drop(r);
    set_state(r, REDIS_OFF);
    while (r->count > 0) {
        struct redis_ask *a = pop(r);
        if (a != NULL)
            answer(a, NULL);
    }
}

void redis_configure(struct redis *r, const struct config_cache *cfg)
{
    stop(r);
    r->config = cfg;
    r->pause = PAUSE_MIN_US;
    if (cfg != NULL && cfg->redis.host != NULL && cfg->nrules > 0)
        start(r);
}

void redis_free(struct redis **rp)
{
    struct redis *r = *rp;
    *rp = NULL;
    stop(r);
    mem_free(r->row);
    mem_free(r);
}

bool redis_is_up(const struct redis *r)
{
    return r->state == REDIS_READY;
}

void redis_count(const struct redis *r, struct redis_counts *out)
{
    *out = r->counts;
}
