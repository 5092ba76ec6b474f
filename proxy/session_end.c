/* session_end.c - leaving, losing, cancelling; see session.h.
 *
 * A client that vanishes leaves no query running and no dirty server: what is running is cancelled
 * and drained, an open transaction is rolled back, pinned state is cleaned, and a server that got
 * only a part of a request is closed.  A server that is lost leaves its client with a proper error
 * and, where nothing of the answer was passed on yet, with a connection that goes on.
 * Thread: the worker's.
 */
#include "proxy/session_begin.h"
#include "proxy/session_cache.h"
#include "proxy/session_ours.h"
#include "proxy/session_route.h"
#include "proxy/session_share.h"

#include "base/check.h"
#include "proxy/cancel.h"
#include "proxy/listen.h"

/* A client that goes on must not keep names that were never confirmed to it. */
static void undo_flights(struct server *s, const struct client *c)
{
    for (uint32_t i = s->fl_count; i-- > 0;)
        if (server_flight(s, i)->client == c)
            session_undo(s, server_flight(s, i));
}

static bool runs_for(struct server *s, const struct client *c)
{
    for (uint32_t i = 0; i < s->fl_count; i++) {
        const struct flight *f = server_flight(s, i);
        if (f->kind == FLIGHT_CLIENT && f->client == c)
            return true;
    }
    return false;
}

void session_client_gone(struct client *c)
{
    struct server *s = c->server;
    session_look_forget(c);
    if (c->pool != NULL)
        pool_leave_queue(&c->waiter);
    listen_client_gone(c);
    session_ours_end(c);
    session_begin_drop(c);
    if (c->state == CL_SHARED)
        session_share_leave(c);
    if (c->server == NULL)
        return;
    bool running = runs_for(s, c);
    session_disown_all(s, c);
    session_detach(c);
    if (running)
        server_drain(s);
    if (s->half_request || s->upload || s->half_message || c->replication) {
        server_close(s, "client left in the middle of a request");
        return;
    }
    if (s->fl_count == 0)
        session_settle(s);
}

/* ---- the server is lost ---------------------------------------------------------------------- */

struct loss {
    enum cause cause;
    struct str code, text;
    enum tx_state tx; /* that its client is in then */
};

static void tell(struct client *c, const struct loss *l, bool fatal, bool open)
{
    client_tell(c, &(struct wire_fault){.cause = l->cause,
                                        .code = l->code,
                                        .text = l->text,
                                        .fatal = fatal,
                                        .req_open = open,
                                        .tx = l->tx});
}

/* Answers every request of c that is in flight with the error. False: the client cannot go on. */
static bool answer_all(struct server *s, struct client *c, const struct loss *l)
{
    for (uint32_t i = 0; i < s->fl_count; i++) {
        const struct flight *f = server_flight(s, i);
        if (f->client == c && f->kind == FLIGHT_CLIENT && f->output)
            return false;
    }
    bool open = false;
    int told = 0;
    for (uint32_t i = 0; i < s->fl_count; i++) {
        const struct flight *f = server_flight(s, i);
        if (f->client != c || f->kind != FLIGHT_CLIENT)
            continue;
        open = !f->ended;
        tell(c, l, false, open);
        told++;
    }
    c->skipping = open;
    return told > 0 || s->fl_count > 0;
}

#define LASTING_EFFECTS                                                                            \
    (FX_BEGIN | FX_LOCKS | FX_TEMP | FX_CURSOR | FX_LISTEN | FX_UNLISTEN | FX_UNKNOWN)

/* Something of the session went with the server that its client relies on: going on as if it were
 * still there would be wrong. */
static bool lost_state(struct server *s, const struct client *c)
{
    if (server_has_state(s) || c->upload || c->passthrough)
        return true;
    for (uint32_t i = 0; i < s->fl_count; i++) {
        const struct flight *f = server_flight(s, i);
        if (f->kind == FLIGHT_ASK || (f->client == c && (f->effects & LASTING_EFFECTS)))
            return true;
    }
    return false;
}

/* Nothing of the client's is on the server: at most a check is under way that was to precede its
 * request, so another server may have it. */
static bool never_began(struct server *s, const struct client *c)
{
    if (runs_for(s, c) || lost_state(s, c) || listen_is_moving(c))
        return false;
    return s->fl_count == 0 || (s->check_failed && c->conn.in_len > 0);
}

/* In a cluster: a request in flight may have written, and whether that counts is not known. */
static bool writes_for(struct server *s, const struct client *c)
{
    for (uint32_t i = 0; c->route != NULL && i < s->fl_count; i++) {
        const struct flight *f = server_flight(s, i);
        if (f->client == c && f->kind == FLIGHT_CLIENT && !f->reads)
            return true;
    }
    return false;
}

/* In a cluster another node may take over, so a client that loses nothing but its transaction goes
 * on: with a failed one that it has to end. */
static bool only_tx(const struct server *s, const struct client *c)
{
    return c->route != NULL && !c->passthrough && s->tx != TX_IDLE && s->pins == 0 &&
           (s->asks & ~(uint32_t)(ASK_VARS | ASK_VARS_ALL)) == 0;
}

void session_give_up_tx(struct client *c)
{
    c->aborted = ABORTED_TOLD;
    c->barrier = true;
    server_clean(c->server);
    if (c->state != CL_BUSY)
        client_set_state(c, CL_BUSY);
}

void session_server_lost(struct server *s, struct str code, struct str text)
{
    struct client *c = s->client;
    for (uint32_t i = 0; i < s->fl_count; i++)
        session_route_done(s, server_flight(s, i), TX_IDLE, true);
    if (s->state == SV_SHARED)
        session_share_lost(s, code, text);
    if (c == NULL || session_share_lost_alone(s))
        return;
    bool in_tx = s->tx != TX_IDLE || writes_for(s, c);
    struct loss l = {in_tx ? C_SERVER_LOST_IN_TX : C_SERVER_LOST, code, text, TX_IDLE};
    if (c->timed_out != 0) { /* it was us who made it end */
        l = (struct loss){(enum cause)c->timed_out, STR_NONE, STR_NONE, TX_IDLE};
        c->timed_out = 0;
    }
    /* prelude: its request is unread */
    bool waits = c->barrier && !runs_for(s, c) && s->fl_count > 0;
    bool idle = s->fl_count == 0;
    if (never_began(s, c)) {
        session_disown_all(s, c);
        session_detach(c);
        client_set_state(c, CL_IDLE);
        c->barrier = false;
        if (session_begun_alone(c))
            session_begin_later(c);
        session_go_on_later(c);
        return;
    }
    if (only_tx(s, c)) {
        l.tx = TX_FAILED;
        c->aborted = runs_for(s, c) ? ABORTED_TOLD : ABORTED_UNTOLD;
    }
    bool lost = c->aborted ? c->upload : idle || listen_is_moving(c) || lost_state(s, c);
    bool may_go_on = !lost && (idle || answer_all(s, c, &l));
    undo_flights(s, c);
    session_disown_all(s, c);
    session_detach(c);
    if (!may_go_on) {
        tell(c, &l, true, false);
        client_end(c, "server connection lost");
        return;
    }
    client_set_state(c, CL_IDLE);
    c->barrier = false;
    if (waits)
        session_refuse(c, l.cause, l.code, l.text);
    else
        session_go_on_later(c);
}

/* ---- cancelling and refusing ----------------------------------------------------------------- */

enum running session_cancel_running(struct client *c, enum cause why)
{
    struct server *s = c->server;
    if (s == NULL || s->fl_count == 0)
        return RUNS_NOT;
    const struct flight *f = server_front(s);
    if (f->client != c || f->kind != FLIGHT_CLIENT)
        return f->waits || runs_for(s, c) ? RUNS_LATER : RUNS_NOT;
    if (why != C_CANCELLED)
        c->timed_out = (uint8_t)why;
    cancel_server(s);
    return RUNS;
}

void session_refuse(struct client *c, enum cause cause, struct str code, struct str text)
{
    c->refusal = (struct refusal){true, cause, code, text};
    session_go_on(c);
    c->refusal.set = false;
}

void session_wait_failed(struct client *c, enum cause cause, struct str code, struct str text)
{
    pool_leave_queue(&c->waiter);
    c->wait_at = c->first_start = 0;
    client_set_state(c, CL_IDLE);
    if (session_begun_alone(c))
        session_begin_later(c); /* there is no request to be refused */
    else
        session_refuse(c, cause, code, text);
}
