/* client_login.c - from an accepted socket to a logged-in client; see client_login.h. */
#include "proxy/client_login.h"

#include "base/buf.h"
#include "base/check.h"
#include "base/log.h"
#include "base/mem.h"
#include "proxy/admin/console.h"
#include "proxy/cancel.h"
#include "proxy/config/hba.h"
#include "proxy/login.h"
#include "proxy/net/conn_tls.h"
#include "proxy/net/proxy_protocol.h"
#include "proxy/net/sockopt.h"
#include "proxy/pool/pool_cluster.h"
#include "proxy/server.h"
#include "proxy/session_route.h"
#include "protocol/wire_node.h"

#include <stdatomic.h>
#include <unistd.h>

#define TRY_SETTINGS_US (2 * USEC_PER_SEC) /* for a server to try start-up settings on */

/* ---- the welcome ----------------------------------------------------------------------------- */

static bool is_admin_db(struct str name)
{
    return str_eq(name, STR("pgbouncer")) || str_eq(name, STR("penstock"));
}

/* What the client is told: the pool's settings, overridden by those it came with. */
static void tell_settings(struct client *c, const struct varset *profile)
{
    c->told = varset_get((struct varset *)(uintptr_t)profile);
    for (int i = 0; i < c->startup->n; i++) {
        const struct wire_var *v = &c->startup->vars[i];
        if (varset_find(c->told, v->name).p != NULL)
            varset_change(&c->told, v->name, v->value);
    }
    for (int i = 0; i < c->told->n; i++)
        c->dialect = conn_wire(&c->conn)->dialect(c->told->vars[i].name, c->told->vars[i].value,
                                                  c->dialect);
}

static void welcome(struct client *c)
{
    struct wire_key key;
    cancel_make_key(c, c->login->minor, &key);
    const char *notice = worker_options(c->conn.worker)->login_notify_message;
    conn_wire(&c->conn)->cl_welcome(c->wire_state, c->told->vars, c->told->n, &key, &c->conn.out);
    mem_wipe(&key, sizeof(key)); /* the client's secret is all that is needed */
    if (notice[0] != '\0')
        conn_wire(&c->conn)->cl_notice(c->wire_state, str_of(notice), STR_NONE, &c->conn.out);
    conn_dirty(&c->conn);
    c->pool->stats.client_logins++;
    c->waiter.kind = WAIT_ALONE;
    login_free(c);
    client_set_state(c, CL_IDLE);
    session_go_on_later(c);
}

static void begin_replication(struct client *c, struct server *s)
{
    c->told = varset_get(s->profile);
    welcome(c);
    c->replication = true;
    session_attach(c, s);
    conn_wire(&c->conn)->cl_raw(c->wire_state);
    conn_wire(&c->conn)->sv_raw(s->wire_state);
}

/* The database has said whether it takes the settings that the client came with; ok false without a
 * code: nobody could be asked, and they are tried with the first request. */
static void settings_tried(struct job *j, bool ok, struct str message)
{
    struct client *c = container_of(j, struct login, query)->auth.owner;
    c->login->query_running = false;
    if (!ok && j->code.n > 0) {
        const struct wire_fault f = {
            .cause = C_BAD_SETTING, .code = j->code, .text = message, .fatal = true};
        client_tell(c, &f);
        client_end(c, "start-up setting refused");
        return;
    }
    tell_settings(c, c->pool->profile);
    if (ok) {
        varset_put(&c->told);
        c->told = varset_get(j->profile);
    }
    welcome(c);
}

/* Settings that this database has not taken before are tried before the login is over, because that
 * is where PostgreSQL refuses them. True: under way. */
static bool try_settings(struct client *c)
{
    struct login *l = c->login;
    bool known = true;
    for (int i = 0; i < c->startup->n && known; i++)
        known = session_var_known(c->pool, &c->startup->vars[i]);
    if (known)
        return false;
    if (c->state != CL_WELCOME)
        client_set_state(c, CL_WELCOME);
    l->query.vars = c->startup;
    l->query.limit = TRY_SETTINGS_US;
    l->query.done = settings_tried;
    l->query.row = NULL;
    l->query.code = STR_NONE;
    l->query_running = true;
    job_start(c->pool, &l->query);
    return true;
}

void login_granted(struct client *c, struct server *s)
{
    if (s != NULL) {
        begin_replication(c, s);
        return;
    }
    if (try_settings(c))
        return;
    tell_settings(c, c->pool->profile);
    welcome(c);
}

void login_refused(struct client *c, enum cause cause, struct str code, struct str text)
{
    client_tell(c, &(struct wire_fault){.cause = cause, .code = code, .text = text, .fatal = true});
    client_end(c, "server login failed");
}

static bool ignored(struct client *c, struct str name)
{
    return config_list_has(worker_options(c->conn.worker)->ignore_startup_parameters, name);
}

/* Appends the address to the application's name, as application_name_add_host asks. */
static void add_host(struct client *c, struct wire_var *v, char *dst, size_t cap)
{
    char addr[SOCKOPT_TEXT_MAX];
    if (!worker_options(c->conn.worker)->application_name_add_host ||
        !str_ieq(v->name, STR("application_name")))
        return;
    struct buf b;
    uint16_t port = sockopt_format(c->peer, 0, addr, sizeof(addr));
    buf_init(&b, cap);
    buf_printf(&b, STR_FMT " - %s:%u", STR_ARG(v->value), addr, port);
    if (str_copy(dst, cap, buf_str(&b)))
        v->value = str_of(dst);
    buf_fini(&b);
}

/* A parameter that says where statements may go; without a cluster the server refuses it, as it
 * would without us. */
static bool for_us_alone(const struct client *c, const struct wire_var *v)
{
    struct wire_wishes unread;
    return c->pool->cluster != NULL && conn_wire(&c->conn)->startup_wishes(v, &unread);
}

/* False: they ask for a kind of node that there is not. */
static bool take_startup(struct client *c)
{
    struct wire_var vars[LOGIN_VARS_MAX];
    char app[512];
    int n = 0;
    for (int i = 0; i < c->login->nvars; i++) {
        vars[n] = c->login->vars[i];
        if (ignored(c, vars[n].name) || for_us_alone(c, &vars[n]))
            continue;
        add_host(c, &vars[n], app, sizeof(app));
        n++;
    }
    bool known = session_route_begin(c, c->login->vars, c->login->nvars);
    c->startup = varset_make(&c->conn.worker->vars, vars, n);
    c->vars = varset_get(c->startup);
    return known;
}

/* Exact across workers: raised first, taken back when too many. */
static bool count_in(_Atomic int *count, int limit)
{
    if (atomic_fetch_add_explicit(count, 1, memory_order_acq_rel) < limit || limit == 0)
        return true;
    atomic_fetch_sub_explicit(count, 1, memory_order_acq_rel);
    return false;
}

static bool within_limits(struct client *c, const struct config_database *db)
{
    struct worker *w = c->conn.worker;
    const struct config *cfg = worker_config(w);
    struct registry *r = w->process->registry;
    const struct config_user *u = config_find_user(cfg, str_of(c->user));
    if (!count_in(&w->process->shared.clients, worker_options(w)->max_client_conn)) {
        client_fatal(c, C_TOO_MANY, STR("no more connections allowed (max_client_conn)"));
        return false;
    }
    c->logged_in = true;
    struct db_shared *d = registry_db(r, str_of(c->login->database));
    if (!count_in(&d->shared.clients, config_max_db_client_connections(cfg, db))) {
        client_fatal(c, C_TOO_MANY, STR("client connections exceeded (max_db_client_connections)"));
        return false;
    }
    c->db_counted = d;
    struct user_shared *us = registry_user(r, str_of(c->user));
    if (!count_in(&us->shared.clients, config_max_user_client_connections(cfg, u))) {
        client_fatal(c, C_TOO_MANY,
                     STR("client connections exceeded (max_user_client_connections)"));
        return false;
    }
    c->user_counted = us;
    return true;
}

static void enter_pool(struct client *c, const struct config_database *db)
{
    struct worker *w = c->conn.worker;
    struct login *l = c->login;
    struct str name = str_of(l->database), user = str_of(c->user);
    c->pool = l->replication ? pool_private(w, db, name, user, c->id) : pool_for(w, db, name, user);
    if (c->pool != NULL && l->replication && !pool_cluster_settle(c->pool)) {
        struct pool *p = c->pool;
        c->pool = NULL;
        pool_free(p);
        client_fatal(c, C_SERVER_DOWN, STR("no primary is known"));
        return;
    }
    if (c->pool == NULL) {
        client_fatal(c, C_NO_DB, STR_NONE);
        return;
    }
    list_push_back(&c->pool->clients, &c->in_pool);
    c->pool->nclients++;
    if (!take_startup(c)) {
        client_fatal(c, C_BAD_SETTING, STR("start-up parameters ask for no known kind of node"));
        return;
    }
    if (l->replication)
        c->pool->mode = CONFIG_POOL_SESSION; /* the catalog's query must not run there */
    c->passthrough = pool_mode(c->pool) == CONFIG_POOL_SESSION;
    if (l->replication) {
        str_copy(c->pool->replication, sizeof(c->pool->replication), str_of(l->replication_mode));
        c->pool->direct_vars = varset_get(c->startup);
    } else if (c->pool->profile != NULL) {
        login_granted(c, NULL);
        return;
    }
    client_set_state(c, CL_WELCOME);
    c->waiter.kind = l->replication ? WAIT_ALONE : WAIT_PROFILE;
    login_look_again(c);
}

void login_look_again(struct client *c)
{
    bool refused = false;
    struct pool *p = pool_cluster_any(c->pool);
    c->waiter.bytes = 0;
    if (p == NULL) {
        if (!pool_cluster_hold(c->pool, &c->waiter, c->conn.worker->now))
            client_fatal(c, C_POOL_FULL, STR_NONE);
        return;
    }
    struct server *s = pool_take(p, &c->waiter, NULL, &refused);
    if (refused)
        client_fatal(c, C_POOL_FULL, STR_NONE);
    else if (s != NULL)
        login_granted(c, s);
}

/* Who it is has been proved. */
void login_passed(struct client *c)
{
    struct worker *w = c->conn.worker;
    struct login *l = c->login;
    if (worker_options(w)->log_connections)
        LOG_LIMITED(LL_LOG, "C-%p: %s/%s login attempt: db=%s user=%s tls=%s", (void *)c,
                    l->database, l->user, l->database, l->user, c->conn.tls != NULL ? "yes" : "no");
    c->user = str_dup(str_of(l->user));
    if (l->keys.have_client_key && (l->secret == NULL || l->secret->kind != SECRET_PLAIN))
        registry_set_keys(w->process->registry, str_of(l->user), &l->keys);
    if (l->query_secret != NULL)
        registry_set_secret(w->process->registry, str_of(l->database), str_of(l->user), w->now,
                            str_of(l->query_secret));
    if (l->admin) {
        client_set_state(c, CL_ADMIN);
        console_begin(c);
        login_free(c);
        return;
    }
    const struct config_database *db = config_find_database(worker_config(w), str_of(l->database));
    if (db == NULL) {
        client_fatal(c, C_NO_DB, str_of(l->missing));
        return;
    }
    struct db_shared *d = registry_db(w->process->registry, str_of(l->database));
    if (atomic_load_explicit(&d->shared.hold, memory_order_relaxed) & DB_DISABLED)
        client_fatal(c, C_DB_DISABLED, STR_NONE);
    else if (within_limits(c, db))
        enter_pool(c, db);
}

/* ---- bytes ----------------------------------------------------------------------------------- */

/* Answers the request for TLS. False: nothing more may be read from this piece of input. */
static bool answer_tls(struct client *c, const struct wire_client_event *ev, size_t behind)
{
    struct tls_ctx *ctx = c->conn.worker->runtime->client_tls;
    bool yes = ctx != NULL && c->conn.tls == NULL && !c->is_unix && !ev->tls_refuse;
    if (!ev->direct_tls) {
        conn_wire(&c->conn)->cl_tls_reply(c->wire_state, yes, &c->conn.out);
        conn_flush(&c->conn);
    }
    if (!yes)
        return conn_is_open(&c->conn) && !ev->direct_tls;
    if (ev->direct_tls)
        return worker_options(c->conn.worker)->client_direct_tls;
    if (behind > 0) {
        client_fatal(c, C_PROTOCOL, STR("received unencrypted data after SSL request"));
        return false;
    }
    return true;
}

/* early: what has been read already and belongs to the handshake. */
static bool start_tls(struct client *c, bool direct, struct str early)
{
    struct tls *t = tls_start(c->conn.worker->runtime->client_tls, c->conn.fd, true, NULL, direct);
    if (t != NULL && early.n > 0 && !tls_begin_with(t, early))
        tls_free(&t);
    if (t == NULL) {
        client_close(c, "out of memory for TLS");
        return false;
    }
    conn_secure(&c->conn, t);
    return conn_is_open(&c->conn);
}

/* Returns how much was used of the PROXY header, SIZE_MAX: wait for more or given up. */
static size_t proxy_header(struct client *c, struct str data)
{
    struct proxy_protocol_header h;
    struct error err;
    enum config_proxy_protocol mode = worker_options(c->conn.worker)->proxy_protocol;
    if (mode == CONFIG_PROXY_OFF || c->login->proxy_done)
        return 0;
    switch (proxy_protocol_parse(data, &h, &err)) {
    case PROXY_PROTOCOL_MORE:
        return SIZE_MAX;
    case PROXY_PROTOCOL_BAD:
        if (mode == CONFIG_PROXY_OPTIONAL) {
            c->login->proxy_done = true;
            return 0;
        }
        client_close(c, "no PROXY header");
        return SIZE_MAX;
    case PROXY_PROTOCOL_OK:
        break;
    }
    c->login->proxy_done = true;
    if (h.has_addr) {
        mem_free(c->peer);
        c->peer = mem_copy(&h.src, sockopt_len((struct sockaddr *)&h.src));
    }
    return h.consumed;
}

static bool keep_login(struct client *c, const struct wire_login *in)
{
    struct login *l = c->login;
    if (in->nvars > LOGIN_VARS_MAX)
        return false;
    l->user = str_dup(in->user);
    l->database = str_dup(in->database);
    l->minor = in->minor;
    l->replication = in->replication;
    l->nvars = in->nvars;
    l->vars = mem_new((size_t)in->nvars * sizeof(*l->vars));
    for (int i = 0; i < in->nvars; i++) {
        l->vars[i].name = (struct str){str_dup(in->vars[i].name), in->vars[i].name.n};
        l->vars[i].value = (struct str){str_dup(in->vars[i].value), in->vars[i].value.n};
    }
    if (l->replication)
        str_copy(l->replication_mode, sizeof(l->replication_mode), in->replication_mode);
    l->admin = is_admin_db(in->database);
    return true;
}

/* Now that it is known who logs in to what, the limit may be another than that for everybody. */
static void limit_login(struct client *c)
{
    struct worker *w = c->conn.worker;
    const struct config *cfg = worker_config(w);
    usec_t limit = config_timeout(cfg, CONFIG_CLIENT_LOGIN,
                                  config_find_database(cfg, str_of(c->login->database)),
                                  config_find_user(cfg, str_of(c->login->user)));
    if (limit != worker_options(w)->client_login_timeout)
        worker_timeout(w, &c->timeout, limit);
}

static void on_login(struct client *c, const struct wire_login *in)
{
    struct worker *w = c->conn.worker;
    if (c->login->user != NULL || !keep_login(c, in)) {
        client_fatal(c, C_PROTOCOL, STR("unsupported start-up packet"));
        return;
    }
    if (process_phase(w->process) >= PHASE_DRAIN_CLIENTS && !c->login->admin) {
        client_fatal(c, C_SHUTDOWN, STR_NONE);
        return;
    }
    if (w->runtime->client_tls != NULL && tls_ctx_mode(w->runtime->client_tls) >= TLS_REQUIRE &&
        c->conn.tls == NULL && !c->is_unix) {
        client_fatal(c, C_TLS_REQUIRED, STR_NONE);
        return;
    }
    client_set_state(c, CL_AUTH);
    limit_login(c);
    login_choose(c);
}

/* One event. False: stop looking at this input. */
static bool on_event(struct client *c, const struct wire_client_event *ev, size_t behind)
{
    switch (ev->kind) {
    case CE_MORE:
        return false;
    case CE_TLS:
        if (!answer_tls(c, ev, behind)) {
            if (ev->direct_tls)
                client_close(c, "TLS is not offered");
            return false;
        }
        c->login->start_tls = c->conn.worker->runtime->client_tls != NULL && c->conn.tls == NULL &&
                              !c->is_unix && !ev->tls_refuse;
        return true;
    case CE_LOGIN:
        on_login(c, &ev->login);
        return true;
    case CE_CRED:
        login_credentials(c, ev->data);
        return true;
    case CE_CANCEL:
        c->login->busy = true;
        cancel_request(c, &ev->key);
        return false;
    case CE_QUIT:
        client_close(c, "client close request");
        return false;
    case CE_IGNORED:
        return true;
    case CE_REQ:
    case CE_BODY:
    case CE_UPLOAD:
    case CE_SKIPPED:
        client_fatal(c, C_PROTOCOL, STR("message before login"));
        return false;
    case CE_BAD:
        client_fatal(c, C_PROTOCOL, str_of(ev->reason));
        return false;
    }
    return false;
}

size_t login_input(struct client *c, struct str data, bool full)
{
    size_t used = proxy_header(c, data);
    if (used == SIZE_MAX)
        return c->state == CL_CLOSED ? data.n : 0;
    while (used < data.n && (c->state == CL_STARTUP || c->state == CL_AUTH) && c->login != NULL &&
           !c->login->busy) {
        struct wire_client_event ev;
        struct str rest = {data.p + used, data.n - used};
        conn_wire(&c->conn)->cl_feed(c->wire_state, rest, full, c->conn.worker->parts, &ev);
        used += ev.consumed;
        if (!on_event(c, &ev, data.n - used))
            break;
        if (c->login != NULL && c->login->start_tls) {
            c->login->start_tls = false;
            start_tls(c, ev.direct_tls, (struct str){data.p + used, data.n - used});
            return data.n;
        }
        if (ev.consumed == 0)
            break;
    }
    return c->state == CL_CLOSED || c->state == CL_ENDING ? data.n : used;
}
