/* cancel.c - cancel requests, in both directions.
 *
 * From a client: the key names worker and client, or another process (peer.c); the owner checks the
 * secret and acts.  A key that names nobody may be of a client of the process before this one,
 * which is asked as long as it lives (predecessor.h); else it does nothing, silently, as PostgreSQL
 * does it.  The connection that asked stays open until that is done: who waits for its end may send
 * the next request and it will not be hit.
 * To a server: a connection of its own carries the request (cancel_conn.c); the server is not
 * released before that connection has ended, because the database sends the signal before it closes
 * it: so a cancel can never hit the next client's statement.
 * Thread: the worker's that owns the target.
 */
#include "proxy/cancel.h"

#include "base/log.h"
#include "base/mem.h"
#include "proxy/admin/console.h"
#include "proxy/cancel_conn.h"
#include "proxy/peer.h"
#include "proxy/predecessor.h"
#include "proxy/session_begin.h"
#include "proxy/session_cache.h"
#include "proxy/session_share.h"
#include "proxy/upgrade.h"

#include <openssl/crypto.h>
#include <stdatomic.h>

/* ---- to servers ------------------------------------------------------------------------------ */

struct server_cancel {
    struct cancel_conn conn; /* first */
    struct server *server;   /* borrowed; NULL: closed meanwhile */
};

static void server_cancel_ended(struct cancel_conn *x, enum cancel_end how)
{
    struct server *s = ((struct server_cancel *)x)->server;
    if (s == NULL || how == CANCEL_ABANDONED)
        return;
    if (how == CANCEL_LATE) /* whether it will still be hit is not known */
        s->doubtful = true;
    s->cancels--;
    if (s->cancels == 0 && s->fl_count == 0 && s->state == SV_ACTIVE)
        session_settle(s);
}

void cancel_server(struct server *s)
{
    struct error err;
    if (s->key.n == 0) {
        s->doubtful = true; /* it cannot be stopped: it will not be used again */
        return;
    }
    struct server_cancel *x = mem_new(sizeof(*x));
    x->server = s;
    x->conn.key = s->key;
    x->conn.ended = server_cancel_ended;
    if (cancel_conn_open(&x->conn, s->conn.worker, &s->addr, s->addr_len, s->conn.tls, &err) ==
        ST_OK) {
        s->cancels++;
        return;
    }
    LOG_LIMITED(LL_WARNING, "cancel request: %s", err.text);
    s->doubtful = true;
    mem_free(x);
}

void cancel_forget_server(struct server *s)
{
    struct list *it, *tmp;
    LIST_EACH(it, tmp, &s->conn.worker->cancels) {
        struct cancel_conn *x = container_of(it, struct cancel_conn, link);
        if (x->ended == server_cancel_ended && ((struct server_cancel *)x)->server == s)
            ((struct server_cancel *)x)->server = NULL;
    }
}

/* ---- who has asked --------------------------------------------------------------------------- */

static void close_asker(struct worker *w, void *arg)
{
    struct cancel_asker *a = arg;
    struct client *c = worker_slot_find(w, a->slot);
    if (c != NULL && c->id == a->id)
        client_close(c, "cancel request");
    mem_free(a);
}

void cancel_answer(struct worker *w, const struct cancel_asker *a)
{
    if (a->id == 0) {
        upgrade_answer(w, a->slot);
        return;
    }
    struct worker *owner = w->process->workers[a->slot % w->process->nworkers];
    struct cancel_asker *copy = mem_copy(a, sizeof(*a));
    if (owner == w)
        close_asker(w, copy);
    else
        worker_post_call(owner, close_asker, copy);
}

/* ---- from clients ---------------------------------------------------------------------------- */

void cancel_client(struct client *c)
{
    if (c->state == CL_WAIT || c->state == CL_SHARED || c->state == CL_BUSY)
        c->pool->measure.counts.cancels++;
    switch (c->state) {
    case CL_WAIT:
        session_wait_failed(c, C_CANCELLED, STR_NONE, STR_NONE);
        break;
    case CL_CACHE:
        session_look_forget(c);
        client_set_state(c, CL_IDLE);
        session_refuse(c, C_CANCELLED, STR_NONE, STR_NONE);
        break;
    case CL_SHARED:
        if (session_share_stop(c, C_CANCELLED))
            session_cancel_running(c, C_CANCELLED);
        break;
    case CL_BUSY:
        if (session_cancel_running(c, C_CANCELLED) == RUNS_LATER)
            c->cancel_later = session_is_beginning(c->server);
        break;
    case CL_ADMIN:
        console_cancel(c);
        break;
    case CL_STARTUP:
    case CL_AUTH:
    case CL_WELCOME:
    case CL_IDLE:
    case CL_HELD:
    case CL_ENDING:
    case CL_CLOSED:
        break;
    }
}

void cancel_make_key(struct client *c, int minor, struct wire_key *key)
{
    const struct wire *wire = conn_wire(&c->conn);
    struct wire_identity who = {.id = c->slot,
                                .peer = (uint16_t)worker_options(c->conn.worker)->peer_id};
    memcpy(who.secret, c->secret, sizeof(c->secret));
    wire->key_make(&who, minor, key);
    c->nsecret = 0;
    if (wire->key_read(key, &who) == ST_OK) {
        /* as a request will bring it: not all of it may fit */
        memcpy(c->secret, who.secret, sizeof(c->secret));
        c->nsecret = who.nsecret;
    }
    mem_wipe(&who, sizeof(who));
}

struct request {
    struct wire_identity who;
    struct wire_key key;
    struct cancel_asker asker;
    _Atomic bool found;
    _Atomic unsigned left; /* workers that have not looked yet */
};

/* The whole secret, not a part of it: a client of the newer protocol has the longer one. */
static bool is_meant(const struct client *c, const struct wire_identity *who)
{
    return c != NULL && who->nsecret == c->nsecret &&
           CRYPTO_memcmp(c->secret, who->secret, who->nsecret) == 0;
}

static bool look_for(struct worker *w, const struct wire_identity *who)
{
    uint64_t end = w->process->first_id + (uint64_t)w->nslots * w->process->nworkers;
    bool found = false;
    for (uint64_t id = who->id; id < end; id += who->step) {
        bool mine = id % w->process->nworkers == w->index;
        struct client *c = mine ? worker_slot_find(w, (uint32_t)id) : NULL;
        if (is_meant(c, who)) {
            cancel_client(c);
            found = true;
        }
        if (who->step == 0)
            break;
    }
    return found;
}

static void deliver(struct worker *w, void *arg)
{
    struct request *q = arg;
    if (look_for(w, &q->who))
        atomic_store_explicit(&q->found, true, memory_order_relaxed);
    if (atomic_fetch_sub_explicit(&q->left, 1, memory_order_acq_rel) > 1)
        return;
    if (atomic_load_explicit(&q->found, memory_order_relaxed) ||
        !predecessor_cancel(w, &q->key, &q->asker))
        cancel_answer(w, &q->asker);
    mem_wipe(q, sizeof(*q));
    mem_free(q);
}

static void deliver_to(struct worker *from, struct worker *w, struct request *q)
{
    if (w == from)
        deliver(w, q);
    else
        worker_post_call(w, deliver, q);
}

static void find_here(struct worker *w, const struct cancel_asker *asker,
                      const struct wire_key *key)
{
    struct process *p = w->process;
    struct request *q = mem_new(sizeof(*q));
    if (w->wire->key_read(key, &q->who) != ST_OK || q->who.nsecret < 4) {
        mem_wipe(q, sizeof(*q));
        mem_free(q);
        cancel_answer(w, asker);
        return;
    }
    q->key = *key;
    q->asker = *asker;
    atomic_init(&q->found, false);
    bool one = q->who.step == 0;
    atomic_init(&q->left, one ? 1 : p->nworkers);
    if (one) {
        deliver_to(w, p->workers[q->who.id % p->nworkers], q);
        return;
    }
    for (unsigned i = 0; i < p->nworkers; i++)
        deliver_to(w, p->workers[i], q);
}

void cancel_passed(struct worker *w, const struct wire_key *key, uint32_t number)
{
    find_here(w, &(struct cancel_asker){number, 0}, key);
}

void cancel_request(struct client *from, const struct wire_key *key)
{
    struct worker *w = from->conn.worker;
    struct cancel_asker asker = {from->slot, from->id};
    int own = worker_options(w)->peer_id;
    int peer = own == 0 ? 0 : w->wire->key_peer(key);
    if (peer != 0 && peer != own && config_find_peer(worker_config(w), peer) != NULL)
        peer_pass_on(w, peer, key, &asker);
    else
        find_here(w, &asker, key);
}
