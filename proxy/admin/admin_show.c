/* admin_show.c - SHOW: which view is made from what, and the rows the main thread can make alone.
 *
 * Views of workers' objects are gathered (admin_live.c) and finished here; the others come from the
 * configuration, the registry and the resolver.  Thread: main.
 */
#include "base/mem.h"
#include "proxy/admin/admin_work.h"
#include "proxy/client.h"
#include "proxy/config/config_option.h"
#include "proxy/net/sockopt.h"
#include "proxy/pool/pool.h"
#include "proxy/server.h"
#include "proxy/worker.h"

#include <arpa/inet.h>
#include <stdatomic.h>
#include <stdio.h>

/* ---- gathered -------------------------------------------------------------------------------- */

static void answer(struct admin_gather *g)
{
    admin_answer(g->admin, g->reply);
    g->reply = NULL;
}

/* Rows that the workers have formatted. */
static void join_rows(struct admin_gather *g)
{
    struct buf *rows = &g->reply->rows;
    for (unsigned i = 0; i < g->nparts; i++) {
        buf_put_str(rows, buf_str(&g->parts[i].rows));
        rows->failed = rows->failed || g->parts[i].rows.failed;
        buf_fini(&g->parts[i].rows);
    }
    answer(g);
}

static void put_pool(struct buf *b, const struct admin_pool_row *r)
{
    admin_reply_int(b, r->cl_active);
    admin_reply_int(b, r->cl_waiting);
    admin_reply_int(b, r->cancels); /* cl_active_cancel_req */
    admin_reply_int(b, 0);          /* cl_waiting_cancel_req: they never wait */
    admin_reply_int(b, r->sv_active);
    admin_reply_int(b, r->cancels); /* sv_active_cancel: each has a connection of its own */
    admin_reply_int(b, r->sv_canceled);
    admin_reply_int(b, r->sv_idle);
    admin_reply_int(b, 0); /* sv_used: checked when taken, not beforehand */
    admin_reply_int(b, r->sv_tested);
    admin_reply_int(b, r->sv_login);
    admin_reply_int(b, r->maxwait / USEC_PER_SEC);
    admin_reply_int(b, r->maxwait % USEC_PER_SEC);
    admin_reply_text(b, config_pool_mode_name((enum config_pool_mode)r->mode));
    if (r->balance == CONFIG_NO_BALANCE)
        admin_reply_text(b, "disable");
    else
        admin_reply_text(b, "round-robin");
    admin_reply_int(b, r->sv_pinned);
    admin_reply_int(b, r->sv_shared);
    admin_reply_int(b, r->in_flight);
    admin_reply_int(b, r->share_width);
    admin_reply_text(b, r->shared != NULL ? r->shared->node : "");
}

static void put_console_pool(struct buf *b, const struct admin_gather *g)
{
    struct admin_counts n;
    admin_gather_counts(g, &n);
    struct admin_pool_row row = {.cl_active = n.consoles, .mode = CONFIG_POOL_STATEMENT};
    admin_reply_text(b, ADMIN_DATABASE);
    admin_reply_text(b, ADMIN_DATABASE);
    put_pool(b, &row);
}

static void finish_pools(struct admin_gather *g)
{
    size_t n;
    bool console_done = false;
    struct admin_pool_row *rows = admin_gather_nodes(g, &n);
    struct buf *b = &g->reply->rows;
    for (size_t i = 0; i <= n; i++) {
        if (!console_done && (i == n || strcmp(rows[i].shared->db->name, ADMIN_DATABASE) > 0)) {
            put_console_pool(b, g);
            console_done = true;
        }
        if (i == n)
            break;
        admin_reply_text(b, rows[i].shared->db->name);
        admin_reply_text(b, rows[i].shared->user->name);
        put_pool(b, &rows[i]);
    }
    mem_free(rows);
    answer(g);
}

static void put_item(struct buf *b, const char *name, int64_t n)
{
    admin_reply_text(b, name);
    admin_reply_int(b, n);
}

static void count_one(void *arg, struct user_shared *u)
{
    (void)u;
    ++*(int64_t *)arg;
}

static void finish_lists(struct admin_gather *g)
{
    struct admin_counts n;
    struct buf *b = &g->reply->rows;
    const struct config_entries *e = admin_config(g->admin)->entries;
    size_t pools, names, pending;
    int64_t users = 0;
    mem_free(admin_gather_nodes(g, &pools));
    admin_gather_counts(g, &n);
    resolver_counts(g->admin->process->resolver, &names, &pending);
    registry_each_user(g->admin->process->registry, count_one, &users);
    put_item(b, "databases", (int64_t)e->ndatabases + 1); /* and the console */
    put_item(b, "users", MAX(users, (int64_t)e->nusers));
    put_item(b, "peers", (int64_t)e->npeers);
    put_item(b, "pools", (int64_t)pools + 1);
    put_item(b, "peer_pools", (int64_t)e->npeers);
    put_item(b, "free_clients", 0); /* none is kept */
    put_item(b, "used_clients", n.clients - n.login_clients);
    put_item(b, "login_clients", n.login_clients);
    put_item(b, "free_servers", 0);
    put_item(b, "used_servers", n.servers);
    put_item(b, "dns_names", (int64_t)names);
    put_item(b, "dns_zones", 0);
    put_item(b, "dns_queries", (int64_t)pending);
    put_item(b, "dns_pending", 0);
    answer(g);
}

static void put_mem(struct buf *b, const char *name, size_t size, int64_t used, int64_t unused)
{
    admin_reply_text(b, name);
    admin_reply_int(b, (int64_t)size);
    admin_reply_int(b, used);
    admin_reply_int(b, unused);
    admin_reply_int(b, (int64_t)size * (used + unused));
}

static void finish_mem(struct admin_gather *g)
{
    struct admin_counts n;
    struct buf *b = &g->reply->rows;
    const struct config *cfg = admin_config(g->admin);
    const struct wire *wire = g->admin->process->wire;
    int64_t users = 0;
    admin_gather_counts(g, &n);
    registry_each_user(g->admin->process->registry, count_one, &users);
    put_mem(b, "user_cache", sizeof(struct user_shared), users, 0);
    put_mem(b, "credentials_cache", sizeof(struct userlist_entry),
            (int64_t)userlist_count(&cfg->secrets->users), 0);
    put_mem(b, "db_cache", sizeof(struct config_database), (int64_t)cfg->entries->ndatabases, 0);
    put_mem(b, "peer_cache", sizeof(struct config_peer), (int64_t)cfg->entries->npeers, 0);
    put_mem(b, "peer_pool_cache", sizeof(struct pool), 0, 0);
    put_mem(b, "pool_cache", sizeof(struct pool), n.pools, 0);
    put_mem(b, "outstanding_request_cache", sizeof(struct flight), 0, 0);
    put_mem(b, "server_cache", sizeof(struct server) + wire->server_size, n.servers, 0);
    put_mem(b, "client_cache", sizeof(struct client) + wire->client_size, n.clients, 0);
    put_mem(b, "iobuf_cache", OUTQ_BLOCK, n.blocks_used, n.blocks_free);
    put_mem(b, "var_list_cache", sizeof(struct varset), n.varsets, 0);
    put_mem(b, "server_prepared_statement_cache", sizeof(struct stmt_entry), n.statements, 0);
    put_mem(b, "statement_cache", sizeof(struct stmt), n.statement_texts, 0);
    answer(g);
}

static void finish_workers(struct admin_gather *g)
{
    struct buf *b = &g->reply->rows;
    for (unsigned i = 0; i < g->nparts; i++) {
        const struct admin_counts *n = &g->parts[i].counts;
        admin_reply_int(b, i);
        admin_reply_int(b, n->clients);
        admin_reply_int(b, n->waiting);
        admin_reply_int(b, n->servers);
        admin_reply_int(b, n->servers_idle);
        admin_reply_int(b, n->pools);
        admin_reply_int(b, n->statements);
        admin_reply_int(b, n->sql_entries);
        admin_reply_int(b, n->sql_bytes);
        admin_reply_int(b, n->sql_parsed);
        admin_reply_int(b, n->turns);
        admin_reply_int(b, n->tracked);
        admin_reply_int(b, n->tracked_bytes);
        admin_reply_int(b, n->tracked_evicted);
    }
    answer(g);
}

static void finish_redis(struct admin_gather *g)
{
    struct buf *b = &g->reply->rows;
    for (unsigned i = 0; i < g->nparts; i++) {
        const struct redis_counts *n = &g->parts[i].counts.redis;
        admin_reply_int(b, i);
        admin_reply_text(b, n->up ? "up" : n->wanted ? "down" : "off");
#define X(field, metric, help) admin_reply_int(b, n->field);
        REDIS_COUNTERS(X)
#undef X
        admin_reply_int(b, n->sum_us);
    }
    answer(g);
}

static void gather(struct admin *a, struct admin_reply *r,
                   void (*collect)(struct worker *, struct admin_gather *, struct admin_part *),
                   void (*finish)(struct admin_gather *))
{
    struct admin_gather *g = admin_gather_new(a, r);
    g->view = r->cmd.view->id;
    g->collect = collect;
    g->finish = finish;
    admin_gather_start(g);
}

/* ---- from the configuration ------------------------------------------------------------------ */

/* The one option whose text may hold a password. */
static bool hides(const struct config_option *o, struct str value, enum admin_role role)
{
    return role < ADMIN_FULL && value.n > 0 && str_eq(str_of(o->name), STR("auth_ldap_options"));
}

static void put_config(struct buf *b, const struct config *cfg, enum admin_role role)
{
    struct buf text;
    buf_init(&text, 1 << 20);
    for (size_t i = 0; i < config_schema_count; i++) {
        const struct config_option *o = &config_schema[i];
        if (o->hidden)
            continue;
        buf_reset(&text);
        config_option_format(&cfg->opt, o, &text);
        admin_reply_text(b, o->name);
        struct str value = buf_len(&text) > 0 ? buf_str(&text) : STR("");
        admin_reply_str(b, hides(o, value, role) ? STR("(hidden)") : value);
        admin_reply_text(b, config_schema_default(o, cfg->penstock, cfg->wire));
        admin_reply_text(b, o->restart ? "no" : "yes");
    }
    buf_fini(&text);
}

static void put_peers(struct buf *b, const struct config *cfg)
{
    for (size_t i = 0; i < cfg->entries->npeers; i++) {
        const struct config_peer *p = cfg->entries->peers[i];
        admin_reply_int(b, p->id);
        admin_reply_text(b, p->host);
        admin_reply_int(b, p->port);
        admin_reply_int(b, p->pool_size < 0 ? cfg->opt.default_pool_size : p->pool_size);
    }
}

/* The row of the worker that passes requests on to this peer; its configuration may be the one
 * before ours. */
static struct peer_counts peer_counts_of(const struct admin_gather *g, int id)
{
    const struct admin_part *part = &g->parts[peer_worker(g->admin->process, id)];
    for (size_t i = 0; i < part->npeers; i++)
        if (part->peers[i].id == id)
            return part->peers[i].counts;
    return (struct peer_counts){0, 0, 0};
}

static void finish_peer_pools(struct admin_gather *g)
{
    const struct config_entries *e = admin_config(g->admin)->entries;
    struct buf *b = &g->reply->rows;
    for (size_t i = 0; i < e->npeers; i++) {
        struct peer_counts n = peer_counts_of(g, e->peers[i]->id);
        admin_reply_int(b, e->peers[i]->id);
        admin_reply_int(b, n.sent);                   /* cl_active_cancel_req */
        admin_reply_int(b, n.connecting + n.waiting); /* cl_waiting_cancel_req */
        admin_reply_int(b, n.sent);                   /* sv_active_cancel */
        admin_reply_int(b, n.connecting);             /* sv_login */
    }
    answer(g);
}

static void put_state(struct buf *b, const struct process *p)
{
    bool paused = atomic_load(&p->shared.paused), suspended = atomic_load(&p->shared.suspended);
    admin_reply_text(b, "active");
    admin_reply_text(b, paused || suspended ? "no" : "yes");
    admin_reply_text(b, "paused");
    admin_reply_text(b, paused ? "yes" : "no");
    admin_reply_text(b, "suspended");
    admin_reply_text(b, suspended ? "yes" : "no");
}

static void put_host(void *arg, const char *host, usec_t ttl, const struct resolver_addrs *addrs)
{
    struct buf *b = arg;
    struct buf text;
    char one[SOCKOPT_TEXT_MAX];
    buf_init(&text, RESOLVER_ADDRS_MAX * sizeof(one));
    for (int i = 0; addrs != NULL && i < addrs->n; i++) {
        sockopt_format((const struct sockaddr *)&addrs->addr[i], 0, one, sizeof(one));
        buf_printf(&text, "%s%s", i > 0 ? "," : "", one);
    }
    admin_reply_text(b, host);
    admin_reply_int(b, MAX(ttl, 0) / USEC_PER_SEC);
    admin_reply_str(b, buf_len(&text) > 0 ? buf_str(&text) : STR(""));
    buf_fini(&text);
}

/* ---- the switch ------------------------------------------------------------------------------ */

static void show_help(struct admin_reply *r)
{
    r->notice = "Console usage";
    r->detail = admin_command_help;
}

/* Those that need no worker; false: not one of them. */
static bool show_now(struct admin *a, struct admin_reply *r)
{
    const struct config *cfg = admin_config(a);
    switch (r->cmd.view->id) {
    case VIEW_CONFIG:
        put_config(&r->rows, cfg, r->role);
        return true;
    case VIEW_DATABASES:
        admin_entries_databases(a, &r->rows);
        return true;
    case VIEW_USERS:
        admin_entries_users(a, &r->rows);
        return true;
    case VIEW_DNS_HOSTS:
        resolver_each(a->process->resolver, put_host, &r->rows);
        return true;
    case VIEW_HELP:
        show_help(r);
        return true;
    case VIEW_PEERS:
        put_peers(&r->rows, cfg);
        return true;
    case VIEW_STATE:
        put_state(&r->rows, a->process);
        return true;
    case VIEW_VERSION:
        admin_reply_text(&r->rows,
                         "PgBouncer " ADMIN_COMPATIBLE " (Penstock " PENSTOCK_VERSION ")");
        return true;
    case VIEW_DNS_ZONES: /* zones are not polled: names are looked up again in time */
        return true;
    case VIEW_ACTIVE_SOCKETS:
    case VIEW_CACHE:
    case VIEW_CACHE_MEMBERS:
    case VIEW_CLIENTS:
    case VIEW_FDS:
    case VIEW_LISTS:
    case VIEW_MEM:
    case VIEW_NODES:
    case VIEW_PEER_POOLS:
    case VIEW_POOLS:
    case VIEW_REDIS:
    case VIEW_ROUTING:
    case VIEW_SERVERS:
    case VIEW_SOCKETS:
    case VIEW_STATEMENTS:
    case VIEW_STATS:
    case VIEW_STATS_AVERAGES:
    case VIEW_STATS_TOTALS:
    case VIEW_TOTALS:
    case VIEW_WORKERS:
    case VIEWS:
        break;
    }
    return false;
}

static void (*finisher(enum admin_view_id view))(struct admin_gather *)
{
    if (view == VIEW_POOLS)
        return finish_pools;
    if (view == VIEW_LISTS)
        return finish_lists;
    if (view == VIEW_MEM)
        return finish_mem;
    if (view == VIEW_REDIS)
        return finish_redis;
    return view == VIEW_WORKERS ? finish_workers : admin_stats_show;
}

void admin_show(struct admin *a, struct admin_reply *r)
{
    enum admin_view_id view = r->cmd.view->id;
    if (show_now(a, r))
        admin_answer(a, r);
    else if (view == VIEW_FDS)
        admin_answer_error(a, r, "SHOW FDS is refused: it would hand out secrets");
    else if (view == VIEW_CLIENTS || view == VIEW_SERVERS || view == VIEW_SOCKETS ||
             view == VIEW_ACTIVE_SOCKETS)
        gather(a, r, admin_live_connections, join_rows);
    else if (view == VIEW_NODES || view == VIEW_ROUTING)
        admin_nodes_show(a, r);
    else if (view == VIEW_CACHE)
        admin_cache_show(a, r);
    else if (view == VIEW_CACHE_MEMBERS)
        admin_members_show(a, r);
    else if (view == VIEW_PEER_POOLS)
        gather(a, r, admin_live_peers, finish_peer_pools);
    else if (view == VIEW_STATEMENTS)
        gather(a, r, admin_statements_collect, admin_statements_finish);
    else
        gather(a, r, admin_live_pools, finisher(view));
}
