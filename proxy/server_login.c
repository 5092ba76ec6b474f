/* server_login.c - from nothing to a logged-in server: address, connection, TLS, credentials, first
 * steps.
 *
 * Everything a hostile or broken server may do here ends in server_login_failed, which tells the
 * pool what kind of failure it was; the pool decides who is told and when to try again.
 * Thread: the worker's; name resolution answers through the mailbox.
 */
#include "base/check.h"
#include "base/log.h"
#include "base/mem.h"
#include "proxy/net/conn_tls.h"
#include "proxy/net/sockopt.h"
#include "proxy/pool/pool_cluster.h"
#include "proxy/server.h"
#include "proxy/session.h"
#include "protocol/auth/secret.h"

#include <stdatomic.h>
#include <unistd.h>

struct resolver_wait {
    struct message m;
    struct worker *worker;
    struct server *server; /* NULL: given up; the worker's thread only */
    bool ok;
    struct resolver_addrs addrs;
    struct error err;
};

static void fail(struct server *s, enum server_error se, const char *why)
{
    server_login_failed(s, se, STR_NONE, str_of(why));
}

void server_login_abandon(struct server *s)
{
    if (s->resolving != NULL)
        s->resolving->server = NULL;
    s->resolving = NULL;
    mem_free(s->addrs);
    s->addrs = NULL;
    if (s->login_secret != NULL) {
        secret_fini(s->login_secret);
        mem_free(s->login_secret);
        s->login_secret = NULL;
    }
    if (s->login_keys != NULL) {
        mem_wipe(s->login_keys, sizeof(*s->login_keys));
        mem_free(s->login_keys);
        s->login_keys = NULL;
    }
}

void server_login_failed(struct server *s, enum server_error se, struct str code, struct str text)
{
    struct pool *p = s->pool;
    char copy[ERROR_TEXT_MAX], code_copy[16];
    str_copy(copy, sizeof(copy), text);
    str_copy(code_copy, sizeof(code_copy), code);
    LOG_LIMITED(LL_WARNING, "S-%p: %s/%s login failed: %s", (void *)s, p->shared->db->name,
                p->shared->user->name, copy);
    if (se != SE_AUTH && se != SE_NO_DB && se != SE_STARTING)
        p->host_down_until[s->host_index] = p->worker->now +
                                            worker_options(p->worker)->server_login_retry;
    server_close(s, copy);
    pool_connect_failed(p, se, str_of(code_copy), str_of(copy));
}

/* ---- start-up and credentials ---------------------------------------------------------------- */

static void add_var(struct wire_var *vars, int *n, const char *name, const char *value)
{
    if (value != NULL && value[0] != '\0')
        vars[(*n)++] = (struct wire_var){str_of(name), str_of(value)};
}

static void start_up(struct server *s)
{
    const struct config_database *db = s->pool->db;
    struct wire_var vars[8];
    int n = 0;
    add_var(vars, &n, "client_encoding", db->client_encoding);
    add_var(vars, &n, "datestyle", db->datestyle);
    add_var(vars, &n, "timezone", db->timezone);
    add_var(vars, &n, "application_name", db->application_name);
    const char *name = db->dbname != NULL ? db->dbname : s->pool->shared->db->name;
    struct wire_target t = {
        .user = str_of(db->user != NULL ? db->user : s->pool->shared->user->name),
        .database = str_of(name),
        .vars = s->pool->direct_vars != NULL ? s->pool->direct_vars->vars : vars,
        .nvars = s->pool->direct_vars != NULL ? s->pool->direct_vars->n : n,
        .replication = s->pool->replication[0] != '\0',
        .replication_mode = str_of(s->pool->replication)};
    conn_wire(&s->conn)->sv_open(s->wire_state, &t, &s->conn.out);
    conn_dirty(&s->conn);
}

/* The secret for the login: the entry's own, the user list's, or what auth_query found. */
static const struct secret *find_secret(struct server *s, struct str user)
{
    const struct config_database *db = s->pool->db;
    char text[2048];
    if (s->login_secret != NULL)
        return s->login_secret;
    const struct secret *known = config_secret(worker_config(s->conn.worker), user);
    struct str own = STR_NONE;
    if (db->user != NULL && db->password != NULL)
        own = str_of(db->password);
    else if (known != NULL)
        return known;
    else if (registry_secret(s->conn.worker->process->registry, str_of(s->pool->shared->db->name),
                             user, 0, text, sizeof(text)))
        own = str_of(text);
    if (own.p == NULL)
        return NULL;
    s->login_secret = mem_new(sizeof(*s->login_secret));
    secret_init(s->login_secret);
    struct error err;
    if (secret_parse(s->login_secret, own, &err) != ST_OK)
        LOG_LIMITED(LL_WARNING, "secret for server login: %s", err.text);
    mem_wipe(text, sizeof(text));
    return s->login_secret;
}

static const struct scram_keys *find_keys(struct server *s, struct str user)
{
    if (s->pool->db->user != NULL)
        return NULL; /* a forced login never uses what some client has proved */
    if (s->login_keys == NULL) {
        s->login_keys = mem_new(sizeof(*s->login_keys));
        if (!registry_keys(s->conn.worker->process->registry, user, s->login_keys)) {
            mem_free(s->login_keys);
            s->login_keys = NULL;
        }
    }
    return s->login_keys;
}

static void authenticate(struct server *s, struct str data)
{
    const struct config_database *db = s->pool->db;
    struct str user = str_of(db->user != NULL ? db->user : s->pool->shared->user->name);
    uint8_t binding[64];
    size_t nbinding = s->conn.tls != NULL ? tls_end_point(s->conn.tls, binding, sizeof(binding))
                                          : 0;
    struct wire_cred cred = {.user = user,
                             .secret = find_secret(s, user),
                             .keys = find_keys(s, user),
                             .cache = &s->pool->scram_cache,
                             .channel_binding = {(const char *)binding, nbinding}};
    struct error err = {""};
    enum auth_result r = conn_wire(&s->conn)->sv_auth(s->wire_state, &cred, data, &s->conn.out,
                                                      &err);
    conn_dirty(&s->conn);
    if (r == AUTH_FAIL)
        fail(s, SE_AUTH, err.text[0] != '\0' ? err.text : "cannot authenticate to the server");
}

/* ---- events ---------------------------------------------------------------------------------- */

static enum tls_mode tls_mode_of(const struct server *s)
{
    const struct tls_ctx *ctx = s->conn.worker->runtime->server_tls;
    if (ctx == NULL || s->addr.ss_family == AF_UNIX)
        return TLS_DISABLE;
    return tls_ctx_mode(ctx);
}

/* allow and prefer: each has one way to begin, and the other to try when that is refused. */
static bool begins_with_tls(const struct server *s)
{
    enum tls_mode m = tls_mode_of(s);
    bool tls = m >= TLS_PREFER;
    return s->other_tls ? !tls : tls;
}

static void dial(struct server *s);
static void on_connect_timeout(struct timeout *t);

static void on_redial(struct timeout *t)
{
    struct server *s = container_of(t, struct server, timeout);
    s->timeout.expired = on_connect_timeout;
    worker_timeout(s->conn.worker, &s->timeout, s->pool->limits[CONFIG_SERVER_CONNECT]);
    dial(s);
}

/* Access rules may refuse a login because it came with TLS or without. They do so before anything
 * is asked for; a refusal after that is about the credentials, and these are not sent a second
 * time. As libpq does it. The new connection is made in the next turn: this may be called while the
 * old one is being read. */
static bool try_other_tls(struct server *s, struct str why)
{
    enum tls_mode m = tls_mode_of(s);
    const struct wire *wire = conn_wire(&s->conn);
    bool had_tls = s->conn.tls != NULL;
    if ((m != TLS_ALLOW && m != TLS_PREFER) || s->other_tls || s->login_asked ||
        had_tls != (m == TLS_PREFER))
        return false;
    LOG_LIMITED(LL_LOG, "S-%p: " STR_FMT ", trying %s TLS", (void *)s, STR_ARG(why),
                had_tls ? "without" : "with");
    conn_close(&s->conn);
    wire->sv_fini(s->wire_state);
    memset(s->wire_state, 0, wire->server_size);
    wire->sv_init(s->wire_state);
    s->other_tls = true;
    server_set_state(s, SV_CONNECT);
    timeout_stop(&s->timeout);
    s->timeout.expired = on_redial;
    worker_timeout(s->conn.worker, &s->timeout, 1);
    return true;
}

static void on_tls_answer(struct server *s, bool yes)
{
    if (!yes && (tls_mode_of(s) >= TLS_REQUIRE || s->other_tls)) {
        fail(s, s->other_tls ? SE_AUTH : SE_OTHER,
             s->other_tls ? "server refuses the login without TLS, and TLS too"
                          : "server refused TLS");
        return;
    }
    if (!yes) {
        start_up(s);
        return;
    }
    const char *host = pool_tls_name(s->pool, s->host_index);
    struct tls *t = tls_start(s->conn.worker->runtime->server_tls, s->conn.fd, false, host, false);
    if (t == NULL)
        fail(s, SE_OTHER, "out of memory");
    else
        s->tls_pending = t;
}

static void init_steps(struct server *s)
{
    const char *query = s->pool->db->connect_query;
    server_set_state(s, SV_INIT);
    s->tx = TX_IDLE;
    if (query == NULL || query[0] == '\0' || s->pool->replication[0] != '\0') {
        server_init_done(s, true);
        return;
    }
    conn_wire(&s->conn)->sv_text(s->wire_state, OWN_QUIET, str_of(query), &s->conn.out);
    server_push(s, FLIGHT_CONNECT, NULL);
    conn_dirty(&s->conn);
}

void server_init_done(struct server *s, bool ok)
{
    if (!ok)
        LOG_LIMITED(LL_WARNING, "S-%p: connect_query failed", (void *)s);
    timeout_stop(&s->timeout);
    server_login_abandon(s);
    pool_server_ready(s->pool, s);
}

void server_login_event(struct server *s, struct wire_server_event *ev)
{
    switch (ev->kind) {
    case SV_MORE:
    case SV_SPAN:
    case SV_NOTICE:
        break;
    case SV_TLS:
        on_tls_answer(s, ev->tls);
        break;
    case SV_AUTH:
        s->login_asked = true;
        authenticate(s, ev->data);
        break;
    case SV_VAR:
        session_note_report(s, &ev->var);
        break;
    case SV_READY:
        s->key = ev->key;
        init_steps(s);
        break;
    case SV_FATAL:
        if (ev->error != SE_AUTH || !try_other_tls(s, ev->message))
            server_login_failed(s, ev->error, ev->code, ev->message);
        break;
    case SV_BAD:
        fail(s, SE_OTHER, ev->reason);
        break;
    case SV_ACK:
    case SV_ROW:
    case SV_NOTIFY:
    case SV_UPLOAD:
    case SV_DONE:
        fail(s, SE_OTHER, "unexpected message during login");
        break;
    }
}

static size_t login_data(struct server *s, struct str data, bool full)
{
    size_t used = 0;
    while (used < data.n && s->state == SV_LOGIN) {
        struct wire_server_event ev;
        struct str rest = {data.p + used, data.n - used};
        conn_wire(&s->conn)->sv_feed(s->wire_state, rest, full && used == 0, &ev);
        used += ev.consumed;
        server_login_event(s, &ev);
        if (s->state == SV_CLOSED || s->state == SV_CONNECT)
            return data.n;
        if (ev.kind == SV_MORE)
            return used;
        if (s->tls_pending != NULL) {
            struct tls *t = s->tls_pending;
            s->tls_pending = NULL;
            if (used < data.n) { /* what came in the clear behind the answer must not be used */
                tls_free(&t);
                fail(s, SE_OTHER, "unencrypted data after TLS answer");
                return data.n;
            }
            conn_secure(&s->conn, t);
            return used;
        }
    }
    if (used < data.n && s->state != SV_CLOSED)
        used += session_output(s, (struct str){data.p + used, data.n - used}, false);
    return used;
}

static size_t on_data(struct conn *c, struct str data, bool full)
{
    struct server *s = (struct server *)c;
    if (LIKELY(s->state != SV_LOGIN)) {
        return session_output(s, data, full);
    }
    return login_data(s, data, full);
}

static bool next_address(struct server *s, const char *why);

static void on_gone(struct conn *c, const char *why)
{
    struct server *s = (struct server *)c;
    if (s->state == SV_CLOSED)
        return;
    if (next_address(s, why))
        return;
    /* the handshake has failed: nothing was said inside of TLS */
    if (s->state == SV_LOGIN && c->state == CONN_HANDSHAKE && try_other_tls(s, str_of(why)))
        return;
    if (s->state == SV_CONNECT || s->state == SV_LOGIN) {
        fail(s, SE_OTHER, why);
        return;
    }
    struct pool *p = s->pool;
    server_close(s, why);
    pool_cluster_server_lost(p);
}

static void on_drained(struct conn *c)
{
    struct server *s = (struct server *)c;
    if (s->client != NULL) {
        conn_resume(&s->client->conn, PAUSE_PEER);
        conn_kick(&s->client->conn);
    }
}

static void on_connected(struct conn *c)
{
    struct server *s = (struct server *)c;
    server_set_state(s, SV_LOGIN);
    worker_tune_server(c->worker, c->fd);
    if (!begins_with_tls(s)) {
        start_up(s);
        return;
    }
    conn_wire(c)->sv_tls_request(s->wire_state, &c->out);
    conn_dirty(c);
}

static void on_secure(struct conn *c)
{
    start_up((struct server *)c);
}

static const struct conn_ops server_ops = {on_data, on_gone, on_drained, on_connected, on_secure};

/* ---- address and connection ------------------------------------------------------------------ */

static void dial(struct server *s)
{
    int fd = socket(s->addr.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        fail(s, SE_OTHER, "no socket for a server connection");
        return;
    }
    s->conn.fd = fd;
    ev_io_set(&s->conn.io, fd, EV_READ);
    struct error err;
    if (conn_connect(&s->conn, (struct sockaddr *)&s->addr, s->addr_len, &err) != ST_OK &&
        !next_address(s, err.text))
        fail(s, SE_OTHER, err.text);
}

static void try_address(struct server *s)
{
    const struct config_host *h = &s->pool->db->hosts[s->host_index];
    s->addr = s->addrs->addr[s->addr_at++ % (unsigned)s->addrs->n];
    s->addrs_left--;
    s->addr_len = sockopt_len((struct sockaddr *)&s->addr);
    sockopt_set_port(&s->addr, (uint16_t)h->port);
    dial(s);
}

/* A name with several addresses is down only when none of them answers. */
static bool next_address(struct server *s, const char *why)
{
    struct worker *w = s->conn.worker;
    if (s->state != SV_CONNECT || s->addrs == NULL || s->addrs_left == 0)
        return false;
    LOG_LIMITED(LL_LOG, "S-%p: %s, trying the next address of %s", (void *)s, why,
                s->pool->db->hosts[s->host_index].host);
    conn_close(&s->conn);
    s->other_tls = false;
    worker_timeout(w, &s->timeout, s->pool->limits[CONFIG_SERVER_CONNECT]);
    try_address(s);
    return true;
}

static void use_addrs(struct server *s, const struct resolver_addrs *a)
{
    if (a->n == 0) {
        fail(s, SE_OTHER, "name of the server cannot be resolved");
        return;
    }
    s->addrs = mem_copy(a, sizeof(*a));
    s->addrs_left = a->n;
    s->addr_at = s->pool->next_addr++;
    s->dns_generation = a->generation;
    try_address(s);
}

static void on_resolved(struct message *m, void *ctx)
{
    (void)ctx;
    struct resolver_wait *rw = container_of(m, struct resolver_wait, m);
    struct server *s = rw->server;
    if (s != NULL) {
        s->resolving = NULL;
        if (rw->ok)
            use_addrs(s, &rw->addrs);
        else
            fail(s, SE_OTHER, rw->err.text);
    }
    mem_free(rw);
}

/* On a resolver thread. */
static void resolved(void *arg, const struct resolver_addrs *addrs, const struct error *err)
{
    struct resolver_wait *rw = arg;
    rw->ok = addrs != NULL;
    if (addrs != NULL)
        rw->addrs = *addrs;
    if (err != NULL)
        rw->err = *err;
    rw->m.deliver = on_resolved;
    if (!mailbox_post(&rw->worker->mailbox, &rw->m))
        mem_free(rw);
}

static void resolve(struct server *s)
{
    const struct config_host *h = &s->pool->db->hosts[s->host_index];
    struct resolver_wait *rw = mem_new(sizeof(*rw));
    struct resolver_addrs addrs;
    struct error err = {""};
    rw->worker = s->conn.worker;
    rw->server = s;
    struct resolver_ask ask = {resolved, rw};
    if (!resolver_ask(s->conn.worker->process->resolver, h->host, &addrs, &err, ask)) {
        s->resolving = rw;
        return;
    }
    mem_free(rw);
    use_addrs(s, &addrs);
}

static void local_socket(struct server *s, const struct config_host *h)
{
    struct error err;
    if (sockopt_unix_addr(h->host, (uint16_t)h->port, &s->addr, &s->addr_len, &err) != ST_OK)
        fail(s, SE_OTHER, err.text);
    else
        dial(s);
}

static void on_connect_timeout(struct timeout *t)
{
    struct server *s = container_of(t, struct server, timeout);
    if (!next_address(s, "connect timeout"))
        fail(s, SE_OTHER, "connect timeout");
}

/* The next host that is not known to be down; if all are, the next one. */
static int choose_host(struct pool *p)
{
    unsigned n = (unsigned)MIN(p->db->nhosts, (size_t)POOL_HOSTS_MAX);
    CHECK(n > 0); /* an entry without a host is refused when it is read */
    unsigned start = p->db->load_balance == CONFIG_NO_BALANCE ? 0 : p->next_host++;
    for (unsigned i = 0; i < n; i++)
        if (p->host_down_until[(start + i) % n] <= p->worker->now)
            return (int)((start + i) % n);
    return (int)(start % n);
}

void server_open(struct pool *p)
{
    struct worker *w = p->worker;
    struct server *s = mem_new(sizeof(*s) + w->wire->server_size);
    s->wire_state = s + 1;
    s->pool = p;
    s->mortal.free = server_free;
    conn_init(&s->conn, w, &server_ops, -1);
    s->conn.is_server = true;
    list_init(&s->link);
    list_init(&s->all);
    list_push_back(&w->servers, &s->all);
    s->id = atomic_fetch_add_explicit(&w->process->shared.next_id, 1, memory_order_relaxed);
    s->vars = varset_empty(&w->vars);
    s->profile = varset_empty(&w->vars);
    s->question.names = varset_empty(&w->vars);
    stmt_set_init(&s->stmts);
    s->epoch = atomic_load_explicit(&p->shared->db->shared.epoch, memory_order_relaxed);
    s->connected_at = s->request_at = w->now;
    s->connect_wall = s->request_wall = clock_wall_us();
    w->wire->sv_init(s->wire_state);
    list_push_back(&p->connecting, &s->link);
    p->nconnecting++;
    timeout_init(&s->timeout, on_connect_timeout);
    worker_timeout(w, &s->timeout, p->limits[CONFIG_SERVER_CONNECT]);
    s->host_index = choose_host(p);
    const struct config_host *h = &p->db->hosts[s->host_index];
    s->host = registry_host(w->process->registry, h->host, h->port);
    if (h->host[0] == '/' || h->host[0] == '@')
        local_socket(s, h);
    else
        resolve(s);
}
