/* admin_live.c - rows of the views that show workers' objects: connections, pools, counts.
 *
 * The collect functions run on each worker and look at nothing but its own objects.  States are
 * PgBouncer's words: a client with a server is active, one without is idle, one in the queue is
 * waiting. Prints addresses, names and times, never a secret.
 */
#include "base/mem.h"
#include "proxy/admin/admin_work.h"
#include "proxy/client.h"
#include "proxy/net/conn_tls.h"
#include "proxy/net/sockopt.h"
#include "proxy/pool/pool.h"
#include "proxy/server.h"
#include "proxy/worker.h"

#include <limits.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <time.h>

#define PINS_TEXT 160
#define POOLS_AT_ONCE 64 /* in one turn of the loop: clients are served in between */

/* ---- one row for both kinds ------------------------------------------------------------------ */

struct row { /* what differs between clients and servers */
    const char *type;
    struct str user, database, replication, application;
    const char *state, *node;
    const struct sockaddr *peer;
    const void *self, *link;
    usec_t connect_wall, request_wall, waited;
    bool closing;
    uint32_t pid;
    size_t statements, in_flight;
    uint64_t id;
    char pins[PINS_TEXT];
};

static void put_peer(struct buf *b, const struct conn *c, const struct sockaddr *sa)
{
    char text[SOCKOPT_TEXT_MAX];
    bool remote = sa->sa_family == AF_INET || sa->sa_family == AF_INET6;
    uint16_t port = remote ? sockopt_format(sa, 0, text, sizeof(text)) : 0;
    admin_reply_text(b, remote ? text : "unix");
    admin_reply_int(b, remote ? port : worker_options(c->worker)->listen_port);
}

static void put_local(struct buf *b, const struct conn *c)
{
    struct sockaddr_storage ss;
    socklen_t n = sizeof(ss);
    memset(&ss, 0, sizeof(ss));
    if (c->fd < 0 || getsockname(c->fd, (struct sockaddr *)&ss, &n) != 0)
        ss.ss_family = AF_UNSPEC;
    put_peer(b, c, (struct sockaddr *)&ss);
}

static void put_pointer(struct buf *b, const void *p)
{
    if (p == NULL)
        admin_reply_text(b, "");
    else
        admin_reply_printf(b, "%p", p);
}

static void put_tls(struct buf *b, const struct conn *c)
{
    char text[128] = "";
    if (c->tls != NULL && c->state == CONN_OPEN)
        tls_describe(c->tls, text, sizeof(text));
    admin_reply_text(b, text);
}

static void put_buffers(struct buf *b, const struct conn *c)
{
    admin_reply_int(b, c->in_len); /* recv_pos */
    admin_reply_int(b, 0);         /* pkt_pos */
    admin_reply_int(b, 0);         /* pkt_remain */
    admin_reply_int(b, 0);         /* send_pos */
    admin_reply_int(b, (int64_t)c->out.len);
    admin_reply_int(b, 0); /* pkt_avail */
    admin_reply_int(b, (int64_t)c->out.len);
}

static void put_row(struct buf *b, const struct conn *c, const struct row *r, bool buffers)
{
    admin_reply_text(b, r->type);
    admin_reply_str(b, r->user);
    admin_reply_str(b, r->database);
    admin_reply_str(b, r->replication);
    admin_reply_text(b, r->state);
    put_peer(b, c, r->peer);
    put_local(b, c);
    admin_reply_time(b, r->connect_wall);
    admin_reply_time(b, r->request_wall > 0 ? r->request_wall : r->connect_wall);
    admin_reply_int(b, r->waited / USEC_PER_SEC);
    admin_reply_int(b, r->waited % USEC_PER_SEC);
    admin_reply_int(b, r->closing);
    put_pointer(b, r->self);
    put_pointer(b, r->link);
    admin_reply_int(b, r->pid);
    put_tls(b, c);
    admin_reply_str(b, r->application.p != NULL ? r->application : STR(""));
    admin_reply_int(b, (int64_t)r->statements);
    admin_reply_int(b, (int64_t)r->id);
    if (buffers)
        put_buffers(b, c);
    admin_reply_int(b, c->worker->index);
    admin_reply_text(b, r->pins);
    admin_reply_int(b, (int64_t)r->in_flight);
    admin_reply_text(b, r->node);
}

static struct str replication_of(const struct pool *p)
{
    if (p == NULL || p->replication[0] == '\0')
        return STR("none");
    return str_eq(str_of(p->replication), STR("database")) ? STR("logical") : STR("physical");
}

/* ---- clients --------------------------------------------------------------------------------- */

static usec_t waited(const struct client *c)
{
    bool waits = c->state == CL_WAIT || c->state == CL_WELCOME;
    return waits && list_linked(&c->waiter.link) ? MAX(c->conn.worker->now - c->waiter.since, 0)
                                                 : 0;
}

static uint32_t unix_pid(const struct client *c)
{
    struct sockopt_cred cred;
    struct error err;
    if (!c->is_unix || sockopt_peer_cred(c->conn.fd, &cred, &err) != ST_OK || cred.pid < 0)
        return 0;
    return (uint32_t)cred.pid;
}

static struct str application(const struct varset *first, const struct varset *second)
{
    struct str s = first != NULL ? varset_find(first, STR("application_name")) : STR_NONE;
    return s.p == NULL && second != NULL ? varset_find(second, STR("application_name")) : s;
}

static void client_row(struct buf *b, const struct client *c, bool buffers)
{
    struct row r = {
        .type = "C",
        .user = c->user != NULL ? str_of(c->user) : STR(""),
        .database = c->pool != NULL        ? str_of(c->pool->shared->db->name)
                    : c->state == CL_ADMIN ? STR(ADMIN_DATABASE)
                                           : STR(""),
        .replication = replication_of(c->pool),
        .application = application(c->vars, c->told),
        .state = admin_names_client_state(c->state),
        .node = c->server != NULL ? c->server->pool->shared->node : "",
        .peer = c->peer,
        .self = c,
        .link = c->server,
        .connect_wall = c->connect_wall,
        .request_wall = c->request_wall,
        .waited = waited(c),
        .pid = unix_pid(c),
        .statements = c->names != NULL ? stmt_names_count(c->names) : 0,
        .id = c->id,
    };
    if (c->server != NULL)
        admin_names_pins(c->server, r.pins, sizeof(r.pins));
    put_row(b, &c->conn, &r, buffers);
}

/* ---- servers --------------------------------------------------------------------------------- */

static const char *server_word(const struct server *s)
{
    bool cancel = s->cancels > 0 && s->client == NULL;
    return admin_names_server_state(s->state, s->reset.step != CLEANING_NONE, cancel);
}

static bool outdated(const struct server *s)
{
    const struct db_shared *d = s->pool->shared->db;
    return s->epoch != atomic_load_explicit(&d->shared.epoch, memory_order_relaxed) || s->doubtful;
}

static void server_row(struct buf *b, const struct server *s, bool buffers)
{
    const struct wire *wire = conn_wire(&s->conn);
    struct row r = {
        .type = "S",
        .user = str_of(s->pool->shared->user->name),
        .database = str_of(s->pool->shared->db->name),
        .replication = replication_of(s->pool),
        .application = application(s->vars, s->profile),
        .state = server_word(s),
        .node = s->pool->shared->node,
        .peer = (const struct sockaddr *)&s->addr,
        .self = s,
        .link = s->client,
        .connect_wall = s->connect_wall,
        .request_wall = s->request_wall,
        .closing = outdated(s),
        .pid = wire->key_pid != NULL ? wire->key_pid(&s->key) : 0,
        .statements = s->stmts.count,
        .id = s->id,
        .in_flight = s->fl_count,
    };
    admin_names_pins(s, r.pins, sizeof(r.pins));
    put_row(b, &s->conn, &r, buffers);
}

/* ---- which of them --------------------------------------------------------------------------- */

static bool shows_client(enum admin_view_id view, const struct client *c)
{
    if (c->state >= CL_ENDING || view == VIEW_SERVERS)
        return false;
    if (view == VIEW_SOCKETS)
        return true;
    if (view == VIEW_ACTIVE_SOCKETS)
        return c->state >= CL_BUSY && c->state <= CL_ADMIN;
    return c->state >= CL_WELCOME;
}

static bool shows_server(enum admin_view_id view, const struct server *s)
{
    if (s->state == SV_CLOSED || view == VIEW_CLIENTS)
        return false;
    return view != VIEW_ACTIVE_SOCKETS || s->state == SV_ACTIVE || s->state == SV_SHARED;
}

void admin_live_connections(struct worker *w, struct admin_gather *g, struct admin_part *part)
{
    bool buffers = g->view == VIEW_SOCKETS || g->view == VIEW_ACTIVE_SOCKETS;
    struct list *it, *tmp;
    LIST_EACH(it, tmp, &w->clients) {
        struct client *c = container_of(it, struct client, all);
        if (shows_client(g->view, c))
            client_row(&part->rows, c, buffers);
    }
    LIST_EACH(it, tmp, &w->servers) {
        struct server *s = container_of(it, struct server, all);
        if (shows_server(g->view, s))
            server_row(&part->rows, s, buffers);
    }
}

/* ---- pools and counts ------------------------------------------------------------------------ */

static void count_tx(const struct client *c, struct admin_pool_row *row)
{
    usec_t now = c->conn.worker->now;
    if (c->server == NULL || c->server->tx == TX_IDLE)
        return;
    row->longest_tx = MAX(row->longest_tx, now - c->xact_at);
    if (c->state != CL_HELD)
        return;
    row->idle_in_tx++;
    row->longest_idle_in_tx = MAX(row->longest_idle_in_tx, now - c->held_at);
}

static void count_clients(const struct pool *p, struct admin_pool_row *row)
{
    struct list *it, *tmp;
    LIST_EACH(it, tmp, &p->clients) {
        const struct client *c = container_of(it, struct client, in_pool);
        row->stats.received += c->conn.bytes_in;
        if (c->state == CL_WAIT || c->state == CL_WELCOME) {
            row->cl_waiting++;
            row->maxwait = MAX(row->maxwait, waited(c));
            continue;
        }
        row->cl_active++;
        row->cl_idle += c->state == CL_IDLE;
        row->cl_busy += c->state == CL_BUSY;
        row->cl_sharing += c->state == CL_SHARED;
        row->cl_held += c->state == CL_HELD;
        count_tx(c, row);
    }
}

static void count_bytes(const struct list *servers, struct admin_pool_row *row)
{
    struct list *it, *tmp;
    LIST_EACH(it, tmp, servers)
        row->stats.sent += container_of(it, struct server, link)->conn.bytes_in;
}

static void count_pins(const struct server *s, struct admin_pool_row *row)
{
    uint32_t set = admin_names_pin_set(s);
    for (int i = 0; i < ADMIN_PINS; i++)
        row->pins[i] += (set >> i) & 1u;
}

static void count_servers(const struct pool *p, struct admin_pool_row *row)
{
    count_bytes(&p->idle, row);
    count_bytes(&p->active, row);
    count_bytes(&p->sharing, row);
    count_bytes(&p->connecting, row);
    struct list *it, *tmp;
    row->sv_idle = p->nidle;
    row->sv_login = p->nconnecting;
    row->sv_shared = p->nsharing;
    row->share_width = pool_shares(p) ? p->share.width.now : 0;
    LIST_EACH(it, tmp, &p->sharing)
        row->in_flight += container_of(it, struct server, link)->fl_count;
    LIST_EACH(it, tmp, &p->active) {
        const struct server *s = container_of(it, struct server, link);
        row->cancels += s->cancels;
        row->in_flight += s->fl_count;
        row->sv_pinned += s->client != NULL && s->pins != 0;
        count_pins(s, row);
        if (s->client == NULL && s->cancels > 0)
            row->sv_canceled++;
        else if (s->client == NULL && s->reset.step != CLEANING_NONE)
            row->sv_tested++;
        else
            row->sv_alone++;
    }
    row->sv_active = row->sv_alone + row->sv_shared;
}

static void pool_row(const struct pool *p, const struct admin_gather *g, struct admin_part *part)
{
    struct admin_pool_row *row = admin_gather_add_pool(part, map_count(&p->worker->pools));
    row->shared = p->shared;
    row->mode = pool_mode(p);
    row->balance = p->gone ? CONFIG_ROUND_ROBIN : (int)p->db->load_balance; /* db: gone too */
    row->probes = p->probes;
    row->limit = pool_limit(p) == INT_MAX ? 0 : pool_limit(p);
    row->failing = p->backoff > 0;
    row->stats = p->stats;
    if (g->measures)
        measure_read(&p->measure, &row->measured, part->times);
    row->cluster = p->routes != NULL   ? p->routes->cluster
                   : p->routed != NULL ? p->routed->cluster
                                       : NULL;
    count_clients(p, row);
    count_servers(p, row);
}

static int64_t thread_cpu(void)
{
    struct timespec t;
    if (clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t) != 0)
        return 0;
    return (int64_t)t.tv_sec * USEC_PER_SEC + t.tv_nsec / 1000;
}

static void count_worker(struct worker *w, struct admin_counts *n)
{
    struct sql_cache_stats sql;
    struct list *it, *tmp;
    sql_cache_stats(w->sql, &sql);
    LIST_EACH(it, tmp, &w->clients) {
        const struct client *c = container_of(it, struct client, all);
        n->clients += c->state < CL_ENDING;
        n->login_clients += c->state < CL_WELCOME;
        n->consoles += c->state == CL_ADMIN;
        n->waiting += c->state == CL_WAIT || c->state == CL_WELCOME;
    }
    LIST_EACH(it, tmp, &w->servers) {
        const struct server *s = container_of(it, struct server, all);
        n->servers += s->state != SV_CLOSED;
        n->servers_idle += s->state == SV_IDLE;
        n->statements += (int64_t)s->stmts.count;
    }
    n->pools = (int64_t)list_count(&w->pool_list);
    n->statement_texts = (int64_t)w->stmts.count;
    n->varsets = (int64_t)w->vars.count;
    n->blocks_used = (int64_t)w->blocks.in_use;
    n->blocks_free = (int64_t)w->blocks.nfree;
    n->sql_entries = (int64_t)sql.entries;
    n->sql_bytes = (int64_t)sql.bytes;
    n->sql_parsed = (int64_t)sql.parsed;
    n->turns = ev_iteration(w->loop);
    n->cpu_us = thread_cpu();
    struct statements_counts tracked;
    statements_count(w->statements, &tracked);
    n->tracked = (int64_t)tracked.rows;
    n->tracked_bytes = (int64_t)tracked.bytes;
    n->tracked_evicted = (int64_t)tracked.evicted;
    for (int i = 0; i < CAUSES; i++)
        n->told[i] = (int64_t)w->told[i];
    redis_count(w->cache->redis, &n->redis);
}

void admin_live_pools(struct worker *w, struct admin_gather *g, struct admin_part *part)
{
    struct list *it, *tmp;
    int n = 0;
    if (g->measures && part->times == NULL)
        part->times = mem_new(MEASURE_TIMES * sizeof(*part->times));
    LIST_EACH(it, tmp, &w->pool_list) { /* in the order in which they were made */
        const struct pool *p = container_of(it, struct pool, link);
        if (p->serial <= part->after)
            continue;
        if (n++ == POOLS_AT_ONCE) {
            part->more = true;
            return;
        }
        pool_row(p, g, part);
        part->after = p->serial;
    }
    count_worker(w, &part->counts);
}

void admin_live_peers(struct worker *w, struct admin_gather *g, struct admin_part *part)
{
    const struct config_entries *e = worker_config(w)->entries;
    (void)g;
    part->peers = mem_new((e->npeers + 1) * sizeof(*part->peers));
    for (size_t i = 0; i < e->npeers; i++) {
        if (peer_worker(w->process, e->peers[i]->id) != w->index)
            continue;
        struct admin_peer_row *row = &part->peers[part->npeers++];
        row->id = e->peers[i]->id;
        peer_count(w, row->id, &row->counts);
    }
}
