/* wire.c - the few words of wire.h that have text: names of causes.
 *
 * Called by logs, counters and the console.  Any thread; no state.
 */
#include "protocol/wire.h"

const char *cause_name(enum cause c)
{
    static const char *const names[] = {
        [C_PROTOCOL] = "protocol",
        [C_AUTH] = "auth",
        [C_NO_DB] = "no_db",
        [C_DB_DISABLED] = "db_disabled",
        [C_TOO_MANY] = "too_many",
        [C_POOL_TIMEOUT] = "pool_timeout",
        [C_POOL_FULL] = "pool_full",
        [C_NO_NODE] = "no_node",
        [C_SERVER_DOWN] = "server_down",
        [C_SERVER_LOST] = "server_lost",
        [C_SERVER_LOST_IN_TX] = "server_lost_in_tx",
        [C_NOT_RECORDED] = "not_recorded",
        [C_TX_ABORTED] = "tx_aborted",
        [C_QUERY_TIMEOUT] = "query_timeout",
        [C_CANCELLED] = "cancelled",
        [C_IDLE_TX_TIMEOUT] = "idle_tx_timeout",
        [C_TX_TIMEOUT] = "tx_timeout",
        [C_IDLE_TIMEOUT] = "idle_timeout",
        [C_LOGIN_TIMEOUT] = "login_timeout",
        [C_SHUTDOWN] = "shutdown",
        [C_DENIED] = "denied",
        [C_KILLED] = "killed",
        [C_UNSUPPORTED] = "unsupported",
        [C_TX_IN_STATEMENT_MODE] = "tx_in_statement_mode",
        [C_OVERLOAD] = "overload",
        [C_BAD_SETTING] = "bad_setting",
        [C_TLS_REQUIRED] = "tls_required",
        [C_ADMIN] = "admin",
        [C_BAD_CONFIG] = "bad_config",
        [C_STMT_UNKNOWN] = "stmt_unknown",
        [C_STMT_EXISTS] = "stmt_exists",
        [C_STMT_TOO_MANY] = "stmt_too_many",
        [C_PORTAL_UNKNOWN] = "portal_unknown",
        [C_INTERNAL] = "internal",
    };
    return (size_t)c < ARRAY_LEN(names) && names[c] != NULL ? names[c] : "unknown";
}
