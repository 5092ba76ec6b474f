/* session_retry.c - requests that go to another node; see session_retry.h.  Worker thread. */
#include "proxy/session_retry.h"

#include "proxy/session_route.h"
#include "proxy/session_share.h"

#define LOST_MAX 2 /* servers that one request may lose: it may be what they die of */
#define SHUTDOWN_MAX                                                                               \
    4 /* nodes that shut down one after another; who stops a statement by stopping */
      /* its session looks the same, and must win in the end */
#define HELD_MAX 8192 /* more of a description is passed on at once */

/* It may be undone with its transaction, and is not part of a larger one. */
#define BEYOND_UNDOING                                                                             \
    (FX_LOAD | FX_MULTI | FX_TXCTL | FX_COPY | FX_LISTEN | FX_UNLISTEN | FX_KILL | FX_PREPARE |    \
     FX_EXECUTE | FX_DEALLOCATE | FX_DEALLOCATE_ALL | FX_DISCARD_ALL | FX_DDL)

void session_retry_keep(struct client *c, struct server *s, struct flight *f,
                        const struct wire_req *r, const struct plan *plan)
{
    bool tied = server_has_state(s) || c->listen != NULL || c->passthrough;
    if (f->copy.n > 0 || !plan->whole || tied || r->raw.n > SESSION_COPY_MAX)
        return;
    f->once = session_route_may_write(plan);
    if (f->once && (plan->effects & BEYOND_UNDOING) != 0)
        return;
    session_share_keep(s->conn.worker, f, r->raw);
    f->about = plan->statement->digest;
}

bool session_retry_hold(struct worker *w, struct flight *f, struct str bytes)
{
    if (f->copy.n == 0 || f->output || f->nheld + bytes.n > HELD_MAX)
        return false;
    session_share_room(w, f, f->copy.n + f->nheld + (uint32_t)bytes.n);
    memcpy(f->copy.p + f->copy.n + f->nheld, bytes.p, bytes.n);
    f->nheld += (uint32_t)bytes.n;
    return true;
}

struct str session_retry_held(struct flight *f)
{
    struct str held = {(const char *)f->copy.p + f->copy.n, f->nheld};
    f->nheld = 0;
    return held;
}

/* What the error tells of the node, not of the request. */
static bool is_of_node(const struct server *s, const struct client_route *x, enum server_error why)
{
    bool replica = s->pool->live != NULL && x->last.replica;
    if (why == SE_STANDBY_CONFLICT)
        return replica;
    if (why == SE_READ_ONLY) /* a primary that was taken for one and is none any more */
        return replica ? !x->last.demanded : !x->read_only;
    return why == SE_UNABLE && replica && !x->last.demanded;
}

/* Nothing that the client has sent since stands behind it. */
static bool is_its_only(struct server *s, const struct flight *f)
{
    for (uint32_t i = 0; i < s->fl_count; i++)
        if (server_flight(s, i)->client == f->client && server_flight(s, i) != f)
            return false;
    return true;
}

bool session_retry(struct server *s, struct flight *f, enum server_error why)
{
    struct client *c = f->client;
    struct pool *p = s->pool;
    if (p->home == NULL || c == NULL || c->route == NULL || f->copy.n == 0 || f->output ||
        f->noticed || c->conn.in_callback || c->timed_out != 0 || c->lost >= RETRY_MAX ||
        server_has_state(s) || !is_of_node(s, c->route, why) || !is_its_only(s, f))
        return false; /* with state: in the transaction of a BEGIN sent before it, say */
    if (!c->route->last.replica && c->lost > 0)
        return false; /* it was asked again and says the same */
    if (why != SE_STANDBY_CONFLICT && c->route->last.replica)
        pool_cluster_learn(p->home, f->about);
    else if (why == SE_READ_ONLY)
        cluster_failed(p->home->cluster->cluster, p->worker, p->node, HEALTH_LOST);
    c->lost++;
    c->early = false;
    c->barrier = false;
    if (s->state != SV_SHARED) {
        session_detach(c);
        server_drain_soon(s);
    }
    session_share_take_back(s, f);
    return true;
}

bool session_retry_lost(const struct server *s, const struct flight *f)
{
    const struct client *c = f->client;
    int most = c->route != NULL && s->goodbye == SE_SHUTDOWN ? SHUTDOWN_MAX : LOST_MAX;
    return f->copy.n > 0 && !f->output && !f->noticed && c->lost < most &&
           (!f->once || s->goodbye == SE_SHUTDOWN);
}
