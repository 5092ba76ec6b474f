/* login_auth.c - which method, which secret, and the exchange; see client_login.h.
 *
 * Identity comes from a verified login alone.  A user or database that does not exist goes through
 * the same exchange and is refused at its end, so that a stranger learns nothing.  Answers that
 * take time (auth_query, PAM, LDAP) come back by message; meanwhile the client's input stays
 * unread.
 * Thread: the worker's.
 */
#include "base/buf.h"
#include "base/check.h"
#include "base/log.h"
#include "base/mem.h"
#include "proxy/client_login.h"
#include "proxy/config/hba.h"
#include "proxy/login.h"
#include "proxy/net/conn_tls.h"
#include "proxy/net/external_auth.h"
#include "proxy/net/sockopt.h"
#include "proxy/session.h"

#include <unistd.h>

static void refuse(struct client *c, const char *why, struct str told)
{
    LOG_LIMITED(LL_WARNING, "C-%p: login of user \"%s\" refused: %s", (void *)c, c->login->user,
                why);
    client_fatal(c, C_AUTH, told);
}

/* ---- verifiers made from plain secrets ------------------------------------------------------- */

struct verifier { /* the same salt each time, and no key derivation per login */
    const struct secret *from;
    struct secret derived;
};

void login_forget_verifiers(struct worker *w)
{
    struct str key;
    void *v;
    for (size_t i = 0; map_next(&w->verifiers, &i, &key, &v);) {
        struct verifier *x = v;
        secret_fini(&x->derived);
        mem_free(x);
    }
    map_fini(&w->verifiers);
    map_init(&w->verifiers);
}

static const struct secret *verifier_for(struct client *c, const struct secret *plain)
{
    struct worker *w = c->conn.worker;
    struct str user = str_of(c->login->user);
    struct verifier *v = map_get(&w->verifiers, user);
    if (v != NULL && v->from == plain)
        return &v->derived;
    struct secret derived;
    secret_init(&derived);
    int iterations = worker_options(w)->scram_iterations;
    if (scram_derive_verifier(&derived, secret_plain(plain), iterations, STR_NONE) != ST_OK)
        return plain;
    if (v == NULL) {
        v = mem_new(sizeof(*v));
        map_put(&w->verifiers, user, v);
    } else {
        secret_fini(&v->derived);
    }
    v->from = plain;
    v->derived = derived;
    return &v->derived;
}

/* ---- the exchange ---------------------------------------------------------------------------- */

static void on_result(struct client *c, enum auth_result r)
{
    conn_dirty(&c->conn);
    if (r == AUTH_OK && c->login->missing[0] != '\0')
        client_fatal(c, C_NO_DB, str_of(c->login->missing));
    else if (r == AUTH_OK)
        login_passed(c);
    else if (r == AUTH_FAIL)
        refuse(c, "wrong password or unknown user", STR_NONE);
}

static void begin(struct client *c)
{
    struct login *l = c->login;
    struct wire_auth *a = &l->auth;
    /* a server that trusts this host must not let in whoever gives some name, a superuser's say */
    if (l->known_only && l->secret == NULL && !l->admin) {
        refuse(c, "user is not known", STR("\"trust\" authentication failed"));
        return;
    }
    a->user = str_of(l->user);
    a->secret = l->secret;
    a->learned = &l->keys;
    a->scram_iterations = worker_options(c->conn.worker)->scram_iterations;
    if (c->conn.tls != NULL)
        a->channel_binding = (struct str){
            (const char *)l->binding, tls_end_point(c->conn.tls, l->binding, sizeof(l->binding))};
    /* The exchange keeps a copy: a reload throws the worker's verifiers away. What auth_query found
     * is this login's alone, so there is none for it. */
    if (a->method == AUTH_SCRAM && a->secret != NULL && a->secret->kind == SECRET_PLAIN &&
        a->secret != &l->own) {
        const struct secret *v = verifier_for(c, a->secret);
        struct str salt = {(const char *)v->bytes, v->len};
        if (v->kind == SECRET_SCRAM &&
            secret_set_scram(&l->own, salt, v->iterations, v->stored_key, v->server_key) == ST_OK)
            a->secret = &l->own;
    }
    l->busy = false;
    l->started = true;
    on_result(c, conn_wire(&c->conn)->cl_auth_start(c->wire_state, a, &c->conn.out));
}

/* ---- auth_query ------------------------------------------------------------------------------ */

/* A server can be logged in to with it as well; a verifier could not, the keys of the login do
 * that. */
static void keep_for_servers(struct client *c, struct str secret)
{
    struct worker *w = c->conn.worker;
    registry_set_secret(w->process->registry, str_of(c->login->database), str_of(c->login->user),
                        w->now, secret);
}

static void query_row(struct job *j, const struct str *cols, int ncols)
{
    struct login *l = container_of(j, struct login, query);
    struct error err;
    if (ncols < 2 || l->query_found || cols[1].p == NULL || !str_eq(cols[0], str_of(l->user)))
        return;
    l->query_found = secret_parse(&l->own, cols[1], &err) == ST_OK;
    if (l->query_found)
        l->query_secret = str_dup(cols[1]);
    if (!l->query_found)
        LOG_LIMITED(LL_WARNING, "auth_query: secret of %s: %s", l->user, err.text);
    else if (l->own.kind == SECRET_PLAIN || l->own.kind == SECRET_MD5)
        keep_for_servers(l->auth.owner, cols[1]);
}

static void query_done(struct job *j, bool ok, struct str message)
{
    struct login *l = container_of(j, struct login, query);
    struct client *c = l->auth.owner;
    l->query_running = false;
    if (!ok) {
        LOG_LIMITED(LL_WARNING, "auth_query failed: " STR_FMT, STR_ARG(message));
        client_fatal(c, C_SERVER_DOWN, STR("bouncer config error"));
        return;
    }
    if (l->query_found)
        l->secret = &l->own;
    begin(c);
    if (c->state == CL_AUTH)
        conn_kick(&c->conn);
}

/* Every $1 in the query becomes the user's name, quoted by the codec. */
static void fill_in(struct client *c, struct str query, struct buf *out)
{
    const struct wire *wire = conn_wire(&c->conn);
    for (size_t i = 0; i < query.n; i++) {
        bool param = query.p[i] == '$' && i + 1 < query.n && query.p[i + 1] == '1' &&
                     (i + 2 == query.n || query.p[i + 2] < '0' || query.p[i + 2] > '9');
        if (param) {
            wire->quote_literal(str_of(c->login->user), out);
            i++;
        } else {
            buf_put(out, &query.p[i], 1);
        }
    }
}

static bool ask_database(struct client *c, const struct config_database *db)
{
    struct worker *w = c->conn.worker;
    struct login *l = c->login;
    const struct config *cfg = worker_config(w);
    const char *user = config_auth_user(cfg, db), *dbname = config_auth_dbname(cfg, db);
    if (db == NULL || user[0] == '\0')
        return false;
    struct str name = dbname[0] != '\0' ? str_of(dbname) : str_of(l->database);
    const struct config_database *where = config_find_database(cfg, name);
    struct pool *p = where == NULL ? NULL : pool_for(w, where, name, str_of(user));
    if (p == NULL)
        return false;
    struct buf b;
    buf_init(&b, 65536);
    fill_in(c, str_of(config_auth_query(cfg, db)), &b);
    l->query_text = (struct str){str_dup(buf_str(&b)), buf_len(&b)};
    buf_fini(&b);
    l->busy = true;
    l->query_running = true;
    l->query.text = l->query_text;
    l->query.row = query_row;
    l->query.done = query_done;
    job_start(p, &l->query);
    return true;
}

/* ---- PAM and LDAP ---------------------------------------------------------------------------- */

struct external {
    struct message m;
    struct worker *worker;
    struct client *client;           /* NULL: gone; the worker's thread only */
    char *user, *password, *options; /* owned; options NULL: PAM */
    bool ok;
    struct error err;
};

static void external_free(struct external *x)
{
    mem_wipe(x->password, strlen(x->password));
    mem_free(x->password);
    mem_free(x->user);
    mem_free(x->options);
    mem_free(x);
}

static void on_external(struct message *m, void *ctx)
{
    (void)ctx;
    struct external *x = container_of(m, struct external, m);
    struct client *c = x->client;
    if (c != NULL) {
        c->login->external = NULL;
        c->login->busy = false;
        if (!x->ok)
            refuse(c, x->err.text, STR_NONE);
        else
            on_result(c, AUTH_OK);
    }
    external_free(x);
}

/* On a resolver thread. */
static void run_external(void *arg)
{
    struct external *x = arg;
    struct ldap_options o;
    if (x->options == NULL)
        x->ok = external_auth_pam(x->user, x->password, &x->err);
    else if (ldap_options_parse(&o, x->options, &x->err) == ST_OK)
        x->ok = external_auth_ldap(&o, x->user, x->password, &x->err);
    x->m.deliver = on_external;
    if (!mailbox_post(&x->worker->mailbox, &x->m))
        external_free(x);
}

static void ask_external(struct client *c, struct str password)
{
    struct login *l = c->login;
    struct external *x = mem_new(sizeof(*x));
    x->worker = c->conn.worker;
    x->client = c;
    x->user = str_dup(str_of(l->user));
    x->password = str_dup(password);
    x->options = l->ldap_options == NULL ? NULL : str_dup(str_of(l->ldap_options));
    l->external = x;
    l->busy = true;
    resolver_run(c->conn.worker->process->resolver, run_external, x);
}

void login_credentials(struct client *c, struct str data)
{
    struct login *l = c->login;
    if (l->busy || !l->started) {
        client_fatal(c, C_PROTOCOL, STR_NONE);
        return;
    }
    enum auth_result r = conn_wire(&c->conn)->cl_auth(c->wire_state, &l->auth, data, &c->conn.out);
    if (r == AUTH_MORE && l->auth.method == AUTH_EXTERNAL && l->auth.password.p != NULL)
        ask_external(c, l->auth.password);
    else
        on_result(c, r);
}

/* ---- the choice ------------------------------------------------------------------------------ */

static bool peer_is(struct client *c, const char *map)
{
    struct sockopt_cred cred;
    struct error err;
    char name[256];
    if (!c->is_unix || sockopt_peer_cred(c->conn.fd, &cred, &err) != ST_OK ||
        sockopt_user_name(cred.uid, name, sizeof(name), &err) != ST_OK)
        return false;
    return hba_ident_match(worker_config(c->conn.worker)->ident, map, str_of(name),
                           str_of(c->login->user));
}

static bool cert_is(struct client *c, const char *map)
{
    char name[256];
    if (c->conn.tls == NULL || !tls_peer_name(c->conn.tls, false, name, sizeof(name)))
        return false;
    return hba_ident_match(worker_config(c->conn.worker)->ident, map, str_of(name),
                           str_of(c->login->user));
}

/* The method of the first hba line that matches; false: the client was refused. */
static bool choose_by_hba(struct client *c)
{
    struct login *l = c->login;
    struct hba_query q = {.is_unix = c->is_unix,
                          .addr = c->peer,
                          .tls = c->conn.tls != NULL,
                          .replication = l->replication &&
                                         !str_ieq(str_of(l->replication_mode), STR("database")),
                          .database = str_of(l->database),
                          .user = str_of(l->user)};
    const struct hba *hba = l->runtime->config->hba;
    const struct hba_rule *rule = hba == NULL ? NULL : hba_find(hba, &q);
    if (rule == NULL) {
        refuse(c, "no hba line matches", STR("no authentication method is found"));
        return false;
    }
    bool ok = true;
    switch (rule->method) {
    case HBA_TRUST:
        l->auth.method = AUTH_TRUST;
        l->known_only = true;
        break;
    case HBA_REJECT:
        refuse(c, "hba line says reject", STR("login rejected"));
        return false;
    case HBA_MD5:
        l->auth.method = AUTH_MD5;
        break;
    case HBA_PASSWORD:
        l->auth.method = AUTH_PLAIN;
        break;
    case HBA_SCRAM:
        l->auth.method = AUTH_SCRAM;
        break;
    case HBA_PEER:
        l->auth.method = AUTH_TRUST;
        ok = peer_is(c, rule->map);
        break;
    case HBA_CERT:
        l->auth.method = AUTH_TRUST;
        ok = cert_is(c, rule->map);
        break;
    case HBA_LDAP:
        l->auth.method = AUTH_EXTERNAL;
        l->ldap_options = rule->options;
        break;
    case HBA_PAM:
        l->auth.method = AUTH_EXTERNAL;
        break;
    }
    if (!ok)
        refuse(c, "identity of the peer does not match", STR_NONE);
    return ok;
}

static bool choose_method(struct client *c)
{
    struct login *l = c->login;
    switch (worker_options(c->conn.worker)->auth_type) {
    case CONFIG_AUTH_ANY:
        l->auth.method = AUTH_TRUST;
        return true;
    case CONFIG_AUTH_TRUST:
        l->auth.method = AUTH_TRUST;
        l->known_only = true;
        return true;
    case CONFIG_AUTH_PLAIN:
        l->auth.method = AUTH_PLAIN;
        return true;
    case CONFIG_AUTH_MD5:
        l->auth.method = AUTH_MD5;
        return true;
    case CONFIG_AUTH_SCRAM:
        l->auth.method = AUTH_SCRAM;
        return true;
    case CONFIG_AUTH_CERT:
        l->auth.method = AUTH_TRUST;
        if (cert_is(c, NULL))
            return true;
        refuse(c, "no matching client certificate", STR("certificate authentication failed"));
        return false;
    case CONFIG_AUTH_HBA:
        return choose_by_hba(c);
    case CONFIG_AUTH_LDAP:
        l->auth.method = AUTH_EXTERNAL;
        l->ldap_options = worker_options(c->conn.worker)->auth_ldap_options;
        return true;
    case CONFIG_AUTH_PAM:
        l->auth.method = AUTH_EXTERNAL;
        return true;
    }
    return false;
}

/* The console's owner: the system user that runs the process, over the Unix socket. */
static bool is_owner(struct client *c)
{
    struct sockopt_cred cred;
    struct error err;
    struct str user = str_of(c->login->user);
    if (!c->login->admin || !c->is_unix ||
        !(str_eq(user, STR("pgbouncer")) || str_eq(user, STR("penstock"))))
        return false;
    return sockopt_peer_cred(c->conn.fd, &cred, &err) == ST_OK && cred.uid == (uint32_t)geteuid();
}

static bool may_use_console(struct client *c)
{
    const struct config_options *o = worker_options(c->conn.worker);
    struct str user = str_of(c->login->user);
    c->admin_ok = config_list_has(o->admin_users, user);
    return c->admin_ok || config_list_has(o->stats_users, user);
}

void login_choose(struct client *c)
{
    struct login *l = c->login;
    const struct config *cfg = worker_config(c->conn.worker);
    struct str user = str_of(l->user);
    const struct config_database *db = config_find_database(cfg, str_of(l->database));
    if (is_owner(c)) {
        c->admin_ok = true;
        l->auth.method = AUTH_TRUST;
        begin(c);
        return;
    }
    if (l->admin && !may_use_console(c)) {
        refuse(c, "not an admin or stats user", STR("not allowed"));
        return;
    }
    if (!l->admin && db == NULL) {
        static const char prefix[] = "no such database: ";
        str_copy(l->missing, sizeof(l->missing), STR(prefix));
        str_copy(l->missing + sizeof(prefix) - 1, sizeof(l->missing) - sizeof(prefix) + 1,
                 str_of(l->database));
    }
    l->secret = config_secret(cfg, user);
    if (!choose_method(c))
        return;
    bool needs_secret = l->known_only ||
                        (l->auth.method != AUTH_TRUST && l->auth.method != AUTH_EXTERNAL);
    if (needs_secret && l->secret == NULL && ask_database(c, db))
        return;
    begin(c);
}

/* ---- life ------------------------------------------------------------------------------------ */

void login_begin(struct client *c)
{
    struct login *l = mem_new(sizeof(*l));
    l->auth.owner = c;
    secret_init(&l->own);
    l->runtime = runtime_get(c->conn.worker->runtime);
    c->login = l;
}

void login_free(struct client *c)
{
    struct login *l = c->login;
    if (l == NULL)
        return;
    c->login = NULL;
    if (l->query_running)
        job_cancel(&l->query);
    if (l->external != NULL)
        l->external->client = NULL;
    for (int i = 0; i < l->nvars; i++) {
        mem_free((void *)(uintptr_t)l->vars[i].name.p);
        mem_free((void *)(uintptr_t)l->vars[i].value.p);
    }
    mem_free(l->vars);
    mem_free((void *)(uintptr_t)l->query_text.p);
    if (l->query_secret != NULL)
        mem_wipe(l->query_secret, strlen(l->query_secret));
    mem_free(l->query_secret);
    secret_fini(&l->own);
    mem_wipe(&l->keys, sizeof(l->keys));
    runtime_put(&l->runtime);
    mem_free(l->user);
    mem_free(l->database);
    mem_free(l);
}
