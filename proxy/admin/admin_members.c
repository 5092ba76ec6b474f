/* admin_members.c - SHOW CACHE_MEMBERS and CACHE FORGET MEMBER: the processes that share a Redis.
 *
 * Only Redis knows who of them is there, so the first worker asks it, over the connection that
 * renews this process's own presence, and its part of the gather is complete when the answer has
 * come or the time for it is over.  Whether a member may be forgotten is decided by a script in
 * Redis: between a look and the change it may have come back.
 * Thread: main, except what is gathered on the worker.
 */
#include "base/mem.h"
#include "base/random.h"
#include "proxy/admin/admin_work.h"
#include "proxy/config/config_cache.h"
#include "proxy/session_cache.h"
#include "proxy/worker.h"

struct ask { /* of the first worker to Redis */
    struct cache_batch batch;
    struct worker *worker;       /* borrowed, */
    struct session_cache *cache; /* and its, which it has no more when it ends */
    struct admin_gather *g;      /* borrowed: it lives until its last part is done */
    struct admin_part *part;     /* borrowed: of g */
};

/* What became of FORGET, in the first worker's counts.found; those of enum cache_forget and: */
enum { FORGET_UNHEARD = CACHE_FORGET_PRESENT + 1, FORGET_SELF, FORGET_NO_LEASE };

/* ---- on the first worker --------------------------------------------------------------------- */

/* Without the name of its rules, which *rules becomes. */
static struct str base_of(struct str name, struct str *rules)
{
    size_t n = name.n;
    while (n > 0 && name.p[n - 1] != '/')
        n--;
    *rules = n > 0 ? (struct str){name.p + n, name.n - n} : STR_NONE;
    return n > 0 ? (struct str){name.p, n - 1} : name;
}

static bool is_self(struct worker *w, struct str name)
{
    char own[MEMBER_NAME_MAX];
    struct str rules;
    member_name(w->process->member, own, sizeof(own));
    return str_eq(name, str_of(own)) || str_eq(name, base_of(str_of(own), &rules));
}

static void put_row(struct ask *x, struct str name, const char *state)
{
    struct buf *b = &x->part->rows;
    struct str rules, base = base_of(name, &rules);
    admin_reply_str(b, base);
    admin_reply_str(b, rules);
    admin_reply_text(b, state);
    admin_reply_int(b, is_self(x->worker, base));
}

/* counted NULL: Redis has not answered, and these are the last that are known. */
static void put_rows(struct ask *x, struct str names, bool counted)
{
    while (names.n > 0) {
        struct str name = str_cut(&names, ',');
        const char *state = "unknown";
        if (counted && name.n > 2) {
            state = name.p[name.n - 1] == '1' ? "present" : "missing";
            name.n -= 2; /* "=1" */
        }
        put_row(x, name, state);
    }
}

/* What Redis has said, or that it has not. */
static void take(struct ask *x, const struct cache_answer *a)
{
    struct session_cache *sc = x->cache;
    bool heard = a->state == CACHE_ANSWER_OK;
    if (x->batch.cmds[0].kind == CACHE_CMD_FORGET) {
        x->part->counts.found = heard ? (int64_t)a->a : FORGET_UNHEARD;
    } else if (heard) {
        put_rows(x, a->value, true);
    } else {
        member_look(x->worker->process->member, &sc->members);
        put_rows(x, str_of(sc->members.names), false);
    }
}

static void ask_free(struct ask *x)
{
    cache_batch_fini(&x->batch);
    mem_free(x);
}

static void answered(struct cache_batch *b)
{
    struct ask *x = container_of(b, struct ask, batch);
    struct admin_gather *g = x->g;
    take(x, &b->answers[0]);
    ask_free(x);
    admin_gather_done(g);
}

static void ask(struct worker *w, struct admin_gather *g, struct admin_part *part,
                const struct cache_cmd *c)
{
    struct session_cache *sc = w->cache;
    const struct cache_answer failed = {.state = CACHE_ANSWER_FAILED};
    const struct cache_redis_where where = {.prefix = str_of(sc->config->opt.prefix),
                                            .member = str_of(g->reply->cmd.arg),
                                            .server = redis_server(sc->redis)};
    struct ask *x = mem_new(sizeof(*x));
    cache_batch_init(&x->batch, answered);
    x->batch.cmds[0] = *c;
    x->worker = w;
    x->cache = sc;
    x->g = g;
    x->part = part;
    part->later = redis_send(sc->redis, &x->batch, 1, &where);
    if (part->later)
        return;
    take(x, &failed);
    ask_free(x);
}

static void collect_show(struct worker *w, struct admin_gather *g, struct admin_part *part)
{
    if (w->index == 0 && w->cache->config->leased)
        ask(w, g, part, &(struct cache_cmd){.kind = CACHE_CMD_CENSUS});
}

static void collect_forget(struct worker *w, struct admin_gather *g, struct admin_part *part)
{
    if (w->index != 0)
        return;
    if (!w->cache->config->leased)
        part->counts.found = FORGET_NO_LEASE;
    else if (is_self(w, str_of(g->reply->cmd.arg)))
        part->counts.found = FORGET_SELF;
    else
        ask(w, g, part, &(struct cache_cmd){.kind = CACHE_CMD_FORGET, .fresh = random_u64() | 1u});
}

/* ---- on the main thread ---------------------------------------------------------------------- */

static void finish_show(struct admin_gather *g)
{
    buf_put_str(&g->reply->rows, buf_str(&g->parts[0].rows));
    admin_answer(g->admin, g->reply);
    g->reply = NULL;
}

static const char *why_not(int64_t found)
{
    static const char *const why[] = {
        [CACHE_FORGET_NOBODY] = "there is no such member, see SHOW CACHE_MEMBERS",
        [CACHE_FORGET_DONE] = NULL,
        [CACHE_FORGET_PRESENT] = "it is present: a process that ends leaves by itself",
        [FORGET_UNHEARD] = "Redis cannot be reached, or takes no writes",
        [FORGET_SELF] = "that is this process itself",
        [FORGET_NO_LEASE] = "no rule of mode lease keeps its answers in Redis"};
    return found >= 0 && found < (int64_t)ARRAY_LEN(why) ? why[found] : why[FORGET_UNHEARD];
}

static void finish_forget(struct admin_gather *g)
{
    const char *why = why_not(g->parts[0].counts.found);
    if (why == NULL)
        admin_answer(g->admin, g->reply);
    else
        admin_answer_error(g->admin, g->reply, "CACHE FORGET MEMBER failed: %s", why);
    g->reply = NULL;
}

void admin_members_show(struct admin *a, struct admin_reply *r)
{
    struct admin_gather *g = admin_gather_new(a, r);
    g->collect = collect_show;
    g->finish = finish_show;
    admin_gather_start(g);
}

void admin_members_forget(struct admin *a, struct admin_reply *r)
{
    struct admin_gather *g = admin_gather_new(a, r);
    g->collect = collect_forget;
    g->finish = finish_forget;
    admin_gather_start(g);
}
