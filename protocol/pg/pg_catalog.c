/* pg_catalog.c - what PostgreSQL's catalogs prove about relations and functions, as one query.
 *
 * Read by the codec, through pg_catalog.h.  Constant data, any thread.
 *
 * Rows are (kind, schema, name, flags), all text, none NULL:
 *   r  a relation.  Flags: "r" reading it is proved, "w" writing is; "" neither.
 *   f  a built-in function (all overloads of a name together).  Flags: "q" proved when called with
 *      its schema, "b" also by the bare name.  A name that is not proved has no row.
 *   c  the database runs code of its own behind operators, casts, types, index support or
 *      attribute notation; the name says which, for a log.  Schema and flags are empty.
 *
 * "Proved" is about the session only: settings, session locks, temporary objects, cursors,
 * prepared statements, channels.  What is not shown to be harmless is taken to be harmful:
 *   - Functions in any language but C and internal.  Their bodies are text that pg_depend does not
 *     see into, and an IMMUTABLE label promises nothing, so the closure never goes through them.
 *   - C functions that no extension owns.  Those of extensions are trusted behind operators,
 *     casts, types and indexes, and where they overload a built-in's name (citext's max); under
 *     names of their own they are not (pg_trgm's set_limit), except cast functions and the
 *     libraries listed below.
 *   - Built-in functions that change the session or run text given to them.  pg_depend is blind
 *     here too: built-in objects are pinned and no dependency on them is recorded.  So the stored
 *     expression trees are searched for calls of them, by number.  Those that a statement's own
 *     text gives away (set_config, advisory locks, sequences) are still proved as names:
 *     sql_facts.h has bits for them.
 *
 * The relations that are not proved are a closure over (relation, mark):
 *   R  reading is not proved, and so writing is not
 *   W  writing is not proved
 *   P  a partition key calls bad code: W, here and in everything below
 *   Q  R here and in everything below: t.f may call a function on its rows, or a partition key
 *      folds
 * An index, check or partition key can spoil a read because the planner folds constant calls in
 * it, that is, runs them.  A call is safe from folding when its first argument is a column, unless
 * it is written in SQL: that is inlined first, and its body may fold. session_replication_role is
 * not followed: each rule and trigger that is not disabled counts.
 *
 * It runs under the search_path of whoever had the session, so all is qualified, operators too;
 * IN, USING and LIKE look operators up by bare name and are not used.  No backslashes, for quoting
 * may be set either way.  Every seed is joined from the few bad objects, and the pieces between
 * '0' and ':' (those that start with a digit) tell the planner that they are few: an estimate past
 * jit_above_cost would cost more in compiling than the query takes.  5,000 tables with 1,250 views
 * and 5,000 foreign keys: 0.2 s.
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
/* Libraries whose functions only compute. */
#define PURE_LIBRARIES "'{$libdir/uuid-ossp,$libdir/pgcrypto}'::pg_catalog.text[]"

/* Laid out by hand: one clause a line. */
/* clang-format off */
const char pg_catalog_query[] =
    "WITH RECURSIVE\n"
    /* Harmful built-ins; hidden: harmful only where the statement does not show them. */
    "risk AS MATERIALIZED (\n"
    " SELECT p.oid, p.proname" EQ "ANY (" NAMES(HIDDEN) ") AS hidden, p.proname" EQ "ANY ("
        NAMES(OPAQUE) ") AS opaque\n"
    " FROM pg_catalog.pg_proc p WHERE p.oid" LT "16384\n"
    "  AND (p.proname" EQ "ANY (" NAMES(SESSION) ") OR p.proname" EQ "ANY (" NAMES(HIDDEN) ")"
        " OR p.proname" EQ "ANY (" NAMES(OPAQUE) "))),\n"
    /* Users' functions. trusted: C, of an extension; alone: t.f may mean f(t); known: overloads;
     * born: the constructors that come with a range type. */
    "fn AS MATERIALIZED (\n"
    " SELECT p.oid, p.proname, p.prokind, p.prolang, p.proargtypes[0] AS arg,\n"
    "  b.born OR e.extname IS NOT NULL AND p.prolang" EQ "ANY (ARRAY[12, 13]::pg_catalog.oid[]) AS"
        " trusted,\n"
    "  p.prokind" NE "'p' AND p.pronargs" GE "1\n"
    "   AND (p.pronargs" MINUS "p.pronargdefaults" LE "1 OR p.provariadic" NE "0) AS alone,\n"
    "  EXISTS (SELECT FROM pg_catalog.pg_proc o WHERE o.proname" EQ "p.proname"
        " AND o.oid" LT "16384) AS known,\n"
    "  EXISTS (SELECT FROM pg_catalog.pg_cast k WHERE k.castfunc" EQ "p.oid)\n"
    "   OR b.born OR p.probin" EQ "ANY (" PURE_LIBRARIES ") AS pure,\n"
    "  e.extname" EQ "'citext' AND p.prolang" EQ "14 AS citext\n"
    " FROM pg_catalog.pg_proc p\n"
    " LEFT JOIN (pg_catalog.pg_depend d JOIN pg_catalog.pg_extension e ON e.oid" EQ "d.refobjid\n"
    "   AND d.refclassid" EQ CLASS("pg_extension") " AND d.deptype" EQ "'e')\n"
    "  ON d.classid" EQ CLASS("pg_proc") " AND d.objid" EQ "p.oid\n"
    " CROSS JOIN LATERAL (SELECT p.prolang" EQ "12 AND EXISTS (SELECT FROM pg_catalog.pg_depend i\n"
    "   WHERE i.classid" EQ CLASS("pg_proc") " AND i.objid" EQ "p.oid"
        " AND i.refclassid" EQ CLASS("pg_type") "\n"
    "   AND i.deptype" EQ "'i')) b(born)\n"
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
    " SELECT r.oid FROM risk r),\n"
    /* Users' functions that are bad when called by name. */
    "bad AS MATERIALIZED (\n"
    " SELECT f.oid, f.proname, f.prolang FROM fn f LEFT JOIN code c ON c.oid" EQ "f.oid\n"
    " WHERE (f.trusted AND c.oid IS NULL AND (f.known OR f.pure) OR f.citext"
        " AND f.known) IS NOT TRUE),\n"
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
    /* Objects whose expressions call bad functions by name. */
    "by_call(classid, objid) AS MATERIALIZED (\n"
    " SELECT d.classid, d.objid FROM pg_catalog.pg_depend d JOIN bad b ON b.oid" EQ "d.refobjid\n"
    " WHERE d.refclassid" EQ CLASS("pg_proc") "\n"
    " UNION\n"
    " SELECT t.classid, t.objid FROM tree t\n"
    " CROSS JOIN LATERAL pg_catalog.unnest(pg_catalog.string_to_array(t.src, 'FUNCEXPR :funcid '))"
        " part(src)\n"
    " JOIN risk r ON r.oid::pg_catalog.text" EQ "pg_catalog.split_part(part.src, ' ', 1)\n"
    " WHERE part.src" GE "'0' COLLATE pg_catalog.\"C\""
        " AND part.src" LE "':' COLLATE pg_catalog.\"C\"\n"
    "  AND (NOT r.hidden OR t.classid" NE CLASS("pg_attrdef") ")),\n"
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
    " SELECT c.oid, 'R' FROM pg_catalog.pg_class c WHERE c.relkind" EQ "'f'\n"
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
    " SELECT c.oid, m.mark FROM fn f JOIN code k ON k.oid" EQ "f.oid AND f.alone\n"
    " JOIN pg_catalog.pg_class c ON c.reltype" EQ "f.arg CROSS"
        " JOIN (VALUES ('R'), ('Q')) m(mark)),\n"
    /* If (src, cause) is marked, so is (dst, mark). */
    "edge(src, cause, dst, mark) AS MATERIALIZED (\n"
    " SELECT DISTINCT d.refobjid, m.cause, r.ev_class, m.mark\n"
    " FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_rewrite r ON r.oid" EQ "d.objid"
        " AND r.ev_type" EQ "'1'\n"
    " JOIN pg_catalog.pg_class c ON c.oid" EQ "r.ev_class\n"
    " JOIN (VALUES ('v'::pg_catalog.\"char\", 'R', 'R'), ('v', 'W', 'W'), ('m', 'R', 'W')) m(kind,"
        " cause, mark)\n"
    "  ON m.kind" EQ "c.relkind\n"
    " WHERE d.classid" EQ CLASS("pg_rewrite") " AND d.refclassid" EQ CLASS("pg_class") ""
        " AND d.refobjid" NE "r.ev_class\n"
    " UNION ALL\n"
    " SELECT d.refobjid, 'R', p.polrelid, 'R'\n"
    " FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_policy p ON p.oid" EQ "d.objid\n"
    " JOIN pg_catalog.pg_class c ON c.oid" EQ "p.polrelid AND c.relrowsecurity\n"
    " WHERE d.classid" EQ CLASS("pg_policy") " AND d.refclassid" EQ CLASS("pg_class") ""
        " AND d.refobjid" NE "p.polrelid\n"
    " UNION ALL\n"
    " SELECT x.src, x.cause, x.dst, x.mark FROM pg_catalog.pg_inherits i CROSS"
        " JOIN LATERAL (VALUES\n"
    "  (i.inhrelid, 'R', i.inhparent, 'R'), (i.inhrelid, 'W', i.inhparent, 'W'),\n"
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
    " SELECT s.rel, s.mark FROM seed s\n"
    " UNION\n"
    " SELECT e.dst, e.mark FROM marked m JOIN edge e ON e.src" EQ "m.rel"
        " AND e.cause" EQ "m.mark),\n"
    /* Any mark forbids writing; R forbids reading. */
    "spoiled(rel, read) AS (\n"
    " SELECT m.rel, pg_catalog.bool_or(m.mark" EQ "'R') FROM marked m GROUP BY m.rel),\n"
    "custom(reason) AS (\n"
    " SELECT 'operator' FROM pg_catalog.pg_operator o JOIN code k\n"
    "  ON k.oid" EQ "ANY (ARRAY[o.oprcode, o.oprrest, o.oprjoin]::pg_catalog.oid[])"
        " WHERE o.oid" GE "16384\n"
    " UNION\n"
    " SELECT 'cast' FROM pg_catalog.pg_cast c JOIN code k ON k.oid" EQ "c.castfunc\n"
    " UNION\n"
    " SELECT 'type' FROM pg_catalog.pg_type t CROSS"
        " JOIN LATERAL pg_catalog.unnest(ARRAY[t.typinput, t.typoutput,\n"
    "  t.typreceive, t.typsend, t.typmodin, t.typmodout, t.typanalyze]::pg_catalog.oid[])"
        " part(oid)\n"
    " JOIN code k ON k.oid" EQ "part.oid\n"
    " WHERE t.oid" GE "16384 AND t.typtype" EQ "'b'"
        " AND t.typinput" NE "'pg_catalog.array_in'::pg_catalog.regproc\n"
    " UNION\n"
    " SELECT 'range' FROM pg_catalog.pg_range r JOIN code k"
        " ON k.oid" EQ "ANY (ARRAY[r.rngcanonical, r.rngsubdiff]::pg_catalog.oid[])\n"
    " UNION\n"
    " SELECT 'operator class' FROM pg_catalog.pg_amproc a JOIN code k"
        " ON k.oid" EQ "a.amproc::pg_catalog.oid\n"
    " UNION\n"
    " SELECT 'domain' FROM bad_type\n"
    " UNION\n"
    " SELECT 'attribute' FROM fn f JOIN code k ON k.oid" EQ "f.oid AND f.alone\n"
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
    " SELECT t.typname FROM pg_catalog.pg_type t\n"
    " WHERE t.oid" GE "16384 AND t.typelem" EQ "0"
        " AND t.typtype" NE "ALL ('{c,p}'::pg_catalog.\"char\"[]))\n"
    "SELECT 'r' AS kind, n.nspname::pg_catalog.text AS schema, c.relname::pg_catalog.text AS name,"
        "\n"
    " pg_catalog.concat(CASE WHEN s.rel IS NULL THEN 'rw' WHEN NOT s.read THEN 'r' END,\n"
    "  CASE WHEN s.read IS NOT TRUE AND c.oid" GE "16384 AND NOT c.relrowsecurity\n"
    "   AND c.relkind" EQ "ANY ('{r,p,m}'::pg_catalog.\"char\"[]) THEN 's' END) AS flags\n"
    "FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid" EQ "c.relnamespace LEFT"
        " JOIN spoiled s ON s.rel" EQ "c.oid\n"
    "WHERE c.relkind" EQ "ANY ('{r,p,v,m,f,S}'::pg_catalog.\"char\"[])"
        " AND c.relpersistence" NE "'t'\n"
    "UNION ALL\n"
    "SELECT 'f', 'pg_catalog', p.proname::pg_catalog.text, CASE WHEN pg_catalog.bool_or(s.name IS"
        " NOT NULL) THEN 'q' ELSE 'bq' END\n"
    "FROM pg_catalog.pg_proc p LEFT JOIN risk r ON r.oid" EQ "p.oid LEFT JOIN bad b"
        " ON b.oid" EQ "p.oid\n"
    "LEFT JOIN shadow s ON s.name" EQ "p.proname\n"
    "WHERE p.pronamespace" EQ "'pg_catalog'::pg_catalog.regnamespace\n"
    "GROUP BY p.proname\n"
    "HAVING pg_catalog.bool_or(p.oid" LT "16384) AND NOT pg_catalog.bool_or(b.oid IS NOT NULL"
        " OR COALESCE(r.opaque, false))\n"
    "UNION ALL\n"
    "SELECT 'c', '', u.reason, '' FROM custom u";
/* clang-format on */
