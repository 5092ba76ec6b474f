/* config_cluster.h - [cluster NAME]: the nodes that replicate one primary, as configured.
 *
 * Roles are not configured: they are found by asking the nodes (proxy/cluster).  One table
 * describes the options of a cluster, as config_schema.h does those of the main section; parser,
 * sample and manual are made from it.
 * Called by config_load.c while a snapshot is built (main thread); a finished cluster is a part of
 * the snapshot and immutable.
 */
#ifndef PENSTOCK_PROXY_CONFIG_CLUSTER_H
#define PENSTOCK_PROXY_CONFIG_CLUSTER_H

#include "base/status.h"
#include "base/str.h"
#include "proxy/config/config_arena.h"
#include "proxy/config/config_schema.h"

struct config_entries;
struct config_host;
struct config_database;
struct rules;
struct wire;

#define CONFIG_CLUSTER_NAME_MAX 63
#define CONFIG_CLUSTER_WEIGHT_MAX 100
#define CONFIG_ZONE_MAX 63

enum config_consistency {
    CONFIG_CONSISTENCY_OFF,      /* a read may miss any write */
    CONFIG_CONSISTENCY_SESSION,  /* a client's reads see its own writes */
    CONFIG_CONSISTENCY_DATABASE, /* and every write acknowledged before they began */
};

enum config_no_replica { CONFIG_NO_REPLICA_PRIMARY, CONFIG_NO_REPLICA_ERROR };

struct config_cluster_host {
    int weight;       /* share of reads; 0: none */
    const char *zone; /* never NULL; empty: none */
};

struct config_cluster {
    const char *name;
    /* options, see config_cluster_options */
    usec_t check_interval;
    enum config_consistency consistency;
    usec_t begin_hold;
    usec_t failover_hold;
    int64_t failover_hold_bytes;
    int failover_hold_requests;
    const char *host_list;
    usec_t max_replica_lag;
    int64_t max_replica_lag_bytes;
    enum config_no_replica no_replica;
    const char *probe_dbname, *probe_password, *probe_user;
    const char *weight_list, *zone, *zone_list;
    struct rules *rules; /* reference; NULL: none */
    /* made from the lists by config_cluster_finish; both arrays have nhosts members */
    struct config_host *hosts;
    struct config_cluster_host *host_facts;
    size_t nhosts;
};

extern const struct config_option config_cluster_options[];
extern const size_t config_cluster_options_count;

/* NULL: there is none of that name. `rule`, of which there may be several, is none. */
const struct config_option *config_cluster_option(struct str key);

/* The name in "cluster NAME", for a section that is of this kind; STR_NONE otherwise. */
struct str config_cluster_section(struct str section);

/* The section begins: makes the cluster, with every option at its default, unless it is known. */
enum status config_cluster_begin(struct config_entries *e, struct str name,
                                 struct error *err) ATTR_NODISCARD;
/* One line of it. */
enum status config_cluster_set(struct config_entries *e, struct str name, struct str key,
                               struct str value, struct error *err) ATTR_NODISCARD;
/* After the last line: the lists are taken apart and the databases find their clusters. */
enum status config_cluster_finish(struct config_entries *e, const struct wire *wire,
                                  struct error *err) ATTR_NODISCARD;

/* Gives back what the arena does not own. */
void config_cluster_fini(struct config_entries *e);

#endif
