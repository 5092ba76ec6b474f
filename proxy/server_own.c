/* server_own.c - questions to a server about its session, and cleaning it; see server.h.
 *
 * They travel in the in-flight queue like a client's requests.  Cleaning goes step by step, each
 * started when the one before has been answered: end the transaction, then reset the session, then,
 * when a reset query of the configuration was used whose effect is not known, ask what is left.
 */
#include "proxy/server.h"

#include "base/check.h"
#include "base/log.h"
#include "base/mem.h"
#include "proxy/cancel.h"
#include "proxy/listen.h"
#include "proxy/session.h"

/* between cancel requests for a statement that nobody waits for */
#define DRAIN_STEP_US (300 * 1000)
#define DRAIN_STEPS 10
#define ASK_TRIES 10 /* of a question that a time limit of the session cut off */
#define ASK_NAMES_MAX (2 * VARSET_MAX)
#define CLEAN_TIMEOUT_US (5 * USEC_PER_SEC) /* a rollback that takes longer costs the connection */

static void on_timeout(struct timeout *t)
{
    server_close(container_of(t, struct server, timeout), "cleaning took too long");
}

void server_arm(struct server *s)
{
    timeout_stop(&s->timeout);
    s->timeout.expired = on_timeout;
    worker_timeout(s->conn.worker, &s->timeout, CLEAN_TIMEOUT_US);
    conn_dirty(&s->conn);
}

/* A cancel request may overtake the statement that it is for, and the database would sit in that
 * one long after we have gone; so it is repeated, also before the connection is given up. */
static void on_drain(struct timeout *t)
{
    struct server *s = container_of(t, struct server, timeout);
    if (s->fl_count == 0)
        return; /* it has worked: what follows has times of its own */
    if (s->cancels == 0)
        cancel_server(s);
    if (s->drains++ < DRAIN_STEPS)
        worker_timeout(s->conn.worker, t, DRAIN_STEP_US);
    else
        server_close(s, "a vanished client's statement could not be stopped");
}

void server_drain_soon(struct server *s)
{
    timeout_stop(&s->timeout);
    s->timeout.expired = on_drain;
    s->drains = 0;
    worker_timeout(s->conn.worker, &s->timeout, DRAIN_STEP_US);
}

void server_drain(struct server *s)
{
    server_drain_soon(s);
    cancel_server(s);
}

static int add_names(struct str *names, int n, const struct varset *from, bool custom_only)
{
    for (int i = 0; i < from->n && n < ASK_NAMES_MAX; i++)
        if (!custom_only || str_find(from->vars[i].name, '.') >= 0)
            names[n++] = from->vars[i].name;
    return n;
}

void server_ask(struct server *s)
{
    struct str names[ASK_NAMES_MAX];
    uint32_t asks = s->asks;
    struct varset_table *t = &s->conn.worker->vars;
    int n = 0;
    bool all = (asks & ASK_VARS_ALL) != 0;
    /* Custom settings are not in the database's list: those known are asked for by name. What is in
     * the list is not: by name, what was reset could not be told from what was set. */
    n = add_names(names, n, s->question.names, all);
    if (all) {
        n = add_names(names, n, s->vars, true);
        if (s->client != NULL && !s->question.reset_seen)
            n = add_names(names, n, s->client->startup, true);
        asks = n > 0 ? asks | ASK_VARS : asks & ~(uint32_t)ASK_VARS;
    }
    varset_put(&s->question.answered);
    s->question.answered = asks & ASK_VARS_ALL ? varset_empty(t) : varset_get(s->vars);
    if (asks & ASK_LISTEN) {
        s->pins &= ~(uint32_t)PIN_LISTEN;
        listen_ask_begins(s);
    }
    if (asks & ASK_PREPARED)
        s->pins &= ~(uint32_t)PIN_PREPARED;
    s->question.of_prepared = (asks & ASK_PREPARED) != 0;
    s->question.nmatched = 0;
    conn_wire(&s->conn)->sv_ask(s->wire_state, asks, names, n, &s->conn.out);
    s->asks = 0;
    server_push(s, FLIGHT_ASK, NULL)->effects = asks;
    server_arm(s);
}

/* Only the question for all settings puts the time limits of the session aside; and one of them by
 * name is refused when nobody may look at it, which that one leaves out. */
bool server_ask_again(struct server *s, const struct flight *f, enum server_error why)
{
    bool refused = why != SE_CANCELLED;
    if (s->question.tries++ >= ASK_TRIES || (refused && (f->effects & ASK_VARS) == 0))
        return false;
    s->asks |= f->effects | ASK_VARS_ALL;
    return true;
}

/* The configured query is for the sessions of clients whose server was all theirs. What the proxy
 * itself wants gone, no setting can keep. */
static bool as_configured(const struct server *s)
{
    bool session = pool_mode(s->pool) == CONFIG_POOL_SESSION ||
                   worker_options(s->conn.worker)->server_reset_query_always;
    return session && s->pins == 0 && s->asks == 0 && map_count(&s->stmts.by_name) == 0;
}

void server_clean(struct server *s)
{
    const struct wire *wire = conn_wire(&s->conn);
    struct str query = str_of(worker_options(s->conn.worker)->server_reset_query);
    if (s->tx != TX_IDLE) {
        s->reset.step = CLEANING_TX;
        wire->sv_clean(s->wire_state, CLEAN_TX, &s->conn.out);
    } else if (as_configured(s) && query.n == 0) {
        s->reset.due = false;
        s->asks = ASK_VARS_ALL;
        server_ask(s);
        return;
    } else if (as_configured(s) && !str_eq(query, str_of(wire->reset_query))) {
        s->reset.step = CLEANING_QUERY;
        wire->sv_text(s->wire_state, OWN_QUIET, query, &s->conn.out);
    } else {
        s->reset.step = CLEANING_FULL;
        wire->sv_clean(s->wire_state, CLEAN_FULL, &s->conn.out);
    }
    server_push(s, FLIGHT_CLEAN, NULL);
    server_arm(s);
}

void server_cleaned(struct server *s, bool ok)
{
    enum cleaning was = s->reset.step;
    s->reset.step = CLEANING_NONE;
    timeout_stop(&s->timeout);
    if (!ok) {
        s->doubtful = true;
        return;
    }
    if (was == CLEANING_TX || was == CLEANING_NONE)
        return;
    s->reset.due = false;
    if (was == CLEANING_FULL) {
        stmt_set_clear(&s->stmts);
        session_vars_reset(s);
        return;
    }
    /* Whether it dropped our statements is not known: they are given up. */
    s->leaked += (int)s->stmts.count;
    stmt_set_clear(&s->stmts);
    s->asks |= ASK_VARS_ALL | ASK_LOCKS | ASK_TEMP | ASK_CURSORS | ASK_PREPARED | ASK_LISTEN;
    s->reset.unknown = true;
}
