/* http.c - the HTTP port: what is asked for, who may see it, and where it comes from; see http.h.
 *
 * begin(), waits(), finish() and end() run on the HTTP thread, everything else on the main thread.
 * An ask belongs to the main thread from `waits` to http_server_wake, and to the HTTP thread before
 * and after.
 */
#include "proxy/http/http.h"

#include "base/check.h"
#include "base/log.h"
#include "base/mem.h"
#include "proxy/admin/admin_work.h"
#include "proxy/http/http_auth.h"
#include "proxy/http/http_open.h"
#include "proxy/http/http_page.h"
#include "proxy/http/http_server.h"
#include "proxy/http/ready.h"
#include "proxy/metrics/metrics.h"
#include "proxy/metrics/metrics_json.h"

#include <ev.h>
#include <pthread.h>

#define PAGES_AT_ONCE 8 /* large answers that may be on their way together */
#define BODY_MAX ((size_t)64 << 20)
#define REPORT_MAX 16384
#define CHECK_S 0.1
#define EXPIRE_S 1.

enum ask_kind { ASK_HEALTH, ASK_READY, ASK_METRICS, ASK_STATE, ASK_PAGE, ASKS };

/* How long each is waited for: a worker that does not answer must not hold connections for good. */
static const usec_t patience[] = {
    [ASK_HEALTH] = 3 * USEC_PER_SEC,
    [ASK_READY] = 5 * USEC_PER_SEC,
    [ASK_METRICS] = 10 * USEC_PER_SEC,
    [ASK_STATE] = 10 * USEC_PER_SEC,
};

struct ask {
    struct message m;
    struct list link; /* in http->asks */
    enum ask_kind kind;
    struct http_request *request; /* borrowed: outlives it */
    bool tells;                   /* reasons may be told */
    usec_t deadline;
    /* the answer */
    bool good;
    struct buf report;
    struct metrics_sample *sample; /* reference */
};

struct sampling { /* one question to all workers at a time for each kind */
    struct http *http;
    enum ask_kind kind;
    bool under_way;
};

struct http {
    struct process *process; /* borrowed */
    struct http_server *server;
    struct ready *ready;
    struct list asks; /* main thread: those not answered yet */
    ev_timer check;   /* runs while there are asks */
    bool pinging;
    struct sampling sampling[ASKS];
    bool loopback;
    char policy[HTTP_PAGE_POLICY_MAX]; /* of the page */
    unsigned pages;                    /* HTTP thread: being made or sent */
    struct http_auth_known known;      /* HTTP thread */
    ev_timer expire;                   /* main thread */
    struct {
        pthread_mutex_t lock;
        bool closed;           /* nothing is posted any more */
        struct config *config; /* reference */
        uint64_t generation;   /* counts configurations */
    } shared;
};

/* ---- HTTP thread: what is asked -------------------------------------------------------------- */

static bool answer_with(struct http_request *r, int status, struct str text)
{
    r->answer.status = status;
    r->answer.text = text;
    return true;
}

static bool allowed(struct http *h, const struct http_request *r)
{
    pthread_mutex_lock(&h->shared.lock);
    struct config *cfg = config_get(h->shared.config);
    uint64_t generation = h->shared.generation;
    pthread_mutex_unlock(&h->shared.lock);
    bool ok = !cfg->opt.http_auth || http_auth_allows(cfg, generation, r->authorization, &h->known);
    config_put(&cfg);
    return ok;
}

static const struct {
    const char *path;
    enum ask_kind kind;
    bool open; /* needs no login */
} paths[] = {
    {"/healthz", ASK_HEALTH, true},   {"/readyz", ASK_READY, true},
    {"/metrics", ASK_METRICS, false}, {"/state.json", ASK_STATE, false},
    {"/", ASK_PAGE, false},
};

/* Large, and made from what all workers say. */
static bool is_large(enum ask_kind kind)
{
    return kind == ASK_METRICS || kind == ASK_STATE;
}

static bool show_page(struct http *h, struct http_request *r)
{
    r->answer.type = "text/html; charset=utf-8";
    r->answer.policy = h->policy;
    return answer_with(r, 200, http_page_text());
}

static bool begin(void *arg, struct http_request *r)
{
    struct http *h = arg;
    size_t i = 0;
    if (h->loopback && !http_auth_host_is_plain(r->host))
        return answer_with(r, 421, STR("not by that name: use the address\n"));
    while (i < ARRAY_LEN(paths) && strcmp(paths[i].path, r->path) != 0)
        i++;
    if (i == ARRAY_LEN(paths))
        return answer_with(r, 404, STR("there is /, /metrics, /healthz and /readyz\n"));
    bool known = paths[i].kind != ASK_HEALTH && allowed(h, r); /* it tells nothing anyway */
    if (!known && !paths[i].open) {
        if (r->authorization != NULL)
            LOG_LIMITED(LL_WARNING, "http: login refused");
        r->answer.ask_user = true;
        return answer_with(r, 401, STR("log in as a console user\n"));
    }
    if (paths[i].kind == ASK_PAGE)
        return show_page(h, r);
    if (is_large(paths[i].kind) && h->pages >= PAGES_AT_ONCE)
        return answer_with(r, 503, STR("too many at once\n"));
    struct ask *a = mem_new(sizeof(*a));
    a->kind = paths[i].kind;
    a->request = r;
    a->tells = known;
    list_init(&a->link);
    buf_init(&a->report, REPORT_MAX);
    h->pages += is_large(a->kind);
    r->arg = a;
    return false;
}

static void on_ask(struct message *m, void *ctx);

static void waits(void *arg, struct http_request *r)
{
    struct http *h = arg;
    struct ask *a = r->arg;
    a->m.deliver = on_ask;
    pthread_mutex_lock(&h->shared.lock);
    bool posted = !h->shared.closed && mailbox_post(h->process->main_box, &a->m);
    pthread_mutex_unlock(&h->shared.lock);
    if (!posted)
        http_server_wake(r);
}

static void finish_page(struct ask *a, struct http_request *r)
{
    struct metrics_process p;
    metrics_process_read(&p);
    r->answer.body.max = BODY_MAX;
    if (a->kind == ASK_METRICS) {
        r->answer.type = METRICS_TYPE;
        metrics_text(a->sample, &p, &r->answer.body);
    } else {
        r->answer.type = "application/json";
        metrics_json(a->sample, &p, &r->answer.body);
    }
    r->answer.status = 200;
    if (!r->answer.body.failed)
        return;
    LOG_LIMITED(LL_WARNING, "http: the page is larger than %zu bytes", BODY_MAX);
    buf_fini(&r->answer.body);
    r->answer.type = "text/plain; charset=utf-8";
    (void)answer_with(r, 500, STR("the page is too large\n"));
}

static void finish(void *arg, struct http_request *r)
{
    struct ask *a = r->arg;
    (void)arg;
    if (a->sample != NULL) {
        finish_page(a, r);
        return;
    }
    r->answer.status = a->good ? 200 : 503;
    r->answer.body.max = REPORT_MAX;
    if (a->kind == ASK_READY)
        buf_put_text(&r->answer.body, a->good ? "ready\n" : "not ready\n");
    if (a->tells)
        buf_put_str(&r->answer.body, buf_str(&a->report));
    r->answer.text = a->good ? STR("ok\n") : STR("a thread of the process does not answer\n");
}

static void end(void *arg, struct http_request *r)
{
    struct http *h = arg;
    struct ask *a = r->arg;
    if (a == NULL)
        return;
    h->pages -= is_large(a->kind);
    metrics_sample_put(&a->sample);
    buf_fini(&a->report);
    mem_free(a);
}

/* ---- main thread: answering ------------------------------------------------------------------ */

static void reply(struct ask *a, bool good)
{
    a->good = good;
    list_remove(&a->link);
    http_server_wake(a->request);
}

static void on_sampled(void *arg, struct metrics_sample *s)
{
    struct sampling *one = arg;
    struct list *it, *tmp;
    one->under_way = false;
    LIST_EACH(it, tmp, &one->http->asks) {
        struct ask *a = container_of(it, struct ask, link);
        if (a->kind != one->kind)
            continue;
        a->sample = metrics_sample_get(s);
        reply(a, true);
    }
    metrics_sample_put(&s);
}

static void sample(struct http *h, enum ask_kind kind)
{
    struct sampling *one = &h->sampling[kind];
    if (one->under_way)
        return;
    *one = (struct sampling){h, kind, true};
    metrics_sample_take(h->process->admin,
                        kind == ASK_STATE ? METRICS_FOR_PAGE : METRICS_FOR_SCRAPE, on_sampled, one);
}

static void nothing(struct worker *w, struct admin_gather *g, struct admin_part *part)
{
    (void)w;
    (void)g;
    (void)part;
}

static void on_pinged(struct admin_gather *g)
{
    struct http *h = g->arg;
    struct list *it, *tmp;
    h->pinging = false;
    LIST_EACH(it, tmp, &h->asks) {
        struct ask *a = container_of(it, struct ask, link);
        if (a->kind == ASK_HEALTH)
            reply(a, true);
    }
}

static void ping(struct http *h)
{
    struct admin_gather *g = admin_gather_new(h->process->admin, NULL);
    h->pinging = true;
    g->arg = h;
    g->collect = nothing;
    g->finish = on_pinged;
    admin_gather_start(g);
}

static void on_ready(void *arg)
{
    struct http *h = arg;
    const struct config *cfg = admin_config(h->process->admin);
    struct list *it, *tmp;
    LIST_EACH(it, tmp, &h->asks) {
        struct ask *a = container_of(it, struct ask, link);
        if (a->kind == ASK_READY)
            reply(a, ready_report(h->ready, cfg, &a->report));
    }
}

static void on_ask(struct message *m, void *ctx)
{
    struct ask *a = container_of(m, struct ask, m);
    struct process *p = ctx;
    struct http *h = p->http;
    a->deadline = clock_mono_us() + patience[a->kind];
    list_push_back(&h->asks, &a->link);
    ev_timer_start(p->main_box->loop, &h->check);
    switch (a->kind) {
    case ASK_HEALTH:
        if (!h->pinging)
            ping(h);
        break;
    case ASK_READY:
        if (ready_refresh(h->ready, admin_config(p->admin)))
            on_ready(h);
        break;
    case ASK_METRICS:
    case ASK_STATE:
        sample(h, a->kind);
        break;
    case ASK_PAGE:
    case ASKS:
        break;
    }
}

/* Gives up those that nobody answered until `now`. */
static void give_up(struct http *h, usec_t now)
{
    struct list *it, *tmp;
    LIST_EACH(it, tmp, &h->asks) {
        struct ask *a = container_of(it, struct ask, link);
        if (a->deadline > now)
            continue;
        buf_put_text(&a->report, "no answer in time\n");
        reply(a, false);
    }
}

static void on_check(struct ev_loop *loop, ev_timer *t, int revents)
{
    (void)revents;
    struct http *h = container_of(t, struct http, check);
    give_up(h, clock_mono_us());
    if (list_empty(&h->asks))
        ev_timer_stop(loop, t);
}

static void on_expire(struct ev_loop *loop, ev_timer *t, int revents)
{
    (void)loop;
    (void)revents;
    http_server_expire(container_of(t, struct http, expire)->server, clock_mono_us());
}

/* ---- life ------------------------------------------------------------------------------------ */

enum status http_check(const struct config_options *o, struct error *err)
{
    struct http_address a;
    return o->http_listen[0] == '\0' ? ST_OK : http_open_parse(o->http_listen, &a, err);
}

enum status http_start(struct process *p, const struct config *cfg, bool heir, struct http **out,
                       struct error *err)
{
    struct http_address a;
    int fd = -1;
    if (cfg->opt.http_listen[0] == '\0')
        return ST_OK;
    enum status st = http_open_parse(cfg->opt.http_listen, &a, err);
    if (st == ST_OK)
        st = http_open(&a, heir, &fd, err);
    if (st != ST_OK)
        return st;
    struct http *h = mem_new(sizeof(*h));
    h->process = p;
    h->loopback = a.loopback;
    http_page_policy(h->policy, sizeof(h->policy));
    list_init(&h->asks);
    ev_timer_init(&h->check, on_check, CHECK_S, CHECK_S);
    h->ready = ready_new(p, on_ready, h);
    CHECK(pthread_mutex_init(&h->shared.lock, NULL) == 0);
    h->shared.config = config_get(cfg);
    h->shared.generation = 1;
    http_auth_init(&h->known);
    *out = h;
    const struct http_handler handler = {begin, waits, finish, end, h};
    st = http_server_new(fd, &handler, &h->server, err);
    ev_timer_init(&h->expire, on_expire, EXPIRE_S, EXPIRE_S);
    if (st == ST_OK)
        ev_timer_start(p->main_box->loop, &h->expire);
    if (st == ST_OK)
        log_line(LL_LOG, "listening on %s for HTTP", cfg->opt.http_listen);
    if (st == ST_OK && !a.loopback && !cfg->opt.http_auth)
        log_line(LL_WARNING, "http_listen = %s: anybody who reaches it may look (http_auth = 0)",
                 cfg->opt.http_listen);
    return st;
}

void http_publish(struct http *h, const struct config *cfg)
{
    if (h == NULL)
        return;
    struct config *fresh = config_get(cfg);
    pthread_mutex_lock(&h->shared.lock);
    struct config *old = h->shared.config;
    h->shared.config = fresh;
    h->shared.generation++;
    pthread_mutex_unlock(&h->shared.lock);
    config_put(&old);
}

void http_stop(struct http *h)
{
    if (h == NULL)
        return;
    pthread_mutex_lock(&h->shared.lock);
    h->shared.closed = true;
    pthread_mutex_unlock(&h->shared.lock);
    mailbox_drain(h->process->main_box); /* what was posted before */
    ready_stop(h->ready);
    give_up(h, INT64_MAX);
    ev_timer_stop(h->process->main_box->loop, &h->check);
    ev_timer_stop(h->process->main_box->loop, &h->expire);
    http_server_free(&h->server);
}

void http_free(struct http **hp)
{
    struct http *h = *hp;
    *hp = NULL;
    if (h == NULL)
        return;
    ready_free(&h->ready);
    http_auth_fini(&h->known);
    config_put(&h->shared.config);
    pthread_mutex_destroy(&h->shared.lock);
    mem_free(h);
}
