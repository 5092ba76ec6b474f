/* config.h - the configuration as an immutable, reference-counted snapshot.
 *
 * Called by main (load, reload), the console (SHOW, SET) and everything that asks for a limit.
 * A snapshot never changes after it was returned; a reload or SET makes a new one, which main
 * publishes to the workers.  Reading it needs no lock.  config_get and config_put may be called on
 * any thread; the last put wipes and frees.  Loading and changing: main thread only.
 * Parts that a SET does not touch (entries, secrets, access rules) are shared between snapshots.
 *
 * Texts: NULL means unset in entries; in config_options unset is empty.  Numbers and times of
 * entries: negative means unset.  The functions at the end resolve an unset value: user, then
 * database entry, then the global option.
 */
#ifndef PENSTOCK_PROXY_CONFIG_H
#define PENSTOCK_PROXY_CONFIG_H

#include "base/map.h"
#include "base/refs.h"
#include "base/status.h"
#include "base/str.h"
#include "protocol/auth/userlist.h"
#include "proxy/config/config_arena.h"
#include "proxy/config/config_cache.h"
#include "proxy/config/config_cluster.h"
#include "proxy/config/config_schema.h"

#include <stdio.h>

struct hba;
struct hba_ident;
struct wire;

#define CONFIG_HOSTS_MAX 16 /* of one database entry */

enum config_timeout {
    CONFIG_CLIENT_LOGIN,
    CONFIG_CLIENT_IDLE,
    CONFIG_QUERY_WAIT,
    CONFIG_QUERY,
    CONFIG_TRANSACTION,
    CONFIG_IDLE_TRANSACTION,
    CONFIG_SERVER_CONNECT,
    CONFIG_SERVER_IDLE,
    CONFIG_SERVER_LIFETIME,
    CONFIG_TIMEOUTS, /* how many */
};

enum config_balance { CONFIG_ROUND_ROBIN, CONFIG_NO_BALANCE };

enum config_route { CONFIG_ROUTE_AUTO, CONFIG_ROUTE_PRIMARY, CONFIG_ROUTE_REPLICA };

struct config_limits { /* of a database entry or a user; negative = unset */
    enum config_pool_mode pool_mode;
    int pool_size, min_pool_size, reserve_pool_size;
    int multiplex_depth;
    int max_connections;        /* max_db_connections or max_user_connections */
    int max_client_connections; /* max_db_client_connections or max_user_client_connections */
    usec_t timeout[CONFIG_TIMEOUTS];
};

struct config_host {
    const char *host; /* name, address, "/folder" or "@abstract"; never NULL or empty */
    int port;
};

struct config_database {
    const char *name;          /* "*" for the fallback entry */
    const char *dbname;        /* on the server; NULL: as the client calls it */
    struct config_host *hosts; /* at least one */
    size_t nhosts;
    enum config_balance load_balance;
    const char *cluster_name;             /* NULL: the hosts are no cluster */
    const struct config_cluster *cluster; /* that of this name; then hosts are its hosts */
    enum config_route route;              /* of a clustered entry */
    const char *user;                     /* forced server login */
    const char *password;                 /* of user; may be empty */
    const char *auth_user, *auth_query, *auth_dbname;
    const char *connect_query, *client_encoding, *datestyle, *timezone, *application_name;
    struct config_limits limits;
    bool is_auto; /* the "*" entry */
};

struct config_user {
    const char *name;
    struct config_limits limits;
};

struct config_peer {
    int id; /* 1 to 65535 */
    const char *host;
    int port;
    int pool_size; /* -1: unset */
};

struct config_entries { /* sorted: databases and users by name, peers by id */
    struct refs refs;
    struct config_arena arena;
    struct config_database **databases;
    size_t ndatabases;
    struct config_user **users;
    size_t nusers;
    struct config_peer **peers;
    size_t npeers;
    struct config_cluster **clusters; /* sorted by name */
    size_t nclusters;
    struct map database_by_name, user_by_name, cluster_by_name;
};

struct config_secrets { /* auth_file, or the login of the URL */
    struct refs refs;
    struct userlist users;
};

struct config {
    struct refs refs; /* private */
    struct config_options opt;
    const struct wire *wire;        /* borrowed, static: whose default texts apply */
    bool penstock;                  /* defaults of [penstock], not of [pgbouncer] */
    struct config_entries *entries; /* reference, never NULL */
    struct config_secrets *secrets; /* reference, never NULL */
    struct config_cache *cache;     /* reference, never NULL */
    struct hba *hba;                /* reference; NULL unless auth_hba_file is set */
    struct hba_ident *ident;        /* reference; NULL unless auth_ident_file is set */
    struct config_arena arena;      /* texts of opt */
};

/* Reads path and all it names. On failure *out is untouched, and err says "FILE:LINE: key: reason".
 * */
enum status config_load(const struct wire *wire, const char *path, struct config **out,
                        struct error *err) ATTR_NODISCARD;

/* The same for a running process: options that need a restart keep the value they have in old, with
 * a warning in the log that names them. path NULL: the conffile of old. */
enum status config_load_reload(const struct config *old, const char *path, struct config **out,
                               struct error *err) ATTR_NODISCARD;

/* No file: postgres://user:password@host:port/db?sslmode=... with the defaults of [penstock].
 * Clients log in with what the server knows of them (auth_query as the user of the URL). Only that
 * database. */
enum status config_from_url(const struct wire *wire, const char *url, struct config **out,
                            struct error *err) ATTR_NODISCARD;

/* Console SET: a copy of old with one option changed. ST_MISSING: unknown key; ST_UNSUPPORTED: it
 * needs a restart; ST_INVALID: bad value. */
enum status config_set(const struct config *old, struct str key, struct str value,
                       struct config **out, struct error *err) ATTR_NODISCARD;

/* Where the options are. */
const struct config_options *config_globals(const struct config *cfg);

struct config *config_get(const struct config *cfg); /* one more reference */
void config_put(struct config **cfg);                /* gives one back, clears the pointer */

/* The entry of that name, else the "*" entry (is_auto; the caller makes a database of it), else
 * NULL. */
const struct config_database *config_find_database(const struct config *cfg, struct str name);
const struct config_user *config_find_user(const struct config *cfg, struct str name); /* or NULL */
const struct config_cluster *config_find_cluster(const struct config *cfg,
                                                 struct str name);            /* or NULL */
const struct config_peer *config_find_peer(const struct config *cfg, int id); /* or NULL */
const struct secret *config_secret(const struct config *cfg,
                                   struct str user); /* NULL: not listed */

/* true when name is an item of a comma-separated list (admin_users and the like). */
bool config_list_has(const char *list, struct str name);

/* Limits in force. db and user may be NULL. 0 means "no limit". */
int config_pool_size(const struct config *cfg, const struct config_database *db,
                     const struct config_user *user);
int config_min_pool_size(const struct config *cfg, const struct config_database *db);
int config_multiplex_depth(const struct config *cfg, const struct config_database *db,
                           const struct config_user *user);
int config_reserve_pool_size(const struct config *cfg, const struct config_database *db,
                             const struct config_user *user);
enum config_pool_mode config_pool_mode(const struct config *cfg, const struct config_database *db,
                                       const struct config_user *user);
const char *config_pool_mode_name(enum config_pool_mode mode); /* "" when unset */
int config_max_db_connections(const struct config *cfg, const struct config_database *db);
int config_max_db_client_connections(const struct config *cfg, const struct config_database *db);
int config_max_user_connections(const struct config *cfg, const struct config_user *user);
int config_max_user_client_connections(const struct config *cfg, const struct config_user *user);
usec_t config_timeout(const struct config *cfg, enum config_timeout which,
                      const struct config_database *db, const struct config_user *user);

/* Never NULL; empty = unset. */
const char *config_auth_user(const struct config *cfg, const struct config_database *db);
const char *config_auth_query(const struct config *cfg, const struct config_database *db);
const char *config_auth_dbname(const struct config *cfg, const struct config_database *db);

enum config_change {
    CONFIG_ADDED,
    CONFIG_REMOVED,
    CONFIG_TARGET, /* address, login or start-up parameters: its servers must go */
    CONFIG_LIMITS, /* anything else */
};

/* Calls fn for each database entry that differs, in the order of names. */
void config_diff(const struct config *from, const struct config *to,
                 void (*fn)(void *arg, const char *name, enum config_change change), void *arg);
/* Whether any option of client (server = false) or server TLS differs. */
bool config_diff_tls(const struct config *from, const struct config *to, bool server);

/* etc/penstock.ini: every option with its default, commented out. */
void config_print_sample(FILE *out);
/* The tables of docs/configuration.md. */
void config_print_manual(FILE *out);

#endif
