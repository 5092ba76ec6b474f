/* config_cluster.c - see config_cluster.h. */
#include "base/base.h"

#include "proxy/config/config_cluster.h"

#include "base/check.h"
#include "protocol/wire.h"
#include "proxy/config/config.h"
#include "proxy/config/config_file.h"
#include "proxy/config/config_option.h"
#include "router/rules.h"

#include <stdlib.h>

#define TIME_MAX (INT64_C(86400) * USEC_PER_SEC)

#define OPTION(key, field, t)                                                                      \
    .name = key, .type = (t), .offset = offsetof(struct config_cluster, field), .ours = true

static const struct config_enum consistencies[] = {
    {"off", CONFIG_CONSISTENCY_OFF},
    {"session", CONFIG_CONSISTENCY_SESSION},
    {"database", CONFIG_CONSISTENCY_DATABASE},
    {NULL, 0},
};

static const struct config_enum no_replicas[] = {
    {"primary", CONFIG_NO_REPLICA_PRIMARY}, {"error", CONFIG_NO_REPLICA_ERROR}, {NULL, 0}};

const struct config_option config_cluster_options[] = {
    {OPTION("hosts", host_list, CONFIG_STRING), .def = "",
     .sample = "10.0.0.1:5432, 10.0.0.2:5432, 10.0.0.3:5432",
     .help = "The nodes, as host, host:port or /folder:port, with commas between them. A name with "
             "several addresses is several nodes. Which one is the primary is found by asking."},
    {OPTION("consistency", consistency, CONFIG_ENUM), .def = "session", .values = consistencies,
     .help = "off: a read on a replica may miss any write. session: a client's reads see what it "
             "has written. database: they see every write that was acknowledged through this "
             "process before they began."},
    {OPTION("check_interval", check_interval, CONFIG_TIME), .def = "0.1", .min = 1000,
     .max = 60 * USEC_PER_SEC, .unit = "seconds",
     .help = "How often each node is asked for its role and position."},
    {OPTION("max_replica_lag", max_replica_lag, CONFIG_TIME), .def = "1", .min = 0, .max = TIME_MAX,
     .unit = "seconds",
     .help = "A replica that is further behind than this serves no reads; 0: no limit."},
    {OPTION("max_replica_lag_bytes", max_replica_lag_bytes, CONFIG_SIZE), .def = "0", .min = 0,
     .max = INT64_MAX, .unit = "bytes",
     .help = "A replica that has so much still to replay serves no reads; 0: no limit."},
    {OPTION("probe_user", probe_user, CONFIG_STRING), .def = "", .sample = "monitor",
     .help = "Login that asks the nodes for their roles; unset: the user of a database entry of "
             "this cluster."},
    {OPTION("probe_password", probe_password, CONFIG_STRING), .def = "",
     .help = "Its password: the text, file:/path or env:NAME; unset: what the user list has."},
    {OPTION("probe_dbname", probe_dbname, CONFIG_STRING), .def = "postgres",
     .help = "Database to which that login connects."},
    {OPTION("weights", weight_list, CONFIG_STRING), .def = "",
     .help = "Shares of the reads, as numbers in the order of hosts; unset: all equal, 0: none."},
    {OPTION("zones", zone_list, CONFIG_STRING), .def = "",
     .help = "Names of the zones of the nodes, in the order of hosts."},
    {OPTION("zone", zone, CONFIG_STRING), .def = "",
     .help = "The zone of this process: its nodes are read from before the others."},
    {OPTION("no_replica", no_replica, CONFIG_ENUM), .def = "primary", .values = no_replicas,
     .help = "What becomes of a read that was to go to a replica when there is none that may "
             "serve it."},
    {OPTION("begin_hold", begin_hold, CONFIG_TIME), .def = "0.01", .min = 0, .max = USEC_PER_SEC,
     .unit = "seconds",
     .help =
         "A BEGIN that may turn out to be that of a READ ONLY transaction waits for so long for "
         "the first statement, which decides where both go; 0: it does not wait."},
    {OPTION("failover_hold", failover_hold, CONFIG_TIME), .def = "10", .min = 0, .max = TIME_MAX,
     .unit = "seconds",
     .help = "A request that no node can take now waits for so long for one that can; 0: it is "
             "refused at once."},
    {OPTION("failover_hold_requests", failover_hold_requests, CONFIG_INT), .def = "10000", .min = 0,
     .max = INT32_MAX, .unit = "requests",
     .help = "At most so many wait in each worker; 0: no limit."},
    {OPTION("failover_hold_bytes", failover_hold_bytes, CONFIG_SIZE), .def = "64MB", .min = 0,
     .max = INT64_MAX, .unit = "bytes",
     .help = "At most so much text of them waits in each worker; 0: no limit."},
};
const size_t config_cluster_options_count = ARRAY_LEN(config_cluster_options);

struct str config_cluster_section(struct str section)
{
    struct str word = STR("cluster");
    if (!str_starts(section, word) || section.n == word.n ||
        (section.p[word.n] != ' ' && section.p[word.n] != '\t'))
        return STR_NONE;
    return str_trim((struct str){section.p + word.n, section.n - word.n});
}

static struct config_cluster *find(const struct config_entries *e, struct str name)
{
    return map_get(&e->cluster_by_name, name);
}

enum status config_cluster_begin(struct config_entries *e, struct str name, struct error *err)
{
    if (name.n == 0 || name.n > CONFIG_CLUSTER_NAME_MAX)
        return error_set(err, ST_LIMIT, "the name of a cluster must have 1 to %d bytes",
                         CONFIG_CLUSTER_NAME_MAX);
    if (find(e, name) != NULL)
        return ST_OK;
    struct config_cluster *c = config_arena_new(&e->arena, sizeof(*c));
    c->name = config_arena_dup(&e->arena, name);
    for (size_t i = 0; i < config_cluster_options_count; i++) {
        const struct config_option *o = &config_cluster_options[i];
        struct error bug;
        CHECK(config_option_read(c, &e->arena, o, str_of(o->def), &bug) == ST_OK);
    }
    (void)map_put(&e->cluster_by_name, name, c);
    return ST_OK;
}

const struct config_option *config_cluster_option(struct str key)
{
    for (size_t i = 0; i < config_cluster_options_count; i++)
        if (str_eq(key, str_of(config_cluster_options[i].name)))
            return &config_cluster_options[i];
    return NULL;
}

/* "primary SELECT * FROM queue*": where to, and which statements. */
static enum status add_rule(struct config_cluster *c, struct str value, struct error *err)
{
    enum rules_wish wish;
    size_t n = 0;
    while (n < value.n && value.p[n] != ' ' && value.p[n] != '\t')
        n++;
    if (!rules_wish_of((struct str){value.p, n}, &wish))
        return error_set(err, ST_INVALID,
                         "must begin with primary, replica, prefer-replica or auto");
    struct str query = str_trim((struct str){value.p + n, value.n - n});
    if (query.n == 0)
        return error_set(err, ST_INVALID, "a pattern or digest is missing");
    if (c->rules == NULL)
        c->rules = rules_new();
    return rules_add(c->rules, value, query, wish, err);
}

void config_cluster_fini(struct config_entries *e)
{
    struct str key;
    void *value = NULL;
    for (size_t i = 0; map_next(&e->cluster_by_name, &i, &key, &value);)
        rules_put(&((struct config_cluster *)value)->rules);
}

enum status config_cluster_set(struct config_entries *e, struct str name, struct str key,
                               struct str value, struct error *err)
{
    struct config_cluster *c = find(e, name);
    const struct config_option *o = config_cluster_option(key);
    if (str_eq(key, STR("rule")))
        return add_rule(c, value, err);
    if (o == NULL)
        return error_set(err, ST_INVALID, "unknown key");
    if (o->offset == offsetof(struct config_cluster, probe_password))
        return config_file_secret(&e->arena, value, &c->probe_password, err);
    return config_option_read(c, &e->arena, o, value, err);
}

/* ---- lists ----------------------------------------------------------------------------------- */

static size_t count_items(struct str list)
{
    size_t n = list.n > 0 ? 1 : 0;
    for (size_t i = 0; i < list.n; i++)
        n += list.p[i] == ',';
    return n;
}

/* Where the port begins, or the end: behind the last colon, unless that is one of several in an
 * address without brackets. */
static size_t port_at(struct str item)
{
    ptrdiff_t first = str_find(item, ':');
    if (first < 0)
        return item.n;
    if (item.p[0] == '[') {
        ptrdiff_t close = str_find(item, ']');
        return close > 0 && (size_t)close + 1 < item.n ? (size_t)close + 1 : item.n;
    }
    struct str rest = {item.p + first + 1, item.n - (size_t)first - 1};
    return str_find(rest, ':') < 0 ? (size_t)first : item.n;
}

static enum status read_host(struct config_entries *e, struct str item, int def,
                             struct config_host *out, struct error *err)
{
    size_t at = port_at(item);
    struct str host = {item.p, at};
    int64_t port = def;
    if (host.n > 2 && host.p[0] == '[' && host.p[host.n - 1] == ']')
        host = (struct str){host.p + 1, host.n - 2};
    if (host.n == 0)
        return error_set(err, ST_INVALID, "hosts: empty item in the list");
    if (at < item.n &&
        (item.p[at] != ':' ||
         !str_to_i64((struct str){item.p + at + 1, item.n - at - 1}, 1, 65535, &port)))
        return error_set(err, ST_INVALID, "hosts: port must be from 1 to 65535");
    *out = (struct config_host){config_arena_dup(&e->arena, host), (int)port};
    return ST_OK;
}

static enum status read_hosts(struct config_entries *e, struct config_cluster *c, int def,
                              struct error *err)
{
    struct str list = str_of(c->host_list);
    c->nhosts = count_items(list);
    if (c->nhosts == 0)
        return error_set(err, ST_INVALID, "hosts is missing");
    if (c->nhosts > CONFIG_HOSTS_MAX)
        return error_set(err, ST_LIMIT, "hosts: more than %d nodes", CONFIG_HOSTS_MAX);
    c->hosts = config_arena_new(&e->arena, c->nhosts * sizeof(*c->hosts));
    c->host_facts = config_arena_new(&e->arena, c->nhosts * sizeof(*c->host_facts));
    for (size_t i = 0; i < c->nhosts; i++) {
        enum status st = read_host(e, str_trim(str_cut(&list, ',')), def, &c->hosts[i], err);
        if (st != ST_OK)
            return st;
        c->host_facts[i] = (struct config_cluster_host){1, ""};
    }
    return ST_OK;
}

static enum status read_weights(struct config_cluster *c, struct error *err)
{
    struct str list = str_of(c->weight_list);
    size_t n = count_items(list);
    if (n > 0 && n != c->nhosts)
        return error_set(err, ST_INVALID, "weights: %zu for %zu hosts", n, c->nhosts);
    for (size_t i = 0; i < n; i++) {
        int64_t weight = 0;
        if (!str_to_i64(str_trim(str_cut(&list, ',')), 0, CONFIG_CLUSTER_WEIGHT_MAX, &weight))
            return error_set(err, ST_INVALID, "weights: must be numbers from 0 to %d",
                             CONFIG_CLUSTER_WEIGHT_MAX);
        c->host_facts[i].weight = (int)weight;
    }
    return ST_OK;
}

static enum status read_zones(struct config_entries *e, struct config_cluster *c, struct error *err)
{
    struct str list = str_of(c->zone_list);
    size_t n = count_items(list);
    if (n > 0 && n != c->nhosts)
        return error_set(err, ST_INVALID, "zones: %zu for %zu hosts", n, c->nhosts);
    for (size_t i = 0; i < n; i++) {
        struct str zone = str_trim(str_cut(&list, ','));
        if (zone.n > CONFIG_ZONE_MAX)
            return error_set(err, ST_LIMIT, "zones: a name is longer than %d bytes",
                             CONFIG_ZONE_MAX);
        c->host_facts[i].zone = config_arena_dup(&e->arena, zone);
    }
    return ST_OK;
}

static int by_name(const void *a, const void *b)
{
    const struct config_cluster *const *x = a, *const *y = b;
    return strcmp((*x)->name, (*y)->name);
}

/* The address of an entry is its cluster's. */
static enum status join(struct config_entries *e, struct config_database *d, struct error *err)
{
    if (d->cluster_name == NULL) {
        if (d->route != CONFIG_ROUTE_AUTO)
            return error_set(err, ST_INVALID, "%.100s: route without cluster", d->name);
        return ST_OK;
    }
    struct config_cluster *c = find(e, str_of(d->cluster_name));
    if (c == NULL)
        return error_set(err, ST_INVALID, "%.100s: there is no section [cluster %.100s]", d->name,
                         d->cluster_name);
    if (d->nhosts > 0 && d->hosts[0].host != NULL)
        return error_set(err, ST_INVALID, "%.100s: host beside cluster", d->name);
    d->cluster = c;
    d->hosts = c->hosts;
    d->nhosts = c->nhosts;
    return ST_OK;
}

/* The login of the probes, where none is configured: that of an entry that leads here. */
static void borrow_login(struct config_cluster *c, const struct config_database *d)
{
    if (c->probe_user[0] != '\0' || d->user == NULL)
        return;
    c->probe_user = d->user;
    if (c->probe_password[0] == '\0' && d->password != NULL)
        c->probe_password = d->password;
}

static enum status finish_one(struct config_entries *e, struct config_cluster *c, int def_port,
                              struct error *err)
{
    struct error reason = {.text = ""};
    enum status st = read_hosts(e, c, def_port, &reason);
    if (st == ST_OK)
        st = read_weights(c, &reason);
    if (st == ST_OK)
        st = read_zones(e, c, &reason);
    return st == ST_OK ? ST_OK
                       : error_set(err, st, "[cluster %.100s]: %.300s", c->name, reason.text);
}

enum status config_cluster_finish(struct config_entries *e, const struct wire *wire,
                                  struct error *err)
{
    struct str key;
    void *value = NULL;
    enum status st = ST_OK;
    e->clusters = config_arena_new(&e->arena, map_count(&e->cluster_by_name) *
                                                  sizeof(struct config_cluster *));
    for (size_t i = 0; map_next(&e->cluster_by_name, &i, &key, &value);)
        e->clusters[e->nclusters++] = value;
    qsort(e->clusters, e->nclusters, sizeof(struct config_cluster *), by_name);
    for (size_t i = 0; i < e->nclusters && st == ST_OK; i++)
        st = finish_one(e, e->clusters[i], wire->default_port, err);
    for (size_t i = 0; i < e->ndatabases && st == ST_OK; i++)
        st = join(e, e->databases[i], err);
    for (size_t i = 0; i < e->ndatabases && st == ST_OK; i++)
        if (e->databases[i]->cluster != NULL)
            borrow_login(find(e, str_of(e->databases[i]->cluster_name)), e->databases[i]);
    for (size_t i = 0; i < e->nclusters && st == ST_OK; i++)
        if (e->clusters[i]->probe_user[0] == '\0')
            st = error_set(err, ST_INVALID,
                           "[cluster %.100s]: probe_user is missing, and no database entry of it "
                           "has a user",
                           e->clusters[i]->name);
    return st;
}
