/* pg_node.h - what matters where there are several nodes: what one is, and what a session wants.
 *
 * The question to a node is asked by proxy/cluster through the codec's table (probe_query,
 * probe_row): every check_interval, and after writes.  Constant data and pure functions.
 */
#ifndef PENSTOCK_PG_NODE_H
#define PENSTOCK_PG_NODE_H

#include "base/status.h"
#include "base/str.h"
#include "protocol/wire_node.h"

struct wire_var;

/* One row: in recovery or not, system identifier, timeline (as the first eight digits of the name
 * of a WAL file), position, sizes of a page and of a file of the WAL, what a primary has flushed.
 * Any role may ask it; one of pg_monitor also learns which timeline a standby receives.
 *
 * The position is what a primary has inserted, not what it has written or flushed: an acknowledged
 * asynchronous commit may lie behind those.  Its timeline is that of the WAL file which is being
 * inserted into, because the control file still shows the old one after a promotion. */
extern const char pg_node_probe[];

/* ST_INVALID: not such a row. */
enum status pg_node_row(const struct str *cols, int ncols, struct wire_probe *out) ATTR_NODISCARD;

/* A reported setting that tells what the node is, not what the session wants (in_hot_standby). */
bool pg_node_var(struct str name);
/* A setting of a client that says where its statements may go: noted in out. Ours are
 * penstock.route and penstock.token, which PostgreSQL takes as custom settings. */
void pg_node_wishes(const struct wire_var *v, struct wire_wishes *out);
/* A start-up parameter of that kind which the server must not be given: target_session_attrs. */
bool pg_node_startup(const struct wire_var *v, struct wire_wishes *out);
/* SHOW LAST, SHOW penstock.last and SHOW penstock.token. */
enum wire_ours pg_node_ours(struct str text);
const char *pg_node_begin_tag(struct str text);

#endif
