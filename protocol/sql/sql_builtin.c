/* sql_builtin.c - the tables behind sql_builtin.h.
 *
 * Types and operators are those of pg_catalog in PostgreSQL 15 (pseudo-types that cannot be named
 * in a query left out); newer ones are taken for custom, which is the safe side.  All tables are in
 * byte order; a unit test checks that.
 *
 * The functions are the outcome of a reading of pg_proc: every built-in that writes, runs text or
 * names as SQL, calls code it is given by name, or leaves something in the session.  What is not
 * here reads.
 */
#include "base/base.h"
#include "protocol/sql/sql_builtin.h"

static const char *const types[] = {
    "aclitem",
    "any",
    "anyarray",
    "anyelement",
    "bit",
    "bool",
    "box",
    "bpchar",
    "bytea",
    "char",
    "cid",
    "cidr",
    "circle",
    "cstring",
    "date",
    "datemultirange",
    "daterange",
    "float4",
    "float8",
    "gtsvector",
    "inet",
    "int2",
    "int2vector",
    "int4",
    "int4multirange",
    "int4range",
    "int8",
    "int8multirange",
    "int8range",
    "interval",
    "json",
    "jsonb",
    "jsonpath",
    "line",
    "lseg",
    "macaddr",
    "macaddr8",
    "money",
    "name",
    "numeric",
    "nummultirange",
    "numrange",
    "oid",
    "oidvector",
    "path",
    "pg_brin_bloom_summary",
    "pg_brin_minmax_multi_summary",
    "pg_dependencies",
    "pg_lsn",
    "pg_mcv_list",
    "pg_ndistinct",
    "pg_node_tree",
    "pg_snapshot",
    "point",
    "polygon",
    "record",
    "refcursor",
    "regclass",
    "regcollation",
    "regconfig",
    "regdictionary",
    "regnamespace",
    "regoper",
    "regoperator",
    "regproc",
    "regprocedure",
    "regrole",
    "regtype",
    "text",
    "tid",
    "time",
    "timestamp",
    "timestamptz",
    "timetz",
    "trigger",
    "tsmultirange",
    "tsquery",
    "tsrange",
    "tstzmultirange",
    "tstzrange",
    "tsvector",
    "txid_snapshot",
    "unknown",
    "uuid",
    "varbit",
    "varchar",
    "void",
    "xid",
    "xid8",
    "xml",
};

/* With the names that the grammar gives to its BETWEEN forms. */
static const char *const operators[] = {
    "!!",          "!=",
    "!~",          "!~*",
    "!~~",         "!~~*",
    "#",           "##",
    "#-",          "#>",
    "#>>",         "%",
    "&",           "&&",
    "&<",          "&<|",
    "&>",          "*",
    "*<",          "*<=",
    "*<>",         "*=",
    "*>",          "*>=",
    "+",           "-",
    "->",          "->>",
    "-|-",         "/",
    "<",           "<->",
    "<<",          "<<=",
    "<<|",         "<=",
    "<>",          "<@",
    "<^",          "=",
    ">",           ">=",
    ">>",          ">>=",
    ">^",          "?",
    "?#",          "?&",
    "?-",          "?-|",
    "?|",          "?||",
    "@",           "@-@",
    "@>",          "@?",
    "@@",          "@@@",
    "BETWEEN",     "BETWEEN SYMMETRIC",
    "NOT BETWEEN", "NOT BETWEEN SYMMETRIC",
    "^",           "^@",
    "|",           "|&>",
    "|/",          "|>>",
    "||",          "||/",
    "~",           "~*",
    "~<=~",        "~<~",
    "~=",          "~>=~",
    "~>~",         "~~",
    "~~*",
};

struct rule {
    const char *name;
    uint32_t effects;
};

static const struct rule functions[] = {
    {"brin_desummarize_range", FX_UNKNOWN | FX_WRITE},
    {"currval", FX_SEQ_READ},
    {"dsnowball_init", FX_UNKNOWN},
    {"fmgr_c_validator", FX_UNKNOWN},
    {"fmgr_internal_validator", FX_UNKNOWN},
    {"fmgr_sql_validator", FX_UNKNOWN},
    {"gin_clean_pending_list", FX_UNKNOWN | FX_WRITE},
    {"lastval", FX_SEQ_READ},
    {"loread", FX_WRITE},
    {"lowrite", FX_WRITE},
    {"nextval", FX_SEQ_WRITE | FX_WRITE},
    {"pg_cancel_backend", FX_KILL},
    {"pg_current_xact_id", FX_WRITE},
    {"pg_extension_config_dump", FX_UNKNOWN | FX_WRITE},
    {"pg_import_system_collations", FX_DDL | FX_WRITE},
    {"pg_input_error_info", FX_UNKNOWN},
    {"pg_input_is_valid", FX_UNKNOWN},
    {"pg_log_standby_snapshot", FX_WRITE},
    {"pg_nextoid", FX_WRITE},
    {"pg_notify", FX_NOTIFY},
    {"pg_promote", FX_WRITE},
    {"pg_reload_conf", FX_WRITE},
    {"pg_start_backup", FX_UNKNOWN | FX_WRITE},
    {"pg_stop_backup", FX_UNKNOWN | FX_WRITE},
    {"pg_stop_making_pinned_objects", FX_UNKNOWN | FX_WRITE},
    {"pg_switch_wal", FX_WRITE},
    {"pg_switch_xlog", FX_WRITE},
    {"pg_sync_replication_slots", FX_UNKNOWN | FX_WRITE},
    {"pg_terminate_backend", FX_KILL},
    {"plpgsql_call_handler", FX_UNKNOWN},
    {"plpgsql_inline_handler", FX_UNKNOWN},
    {"plpgsql_validator", FX_UNKNOWN},
    {"satisfies_hash_partition", FX_UNKNOWN},
    {"setseed", FX_UNKNOWN},
    {"setval", FX_SEQ_WRITE | FX_WRITE},
    {"ts_rewrite", FX_UNKNOWN},
    {"ts_stat", FX_UNKNOWN},
    {"tsvector_update_trigger", FX_UNKNOWN},
    {"txid_current", FX_WRITE},
};

/* Families by the beginning of the name. */
static const struct rule families[] = {
    {"binary_upgrade_", FX_UNKNOWN | FX_DDL | FX_WRITE},
    {"brin_summarize_", FX_UNKNOWN | FX_WRITE},
    {"cursor_to_xml", FX_UNKNOWN},
    {"database_to_xml", FX_UNKNOWN},
    {"dblink", FX_UNKNOWN | FX_WRITE},
    {"lo_", FX_WRITE},
    {"pg_advisory_", FX_LOCKS},
    {"pg_backup_", FX_UNKNOWN | FX_WRITE},
    {"pg_clear_", FX_WRITE},
    {"pg_copy_", FX_UNKNOWN | FX_WRITE},
    {"pg_create_", FX_UNKNOWN | FX_WRITE},
    {"pg_drop_", FX_UNKNOWN | FX_WRITE},
    {"pg_file_", FX_UNKNOWN | FX_WRITE},
    {"pg_log_", FX_WRITE},
    {"pg_logical_", FX_UNKNOWN | FX_WRITE},
    {"pg_replication_", FX_UNKNOWN | FX_WRITE},
    {"pg_restore_", FX_WRITE},
    {"pg_rotate_logfile", FX_WRITE},
    {"pg_set_", FX_WRITE},
    {"pg_stat_reset", FX_WRITE},
    {"pg_try_advisory_", FX_LOCKS},
    {"pg_wal_replay_", FX_WRITE},
    {"query_to_xml", FX_UNKNOWN},
    {"schema_to_xml", FX_UNKNOWN},
    {"table_to_xml", FX_UNKNOWN},
};

static bool listed(const char *const *list, size_t n, struct str name)
{
    size_t lo = 0;
    size_t hi = n;

    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        int c = strncmp(list[mid], name.p, name.n);
        if (c == 0 && list[mid][name.n] == '\0') {
            return true;
        }
        if (c < 0) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    return false;
}

bool sql_builtin_type(struct str name)
{
    return name.n > 0 && listed(types, ARRAY_LEN(types), name);
}

bool sql_builtin_operator(struct str name)
{
    return name.n > 0 && listed(operators, ARRAY_LEN(operators), name);
}

uint32_t sql_builtin_function(struct str name)
{
    for (size_t i = 0; i < ARRAY_LEN(functions); i++) {
        if (str_eq(str_of(functions[i].name), name)) {
            return functions[i].effects;
        }
    }
    for (size_t i = 0; i < ARRAY_LEN(families); i++) {
        if (!str_starts(name, str_of(families[i].name))) {
            continue;
        }
        /* pg_advisory_xact_lock and its kin let go with the transaction */
        bool lock = families[i].effects == FX_LOCKS;
        return lock && memmem(name.p, name.n, "_xact_", 6) != NULL ? 0 : families[i].effects;
    }
    return 0;
}

bool sql_builtin_advisory(struct str name)
{
    return str_starts(name, STR("pg_advisory_")) || str_starts(name, STR("pg_try_advisory_"));
}
