/* config.c - references to a snapshot, look-ups in it, and limits by precedence; see config.h.
 *
 * Everything here reads only, apart from the reference counts.
 */
#include "base/base.h"

#include "proxy/config/config.h"

#include "base/mem.h"
#include "base/refs.h"
#include "proxy/config/config_build.h"
#include "proxy/config/config_entry.h"
#include "proxy/config/hba.h"

struct config *config_get(const struct config *cfg)
{
    /* the count is the one member of a snapshot that changes */
    struct config *c = (struct config *)(uintptr_t)cfg;
    refs_get(&c->refs);
    return c;
}

void config_put(struct config **cfg)
{
    struct config *c = *cfg;
    *cfg = NULL;
    if (c == NULL || !refs_put(&c->refs))
        return;
    config_entry_put(&c->entries);
    config_build_secrets_put(&c->secrets);
    config_cache_put(&c->cache);
    hba_put(&c->hba);
    hba_ident_put(&c->ident);
    config_arena_fini(&c->arena);
    mem_free(c);
}

const struct config_options *config_globals(const struct config *cfg)
{
    return &cfg->opt;
}

const struct config_database *config_find_database(const struct config *cfg, struct str name)
{
    const struct config_entries *e = cfg->entries;
    const struct config_database *d = NULL;
    /* a client may not name the fallback itself */
    if (name.n > 0 && !str_eq(name, STR("*")))
        d = map_get(&e->database_by_name, name);
    return d != NULL ? d : map_get(&e->database_by_name, STR("*"));
}

const struct config_user *config_find_user(const struct config *cfg, struct str name)
{
    return map_get(&cfg->entries->user_by_name, name);
}

const struct config_cluster *config_find_cluster(const struct config *cfg, struct str name)
{
    return map_get(&cfg->entries->cluster_by_name, name);
}

const struct config_peer *config_find_peer(const struct config *cfg, int id)
{
    for (size_t i = 0; i < cfg->entries->npeers; i++) {
        if (cfg->entries->peers[i]->id == id)
            return cfg->entries->peers[i];
    }
    return NULL;
}

const struct secret *config_secret(const struct config *cfg, struct str user)
{
    const struct userlist_entry *u = userlist_find(&cfg->secrets->users, user);
    return u != NULL ? &u->secret : NULL;
}

bool config_list_has(const char *list, struct str name)
{
    struct str rest = str_of(list);
    while (rest.n > 0) {
        if (name.n > 0 && str_eq(str_trim(str_cut(&rest, ',')), name))
            return true;
        if (name.n == 0)
            return false;
    }
    return false;
}

/* The first of the three that is set. */
static int pick(int user, int db, int global)
{
    if (user >= 0)
        return user;
    return db >= 0 ? db : global;
}

int config_pool_size(const struct config *cfg, const struct config_database *db,
                     const struct config_user *user)
{
    return pick(user != NULL ? user->limits.pool_size : -1, db != NULL ? db->limits.pool_size : -1,
                cfg->opt.default_pool_size);
}

int config_min_pool_size(const struct config *cfg, const struct config_database *db)
{
    return pick(-1, db != NULL ? db->limits.min_pool_size : -1, cfg->opt.min_pool_size);
}

int config_multiplex_depth(const struct config *cfg, const struct config_database *db,
                           const struct config_user *user)
{
    return pick(user != NULL ? user->limits.multiplex_depth : -1,
                db != NULL ? db->limits.multiplex_depth : -1, cfg->opt.multiplex_depth);
}

int config_reserve_pool_size(const struct config *cfg, const struct config_database *db,
                             const struct config_user *user)
{
    return pick(user != NULL ? user->limits.reserve_pool_size : -1,
                db != NULL ? db->limits.reserve_pool_size : -1, cfg->opt.reserve_pool_size);
}

enum config_pool_mode config_pool_mode(const struct config *cfg, const struct config_database *db,
                                       const struct config_user *user)
{
    if (user != NULL && user->limits.pool_mode != CONFIG_POOL_UNSET)
        return user->limits.pool_mode;
    if (db != NULL && db->limits.pool_mode != CONFIG_POOL_UNSET)
        return db->limits.pool_mode;
    return cfg->opt.pool_mode;
}

const char *config_pool_mode_name(enum config_pool_mode mode)
{
    switch (mode) {
    case CONFIG_POOL_UNSET:
        break;
    case CONFIG_POOL_SESSION:
        return "session";
    case CONFIG_POOL_TRANSACTION:
        return "transaction";
    case CONFIG_POOL_STATEMENT:
        return "statement";
    }
    return "";
}

int config_max_db_connections(const struct config *cfg, const struct config_database *db)
{
    return pick(-1, db != NULL ? db->limits.max_connections : -1, cfg->opt.max_db_connections);
}

int config_max_db_client_connections(const struct config *cfg, const struct config_database *db)
{
    return pick(-1, db != NULL ? db->limits.max_client_connections : -1,
                cfg->opt.max_db_client_connections);
}

int config_max_user_connections(const struct config *cfg, const struct config_user *user)
{
    return pick(user != NULL ? user->limits.max_connections : -1, -1,
                cfg->opt.max_user_connections);
}

int config_max_user_client_connections(const struct config *cfg, const struct config_user *user)
{
    return pick(user != NULL ? user->limits.max_client_connections : -1, -1,
                cfg->opt.max_user_client_connections);
}

static usec_t global_timeout(const struct config_options *o, enum config_timeout which)
{
    switch (which) {
    case CONFIG_CLIENT_LOGIN:
        return o->client_login_timeout;
    case CONFIG_CLIENT_IDLE:
        return o->client_idle_timeout;
    case CONFIG_QUERY_WAIT:
        return o->query_wait_timeout;
    case CONFIG_QUERY:
        return o->query_timeout;
    case CONFIG_TRANSACTION:
        return o->transaction_timeout;
    case CONFIG_IDLE_TRANSACTION:
        return o->idle_transaction_timeout;
    case CONFIG_SERVER_CONNECT:
        return o->server_connect_timeout;
    case CONFIG_SERVER_IDLE:
        return o->server_idle_timeout;
    case CONFIG_SERVER_LIFETIME:
        return o->server_lifetime;
    case CONFIG_TIMEOUTS:
        break;
    }
    return 0;
}

usec_t config_timeout(const struct config *cfg, enum config_timeout which,
                      const struct config_database *db, const struct config_user *user)
{
    if (user != NULL && user->limits.timeout[which] >= 0)
        return user->limits.timeout[which];
    if (db != NULL && db->limits.timeout[which] >= 0)
        return db->limits.timeout[which];
    return global_timeout(&cfg->opt, which);
}

const char *config_auth_user(const struct config *cfg, const struct config_database *db)
{
    return db != NULL && db->auth_user != NULL ? db->auth_user : cfg->opt.auth_user;
}

const char *config_auth_query(const struct config *cfg, const struct config_database *db)
{
    return db != NULL && db->auth_query != NULL ? db->auth_query : cfg->opt.auth_query;
}

const char *config_auth_dbname(const struct config *cfg, const struct config_database *db)
{
    return db != NULL && db->auth_dbname != NULL ? db->auth_dbname : cfg->opt.auth_dbname;
}
