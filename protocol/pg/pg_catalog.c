/* pg_catalog.c - what PostgreSQL's catalogs prove about relations and functions, as one query.
 *
 * Read by the codec, through pg_catalog.h.  Constant data, any thread.
 *
 * Rows are (kind, schema, name, flags), all text, none NULL:
 *   r  a relation.  Flags: "r" reading it is proved, "w" writing is, "s" a read is repeatable, "t"
 *      a standby may read it; where it may not, "z" for a sequence, "x" a foreign table, "u" an
 *      unlogged one, "y" a view of the server.  "p" a table for itself (catalog_relation_plain).
 *   f  a function (all overloads of a name in its schema together).  Flags: "q" proved when called
 *      with its schema, "b" also by the bare name, "s" repeatable, "t" a standby may call it, "y"
 *      it shows the server.  A name that is not proved has neither q nor b, and takes "b" from its
 *      namesakes.
 *   c  the database runs code of its own behind operators, casts, types, index support or
 *      attribute notation; the name says which, for a log.  Schema and flags are empty.
 *   v  a volatile function is behind one of these.
 *
 * "Proved" is about the session only: settings, session locks, temporary objects, cursors,
 * prepared statements, channels.  What is not shown to be harmless is taken to be harmful:
 *   - Functions in any language but C and internal.  Their bodies are text that pg_depend does not
 *     see into, and an IMMUTABLE label promises nothing, so the closure never goes through them.
 *   - C functions that no extension owns.  Those of extensions are trusted behind operators,
 *     casts, types and indexes, and where they overload a built-in's name (citext's max); under
 *     names of their own they are not (isn_weak is IMMUTABLE and sets a mode, crosstab is STABLE
 *     and runs the text it is given), except cast functions and the libraries listed below.
 *   - Built-in functions that change the session or run text given to them.  pg_depend is blind
 *     here too: built-in objects are pinned and no dependency on them is recorded.  So the stored
 *     expression trees are searched for calls of them, by number.  Those that a statement's own
 *     text gives away (set_config, advisory locks, sequences) are still proved as names:
 *     sql_facts.h has bits for them.
 *
 * "Repeatable" (sql_repeatable in sql_facts.h) asks more of what is proved.  Here the label counts,
 * for only built-in functions and those of trusted libraries are left: none may be volatile, and
 * none may show the backend or other sessions.  It does not matter what writing would call.
 *
 * "A standby may" (sql_standby.h) asks for no proof of what the session keeps: a user's function
 * counts by its label.  Nothing volatile, no lock, no unlogged table, nothing that shows the
 * server.
 *
 * The relations that are not proved are a closure over (relation, mark):
 *   R  reading is not proved, and so writing is not
 *   W  writing is not proved
 *   P  a partition key calls bad code: W, here and in everything below
 *   Q  R here and in everything below: t.f may call a function on its rows, or a partition key
 *      folds
 *   V  reading is not repeatable
 *   N  reading reads an unlogged table
 *   U  V here and in everything below: t.f may call a volatile function
 * An index, check or partition key can spoil a read because the planner folds constant calls in
 * it, that is, runs them.  A call is safe from folding when its first argument is a column, unless
 * it is written in SQL: that is inlined first, and its body may fold. session_replication_role is
 * not followed: each rule and trigger that is not disabled counts.
 *
 * It runs under the search_path of whoever had the session, so all is qualified, operators too;
 * IN, USING and LIKE look operators up by bare name and are not used.  No backslashes, for quoting
 * may be set either way.  What keeps it fast: every seed is joined from the few bad objects; tests
 * of membership are ANY (SELECT ...), hashed once; and estimates are kept low, for past
 * jit_above_cost compiling would take seconds (a table made by WITH has no statistics and is taken
 * to hold each key many times, so joins of such tables multiply).  The pieces between '0' and ':'
 * (those that start with a digit) tell the planner that they are few.
 * CPU time: an empty database 28 ms; 5,000 tables with 1,250 views and 5,000 foreign keys 0.14 s,
 * planned at 38,000; 1,000 tables, 1,000 views, 200 policies, 2,000 functions and thirty
 * extensions 0.11 s.
 *
 * Numbers: 16384 is the first OID of users' objects; languages: 12 internal, 13 C, 14 SQL.
 */
#include "protocol/pg/pg_catalog.h"

/* C promises only 4,095 characters in a literal; both compilers take more. */
#pragma GCC diagnostic ignored "-Woverlength-strings"

#define EQ " OPERATOR(pg_catalog.=) "
#define NE " OPERATOR(pg_catalog.<>) "
#define GE " OPERATOR(pg_catalog.>=) "
#define LE " OPERATOR(pg_catalog.<=) "
#define LT " OPERATOR(pg_catalog.<) "
#define GT " OPERATOR(pg_catalog.>) "
#define MINUS " OPERATOR(pg_catalog.-) "
#define MATCHES " OPERATOR(pg_catalog.~) "
#define CLASS(name) "'pg_catalog." name "'::pg_catalog.regclass"
#define NAMES(list) "'{" list "}'::pg_catalog.name[]"

/* Change the session; the classifier knows them by name. */
#define SESSION                                                                                    \
    "set_config,pg_advisory_lock,pg_advisory_lock_shared,pg_try_advisory_lock,"                    \
    "pg_try_advisory_lock_shared,pg_advisory_unlock,pg_advisory_unlock_shared,"                    \
    "pg_advisory_unlock_all"
/* Known by name too; harmless in a column default, where the classifier assumes them. In a view
 * they hide from the text that a sequence, a channel or another session is touched. */
#define HIDDEN "nextval,setval,currval,lastval,pg_notify,pg_cancel_backend,pg_terminate_backend"
/* Change the session, or run text or index expressions named by value; no bit says so. */
#define OPAQUE                                                                                     \
    "setseed,query_to_xml,query_to_xmlschema,query_to_xml_and_xmlschema,cursor_to_xml,"            \
    "cursor_to_xmlschema,table_to_xml,table_to_xmlschema,table_to_xml_and_xmlschema,"              \
    "schema_to_xml,schema_to_xmlschema,schema_to_xml_and_xmlschema,database_to_xml,"               \
    "database_to_xmlschema,database_to_xml_and_xmlschema,ts_stat,ts_rewrite,"                      \
    "brin_summarize_new_values,brin_summarize_range,gin_clean_pending_list,"                       \
    "pg_replication_origin_session_setup,pg_replication_origin_session_reset,"                     \
    "pg_replication_origin_xact_setup,pg_replication_origin_xact_reset,"                           \
    "pg_create_logical_replication_slot,pg_create_physical_replication_slot,"                      \
    "pg_copy_logical_replication_slot,pg_copy_physical_replication_slot,"                          \
    "pg_drop_replication_slot,pg_logical_slot_get_changes,pg_logical_slot_peek_changes,"           \
    "pg_logical_slot_get_binary_changes,pg_logical_slot_peek_binary_changes,"                      \
    "pg_start_backup,pg_stop_backup,pg_backup_start,pg_backup_stop"
/* STABLE by their label, but they show this backend, other sessions or the server process. All
 * pg_stat_ functions do as well. */
#define SHOWS                                                                                      \
    "inet_client_addr,inet_client_port,inet_server_addr,inet_server_port,pg_backend_pid,"          \
    "pg_conf_load_time,pg_postmaster_start_time,pg_cursor,pg_prepared_statement,"                  \
    "pg_listening_channels,pg_show_all_settings,pg_config,pg_get_replication_slots,"               \
    "pg_current_xact_id,pg_current_xact_id_if_assigned,pg_current_snapshot,txid_current,"          \
    "txid_current_if_assigned,txid_current_snapshot,pg_trigger_depth"
/* Steady, but the answer of a standby is another one. */
#define DIFFERS "current_setting,pg_my_temp_schema,pg_is_other_temp_schema"
/* System views of the tables below them. Those not named here show the server at work. */
#define STEADY_VIEWS                                                                               \
    "pg_roles,pg_shadow,pg_group,pg_user,pg_policies,pg_rules,pg_views,pg_tables,pg_matviews,"     \
    "pg_indexes,pg_publication_tables,pg_seclabels,pg_user_mappings,pg_stats,pg_stats_ext,"        \
    "pg_stats_ext_exprs,pg_available_extensions,pg_available_extension_versions,"                  \
    "pg_timezone_abbrevs,pg_timezone_names"
/* Libraries whose functions only compute. */
#define PURE_LIBRARIES "'{$libdir/uuid-ossp,$libdir/pgcrypto}'::pg_catalog.text[]"
/* Libraries whose functions only compute when they are IMMUTABLE or STABLE. A label alone proves
 * nothing (see above). */
#define LABELLED_LIBRARIES                                                                         \
    "'{$libdir/_int,$libdir/btree_gin,$libdir/btree_gist,$libdir/citext,$libdir/cube,"             \
    "$libdir/earthdistance,$libdir/fuzzystrmatch,$libdir/hstore,$libdir/ltree,$libdir/pg_trgm,"    \
    "$libdir/seg,$libdir/unaccent}'::pg_catalog.text[]"

/* Laid out by hand: one clause a line. */
/* clang-format off */
const char pg_catalog_query[] =
    "WITH RECURSIVE\n"
    /* Built-ins that are harmful or unsteady; hidden: harmful only where the statement does not
     * show them. */
    "risk AS MATERIALIZED (\n"
    " SELECT p.oid, p.proname, n.hidden, n.opaque, n.session OR n.hidden OR n.opaque AS harmful,\n"
    "  n.shows, p.provolatile" EQ "'v' OR n.shows AS unsteady\n"
    " FROM pg_catalog.pg_proc p CROSS JOIN LATERAL (SELECT p.proname" EQ "ANY (" NAMES(SESSION) "),"
        " p.proname" EQ "ANY (" NAMES(HIDDEN) "),\n"
    "  p.proname" EQ "ANY (" NAMES(OPAQUE) "), p.proname" EQ "ANY (" NAMES(SHOWS) ")"
        " OR p.proname" MATCHES "'^pg_stat_')\n"
    "  n(session, hidden, opaque, shows)\n"
    " WHERE p.oid" LT "16384"
        " AND (n.session OR n.hidden OR n.opaque OR n.shows OR p.provolatile" EQ "'v')),\n"
    /* Functions of extensions, and the constructors that come with a range type. */
    "owned(oid, name) AS MATERIALIZED (\n"
    " SELECT d.objid, e.extname FROM pg_catalog.pg_depend d"
        " JOIN pg_catalog.pg_extension e ON e.oid" EQ "d.refobjid\n"
    " WHERE d.classid" EQ CLASS("pg_proc") " AND d.refclassid" EQ CLASS("pg_extension")
        " AND d.deptype" EQ "'e'),\n"
    "born(oid) AS MATERIALIZED (\n"
    " SELECT d.objid FROM pg_catalog.pg_depend d\n"
    " WHERE d.classid" EQ CLASS("pg_proc") " AND d.refclassid" EQ CLASS("pg_type")
        " AND d.deptype" EQ "'i'),\n"
    /* Users' functions. trusted: C, of an extension; alone: t.f may mean f(t); known: overloads.
     * ANY asks a hash table made once, whatever the planner thinks of the numbers. */
    "fn AS MATERIALIZED (\n"
    " SELECT p.oid, p.proname, p.prokind, p.prolang, p.proargtypes[0] AS arg,"
        " p.provolatile" EQ "'v' AS unsteady,\n"
    "  b.born OR p.prolang" EQ "ANY (ARRAY[12, 13]::pg_catalog.oid[])"
        " AND p.oid" EQ "ANY (SELECT o.oid FROM owned o) AS trusted,\n"
    "  p.prokind" NE "'p' AND p.pronargs" GE "1\n"
    "   AND (p.pronargs" MINUS "p.pronargdefaults" LE "1 OR p.provariadic" NE "0) AS alone,\n"
    "  p.proname" EQ "ANY (SELECT o.proname FROM pg_catalog.pg_proc o WHERE o.oid" LT "16384)"
        " AS known,\n"
    "  p.oid" EQ "ANY (SELECT k.castfunc FROM pg_catalog.pg_cast k)\n"
    "   OR b.born OR p.probin" EQ "ANY (" PURE_LIBRARIES ")\n"
    "   OR p.provolatile" NE "'v' AND p.probin" EQ "ANY (" LABELLED_LIBRARIES ") AS pure,\n"
    "  p.prolang" EQ "14 AND p.oid" EQ "ANY (SELECT o.oid FROM owned o WHERE o.name" EQ "'citext')"
        " AS citext\n"
    " FROM pg_catalog.pg_proc p\n"
    " CROSS JOIN LATERAL (SELECT p.prolang" EQ "12"
        " AND p.oid" EQ "ANY (SELECT o.oid FROM born o)) b(born)\n"
    " WHERE p.oid" GE "16384),\n"
    /* Functions that are bad even behind an operator; an aggregate is what its parts are. */
    "code AS MATERIALIZED (\n"
    " SELECT f.oid FROM fn f WHERE NOT f.trusted AND f.prokind" NE "'a'\n"
    " UNION\n"
    " SELECT a.aggfnoid::pg_catalog.oid FROM pg_catalog.pg_aggregate a\n"
    " CROSS JOIN LATERAL pg_catalog.unnest(ARRAY[a.aggtransfn, a.aggfinalfn, a.aggcombinefn,"
        " a.aggserialfn,\n"
    "  a.aggdeserialfn, a.aggmtransfn, a.aggminvtransfn, a.aggmfinalfn]::pg_catalog.oid[])"
        " part(oid)\n"
    " JOIN fn f ON f.oid" EQ "part.oid AND NOT f.trusted\n"
    " UNION\n"
    " SELECT r.oid FROM risk r WHERE r.harmful),\n"
    /* Volatile, or shows more than tables. */
    "loose AS MATERIALIZED (\n"
    " SELECT f.oid FROM fn f WHERE f.unsteady\n"
    " UNION\n"
    " SELECT a.aggfnoid::pg_catalog.oid FROM pg_catalog.pg_aggregate a\n"
    " CROSS JOIN LATERAL pg_catalog.unnest(ARRAY[a.aggtransfn, a.aggfinalfn, a.aggcombinefn,"
        " a.aggserialfn,\n"
    "  a.aggdeserialfn, a.aggmtransfn, a.aggminvtransfn, a.aggmfinalfn]::pg_catalog.oid[])"
        " part(oid)\n"
    " JOIN pg_catalog.pg_proc p ON p.oid" EQ "part.oid AND p.provolatile" EQ "'v'"
        " WHERE a.aggfnoid::pg_catalog.oid" GE "16384\n"
    " UNION\n"
    " SELECT r.oid FROM risk r WHERE r.unsteady),\n"
    /* Users' functions that are bad when called by name. */
    "bad AS MATERIALIZED (\n"
    " SELECT f.oid, f.proname, f.prolang FROM fn f\n"
    " WHERE (f.trusted AND NOT f.oid" EQ "ANY (SELECT c.oid FROM code c) AND (f.known OR f.pure)\n"
    "  OR f.citext AND f.known) IS NOT TRUE),\n"
    /* What t.f may call, by what t is: c bad, v volatile. */
    "dotted(arg, kind) AS MATERIALIZED (\n"
    " SELECT f.arg, 'c' FROM fn f WHERE f.alone AND f.oid" EQ "ANY (SELECT c.oid FROM code c)\n"
    " UNION\n"
    " SELECT f.arg, 'v' FROM fn f WHERE f.alone AND f.oid" EQ "ANY (SELECT l.oid FROM loose l)),\n"
    /* A call that the planner may fold, and so run. */
    "folds AS MATERIALIZED (\n"
    " SELECT pg_catalog.concat('FUNCEXPR :funcid (((',"
        " pg_catalog.string_agg(b.oid::pg_catalog.text, '|') FILTER (WHERE b.prolang" EQ "14),\n"
    "  ') )|((', pg_catalog.string_agg(b.oid::pg_catalog.text, '|') FILTER (WHERE b.prolang" NE
        "14),\n"
    "  ') [^{}]*:args (?![(]([{]RELABELTYPE :arg )*[{]VAR )))') AS call\n"
    " FROM bad b),\n"
    /* Stored expressions: a harmful built-in hides in them, for no dependency on it is recorded. */
    "tree(classid, objid, src) AS (\n"
    " SELECT " CLASS("pg_rewrite") "::pg_catalog.oid, r.oid, r.ev_action::pg_catalog.text\n"
    " FROM pg_catalog.pg_rewrite r WHERE r.oid" GE "16384 AND r.ev_type" EQ "'1'\n"
    " UNION ALL\n"
    " SELECT " CLASS("pg_attrdef") ", d.oid, d.adbin::pg_catalog.text"
        " FROM pg_catalog.pg_attrdef d\n"
    " UNION ALL\n"
    " SELECT " CLASS("pg_constraint") ", k.oid, k.conbin::pg_catalog.text"
        " FROM pg_catalog.pg_constraint k WHERE k.conbin IS NOT NULL\n"
    " UNION ALL\n"
    " SELECT " CLASS("pg_class") ", i.indexrelid, pg_catalog.concat(i.indexprs::pg_catalog.text,"
        " i.indpred::pg_catalog.text)\n"
    " FROM pg_catalog.pg_index i WHERE i.indexprs IS NOT NULL OR i.indpred IS NOT NULL\n"
    " UNION ALL\n"
    " SELECT " CLASS("pg_class") ", p.partrelid, p.partexprs::pg_catalog.text\n"
    " FROM pg_catalog.pg_partitioned_table p WHERE p.partexprs IS NOT NULL\n"
    " UNION ALL\n"
    " SELECT " CLASS("pg_trigger") ", t.oid, t.tgqual::pg_catalog.text"
        " FROM pg_catalog.pg_trigger t WHERE t.tgqual IS NOT NULL\n"
    " UNION ALL\n"
    " SELECT " CLASS("pg_policy") ", p.oid, pg_catalog.concat(p.polqual::pg_catalog.text,"
        " p.polwithcheck::pg_catalog.text)\n"
    " FROM pg_catalog.pg_policy p\n"
    " UNION ALL\n"
    " SELECT " CLASS("pg_type") ", t.oid, t.typdefaultbin::pg_catalog.text"
        " FROM pg_catalog.pg_type t WHERE t.typdefaultbin IS NOT NULL),\n"
    /* Calls of risky built-ins in them. */
    "called AS MATERIALIZED (\n"
    " SELECT t.classid, t.objid, r.unsteady,\n"
    "  r.harmful AND (NOT r.hidden OR t.classid" NE CLASS("pg_attrdef") ") AS harmful\n"
    " FROM tree t\n"
    " CROSS JOIN LATERAL pg_catalog.unnest(pg_catalog.string_to_array(t.src, 'FUNCEXPR :funcid '))"
        " part(src)\n"
    " JOIN risk r ON r.oid::pg_catalog.text" EQ "pg_catalog.split_part(part.src, ' ', 1)\n"
    " WHERE part.src" GE "'0' COLLATE pg_catalog.\"C\""
        " AND part.src" LE "':' COLLATE pg_catalog.\"C\"),\n"
    /* Objects whose expressions call bad functions by name. */
    "by_call(classid, objid) AS MATERIALIZED (\n"
    " SELECT d.classid, d.objid FROM pg_catalog.pg_depend d JOIN bad b ON b.oid" EQ "d.refobjid\n"
    " WHERE d.refclassid" EQ CLASS("pg_proc") "\n"
    " UNION\n"
    " SELECT c.classid, c.objid FROM called c WHERE c.harmful),\n"
    /* Views and policies that are not repeatable by what they call, lock or draw at random; domains
     * too. */
    "shaky(classid, objid) AS MATERIALIZED (\n"
    " SELECT c.classid, c.objid FROM called c WHERE c.unsteady\n"
    " UNION\n"
    " SELECT d.classid, d.objid FROM pg_catalog.pg_depend d JOIN loose l ON l.oid" EQ "d.refobjid\n"
    " WHERE d.refclassid" EQ CLASS("pg_proc") " AND l.oid" GE "16384\n"
    " UNION\n"
    " SELECT t.classid, t.objid FROM (\n"
    "  SELECT " CLASS("pg_rewrite") "::pg_catalog.oid, r.oid, r.ev_action::pg_catalog.text"
        " FROM pg_catalog.pg_rewrite r\n"
    "  WHERE r.oid" GE "16384 AND r.ev_type" EQ "'1'\n"
    "  UNION ALL\n"
    "  SELECT " CLASS("pg_policy") ", p.oid, p.polqual::pg_catalog.text"
        " FROM pg_catalog.pg_policy p) t(classid, objid, src)\n"
    " WHERE pg_catalog.strpos(t.src, ':hasForUpdate true')" GT "0"
        " OR pg_catalog.strpos(t.src, '{TABLESAMPLECLAUSE ')" GT "0),\n"
    /* Domains with a bad check or default, and all types made of them. */
    "bad_type(oid) AS (\n"
    " (SELECT t.oid FROM by_call d JOIN pg_catalog.pg_type t ON d.classid" EQ CLASS("pg_type") ""
        " AND d.objid" EQ "t.oid\n"
    "  WHERE t.typtype" EQ "'d'\n"
    "  UNION\n"
    "  SELECT k.contypid FROM by_call d JOIN pg_catalog.pg_constraint k\n"
    "   ON d.classid" EQ CLASS("pg_constraint") " AND d.objid" EQ "k.oid\n"
    "  WHERE k.contypid" NE "0)\n"
    " UNION\n"
    " SELECT CASE WHEN d.classid" EQ CLASS("pg_type") " THEN d.objid ELSE c.reltype END\n"
    " FROM bad_type b JOIN pg_catalog.pg_depend d ON d.refclassid" EQ CLASS("pg_type") ""
        " AND d.refobjid" EQ "b.oid\n"
    " LEFT JOIN pg_catalog.pg_class c ON d.classid" EQ CLASS("pg_class") " AND c.oid" EQ "d.objid\n"
    " WHERE d.classid" EQ CLASS("pg_type") " OR c.reltype" NE "0),\n"
    "broken(classid, objid, typed) AS MATERIALIZED (\n"
    " SELECT x.classid, x.objid, pg_catalog.bool_or(x.typed) FROM (\n"
    "  SELECT c.classid, c.objid, false AS typed FROM by_call c\n"
    "  UNION ALL\n"
    "  SELECT d.classid, d.objid, true FROM pg_catalog.pg_depend d JOIN bad_type b"
        " ON b.oid" EQ "d.refobjid\n"
    "  WHERE d.refclassid" EQ CLASS("pg_type") ") x\n"
    " GROUP BY x.classid, x.objid),\n"
    "seed(rel, mark) AS (\n"
    " SELECT r.ev_class, 'W' FROM pg_catalog.pg_rewrite r WHERE r.ev_type" NE "'1'"
        " AND r.ev_enabled" NE "'D'\n"
    " UNION ALL\n"
    " SELECT c.oid, 'R' FROM pg_catalog.pg_class c WHERE c.relhasrules"
        " AND c.relkind" NE "ALL ('{v,m}'::pg_catalog.\"char\"[])\n"
    "  AND EXISTS (SELECT FROM pg_catalog.pg_rewrite r WHERE r.ev_class" EQ "c.oid"
        " AND r.ev_type" EQ "'1')\n"
    " UNION ALL\n"
    " SELECT r.ev_class, CASE WHEN c.relkind" EQ "'m' THEN 'W' ELSE 'R' END\n"
    " FROM broken b JOIN pg_catalog.pg_rewrite r ON b.classid" EQ CLASS("pg_rewrite") ""
        " AND b.objid" EQ "r.oid AND r.ev_type" EQ "'1'\n"
    " JOIN pg_catalog.pg_class c ON c.oid" EQ "r.ev_class\n"
    " UNION ALL\n"
    " SELECT c.oid, m.mark FROM pg_catalog.pg_class c CROSS JOIN (VALUES ('R'), ('V')) m(mark)\n"
    " WHERE c.relkind" EQ "'f'\n"
    " UNION ALL\n"
    " SELECT c.oid, 'N' FROM pg_catalog.pg_class c WHERE c.relpersistence" EQ "'u'"
        " AND c.relkind" EQ "ANY ('{r,p,m,S}'::pg_catalog.\"char\"[])\n"
    " UNION ALL\n"
    " SELECT d.adrelid, CASE WHEN a.attgenerated" EQ "'v' THEN 'R' ELSE 'W' END\n"
    " FROM broken b JOIN pg_catalog.pg_attrdef d ON b.classid" EQ CLASS("pg_attrdef") ""
        " AND b.objid" EQ "d.oid\n"
    " JOIN pg_catalog.pg_attribute a ON a.attrelid" EQ "d.adrelid AND a.attnum" EQ "d.adnum\n"
    " UNION ALL\n"
    " SELECT x.rel, m.mark FROM (\n"
    "  SELECT k.conrelid, b.typed, k.conbin::pg_catalog.text, false\n"
    "  FROM broken b JOIN pg_catalog.pg_constraint k ON b.classid" EQ CLASS("pg_constraint") ""
        " AND b.objid" EQ "k.oid\n"
    "  WHERE k.contype" EQ "'c' AND k.conrelid" NE "0\n"
    "  UNION ALL\n"
    "  SELECT i.indrelid, b.typed, pg_catalog.concat(i.indexprs::pg_catalog.text,"
        " i.indpred::pg_catalog.text), false\n"
    "  FROM broken b JOIN pg_catalog.pg_index i ON b.classid" EQ CLASS("pg_class") ""
        " AND b.objid" EQ "i.indexrelid\n"
    "  UNION ALL\n"
    "  SELECT p.partrelid, b.typed, p.partexprs::pg_catalog.text, true\n"
    "  FROM broken b JOIN pg_catalog.pg_partitioned_table p ON b.classid" EQ CLASS("pg_class") ""
        " AND b.objid" EQ "p.partrelid\n"
    "  ) x(rel, typed, src, key)\n"
    " CROSS JOIN folds\n"
    " CROSS JOIN LATERAL (VALUES ('W', true), ('P', x.key), ('R', x.typed"
        " OR x.src" MATCHES "folds.call),\n"
    "  ('Q', x.key AND (x.typed OR x.src" MATCHES "folds.call))) m(mark, holds)\n"
    " WHERE m.holds\n"
    " UNION ALL\n"
    " SELECT b.objid, 'W' FROM broken b WHERE b.classid" EQ CLASS("pg_class") "\n"
    " UNION ALL\n"
    " SELECT t.tgrelid, 'W' FROM broken b JOIN pg_catalog.pg_trigger t"
        " ON b.classid" EQ CLASS("pg_trigger") " AND b.objid" EQ "t.oid\n"
    " WHERE t.tgenabled" NE "'D'\n"
    " UNION ALL\n"
    " SELECT p.polrelid, 'R' FROM broken b JOIN pg_catalog.pg_policy p"
        " ON b.classid" EQ CLASS("pg_policy") " AND b.objid" EQ "p.oid\n"
    " JOIN pg_catalog.pg_class c ON c.oid" EQ "p.polrelid AND c.relrowsecurity\n"
    " UNION ALL\n"
    " SELECT c.oid, m.mark FROM dotted t JOIN pg_catalog.pg_class c ON c.reltype" EQ "t.arg\n"
    " JOIN (VALUES ('c', 'R'), ('c', 'Q'), ('v', 'V'), ('v', 'U')) m(kind, mark)"
        " ON m.kind" EQ "t.kind\n"
    " UNION ALL\n"
    " SELECT r.ev_class, 'V' FROM shaky b JOIN pg_catalog.pg_rewrite r"
        " ON b.classid" EQ CLASS("pg_rewrite") " AND b.objid" EQ "r.oid\n"
    " JOIN pg_catalog.pg_class c ON c.oid" EQ "r.ev_class AND c.relkind" EQ "'v'"
        " WHERE r.ev_type" EQ "'1'\n"
    " UNION ALL\n"
    " SELECT c.oid, 'V' FROM pg_catalog.pg_class c WHERE c.relkind" EQ "'v'"
        " AND c.oid" LT "16384\n"
    "  AND c.relnamespace" EQ "'pg_catalog'::pg_catalog.regnamespace"
        " AND c.relname" NE "ALL (" NAMES(STEADY_VIEWS) ")\n"
    " UNION ALL\n"
    " SELECT p.polrelid, 'V' FROM shaky b JOIN pg_catalog.pg_policy p"
        " ON b.classid" EQ CLASS("pg_policy") " AND b.objid" EQ "p.oid\n"
    " JOIN pg_catalog.pg_class c ON c.oid" EQ "p.polrelid AND c.relrowsecurity),\n"
    /* If (src, cause) is marked, so is (dst, mark). */
    "edge(src, cause, dst, mark) AS MATERIALIZED (\n"
    " SELECT d.src, m.cause, d.dst, m.mark\n"
    " FROM (SELECT DISTINCT d.refobjid, r.ev_class, c.relkind\n"
    "  FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_rewrite r ON r.oid" EQ "d.objid"
        " AND r.ev_type" EQ "'1'\n"
    "  JOIN pg_catalog.pg_class c ON c.oid" EQ "r.ev_class\n"
    "  WHERE d.classid" EQ CLASS("pg_rewrite") " AND d.refclassid" EQ CLASS("pg_class") ""
        " AND d.refobjid" NE "r.ev_class) d(src, dst, kind)\n"
    " JOIN (VALUES ('v'::pg_catalog.\"char\", 'R', 'R'), ('v', 'W', 'W'), ('v', 'V', 'V'),"
        " ('v', 'N', 'N'), ('m', 'R', 'W'))\n"
    "  m(kind, cause, mark) ON m.kind" EQ "d.kind\n"
    " UNION ALL\n"
    " SELECT d.refobjid, m.mark, p.polrelid, m.mark\n"
    " FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_policy p ON p.oid" EQ "d.objid"
        " CROSS JOIN (VALUES ('R'), ('V'), ('N')) m(mark)\n"
    " JOIN pg_catalog.pg_class c ON c.oid" EQ "p.polrelid AND c.relrowsecurity\n"
    " WHERE d.classid" EQ CLASS("pg_policy") " AND d.refclassid" EQ CLASS("pg_class") ""
        " AND d.refobjid" NE "p.polrelid\n"
    " UNION ALL\n"
    " SELECT x.src, x.cause, x.dst, x.mark FROM pg_catalog.pg_inherits i CROSS"
        " JOIN LATERAL (VALUES\n"
    "  (i.inhrelid, 'R', i.inhparent, 'R'), (i.inhrelid, 'W', i.inhparent, 'W'),\n"
    "  (i.inhrelid, 'V', i.inhparent, 'V'), (i.inhrelid, 'N', i.inhparent, 'N'),\n"
    "  (i.inhparent, 'U', i.inhrelid, 'U'),"
        " (i.inhparent, 'U', i.inhrelid, 'V'),\n"
    "  (i.inhparent, 'P', i.inhrelid, 'P'), (i.inhparent, 'P', i.inhrelid, 'W'),\n"
    "  (i.inhparent, 'Q', i.inhrelid, 'Q'), (i.inhparent, 'Q', i.inhrelid, 'R')) x(src, cause, dst,"
        " mark)\n"
    " UNION ALL\n"
    " SELECT x.src, x.cause, x.dst, x.mark FROM pg_catalog.pg_constraint k CROSS"
        " JOIN LATERAL (VALUES\n"
    "  (k.confrelid, 'R', k.conrelid, 'W', true), (k.conrelid, 'R', k.confrelid, 'W', true),\n"
    "  (k.conrelid, 'W', k.confrelid, 'W', k.confdeltype" EQ "ANY ('{c,n,"
        "d}'::pg_catalog.\"char\"[])\n"
    "   OR k.confupdtype" EQ "ANY ('{c,n,d}'::pg_catalog.\"char\"[]))) x(src, cause, dst, mark,"
        " runs)\n"
    " WHERE k.contype" EQ "'f' AND x.runs),\n"
    "marked(rel, mark) AS (\n"
    " (SELECT s.rel, s.mark FROM seed s\n"
    "  UNION\n"
    "  SELECT e.dst, e.mark FROM edge e JOIN pg_catalog.pg_class c ON c.oid" EQ "e.src"
        " AND c.relkind" EQ "'S' WHERE e.cause" EQ "'V')\n"
    " UNION\n"
    " SELECT e.dst, e.mark FROM marked m JOIN edge e ON e.src" EQ "m.rel"
        " AND e.cause" EQ "m.mark),\n"
    /* R forbids reading, V doing so twice, N on a standby; any mark but V, U and N forbids
     * writing. */
    "spoiled(rel, read, twice, unlogged, write) AS (\n"
    " SELECT m.rel, pg_catalog.bool_or(m.mark" EQ "'R'), pg_catalog.bool_or(m.mark" EQ "'V'),\n"
    "  pg_catalog.bool_or(m.mark" EQ "'N'),\n"
    "  pg_catalog.bool_or(m.mark" NE "ALL ('{V,U,N}'::pg_catalog.text[]))"
        " FROM marked m GROUP BY m.rel),\n"
    /* Not materialized: then the planner knows that an oid is there once. */
    "suspect(oid, bad, loose) AS NOT MATERIALIZED (\n"
    " SELECT x.oid, pg_catalog.bool_or(x.bad), pg_catalog.bool_or(NOT x.bad)\n"
    " FROM (SELECT k.oid, true FROM code k UNION ALL SELECT l.oid, false FROM loose l)"
        " x(oid, bad)\n"
    " GROUP BY x.oid),\n"
    /* What extensions give the planner and indexes to compute with is volatile by neglect, at
     * most. */
    "custom(reason, bad, loose) AS (\n"
    " SELECT 'operator', k.bad,"
        " k.loose AND (k.oid" LT "16384 OR k.oid" EQ "o.oprcode::pg_catalog.oid)\n"
    " FROM pg_catalog.pg_operator o CROSS JOIN LATERAL pg_catalog.unnest(ARRAY[o.oprcode,\n"
    "  o.oprrest, o.oprjoin]::pg_catalog.oid[]) part(oid) JOIN suspect k ON k.oid" EQ "part.oid\n"
    " WHERE o.oid" GE "16384\n"
    " UNION\n"
    " SELECT 'cast', k.bad, k.loose FROM pg_catalog.pg_cast c JOIN suspect k"
        " ON k.oid" EQ "c.castfunc\n"
    " UNION\n"
    " SELECT 'type', k.bad, k.loose AND k.oid" NE "t.typanalyze::pg_catalog.oid\n"
    " FROM pg_catalog.pg_type t CROSS"
        " JOIN LATERAL pg_catalog.unnest(ARRAY[t.typinput, t.typoutput,\n"
    "  t.typreceive, t.typsend, t.typmodin, t.typmodout, t.typanalyze]::pg_catalog.oid[])"
        " part(oid)\n"
    " JOIN suspect k ON k.oid" EQ "part.oid\n"
    " WHERE t.oid" GE "16384 AND t.typtype" EQ "'b'"
        " AND t.typinput" NE "'pg_catalog.array_in'::pg_catalog.regproc\n"
    " UNION\n"
    " SELECT 'range', k.bad,"
        " k.loose AND (k.oid" LT "16384 OR k.oid" EQ "r.rngcanonical::pg_catalog.oid)\n"
    " FROM pg_catalog.pg_range r CROSS JOIN LATERAL pg_catalog.unnest(ARRAY[r.rngcanonical,\n"
    "  r.rngsubdiff]::pg_catalog.oid[]) part(oid) JOIN suspect k ON k.oid" EQ "part.oid\n"
    " UNION\n"
    " SELECT 'operator class', k.bad, k.loose AND k.oid" LT "16384 FROM pg_catalog.pg_amproc a\n"
    " JOIN suspect k ON k.oid" EQ "a.amproc::pg_catalog.oid\n"
    " UNION\n"
    " SELECT 'domain', true, false FROM bad_type\n"
    " UNION\n"
    " SELECT 'domain', false, true FROM shaky b JOIN pg_catalog.pg_constraint k"
        " ON b.classid" EQ CLASS("pg_constraint") " AND b.objid" EQ "k.oid\n"
    " WHERE k.contypid" NE "0\n"
    " UNION\n"
    " SELECT 'attribute', f.kind" EQ "'c', f.kind" EQ "'v' FROM dotted f\n"
    " JOIN pg_catalog.pg_type t ON t.oid" EQ "f.arg LEFT JOIN pg_catalog.pg_type u"
        " ON u.oid" EQ "t.typbasetype\n"
    " LEFT JOIN pg_catalog.pg_class c ON c.reltype" EQ "t.oid\n"
    " WHERE t.typtype" EQ "'c' AND c.relkind" EQ "'c' OR u.typtype" EQ "'c'\n"
    "  OR t.typname" EQ "ANY ('{record,any,anyelement,anynonarray,anycompatible,"
        "anycompatiblenonarray}'::pg_catalog.name[])\n"
    "  AND t.oid" LT "16384),\n"
    "shadow(name) AS (\n"
    " SELECT b.proname FROM bad b\n"
    " UNION\n"
    " SELECT r.proname FROM risk r WHERE r.opaque\n"
    " UNION\n"
    " SELECT t.typname FROM pg_catalog.pg_type t\n"
    " WHERE t.oid" GE "16384 AND t.typelem" EQ "0"
        " AND t.typtype" NE "ALL ('{c,p}'::pg_catalog.\"char\"[])),\n"
    /* Writing to it writes elsewhere, or reading it reads elsewhere. */
    "tied(rel) AS MATERIALIZED (\n"
    " SELECT i.inhrelid FROM pg_catalog.pg_inherits i\n"
    " UNION\n"
    " SELECT i.inhparent FROM pg_catalog.pg_inherits i\n"
    " UNION\n"
    " SELECT k.confrelid FROM pg_catalog.pg_constraint k WHERE k.contype" EQ "'f'\n"
    "  AND (k.confdeltype" EQ "ANY ('{c,n,d}'::pg_catalog.\"char\"[])\n"
    "   OR k.confupdtype" EQ "ANY ('{c,n,d}'::pg_catalog.\"char\"[]))\n"
    " UNION\n"
    " SELECT t.tgrelid FROM pg_catalog.pg_trigger t WHERE NOT t.tgisinternal"
        " AND t.tgenabled" NE "'D'\n"
    " UNION\n"
    " SELECT r.ev_class FROM pg_catalog.pg_rewrite r)\n"
    "SELECT 'r' AS kind, n.nspname::pg_catalog.text AS schema, c.relname::pg_catalog.text AS name,"
        "\n"
    " pg_catalog.concat(CASE WHEN s.write IS NOT TRUE THEN 'rw' WHEN NOT s.read THEN 'r' END,\n"
    "  CASE WHEN (s.read OR s.twice) IS NOT TRUE AND c.relkind" NE "'S' THEN 's' END,\n"
    "  CASE WHEN c.relkind" EQ "'S' THEN 'z' WHEN c.relkind" EQ "'f' THEN 'x'"
        " WHEN s.unlogged THEN 'u'\n"
    "   WHEN s.twice IS NOT TRUE THEN 't' WHEN c.oid" LT "16384 THEN 'y' END,\n"
    "  CASE WHEN c.relkind" EQ "'r' AND NOT c.relrowsecurity AND (s.read OR s.write) IS NOT TRUE\n"
    "   AND NOT c.oid" EQ "ANY (SELECT t.rel FROM tied t) THEN 'p' END) AS flags\n"
    "FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid" EQ "c.relnamespace LEFT"
        " JOIN spoiled s ON s.rel" EQ "c.oid\n"
    "WHERE c.relkind" EQ "ANY ('{r,p,v,m,f,S}'::pg_catalog.\"char\"[])"
        " AND c.relpersistence" NE "'t'\n"
    "UNION ALL\n"
    "SELECT 'f', n.nspname::pg_catalog.text, u.name::pg_catalog.text,\n"
    " pg_catalog.concat(CASE WHEN u.bad THEN NULL WHEN u.shadowed THEN 'q' ELSE 'bq' END,\n"
    "  CASE WHEN NOT (u.bad OR u.loose OR u.name" EQ "'pg_my_temp_schema') THEN 's' END,\n"
    "  CASE WHEN u.shows THEN 'y' WHEN NOT (u.loose OR u.opaque) THEN 't' END)\n"
    "FROM (SELECT p.pronamespace, p.proname,\n"
    "  pg_catalog.bool_or(b.oid IS NOT NULL OR p.prokind" EQ "'p' OR COALESCE(r.opaque, false)),\n"
    "  pg_catalog.bool_or(s.name IS NOT NULL), pg_catalog.bool_or(l.oid IS NOT NULL),\n"
    "  pg_catalog.bool_or(COALESCE(r.shows, false)"
        " OR p.oid" LT "16384 AND p.proname" EQ "ANY (" NAMES(DIFFERS) ")),\n"
    "  pg_catalog.bool_or(p.prokind" EQ "'p' OR COALESCE(r.opaque, false))\n"
    " FROM pg_catalog.pg_proc p\n"
    " LEFT JOIN risk r ON r.oid" EQ "p.oid LEFT JOIN bad b ON b.oid" EQ "p.oid\n"
    " LEFT JOIN shadow s ON s.name" EQ "p.proname LEFT JOIN loose l ON l.oid" EQ "p.oid\n"
    " WHERE p.pronamespace" EQ "'pg_catalog'::pg_catalog.regnamespace OR p.oid" GE "16384\n"
    " GROUP BY p.pronamespace, p.proname)\n"
    " u(space, name, bad, shadowed, loose, shows, opaque)\n"
    "JOIN pg_catalog.pg_namespace n ON n.oid" EQ "u.space\n"
    "UNION ALL\n"
    "SELECT m.kind, '', u.reason, ''\n"
    "FROM (SELECT c.reason, pg_catalog.bool_or(c.bad), pg_catalog.bool_or(c.loose) FROM custom c"
        " GROUP BY c.reason)\n"
    " u(reason, bad, loose)\n"
    "CROSS JOIN LATERAL (VALUES ('c', u.bad), ('v', u.loose)) m(kind, holds) WHERE m.holds";
/* clang-format on */
