/* config_conn.h - connection strings: key=value pairs, as in [databases], [users] and [peers].
 *
 * Called by config_entry.c.  Pairs are separated by blanks; a value in '...' may hold blanks and
 * ';', and '' inside it is one quote.  A ';' or '#' where a key would begin starts a comment.
 */
#ifndef PENSTOCK_PROXY_CONFIG_CONN_H
#define PENSTOCK_PROXY_CONFIG_CONN_H

#include "base/status.h"
#include "base/str.h"
#include "proxy/config/config_arena.h"

struct config_pair {
    struct str key;   /* cut from the input; empty at the end */
    struct str value; /* owned by the arena, terminated */
};

/* Takes the next pair off the front of *rest. */
enum status config_conn_next(struct str *rest, struct config_arena *arena, struct config_pair *out,
                             struct error *err) ATTR_NODISCARD;

#endif
