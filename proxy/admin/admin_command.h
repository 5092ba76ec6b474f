/* admin_command.h - the console's grammar and who may do what.
 *
 * `COMMAND [arg] [;]`, `SET key =|TO value [;]`, `SHOW view [;]` and SELECT as another word for
 * SHOW, `EXPLAIN ROUTE statement`; one command in a text.  Pure; called on the client's worker.
 * The role that a command asks for stands in one table and is checked in one function
 * (admin_command_refused), which the main thread calls before it runs anything: a command that
 * nobody thought of there cannot exist.
 */
#ifndef PENSTOCK_PROXY_ADMIN_COMMAND_H
#define PENSTOCK_PROXY_ADMIN_COMMAND_H

#include "base/base.h"
#include "base/status.h"
#include "base/str.h"
#include "proxy/admin/admin_view.h"

enum admin_command_kind {
    CMD_CACHE_FLUSH,
    CMD_CACHE_FORGET, /* MEMBER */
    CMD_DISABLE,
    CMD_DRAIN,
    CMD_ENABLE,
    CMD_EXPLAIN, /* ROUTE */
    CMD_KILL,
    CMD_KILL_CLIENT,
    CMD_PAUSE,
    CMD_RECONNECT,
    CMD_RELOAD,
    CMD_RESET, /* of what is counted: statistics of statements */
    CMD_RESUME,
    CMD_SET,
    CMD_SET_FAKED, /* of a setting that drivers are fond of: ignored */
    CMD_SHOW,
    CMD_SHOW_FAKED,
    CMD_SHUTDOWN,
    CMD_SHUTDOWN_CLIENTS, /* WAIT_FOR_CLIENTS */
    CMD_SHUTDOWN_SERVERS, /* WAIT_FOR_SERVERS */
    CMD_SUSPEND,
    CMD_UNDRAIN,
    CMD_UPGRADE,
    CMD_WAIT_CLOSE,
    CMDS, /* how many */
};

#define ADMIN_WORD_MAX 15 /* bytes of a command's word */
#define ADMIN_ARG_MAX 299 /* a node with a long host name */
#define ADMIN_VALUE_MAX 255
#define ADMIN_STATEMENT_MAX 4095

struct admin_command {
    enum admin_command_kind kind;
    const struct admin_view *view;        /* CMD_SHOW */
    const struct admin_view_faked *faked; /* CMD_SHOW_FAKED, CMD_SET_FAKED */
    uint64_t client;                      /* CMD_KILL_CLIENT */
    char arg[ADMIN_ARG_MAX + 1];          /* database, node, member, or key of SET; empty: none */
    char value[ADMIN_VALUE_MAX + 1];      /* CMD_SET; CMD_CACHE_FLUSH: rule or key, empty: all */
    char statement[ADMIN_STATEMENT_MAX + 1]; /* CMD_EXPLAIN */
};

/* ST_INVALID with the text for the client when it is no command. */
enum status admin_command_parse(struct str text, struct admin_command *out,
                                struct error *err) ATTR_NODISCARD;

/* true: a user of that role may not, and err says so. */
bool admin_command_refused(const struct admin_command *cmd, enum admin_role role,
                           struct error *err);

/* The completion tag. */
void admin_command_tag(const struct admin_command *cmd, char *dst, size_t cap);

/* What the answer's rows look like; returns how many columns, 0: no rows. */
int admin_command_columns(const struct admin_command *cmd, const struct wire_column **cols);

extern const char *const admin_command_help; /* detail of SHOW HELP */

#endif
