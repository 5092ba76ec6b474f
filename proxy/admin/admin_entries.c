/* admin_entries.c - SHOW DATABASES and SHOW USERS: what is configured beside what is in use.
 *
 * Rows are those of the configuration and those that are known from use alone ("*" databases, users
 * of the list or of auth_query), in the order of names.  Thread: main.
 */
#include "base/mem.h"
#include "proxy/admin/admin_work.h"
#include "proxy/config/config.h"

#include <stdatomic.h>
#include <stdlib.h>

struct names {         /* borrowed texts that live as long as the snapshot or the registry */
    const char **list; /* owned array */
    size_t n, cap;
};

static void add_name(struct names *s, const char *name)
{
    if (s->n == s->cap) {
        s->cap = MAX(s->cap * 2, (size_t)64);
        s->list = mem_resize(s->list, s->cap * sizeof(*s->list));
    }
    s->list[s->n++] = name;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Sorted, each once. */
static void tidy(struct names *s)
{
    size_t kept = 0;
    if (s->n > 0)
        qsort(s->list, s->n, sizeof(*s->list), by_text);
    for (size_t i = 0; i < s->n; i++)
        if (kept == 0 || strcmp(s->list[kept - 1], s->list[i]) != 0)
            s->list[kept++] = s->list[i];
    s->n = kept;
}

/* ---- databases ------------------------------------------------------------------------------- */

static void add_db(void *arg, struct db_shared *d)
{
    if (atomic_load_explicit(&d->shared.servers, memory_order_relaxed) > 0 ||
        atomic_load_explicit(&d->shared.clients, memory_order_relaxed) > 0 ||
        atomic_load_explicit(&d->shared.hold, memory_order_relaxed) != 0)
        add_name(arg, d->name);
}

static void put_hosts(struct buf *b, const struct config_database *d)
{
    struct buf text;
    buf_init(&text, 16384);
    for (size_t i = 0; i < d->nhosts; i++)
        buf_printf(&text, "%s%s", i > 0 ? "," : "", d->hosts[i].host);
    admin_reply_str(b, buf_str(&text));
    buf_fini(&text);
    admin_reply_int(b, d->hosts[0].port);
}

static void put_sizes(struct buf *b, const struct config *cfg, const struct config_database *d)
{
    admin_reply_int(b, config_pool_size(cfg, d, NULL));
    admin_reply_int(b, config_min_pool_size(cfg, d));
    admin_reply_int(b, config_reserve_pool_size(cfg, d, NULL));
    admin_reply_int(b, config_timeout(cfg, CONFIG_SERVER_LIFETIME, d, NULL) / USEC_PER_SEC);
    if (d->limits.pool_mode == CONFIG_POOL_UNSET) /* of the entry, not the one in force */
        admin_reply_null(b);
    else
        admin_reply_text(b, config_pool_mode_name(d->limits.pool_mode));
    if (d->load_balance == CONFIG_NO_BALANCE)
        admin_reply_text(b, "disable");
    else
        admin_reply_text(b, "round-robin");
}

static void put_database(struct admin *a, struct buf *b, const char *name)
{
    const struct config *cfg = admin_config(a);
    const struct config_database *d = config_find_database(cfg, str_of(name));
    struct db_shared *s = registry_db(a->process->registry, str_of(name));
    if (d == NULL) /* removed, its last connections are leaving */
        return;
    uint32_t hold = atomic_load_explicit(&s->shared.hold, memory_order_relaxed);
    admin_reply_text(b, name);
    put_hosts(b, d);
    admin_reply_text(b, d->dbname != NULL ? d->dbname : name);
    admin_reply_text(b, d->user);
    put_sizes(b, cfg, d);
    admin_reply_int(b, config_max_db_connections(cfg, d));
    admin_reply_int(b, atomic_load_explicit(&s->shared.servers, memory_order_relaxed));
    admin_reply_int(b, config_max_db_client_connections(cfg, d));
    admin_reply_int(b, atomic_load_explicit(&s->shared.clients, memory_order_relaxed));
    admin_reply_int(b, (hold & DB_PAUSED) != 0);
    admin_reply_int(b, (hold & DB_DISABLED) != 0);
}

static void put_console(struct buf *b, const struct config *cfg)
{
    admin_reply_text(b, ADMIN_DATABASE);
    admin_reply_null(b); /* it has no server */
    admin_reply_int(b, cfg->opt.listen_port);
    admin_reply_text(b, ADMIN_DATABASE);
    admin_reply_text(b, ADMIN_DATABASE); /* force_user */
    admin_reply_int(b, 2);               /* pool_size, as there */
    for (int i = 0; i < 3; i++)          /* min_pool_size, reserve_pool_size, server_lifetime */
        admin_reply_int(b, 0);
    admin_reply_text(b, config_pool_mode_name(CONFIG_POOL_STATEMENT));
    admin_reply_null(b);
    for (int i = 0; i < 6; i++)
        admin_reply_int(b, 0);
}

void admin_entries_databases(struct admin *a, struct buf *b)
{
    const struct config *cfg = admin_config(a);
    struct names s = {NULL, 0, 0};
    for (size_t i = 0; i < cfg->entries->ndatabases; i++)
        if (!cfg->entries->databases[i]->is_auto)
            add_name(&s, cfg->entries->databases[i]->name);
    registry_each_db(a->process->registry, add_db, &s);
    add_name(&s, ADMIN_DATABASE);
    tidy(&s);
    for (size_t i = 0; i < s.n; i++) {
        if (strcmp(s.list[i], ADMIN_DATABASE) == 0)
            put_console(b, cfg);
        else
            put_database(a, b, s.list[i]);
    }
    mem_free(s.list);
}

/* ---- users ----------------------------------------------------------------------------------- */

static void add_user(void *arg, struct user_shared *u)
{
    add_name(arg, u->name);
}

/* Right-aligned; empty when the user has none of its own. */
static void put_size(struct buf *b, int v)
{
    if (v < 0)
        admin_reply_text(b, "");
    else
        admin_reply_printf(b, "%9d", v);
}

static void put_user(struct admin *a, struct buf *b, const char *name)
{
    const struct config *cfg = admin_config(a);
    const struct config_user *u = config_find_user(cfg, str_of(name));
    struct user_shared *s = registry_user(a->process->registry, str_of(name));
    enum config_pool_mode mode = u != NULL ? u->limits.pool_mode : CONFIG_POOL_UNSET;
    admin_reply_text(b, name);
    put_size(b, u != NULL ? u->limits.pool_size : -1);
    put_size(b, u != NULL ? u->limits.reserve_pool_size : -1);
    if (mode == CONFIG_POOL_UNSET)
        admin_reply_null(b);
    else
        admin_reply_text(b, config_pool_mode_name(mode));
    admin_reply_int(b, config_max_user_connections(cfg, u));
    admin_reply_int(b, atomic_load_explicit(&s->shared.servers, memory_order_relaxed));
    admin_reply_int(b, config_max_user_client_connections(cfg, u));
    admin_reply_int(b, atomic_load_explicit(&s->shared.clients, memory_order_relaxed));
}

void admin_entries_users(struct admin *a, struct buf *b)
{
    const struct config *cfg = admin_config(a);
    struct names s = {NULL, 0, 0};
    struct str key;
    void *v;
    for (size_t i = 0; i < cfg->entries->nusers; i++)
        add_name(&s, cfg->entries->users[i]->name);
    for (size_t i = 0; map_next(&cfg->secrets->users.by_name, &i, &key, &v);)
        add_name(&s, ((struct userlist_entry *)v)->name);
    registry_each_user(a->process->registry, add_user, &s);
    tidy(&s);
    for (size_t i = 0; i < s.n; i++)
        put_user(a, b, s.list[i]);
    mem_free(s.list);
}
