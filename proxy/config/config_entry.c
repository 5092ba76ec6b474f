/* config_entry.c - see config_entry.h.
 *
 * Limits and texts are two tables, so that the manual can be made from them and config_diff.c knows
 * which change closes servers.
 */
#include "base/base.h"

#include "proxy/config/config_entry.h"

#include "base/mem.h"
#include "base/refs.h"
#include "protocol/wire.h"
#include "proxy/config/config_conn.h"
#include "proxy/config/config_file.h"
#include "proxy/config/config_option.h"

#include <stdlib.h>

#define BOTH (CONFIG_IN_DATABASE | CONFIG_IN_USER)
#define LIMIT(key, scope, field, t, global_key)                                                    \
    {                                                                                              \
        key, scope, offsetof(struct config_limits, field), t, global_key                           \
    }

const struct config_limit_key config_entry_limits[] = {
    LIMIT("pool_size", BOTH, pool_size, CONFIG_INT, "default_pool_size"),
    LIMIT("min_pool_size", CONFIG_IN_DATABASE, min_pool_size, CONFIG_INT, "min_pool_size"),
    LIMIT("reserve_pool_size", BOTH, reserve_pool_size, CONFIG_INT, "reserve_pool_size"),
    LIMIT("reserve_pool", CONFIG_IN_DATABASE, reserve_pool_size, CONFIG_INT, "reserve_pool_size"),
    LIMIT("multiplex_depth", BOTH, multiplex_depth, CONFIG_INT, "multiplex_depth"),
    LIMIT("pool_mode", BOTH, pool_mode, CONFIG_ENUM, "pool_mode"),
    LIMIT("max_db_connections", CONFIG_IN_DATABASE, max_connections, CONFIG_INT,
          "max_db_connections"),
    LIMIT("max_db_client_connections", CONFIG_IN_DATABASE, max_client_connections, CONFIG_INT,
          "max_db_client_connections"),
    LIMIT("max_user_connections", CONFIG_IN_USER, max_connections, CONFIG_INT,
          "max_user_connections"),
    LIMIT("max_user_client_connections", CONFIG_IN_USER, max_client_connections, CONFIG_INT,
          "max_user_client_connections"),
    LIMIT("client_login_timeout", BOTH, timeout[CONFIG_CLIENT_LOGIN], CONFIG_TIME,
          "client_login_timeout"),
    LIMIT("client_idle_timeout", BOTH, timeout[CONFIG_CLIENT_IDLE], CONFIG_TIME,
          "client_idle_timeout"),
    LIMIT("query_wait_timeout", BOTH, timeout[CONFIG_QUERY_WAIT], CONFIG_TIME,
          "query_wait_timeout"),
    LIMIT("query_timeout", BOTH, timeout[CONFIG_QUERY], CONFIG_TIME, "query_timeout"),
    LIMIT("transaction_timeout", BOTH, timeout[CONFIG_TRANSACTION], CONFIG_TIME,
          "transaction_timeout"),
    LIMIT("idle_transaction_timeout", BOTH, timeout[CONFIG_IDLE_TRANSACTION], CONFIG_TIME,
          "idle_transaction_timeout"),
    LIMIT("server_connect_timeout", BOTH, timeout[CONFIG_SERVER_CONNECT], CONFIG_TIME,
          "server_connect_timeout"),
    LIMIT("server_idle_timeout", BOTH, timeout[CONFIG_SERVER_IDLE], CONFIG_TIME,
          "server_idle_timeout"),
    LIMIT("server_lifetime", BOTH, timeout[CONFIG_SERVER_LIFETIME], CONFIG_TIME, "server_lifetime"),
};
const size_t config_entry_limits_count = ARRAY_LEN(config_entry_limits);

#define TEXT(field, is_target, text)                                                               \
    {                                                                                              \
#field, offsetof(struct config_database, field), is_target, text                           \
    }

const struct config_entry_text config_entry_texts[] = {
    {"cluster", offsetof(struct config_database, cluster_name), true,
     "Its nodes are those of this [cluster]: reads may go to replicas. Instead of host and port."},
    TEXT(dbname, true, "Database on the server; unset: the name of the entry."),
    TEXT(user, true, "Log in to the server as this user, whoever the client is."),
    TEXT(password, true, "Password of user: the text, file:/path or env:NAME."),
    TEXT(auth_user, false, "Server user that runs auth_query."),
    TEXT(auth_query, false, "Query that returns name and secret of a user."),
    TEXT(auth_dbname, false, "Database entry in which auth_query runs."),
    TEXT(connect_query, true, "Run once on each new server connection; errors are logged."),
    TEXT(client_encoding, true, "Setting that server connections begin with."),
    TEXT(datestyle, true, "Setting that server connections begin with."),
    TEXT(timezone, true, "Setting that server connections begin with."),
    TEXT(application_name, true, "Setting that server connections begin with."),
};
const size_t config_entry_texts_count = ARRAY_LEN(config_entry_texts);

static const struct config_enum balances[] = {
    {"round-robin", CONFIG_ROUND_ROBIN}, {"disable", CONFIG_NO_BALANCE}, {NULL, 0}};

static const struct config_enum routes[] = {{"auto", CONFIG_ROUTE_AUTO},
                                            {"primary", CONFIG_ROUTE_PRIMARY},
                                            {"replica", CONFIG_ROUTE_REPLICA},
                                            {NULL, 0}};

struct config_entries *config_entry_new(void)
{
    struct config_entries *e = mem_new(sizeof(*e));
    refs_init(&e->refs);
    config_arena_init(&e->arena);
    map_init(&e->database_by_name);
    map_init(&e->user_by_name);
    map_init(&e->cluster_by_name);
    return e;
}

struct config_entries *config_entry_get(struct config_entries *e)
{
    refs_get(&e->refs);
    return e;
}

void config_entry_put(struct config_entries **e)
{
    struct config_entries *x = *e;
    *e = NULL;
    if (x == NULL || !refs_put(&x->refs))
        return;
    map_fini(&x->database_by_name);
    map_fini(&x->user_by_name);
    config_cluster_fini(x);
    map_fini(&x->cluster_by_name);
    config_arena_fini(&x->arena);
    mem_free(x);
}

static void unset_limits(struct config_limits *l)
{
    *l = (struct config_limits){CONFIG_POOL_UNSET, -1, -1, -1, -1, -1, -1, {0}};
    for (size_t i = 0; i < CONFIG_TIMEOUTS; i++)
        l->timeout[i] = -1;
}

struct config_database *config_entry_blank(struct config_entries *e, struct str name)
{
    struct config_database *d = config_arena_new(&e->arena, sizeof(*d));
    d->name = config_arena_dup(&e->arena, name);
    d->is_auto = str_eq(name, STR("*"));
    unset_limits(&d->limits);
    return d;
}

void config_entry_add(struct config_entries *e, struct config_database *d)
{
    (void)map_put(&e->database_by_name, str_of(d->name), d);
}

/* ST_MISSING: no such limit in that scope. */
static enum status set_limit(struct config_limits *l, unsigned scope,
                             const struct config_pair *pair, struct error *err)
{
    const struct config_limit_key *k = NULL;
    for (size_t i = 0; i < config_entry_limits_count && k == NULL; i++) {
        if ((config_entry_limits[i].scopes & scope) != 0 &&
            str_eq(pair->key, str_of(config_entry_limits[i].name)))
            k = &config_entry_limits[i];
    }
    if (k == NULL)
        return ST_MISSING;
    void *field = (char *)l + k->offset;
    int64_t number = 0;
    int value = 0;
    enum status st = ST_OK;
    if (k->type == CONFIG_TIME) {
        st = config_option_time(pair->value, &number, err);
        if (st == ST_OK)
            memcpy(field, &number, sizeof(number));
        return st;
    }
    if (k->type == CONFIG_ENUM) {
        st = config_option_enum(pair->value, config_schema_pool_modes, &value, err);
    } else {
        st = str_to_i64(pair->value, 0, INT32_MAX, &number)
                 ? ST_OK
                 : error_set(err, ST_INVALID, "must be a number from 0 to 2147483647");
        value = (int)number;
    }
    if (st == ST_OK)
        memcpy(field, &value, sizeof(value));
    return st;
}

static enum status read_port(struct str s, int *out, struct error *err)
{
    int64_t port = 0;
    if (!str_to_i64(str_trim(s), 1, 65535, &port))
        return error_set(err, ST_INVALID, "port must be from 1 to 65535");
    *out = (int)port;
    return ST_OK;
}

static size_t count_items(struct str list)
{
    size_t n = list.n > 0 ? 1 : 0;
    for (size_t i = 0; i < list.n; i++)
        n += list.p[i] == ',';
    return n;
}

enum status config_entry_hosts(struct config_arena *arena, struct config_database *d,
                               struct str host_list, struct str port_list, int def,
                               struct error *err)
{
    size_t n = count_items(host_list);
    size_t nports = count_items(port_list);
    enum status st = ST_OK;
    if (n > CONFIG_HOSTS_MAX)
        return error_set(err, ST_LIMIT, "host: more than %d hosts", CONFIG_HOSTS_MAX);
    if (nports > 1 && nports != n)
        return error_set(err, ST_INVALID, "port: %zu ports for %zu hosts", nports, n);
    struct config_host *hosts = config_arena_new(arena, n * sizeof(*hosts));
    for (size_t i = 0; i < n; i++) {
        struct str host = str_trim(str_cut(&host_list, ','));
        if (host.n > 2 && host.p[0] == '[' && host.p[host.n - 1] == ']')
            host = (struct str){host.p + 1, host.n - 2};
        if (host.n == 0)
            return error_set(err, ST_INVALID, "host: empty item in the list");
        hosts[i] = (struct config_host){config_arena_dup(arena, host), def};
        if (i < nports)
            st = read_port(str_cut(&port_list, ','), &hosts[i].port, err);
        else if (nports == 1)
            hosts[i].port = hosts[0].port;
        if (st != ST_OK)
            return st;
    }
    d->hosts = hosts;
    d->nhosts = n;
    return ST_OK;
}

static enum status set_text(struct config_arena *arena, struct config_database *d,
                            const struct config_entry_text *t, struct str value, struct error *err)
{
    bool is_password = t->offset == offsetof(struct config_database, password);
    const char *text = value.n > 0 || is_password ? value.p : NULL;
    enum status st = ST_OK;
    if (is_password)
        st = config_file_secret(arena, value, &text, err);
    else if (t->offset == offsetof(struct config_database, dbname) &&
             value.n > CONFIG_DATABASE_NAME_MAX)
        st = error_set(err, ST_LIMIT, "longer than %d bytes", CONFIG_DATABASE_NAME_MAX);
    else if ((t->offset == offsetof(struct config_database, user) ||
              t->offset == offsetof(struct config_database, auth_user)) &&
             value.n > CONFIG_USER_NAME_MAX)
        st = error_set(err, ST_LIMIT, "longer than %d bytes", CONFIG_USER_NAME_MAX);
    if (st == ST_OK)
        memcpy((char *)d + t->offset, &text, sizeof(text));
    return st;
}

struct host_pair {
    struct str hosts, ports;
};

static enum status set_database_key(struct config_entries *e, struct config_database *d,
                                    struct host_pair *hp, const struct config_pair *pair,
                                    struct error *err)
{
    int value = 0;
    if (str_eq(pair->key, STR("host"))) {
        hp->hosts = pair->value;
        return ST_OK;
    }
    if (str_eq(pair->key, STR("port"))) {
        hp->ports = pair->value;
        return pair->value.n > 0 ? ST_OK : error_set(err, ST_INVALID, "is empty");
    }
    if (str_eq(pair->key, STR("load_balance_hosts"))) {
        enum status st = config_option_enum(pair->value, balances, &value, err);
        d->load_balance = value == CONFIG_NO_BALANCE ? CONFIG_NO_BALANCE : CONFIG_ROUND_ROBIN;
        return st;
    }
    if (str_eq(pair->key, STR("route"))) {
        enum status st = config_option_enum(pair->value, routes, &value, err);
        d->route = (enum config_route)value;
        return st;
    }
    for (size_t i = 0; i < config_entry_texts_count; i++) {
        if (str_eq(pair->key, str_of(config_entry_texts[i].name)))
            return set_text(&e->arena, d, &config_entry_texts[i], pair->value, err);
    }
    return set_limit(&d->limits, CONFIG_IN_DATABASE, pair, err);
}

/* Puts the key before the reason; ST_MISSING without a reason means that nobody knew the key. */
static enum status explain(const struct config_pair *pair, enum status st, struct error *err)
{
    struct error reason = *err;
    if (st == ST_MISSING && reason.text[0] == '\0')
        return error_set(err, ST_INVALID, "unknown key \"%.*s\"", (int)MIN(pair->key.n, 60u),
                         pair->key.p);
    return error_set(err, st, "%.*s: %.300s", (int)MIN(pair->key.n, 60u), pair->key.p, reason.text);
}

enum status config_entry_database(struct config_entries *e, const struct wire *wire,
                                  struct str name, struct str conn, struct error *err)
{
    struct config_pair pair;
    struct host_pair hp = {STR_NONE, STR_NONE};
    if (name.n == 0 || name.n > CONFIG_DATABASE_NAME_MAX)
        return error_set(err, ST_LIMIT, "the name must have 1 to %d bytes",
                         CONFIG_DATABASE_NAME_MAX);
    if (str_eq(name, STR("pgbouncer")) || str_eq(name, STR("penstock")))
        return error_set(err, ST_INVALID, "this name belongs to the console");
    struct config_database *d = config_entry_blank(e, name);
    while (conn.n > 0) {
        enum status st = config_conn_next(&conn, &e->arena, &pair, err);
        if (st != ST_OK)
            return st;
        if (pair.key.n == 0)
            break;
        struct error reason = {.text = ""};
        st = set_database_key(e, d, &hp, &pair, &reason);
        if (st != ST_OK) {
            st = explain(&pair, st, &reason);
            return error_set(err, st, "%s", reason.text);
        }
    }
    int def = wire->default_port;
    enum status st = ST_OK;
    if (hp.hosts.n > 0)
        st = config_entry_hosts(&e->arena, d, hp.hosts, hp.ports, def, err);
    else
        st = config_entry_hosts(&e->arena, d, STR("-"), hp.ports, def, err);
    if (st != ST_OK)
        return st;
    if (hp.hosts.n == 0)
        d->hosts[0].host = NULL; /* config_entry_finish knows the local socket */
    config_entry_add(e, d);
    return ST_OK;
}

enum status config_entry_user(struct config_entries *e, struct str name, struct str conn,
                              struct error *err)
{
    struct config_pair pair;
    if (name.n == 0 || name.n > CONFIG_USER_NAME_MAX)
        return error_set(err, ST_LIMIT, "the name must have 1 to %d bytes", CONFIG_USER_NAME_MAX);
    struct config_user *u = config_arena_new(&e->arena, sizeof(*u));
    u->name = config_arena_dup(&e->arena, name);
    unset_limits(&u->limits);
    while (conn.n > 0) {
        enum status st = config_conn_next(&conn, &e->arena, &pair, err);
        if (st != ST_OK)
            return st;
        if (pair.key.n == 0)
            break;
        struct error reason = {.text = ""};
        st = set_limit(&u->limits, CONFIG_IN_USER, &pair, &reason);
        if (st != ST_OK) {
            st = explain(&pair, st, &reason);
            return error_set(err, st, "%s", reason.text);
        }
    }
    (void)map_put(&e->user_by_name, name, u);
    return ST_OK;
}

static enum status set_peer_key(struct config_peer *p, const struct config_pair *pair,
                                struct error *err)
{
    int64_t number = 0;
    if (str_eq(pair->key, STR("host"))) {
        p->host = pair->value.p;
    } else if (str_eq(pair->key, STR("port"))) {
        return read_port(pair->value, &p->port, err);
    } else if (str_eq(pair->key, STR("pool_size"))) {
        if (!str_to_i64(pair->value, 0, INT32_MAX, &number))
            return error_set(err, ST_INVALID, "must be a number from 0 to 2147483647");
        p->pool_size = (int)number;
    } else {
        return ST_MISSING;
    }
    return ST_OK;
}

static struct config_peer *peer_slot(struct config_entries *e, int id)
{
    for (size_t i = 0; i < e->npeers; i++) {
        if (e->peers[i]->id == id)
            return e->peers[i];
    }
    struct config_peer **all = config_arena_new(&e->arena,
                                                (e->npeers + 1) * sizeof(struct config_peer *));
    for (size_t i = 0; i < e->npeers; i++)
        all[i] = e->peers[i];
    all[e->npeers] = config_arena_new(&e->arena, sizeof(struct config_peer));
    e->peers = all;
    return e->peers[e->npeers++];
}

enum status config_entry_peer(struct config_entries *e, struct str name, struct str conn,
                              struct error *err)
{
    int64_t id = 0;
    struct config_pair pair;
    struct config_peer peer = {.port = 6432, .pool_size = -1};
    if (!str_to_i64(name, 1, 65535, &id))
        return error_set(err, ST_INVALID, "a peer is named by a number from 1 to 65535");
    while (conn.n > 0) {
        enum status st = config_conn_next(&conn, &e->arena, &pair, err);
        if (st != ST_OK)
            return st;
        if (pair.key.n == 0)
            break;
        struct error reason = {.text = ""};
        st = set_peer_key(&peer, &pair, &reason);
        if (st != ST_OK) {
            st = explain(&pair, st, &reason);
            return error_set(err, st, "%s", reason.text);
        }
    }
    if (peer.host == NULL || peer.host[0] == '\0')
        return error_set(err, ST_INVALID, "host is missing");
    peer.id = (int)id;
    *peer_slot(e, (int)id) = peer;
    return ST_OK;
}

static int by_database(const void *a, const void *b)
{
    const struct config_database *const *x = a, *const *y = b;
    return strcmp((*x)->name, (*y)->name);
}

static int by_user(const void *a, const void *b)
{
    const struct config_user *const *x = a, *const *y = b;
    return strcmp((*x)->name, (*y)->name);
}

static int by_id(const void *a, const void *b)
{
    const struct config_peer *const *x = a, *const *y = b;
    return (*x)->id - (*y)->id;
}

static enum status local_sockets(struct config_entries *e, const struct config_options *opt,
                                 struct error *err)
{
    const char *dir = config_arena_dup(&e->arena, str_of(opt->unix_socket_dir));
    for (size_t i = 0; i < e->ndatabases; i++) {
        struct config_database *d = e->databases[i];
        if (d->nhosts > 0 && d->hosts[0].host == NULL)
            d->hosts[0].host = dir;
        if (d->nhosts > 0 && d->hosts[0].host[0] == '\0')
            return error_set(err, ST_INVALID, "%.100s: has no host, and unix_socket_dir is empty",
                             d->name);
    }
    return ST_OK;
}

enum status config_entry_finish(struct config_entries *e, const struct wire *wire,
                                const struct config_options *opt, struct error *err)
{
    struct str key;
    void *value = NULL;
    e->databases = config_arena_new(&e->arena, map_count(&e->database_by_name) *
                                                   sizeof(struct config_database *));
    e->users = config_arena_new(&e->arena,
                                map_count(&e->user_by_name) * sizeof(struct config_user *));
    for (size_t i = 0; map_next(&e->database_by_name, &i, &key, &value);)
        e->databases[e->ndatabases++] = value;
    for (size_t i = 0; map_next(&e->user_by_name, &i, &key, &value);)
        e->users[e->nusers++] = value;
    qsort(e->databases, e->ndatabases, sizeof(struct config_database *), by_database);
    qsort(e->users, e->nusers, sizeof(struct config_user *), by_user);
    if (e->npeers > 0)
        qsort(e->peers, e->npeers, sizeof(struct config_peer *), by_id);
    enum status st = config_cluster_finish(e, wire, err);
    return st == ST_OK ? local_sockets(e, opt, err) : st;
}
