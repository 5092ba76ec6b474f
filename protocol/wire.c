/* wire.c - the few words of wire.h that have text: names of causes.
 *
 * Called by logs, counters and the console.  Any thread; no state.
 */
#include "protocol/wire.h"

const char *cause_name(enum cause c)
{
    switch (c) {
    case C_PROTOCOL:
        return "protocol";
    case C_AUTH:
        return "auth";
    case C_NO_DB:
        return "no_db";
    case C_DB_DISABLED:
        return "db_disabled";
    case C_TOO_MANY:
        return "too_many";
    case C_POOL_TIMEOUT:
        return "pool_timeout";
    case C_POOL_FULL:
        return "pool_full";
    case C_NO_NODE:
        return "no_node";
    case C_SERVER_DOWN:
        return "server_down";
    case C_SERVER_LOST:
        return "server_lost";
    case C_SERVER_LOST_IN_TX:
        return "server_lost_in_tx";
    case C_TX_ABORTED:
        return "tx_aborted";
    case C_QUERY_TIMEOUT:
        return "query_timeout";
    case C_CANCELLED:
        return "cancelled";
    case C_IDLE_TX_TIMEOUT:
        return "idle_tx_timeout";
    case C_TX_TIMEOUT:
        return "tx_timeout";
    case C_IDLE_TIMEOUT:
        return "idle_timeout";
    case C_LOGIN_TIMEOUT:
        return "login_timeout";
    case C_SHUTDOWN:
        return "shutdown";
    case C_DENIED:
        return "denied";
    case C_KILLED:
        return "killed";
    case C_UNSUPPORTED:
        return "unsupported";
    case C_TX_IN_STATEMENT_MODE:
        return "tx_in_statement_mode";
    case C_OVERLOAD:
        return "overload";
    case C_BAD_SETTING:
        return "bad_setting";
    case C_TLS_REQUIRED:
        return "tls_required";
    case C_ADMIN:
        return "admin";
    case C_BAD_CONFIG:
        return "bad_config";
    case C_STMT_UNKNOWN:
        return "stmt_unknown";
    case C_STMT_EXISTS:
        return "stmt_exists";
    case C_STMT_TOO_MANY:
        return "stmt_too_many";
    case C_PORTAL_UNKNOWN:
        return "portal_unknown";
    case C_INTERNAL:
        return "internal";
    }
    return "unknown";
}
