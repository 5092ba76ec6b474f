/* admin_view.h - the views of SHOW: their names, columns and who may look.
 *
 * One table, read by the command parser (is there such a view?), by the console session (Describe
 * needs the columns before anything runs) and by the main thread, which fills the rows.  Names and
 * order of columns are PgBouncer's; ours are appended.  Read-only data, any thread.
 */
#ifndef PENSTOCK_PROXY_ADMIN_VIEW_H
#define PENSTOCK_PROXY_ADMIN_VIEW_H

#include "base/base.h"
#include "base/str.h"
#include "protocol/wire.h"

enum admin_role { ADMIN_STATS, ADMIN_FULL }; /* the least that a command asks for */

enum admin_view_id {
    VIEW_ACTIVE_SOCKETS,
    VIEW_CACHE,
    VIEW_CACHE_MEMBERS,
    VIEW_CLIENTS,
    VIEW_CONFIG,
    VIEW_DATABASES,
    VIEW_DNS_HOSTS,
    VIEW_DNS_ZONES,
    VIEW_FDS,
    VIEW_HELP,
    VIEW_LISTS,
    VIEW_MEM,
    VIEW_NODES,
    VIEW_PEERS,
    VIEW_PEER_POOLS,
    VIEW_POOLS,
    VIEW_REDIS,
    VIEW_ROUTING,
    VIEW_SERVERS,
    VIEW_SOCKETS,
    VIEW_STATE,
    VIEW_STATEMENTS,
    VIEW_STATS,
    VIEW_STATS_AVERAGES,
    VIEW_STATS_TOTALS,
    VIEW_TOTALS,
    VIEW_USERS,
    VIEW_VERSION,
    VIEW_WORKERS,
    VIEWS, /* how many */
};

struct admin_view {
    const char *name;
    enum admin_view_id id;
    enum admin_role role;
    int ncols; /* 0: answers without rows */
    const struct wire_column *cols;
};

extern const struct admin_view admin_views[VIEWS]; /* in the order of the enum */

/* Compared without case; NULL when there is none. */
const struct admin_view *admin_view_find(struct str name);

/* Settings that noisy drivers ask for: SHOW answers a constant, SET does nothing. */
struct admin_view_faked {
    struct wire_column col; /* name: that of the setting */
    const char *value;
};
const struct admin_view_faked *admin_view_faked(struct str name); /* NULL: none */

#endif
