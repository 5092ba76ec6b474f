/* client.c - a connection from an application: states, timers, beginning and end; see client.h. */
#include "proxy/client.h"

#include "base/check.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/random.h"
#include "proxy/admin/console.h"
#include "proxy/client_login.h"
#include "proxy/net/sockopt.h"
#include "proxy/server.h"
#include "proxy/session_begin.h"
#include "proxy/session_cache.h"
#include "proxy/session_route.h"
#include "proxy/session_share.h"

#include <stdatomic.h>
#include <unistd.h>

#define WAIT_ANSWER_US USEC_PER_SEC  /* for another client's query; then it asks for itself */
#define LINGER_US (5 * USEC_PER_SEC) /* for the peer to take our last words and close */

const char *const client_state_names[] = {"startup",
                                          "login",
                                          "waiting for server settings",
                                          "idle",
                                          "waiting for an answer",
                                          "waiting",
                                          "active",
                                          "sharing",
                                          "held",
                                          "console",
                                          "ending",
                                          "closed"};

#define BIT(st) (1u << (st))
static const uint16_t legal[] = {
    [CL_STARTUP] = BIT(CL_AUTH) | BIT(CL_WELCOME) | BIT(CL_IDLE) | BIT(CL_ADMIN) | BIT(CL_ENDING) |
                   BIT(CL_CLOSED),
    [CL_AUTH] = BIT(CL_WELCOME) | BIT(CL_IDLE) | BIT(CL_ADMIN) | BIT(CL_ENDING) | BIT(CL_CLOSED),
    [CL_WELCOME] = BIT(CL_IDLE) | BIT(CL_ENDING) | BIT(CL_CLOSED),
    [CL_CACHE] = BIT(CL_IDLE) | BIT(CL_ENDING) | BIT(CL_CLOSED),
    [CL_IDLE] = BIT(CL_WAIT) | BIT(CL_CACHE) | BIT(CL_BUSY) | BIT(CL_SHARED) | BIT(CL_ENDING) |
                BIT(CL_CLOSED),
    [CL_WAIT] = BIT(CL_BUSY) | BIT(CL_SHARED) | BIT(CL_IDLE) | BIT(CL_ENDING) | BIT(CL_CLOSED),
    [CL_BUSY] = BIT(CL_IDLE) | BIT(CL_HELD) | BIT(CL_ENDING) | BIT(CL_CLOSED),
    [CL_SHARED] = BIT(CL_IDLE) | BIT(CL_BUSY) | BIT(CL_WAIT) | BIT(CL_ENDING) | BIT(CL_CLOSED),
    [CL_HELD] = BIT(CL_BUSY) | BIT(CL_IDLE) | BIT(CL_ENDING) | BIT(CL_CLOSED),
    [CL_ADMIN] = BIT(CL_ENDING) | BIT(CL_CLOSED),
    [CL_ENDING] = BIT(CL_CLOSED),
    [CL_CLOSED] = 0,
};

/* ---- timers ---------------------------------------------------------------------------------- */

/* The process ends, and this is between transactions. */
static bool must_leave(const struct client *c, enum client_state st)
{
    enum process_phase phase = process_phase(c->conn.worker->process);
    if (st == CL_IDLE)
        return phase >= PHASE_DRAIN_SERVERS && !session_begun(c);
    return st == CL_HELD && phase >= PHASE_DRAIN_TRANSACTIONS && c->server != NULL &&
           c->server->tx == TX_IDLE;
}

usec_t client_limit_us(const struct client *c, enum client_state st)
{
    if (must_leave(c, st))
        return 1; /* when this loop turn is over */
    switch (st) {
    case CL_STARTUP:
    case CL_AUTH:
    case CL_WELCOME:
        return worker_options(c->conn.worker)->client_login_timeout;
    case CL_IDLE:
        return c->pool->limits[session_begun(c) ? CONFIG_IDLE_TRANSACTION : CONFIG_CLIENT_IDLE];
    case CL_CACHE:
        return WAIT_ANSWER_US;
    case CL_WAIT:
        if (c->waiter.pool == c->pool && c->route != NULL)
            return MAX(session_route_patience(c), 1);
        return c->pool->limits[CONFIG_QUERY_WAIT];
    case CL_BUSY:
    case CL_SHARED:
        return c->replication ? 0 : c->pool->limits[CONFIG_QUERY];
    case CL_HELD:
        if (c->server != NULL && c->server->tx != TX_IDLE)
            return c->pool->limits[CONFIG_IDLE_TRANSACTION];
        if (!c->passthrough && worker_options(c->conn.worker)->pin_timeout > 0)
            return worker_options(c->conn.worker)->pin_timeout;
        return c->pool->limits[CONFIG_CLIENT_IDLE];
    case CL_ENDING:
        return LINGER_US;
    case CL_ADMIN:
    case CL_CLOSED:
        return 0;
    }
    return 0;
}

static void busy_too_long(struct client *c)
{
    struct worker *w = c->conn.worker;
    if (c->timed_out != 0) {
        /* The database does not react to the cancel: the connection is given up. */
        server_close(c->server, "query timeout and no answer to the cancel");
        return;
    }
    switch (session_cancel_running(c, C_QUERY_TIMEOUT)) {
    case RUNS:
        worker_timeout(w, &c->timeout, worker_options(w)->cancel_wait_timeout);
        break;
    case RUNS_LATER:
        c->timed_out = C_QUERY_TIMEOUT;
        server_close(c->server, "query timeout before the query began");
        break;
    case RUNS_NOT: /* the client has its answer; questions about the session have their own limit */
        worker_timeout(w, &c->timeout, client_limit_us(c, c->state));
        break;
    }
}

static void note_timeout(const struct client *c)
{
    if (c->pool == NULL)
        return;
    struct measure_counts *n = &c->pool->measure.counts;
    switch (c->state) {
    case CL_WELCOME:
    case CL_WAIT:
        n->timeouts[MEASURE_QUERY_WAIT]++;
        break;
    case CL_SHARED:
    case CL_BUSY:
        n->timeouts[MEASURE_QUERY] += c->timed_out == 0;
        break;
    case CL_HELD:
        n->timeouts[c->server->tx != TX_IDLE ? MEASURE_IDLE_TRANSACTION : MEASURE_CLIENT_IDLE]++;
        break;
    case CL_IDLE:
        n->timeouts[session_begun(c) ? MEASURE_IDLE_TRANSACTION : MEASURE_CLIENT_IDLE]++;
        break;
    case CL_STARTUP:
    case CL_AUTH:
    case CL_CACHE: /* no limit of anybody's */
    case CL_ADMIN:
    case CL_ENDING:
    case CL_CLOSED:
        break;
    }
}

static void on_timeout(struct timeout *t)
{
    struct client *c = container_of(t, struct client, timeout);
    if (must_leave(c, c->state)) {
        client_fatal(c, C_SHUTDOWN, STR_NONE);
        return;
    }
    note_timeout(c);
    switch (c->state) {
    case CL_STARTUP:
    case CL_AUTH:
        client_fatal(c, C_LOGIN_TIMEOUT, STR_NONE);
        break;
    case CL_WELCOME:
        client_fatal(c, C_POOL_TIMEOUT, STR_NONE);
        break;
    case CL_IDLE:
        client_fatal(c, session_begun(c) ? C_IDLE_TX_TIMEOUT : C_IDLE_TIMEOUT, STR_NONE);
        break;
    case CL_CACHE:
        session_look_alone(c);
        break;
    case CL_WAIT:
        if (c->waiter.pool->cluster != NULL)
            session_wait_failed(c, session_route_give_up(c), STR_NONE, STR_NONE);
        else
            session_wait_failed(c, C_POOL_TIMEOUT, STR_NONE, STR_NONE);
        break;
    case CL_SHARED:
        if (!session_share_stop(c, C_QUERY_TIMEOUT))
            break;
        busy_too_long(c);
        break;
    case CL_BUSY:
        busy_too_long(c);
        break;
    case CL_HELD:
        client_fatal(c, c->server->tx != TX_IDLE ? C_IDLE_TX_TIMEOUT : C_IDLE_TIMEOUT, STR_NONE);
        break;
    case CL_ENDING:
        client_close(c, "lingering over");
        break;
    case CL_ADMIN:
    case CL_CLOSED:
        break;
    }
}

static void on_tx_timeout(struct timeout *t)
{
    struct client *c = container_of(t, struct client, tx_timeout);
    if (c->state != CL_BUSY && c->state != CL_HELD && c->state != CL_SHARED)
        return;
    c->pool->measure.counts.timeouts[MEASURE_TRANSACTION]++;
    client_fatal(c, C_TX_TIMEOUT, STR_NONE);
}

/* A login that waits for its first server waits no longer than a request would. */
static void limit_welcome(struct client *c)
{
    usec_t wait = c->pool->limits[CONFIG_QUERY_WAIT];
    usec_t until = c->conn.worker->now + wait;
    if (wait > 0 && (!timeout_running(&c->timeout) || until < c->timeout.deadline))
        worker_timeout(c->conn.worker, &c->timeout, wait);
}

void client_set_state(struct client *c, enum client_state to)
{
    CHECK(legal[c->state] & BIT(to));
    bool login = c->state <= CL_AUTH && to <= CL_WELCOME;
    if (c->state <= CL_WELCOME && to > CL_WELCOME)
        atomic_fetch_sub_explicit(&c->conn.worker->process->shared.login_clients, 1,
                                  memory_order_relaxed);
    bool same_request = c->state == CL_SHARED && to == CL_BUSY; /* its time goes on */
    c->state = to;
    if (to == CL_HELD)
        c->held_at = c->conn.worker->now;
    if (to == CL_CLOSED)
        timeout_stop(&c->timeout);
    else if (!login && !same_request) /* one limit for the whole login */
        worker_timeout(c->conn.worker, &c->timeout, client_limit_us(c, to));
    else if (to == CL_WELCOME)
        limit_welcome(c);
}

/* ---- socket ---------------------------------------------------------------------------------- */

static size_t on_data(struct conn *conn, struct str data, bool full)
{
    struct client *c = (struct client *)conn;
    switch (c->state) {
    case CL_STARTUP:
    case CL_AUTH:
        return login_input(c, data, full);
    case CL_WELCOME:
        return 0;
    case CL_IDLE:
    case CL_CACHE:
    case CL_WAIT:
    case CL_BUSY:
    case CL_SHARED:
    case CL_HELD:
        return session_input(c, data, full);
    case CL_ADMIN:
        return console_input(c, data, full);
    case CL_ENDING:
    case CL_CLOSED:
        return data.n;
    }
    return data.n;
}

static void on_gone(struct conn *conn, const char *why)
{
    client_close((struct client *)conn, why);
}

static void on_drained(struct conn *conn)
{
    struct client *c = (struct client *)conn;
    conn_resume(&c->conn, PAUSE_OWN);
    if (c->server != NULL)
        conn_resume(&c->server->conn, PAUSE_PEER);
}

static void on_secure(struct conn *conn)
{
    (void)conn; /* the start-up packet follows */
}

static const struct conn_ops client_ops = {on_data, on_gone, on_drained, NULL, on_secure};

/* ---- life ------------------------------------------------------------------------------------ */

static void client_free(struct mortal *m)
{
    struct client *c = container_of(m, struct client, mortal);
    conn_wire(&c->conn)->cl_fini(c->wire_state);
    session_route_end(c);
    varset_put(&c->vars);
    varset_put(&c->startup);
    varset_put(&c->told);
    if (c->names != NULL) {
        stmt_names_fini(c->names);
        mem_free(c->names);
    }
    session_cache_client_free(c);
    mem_wipe(c->secret, sizeof(c->secret));
    mem_free(c->peer);
    mem_free(c->user);
    mem_free(c);
}

static void granted(struct waiter *w, struct server *s)
{
    struct client *c = container_of(w, struct client, waiter);
    if (s == NULL || c->state == CL_WELCOME)
        login_granted(c, s);
    else
        session_granted(c, s);
}

static void failed(struct waiter *w, enum cause cause, struct str code, struct str text)
{
    struct client *c = container_of(w, struct client, waiter);
    if (c->state == CL_WELCOME)
        login_refused(c, cause, code, text);
    else
        session_wait_failed(c, cause, code, text);
}

static void look_again(struct waiter *w, bool failed)
{
    struct client *c = container_of(w, struct client, waiter);
    if (c->state == CL_WELCOME)
        login_look_again(c);
    else
        session_route_again(c, failed);
}

void client_accept(struct worker *w, int fd, const struct sockaddr_storage *peer, bool is_unix)
{
    struct client *c = mem_try(sizeof(*c) + w->wire->client_size);
    if (c == NULL) {
        close(fd);
        atomic_fetch_sub_explicit(&w->shared.clients, 1, memory_order_relaxed);
        atomic_fetch_sub_explicit(&w->process->shared.login_clients, 1, memory_order_relaxed);
        return;
    }
    memset(c, 0, sizeof(*c) + w->wire->client_size);
    c->wire_state = c + 1;
    c->mortal.free = client_free;
    conn_init(&c->conn, w, &client_ops, fd);
    list_init(&c->all);
    list_init(&c->in_pool);
    list_push_back(&w->clients, &c->all);
    list_init(&c->waiter.link);
    c->waiter.granted = granted;
    c->waiter.failed = failed;
    c->waiter.offered = session_offered;
    c->waiter.again = look_again;
    c->is_unix = is_unix;
    const struct sockaddr *sa = (const struct sockaddr *)peer;
    c->peer = mem_copy(sa, is_unix ? sizeof(sa->sa_family)
                                   : MAX(sizeof(sa->sa_family), sockopt_len(sa)));
    c->id = atomic_fetch_add_explicit(&w->process->shared.next_id, 1, memory_order_relaxed);
    c->connect_wall = c->request_wall = clock_wall_us();
    c->slot = worker_slot_take(w, c);
    random_bytes(c->secret, sizeof(c->secret));
    timeout_init(&c->timeout, on_timeout);
    timeout_init(&c->tx_timeout, on_tx_timeout);
    worker_timeout(w, &c->timeout, client_limit_us(c, CL_STARTUP));
    w->wire->cl_init(c->wire_state);
    w->wire->cl_limits(c->wire_state, (size_t)worker_options(w)->max_packet_size);
    login_begin(c);
    conn_start(&c->conn);
}

static void uncount(struct client *c)
{
    struct process *p = c->conn.worker->process;
    if (c->logged_in)
        atomic_fetch_sub_explicit(&p->shared.clients, 1, memory_order_relaxed);
    c->logged_in = false;
    if (c->db_counted != NULL)
        atomic_fetch_sub_explicit(&c->db_counted->shared.clients, 1, memory_order_relaxed);
    if (c->user_counted != NULL)
        atomic_fetch_sub_explicit(&c->user_counted->shared.clients, 1, memory_order_relaxed);
    c->db_counted = NULL;
    c->user_counted = NULL;
}

static void log_end(const struct client *c, const char *why)
{
    if (!worker_options(c->conn.worker)->log_disconnections || c->user == NULL)
        return;
    long long age = (long long)((clock_wall_us() - c->connect_wall) / USEC_PER_SEC);
    LOG_LIMITED(LL_LOG, "C-%p: %s/%s closing because: %s (age=%llds)", (const void *)c,
                c->pool != NULL ? c->pool->shared->db->name : "-", c->user, why, age);
}

/* Lets go of everything but the socket. */
static void let_go(struct client *c, const char *why)
{
    log_end(c, why);
    session_client_gone(c);
    timeout_stop(&c->tx_timeout);
    login_free(c);
    if (c->console != NULL)
        console_gone(c);
    if (c->pool != NULL) {
        list_remove(&c->in_pool);
        c->pool->nclients--;
        c->pool->stats.received += c->conn.bytes_in;
    }
    uncount(c);
}

void client_close(struct client *c, const char *why)
{
    struct worker *w = c->conn.worker;
    if (c->state == CL_CLOSED)
        return;
    if (c->state != CL_ENDING)
        let_go(c, why);
    client_set_state(c, CL_CLOSED);
    worker_slot_drop(w, c->slot);
    list_remove(&c->all);
    conn_close(&c->conn);
    atomic_fetch_sub_explicit(&w->shared.clients, 1, memory_order_relaxed);
    worker_bury(w, &c->mortal);
}

void client_end(struct client *c, const char *why)
{
    if (c->state == CL_ENDING || c->state == CL_CLOSED)
        return;
    let_go(c, why);
    client_set_state(c, CL_ENDING);
    conn_close_after_flush(&c->conn);
}

void client_tell(struct client *c, const struct wire_fault *f)
{
    conn_wire(&c->conn)->cl_error(c->wire_state, f, &c->conn.out);
    conn_dirty(&c->conn);
    session_route_over(c);
    uint64_t *told = c->pool != NULL ? c->pool->measure.counts.told : c->conn.worker->told;
    told[f->cause]++;
    if (!worker_options(c->conn.worker)->log_pooler_errors)
        return;
    struct str text = f->text.n > 0 ? f->text : str_of(cause_name(f->cause));
    LOG_LIMITED(LL_WARNING, "C-%p: pooler error: " STR_FMT, (void *)c, STR_ARG(text));
}

void client_fatal(struct client *c, enum cause cause, struct str text)
{
    if (c->state == CL_ENDING || c->state == CL_CLOSED)
        return;
    client_tell(c, &(struct wire_fault){.cause = cause, .text = text, .fatal = true});
    client_end(c, cause_name(cause));
}

/* ---- whole worker ---------------------------------------------------------------------------- */

/* Idle clients leave when the process drains. */
void clients_housekeeping(struct worker *w)
{
    struct list *it, *tmp;
    if (process_phase(w->process) < PHASE_DRAIN_SERVERS)
        return;
    LIST_EACH(it, tmp, &w->clients) {
        struct client *c = container_of(it, struct client, all);
        bool waits = c->state <= CL_WELCOME ||
                     (c->state == CL_WAIT && c->first_start == 0 && !session_begun(c));
        if (waits || must_leave(c, c->state)) /* not one whose request was sent, and is again */
            client_fatal(c, C_SHUTDOWN, STR_NONE);
    }
}

void clients_reconfigure(struct worker *w)
{
    login_forget_verifiers(w);
    struct list *it, *tmp;
    LIST_EACH(it, tmp, &w->clients) {
        struct client *c = container_of(it, struct client, all);
        if (c->state == CL_IDLE) /* with the new limits */
            worker_timeout(w, &c->timeout, client_limit_us(c, c->state));
    }
}

void clients_close_all(struct worker *w)
{
    struct list *l;
    while ((l = list_first(&w->clients)) != NULL)
        client_close(container_of(l, struct client, all), "shutting down");
}
