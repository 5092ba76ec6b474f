/* admin_view.c - the table of views; see admin_view.h.  Data only. */
#include "proxy/admin/admin_view.h"

#include "proxy/redis.h"

#define T(name)                                                                                    \
    {                                                                                              \
        name, COL_TEXT                                                                             \
    }
#define I(name)                                                                                    \
    {                                                                                              \
        name, COL_INT4                                                                             \
    }
#define Q(name)                                                                                    \
    {                                                                                              \
        name, COL_INT8                                                                             \
    }
#define N(name)                                                                                    \
    {                                                                                              \
        name, COL_NUMERIC                                                                          \
    }

#define SOCKET                                                                                     \
    T("type"), T("user"), T("database"), T("replication"), T("state"), T("addr"), I("port"),       \
        T("local_addr"), I("local_port"), T("connect_time"), T("request_time"), I("wait"),         \
        I("wait_us"), I("close_needed"), T("ptr"), T("link"), I("remote_pid"), T("tls"),           \
        T("application_name"), I("prepared_statements"), I("id")
#define SOCKET_OURS I("worker"), T("pins"), I("in_flight"), T("node")

static const struct wire_column connections[] = {SOCKET, SOCKET_OURS};
static const struct wire_column sockets[] = {SOCKET,          I("recv_pos"),   I("pkt_pos"),
                                             I("pkt_remain"), I("send_pos"),   I("send_remain"),
                                             I("pkt_avail"),  I("send_avail"), SOCKET_OURS};
static const struct wire_column cache[] = {
    T("rule"),          T("database"), T("mode"),      T("store"),     T("state"), Q("entries"),
    Q("hits"),          Q("misses"),   N("hit_ratio"), Q("waits"),     Q("fills"), Q("refused"),
    Q("invalidations"), T("bypasses"), T("why"),       Q("local_hits")};
static const struct wire_column cache_members[] = {T("name"), T("rules"), T("state"), I("self")};
static const struct wire_column config[] = {T("key"), T("value"), T("default"), T("changeable")};
static const struct wire_column databases[] = {T("name"),
                                               T("host"),
                                               I("port"),
                                               T("database"),
                                               T("force_user"),
                                               I("pool_size"),
                                               I("min_pool_size"),
                                               I("reserve_pool_size"),
                                               I("server_lifetime"),
                                               T("pool_mode"),
                                               T("load_balance_hosts"),
                                               I("max_connections"),
                                               I("current_connections"),
                                               I("max_client_connections"),
                                               I("current_client_connections"),
                                               I("paused"),
                                               I("disabled")};
static const struct wire_column dns_hosts[] = {T("hostname"), Q("ttl"), T("addrs")};
static const struct wire_column dns_zones[] = {T("zonename"), Q("serial"), I("count")};
static const struct wire_column lists[] = {T("list"), I("items")};
static const struct wire_column mem[] = {T("name"), I("size"), I("used"), I("free"), I("memtotal")};
static const struct wire_column nodes[] = {
    T("cluster"),    T("node"),      T("role"),         T("state"),         N("lag_ms"),
    Q("lag_bytes"),  Q("freshness"), Q("transactions"), N("share"),         I("in_flight"),
    N("latency_ms"), I("weight"),    T("zone"),         N("last_change_ms")};
static const struct wire_column peers[] = {I("peer_id"), T("host"), I("port"), I("pool_size")};
static const struct wire_column peer_pools[] = {I("peer_id"), I("cl_active_cancel_req"),
                                                I("cl_waiting_cancel_req"), I("sv_active_cancel"),
                                                I("sv_login")};
static const struct wire_column pools[] = {T("database"),
                                           T("user"),
                                           I("cl_active"),
                                           I("cl_waiting"),
                                           I("cl_active_cancel_req"),
                                           I("cl_waiting_cancel_req"),
                                           I("sv_active"),
                                           I("sv_active_cancel"),
                                           I("sv_being_canceled"),
                                           I("sv_idle"),
                                           I("sv_used"),
                                           I("sv_tested"),
                                           I("sv_login"),
                                           I("maxwait"),
                                           I("maxwait_us"),
                                           T("pool_mode"),
                                           T("load_balance_hosts"),
                                           I("sv_pinned"),
                                           I("sv_shared"),
                                           I("in_flight"),
                                           I("share_width"),
                                           T("node")};
static const struct wire_column redis[] = {I("worker"), T("state"),
#define X(field, metric, help) Q(#field),
                                           REDIS_COUNTERS(X)
#undef X
                                               Q("total_time")};
static const struct wire_column routing[] = {T("cluster"),  T("node"), T("reason"),
                                             Q("requests"), Q("held"), Q("refused")};
static const struct wire_column state[] = {T("key"), T("value")};
/* The counts of logins came after the version whose column order this keeps: they stand last. */
static const struct wire_column stats[] = {T("database"),
                                           N("total_server_assignment_count"),
                                           N("total_xact_count"),
                                           N("total_query_count"),
                                           N("total_received"),
                                           N("total_sent"),
                                           N("total_xact_time"),
                                           N("total_query_time"),
                                           N("total_wait_time"),
                                           N("total_client_parse_count"),
                                           N("total_server_parse_count"),
                                           N("total_bind_count"),
                                           N("avg_server_assignment_count"),
                                           N("avg_xact_count"),
                                           N("avg_query_count"),
                                           N("avg_recv"),
                                           N("avg_sent"),
                                           N("avg_xact_time"),
                                           N("avg_query_time"),
                                           N("avg_wait_time"),
                                           N("avg_client_parse_count"),
                                           N("avg_server_parse_count"),
                                           N("avg_bind_count"),
                                           N("total_client_login_count"),
                                           N("avg_client_login_count"),
                                           N("total_shared_count"),
                                           N("avg_shared_count"),
                                           N("total_repeated_count"),
                                           N("avg_repeated_count"),
                                           N("total_unshared_count"),
                                           N("avg_unshared_count")};
#define COUNTERS                                                                                   \
    T("database"), N("server_assignment_count"), N("xact_count"), N("query_count"),                \
        N("bytes_received"), N("bytes_sent"), N("xact_time"), N("query_time"), N("wait_time")
static const struct wire_column stats_averages[] = {COUNTERS,
                                                    N("avg_client_parse_count"),
                                                    N("avg_server_parse_count"),
                                                    N("avg_bind_count"),
                                                    N("avg_client_login_count"),
                                                    N("avg_shared_count"),
                                                    N("avg_repeated_count"),
                                                    N("avg_unshared_count")};
static const struct wire_column stats_totals[] = {COUNTERS,
                                                  N("client_parse_count"),
                                                  N("server_parse_count"),
                                                  N("bind_count"),
                                                  N("client_login_count"),
                                                  N("shared_count"),
                                                  N("repeated_count"),
                                                  N("unshared_count")};
static const struct wire_column statements[] = {
    T("database"), T("host"),      T("digest"),     Q("calls"),     Q("cached"),
    Q("errors"),   Q("rows"),      Q("total_time"), Q("mean_time"), Q("p95_time"),
    Q("max_time"), Q("wait_time"), T("query")};
static const struct wire_column totals[] = {T("name"), N("value")};
static const struct wire_column users[] = {T("name"),
                                           T("pool_size"),
                                           T("reserve_pool_size"),
                                           T("pool_mode"),
                                           I("max_user_connections"),
                                           I("current_connections"),
                                           I("max_user_client_connections"),
                                           I("current_client_connections")};
static const struct wire_column version[] = {T("version")};
static const struct wire_column workers[] = {
    I("worker"),          I("clients"),        I("waiting"),    I("servers"),
    I("servers_idle"),    I("pools"),          I("statements"), I("sql_cache_entries"),
    Q("sql_cache_bytes"), Q("sql_parsed"),     Q("loop_turns"), I("tracked_statements"),
    Q("tracked_bytes"),   Q("tracked_evicted")};

#define WITH(columns) (int)ARRAY_LEN(columns), columns

const struct admin_view admin_views[VIEWS] = {
    {"active_sockets", VIEW_ACTIVE_SOCKETS, ADMIN_STATS, WITH(sockets)},
    {"cache", VIEW_CACHE, ADMIN_STATS, WITH(cache)},
    {"cache_members", VIEW_CACHE_MEMBERS, ADMIN_STATS, WITH(cache_members)},
    {"clients", VIEW_CLIENTS, ADMIN_STATS, WITH(connections)},
    {"config", VIEW_CONFIG, ADMIN_STATS, WITH(config)},
    {"databases", VIEW_DATABASES, ADMIN_STATS, WITH(databases)},
    {"dns_hosts", VIEW_DNS_HOSTS, ADMIN_STATS, WITH(dns_hosts)},
    {"dns_zones", VIEW_DNS_ZONES, ADMIN_STATS, WITH(dns_zones)},
    {"fds", VIEW_FDS, ADMIN_FULL, 0, NULL},
    {"help", VIEW_HELP, ADMIN_STATS, 0, NULL},
    {"lists", VIEW_LISTS, ADMIN_STATS, WITH(lists)},
    {"mem", VIEW_MEM, ADMIN_STATS, WITH(mem)},
    {"nodes", VIEW_NODES, ADMIN_STATS, WITH(nodes)},
    {"peers", VIEW_PEERS, ADMIN_STATS, WITH(peers)},
    {"peer_pools", VIEW_PEER_POOLS, ADMIN_STATS, WITH(peer_pools)},
    {"pools", VIEW_POOLS, ADMIN_STATS, WITH(pools)},
    {"redis", VIEW_REDIS, ADMIN_STATS, WITH(redis)},
    {"routing", VIEW_ROUTING, ADMIN_STATS, WITH(routing)},
    {"servers", VIEW_SERVERS, ADMIN_STATS, WITH(connections)},
    {"sockets", VIEW_SOCKETS, ADMIN_STATS, WITH(sockets)},
    {"state", VIEW_STATE, ADMIN_STATS, WITH(state)},
    {"statements", VIEW_STATEMENTS, ADMIN_STATS, WITH(statements)},
    {"stats", VIEW_STATS, ADMIN_STATS, WITH(stats)},
    {"stats_averages", VIEW_STATS_AVERAGES, ADMIN_STATS, WITH(stats_averages)},
    {"stats_totals", VIEW_STATS_TOTALS, ADMIN_STATS, WITH(stats_totals)},
    {"totals", VIEW_TOTALS, ADMIN_STATS, WITH(totals)},
    {"users", VIEW_USERS, ADMIN_STATS, WITH(users)},
    {"version", VIEW_VERSION, ADMIN_STATS, WITH(version)},
    {"workers", VIEW_WORKERS, ADMIN_STATS, WITH(workers)},
};

const struct admin_view *admin_view_find(struct str name)
{
    for (size_t i = 0; i < VIEWS; i++)
        if (str_ieq(name, str_of(admin_views[i].name)))
            return &admin_views[i];
    return NULL;
}

static const struct admin_view_faked faked[] = {
    {T("client_encoding"), "UTF8"},
    {T("default_transaction_isolation"), "read committed"},
    {T("standard_conforming_strings"), "on"},
    {T("datestyle"), "ISO"},
    {T("timezone"), "GMT"},
};

const struct admin_view_faked *admin_view_faked(struct str name)
{
    for (size_t i = 0; i < ARRAY_LEN(faked); i++)
        if (str_ieq(name, str_of(faked[i].col.name)))
            return &faked[i];
    return NULL;
}
