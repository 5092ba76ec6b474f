/* pg_catalog_details.c - how PostgreSQL's tables hang together, as one query.
 *
 * Read by the codec, through pg_catalog_details.h.  Constant data, any thread.
 *
 * Rows are (kind, a, b, c), all text, none NULL, as protocol/catalog.c reads them:
 *   relation   schema, name, "OID KIND FLAGS"; KIND is relkind, FLAGS has p when row security is on
 *   column     OID of the relation, name, int2 int4 int8 uuid text: the types that can be part of a
 *              key (text and varchar only under a deterministic collation)
 *   view       OID of a view, OID of what its query reads
 *   child      OID of a partition or heir, OID of its parent
 *   key        OID of the referenced table, OID of the referencing one, d and u for actions that
 *              write to it
 *   code       schema, name of a function that writing the table runs, OID of the table: triggers
 *              that are not disabled, and what stands in defaults, checks, policies, index
 *              expressions and partition keys
 *   rule       empty, name, OID: a rule that is not disabled
 *   unsteady   empty, why, OID of a view whose query calls a function that is not immutable, reads
 *              system tables, draws samples or asks for the time or the user
 *   immutable  schema, name of a built-in function, all of whose overloads are immutable
 *   end        the last row, so that half an answer is never taken for a whole one
 *
 * The functions of extensions written in C are taken not to write tables, as pg_catalog.c does.
 * Qualified throughout, for it runs under a stranger's search_path; no backslashes.
 */
#include "protocol/pg/pg_catalog_details.h"

/* C promises only 4,095 characters in a literal; both compilers take more. */
#pragma GCC diagnostic ignored "-Woverlength-strings"

#define EQ " OPERATOR(pg_catalog.=) "
#define NE " OPERATOR(pg_catalog.<>) "
#define GE " OPERATOR(pg_catalog.>=) "
#define LT " OPERATOR(pg_catalog.<) "
#define GT " OPERATOR(pg_catalog.>) "
#define MATCHES " OPERATOR(pg_catalog.~) "
#define TEXT "::pg_catalog.text"
#define CLASS(name) "'pg_catalog." name "'::pg_catalog.regclass"
#define KINDS(list) "ANY ('{" list "}'::pg_catalog.\"char\"[])"

/* clang-format off */
const char pg_catalog_details_query[] =
    "WITH own(oid, ns, name) AS MATERIALIZED (\n"
    " SELECT p.oid, n.nspname" TEXT ", p.proname" TEXT "\n"
    " FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid" EQ "p.pronamespace\n"
    " WHERE p.oid" GE "16384 AND NOT (p.prolang" EQ "ANY (ARRAY[12, 13]::pg_catalog.oid[])\n"
    "  AND EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid" EQ CLASS("pg_proc")
        " AND d.objid" EQ "p.oid\n"
    "   AND d.refclassid" EQ CLASS("pg_extension") " AND d.deptype" EQ "'e'))),\n"
    "used(rel, fn) AS (\n"
    " SELECT t.tgrelid, t.tgfoid FROM pg_catalog.pg_trigger t\n"
    " WHERE NOT t.tgisinternal AND t.tgenabled" NE "'D'\n"
    " UNION\n"
    " SELECT a.adrelid, d.refobjid FROM pg_catalog.pg_depend d"
        " JOIN pg_catalog.pg_attrdef a ON a.oid" EQ "d.objid\n"
    " WHERE d.classid" EQ CLASS("pg_attrdef") " AND d.refclassid" EQ CLASS("pg_proc") "\n"
    " UNION\n"
    " SELECT k.conrelid, d.refobjid FROM pg_catalog.pg_depend d"
        " JOIN pg_catalog.pg_constraint k ON k.oid" EQ "d.objid\n"
    " WHERE d.classid" EQ CLASS("pg_constraint") " AND d.refclassid" EQ CLASS("pg_proc")
        " AND k.conrelid" NE "0\n"
    " UNION\n"
    " SELECT p.polrelid, d.refobjid FROM pg_catalog.pg_depend d"
        " JOIN pg_catalog.pg_policy p ON p.oid" EQ "d.objid\n"
    " WHERE d.classid" EQ CLASS("pg_policy") " AND d.refclassid" EQ CLASS("pg_proc") "\n"
    " UNION\n"
    " SELECT COALESCE(i.indrelid, d.objid), d.refobjid FROM pg_catalog.pg_depend d"
        " LEFT JOIN pg_catalog.pg_index i ON i.indexrelid" EQ "d.objid\n"
    " WHERE d.classid" EQ CLASS("pg_class") " AND d.refclassid" EQ CLASS("pg_proc") "),\n"
    "query(view, src) AS MATERIALIZED (\n"
    " SELECT r.ev_class, r.ev_action" TEXT " FROM pg_catalog.pg_rewrite r"
        " JOIN pg_catalog.pg_class c ON c.oid" EQ "r.ev_class\n"
    " WHERE r.ev_type" EQ "'1' AND c.relkind" EQ "'v' AND c.oid" GE "16384),\n"
    "numbers(view, kind, oid) AS (\n"
    " SELECT DISTINCT q.view, m[1], m[2]::pg_catalog.oid FROM query q\n"
    " CROSS JOIN LATERAL pg_catalog.regexp_matches(q.src,"
        " ':(funcid|aggfnoid|winfnoid|relid) ([0-9]+)', 'g') m)\n"
    "SELECT 'relation' AS kind, n.nspname" TEXT " AS a, c.relname" TEXT " AS b,\n"
    " pg_catalog.concat(c.oid" TEXT ", ' ', c.relkind" TEXT ", ' ',"
        " CASE WHEN c.relrowsecurity THEN 'p' END) AS c\n"
    "FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid" EQ "c.relnamespace\n"
    "WHERE c.oid" GE "16384 AND c.relkind" EQ KINDS("r,p,v,m,f,S")
        " AND c.relpersistence" NE "'t'\n"
    " AND n.nspname" NE "'pg_toast'\n"
    "UNION ALL\n"
    "SELECT 'column', a.attrelid" TEXT ", a.attname" TEXT ", CASE a.atttypid WHEN 21 THEN 'int2'"
        " WHEN 23 THEN 'int4'\n"
    " WHEN 20 THEN 'int8' WHEN 2950 THEN 'uuid' ELSE 'text' END\n"
    "FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid" EQ "a.attrelid\n"
    " LEFT JOIN pg_catalog.pg_collation k ON k.oid" EQ "a.attcollation\n"
    "WHERE c.oid" GE "16384 AND c.relkind" EQ KINDS("r,p,v,m") " AND c.relpersistence" NE "'t'\n"
    " AND a.attnum" GT "0 AND NOT a.attisdropped\n"
    " AND (a.atttypid" EQ "ANY (ARRAY[20, 21, 23, 2950]::pg_catalog.oid[])\n"
    "  OR a.atttypid" EQ "ANY (ARRAY[25, 1043]::pg_catalog.oid[]) AND k.collisdeterministic)\n"
    "UNION ALL\n"
    "SELECT DISTINCT 'view', q.view" TEXT ", d.refobjid" TEXT ", ''\n"
    "FROM query q JOIN pg_catalog.pg_rewrite r ON r.ev_class" EQ "q.view AND r.ev_type" EQ "'1'\n"
    " JOIN pg_catalog.pg_depend d ON d.classid" EQ CLASS("pg_rewrite") " AND d.objid" EQ "r.oid\n"
    "WHERE d.refclassid" EQ CLASS("pg_class") " AND d.refobjid" NE "q.view\n"
    "UNION ALL\n"
    "SELECT 'child', i.inhrelid" TEXT ", i.inhparent" TEXT ", '' FROM pg_catalog.pg_inherits i\n"
    "UNION ALL\n"
    "SELECT 'key', k.confrelid" TEXT ", k.conrelid" TEXT ",\n"
    " pg_catalog.concat(CASE WHEN k.confdeltype" EQ KINDS("c,n,d") " THEN 'd' END,"
        " CASE WHEN k.confupdtype" EQ KINDS("c,n,d") " THEN 'u' END)\n"
    "FROM pg_catalog.pg_constraint k WHERE k.contype" EQ "'f'\n"
    "UNION ALL\n"
    "SELECT 'code', o.ns, o.name, u.rel" TEXT " FROM used u JOIN own o ON o.oid" EQ "u.fn\n"
    "UNION ALL\n"
    "SELECT 'rule', '', r.rulename" TEXT ", r.ev_class" TEXT "\n"
    "FROM pg_catalog.pg_rewrite r WHERE r.ev_type" NE "'1' AND r.ev_enabled" NE "'D'"
        " AND r.ev_class" GE "16384\n"
    "UNION ALL\n"
    "SELECT 'unsteady', '', x.why, x.view" TEXT " FROM (\n"
    " SELECT u.view, pg_catalog.concat('it calls ', p.proname" TEXT ") FROM numbers u"
        " JOIN pg_catalog.pg_proc p ON p.oid" EQ "u.oid\n"
    " WHERE u.kind" NE "'relid' AND p.provolatile" NE "'i'\n"
    " UNION ALL\n"
    " SELECT u.view, 'it reads a system table' FROM numbers u\n"
    " WHERE u.kind" EQ "'relid' AND u.oid" LT "16384 AND u.oid" GT "0\n"
    " UNION ALL\n"
    " SELECT q.view, 'it asks for the time or the user' FROM query q"
        " WHERE pg_catalog.strpos(q.src, '{SQLVALUEFUNCTION ')" GT "0\n"
    " UNION ALL\n"
    " SELECT q.view, 'it draws samples' FROM query q"
        " WHERE pg_catalog.strpos(q.src, '{TABLESAMPLECLAUSE ')" GT "0) x(view, why)\n"
    "UNION ALL\n"
    "SELECT 'immutable', 'pg_catalog', p.proname" TEXT ", '' FROM pg_catalog.pg_proc p\n"
    "WHERE p.pronamespace" EQ "'pg_catalog'::pg_catalog.regnamespace\n"
    "GROUP BY p.proname HAVING pg_catalog.bool_and(p.provolatile" EQ "'i')\n"
    "UNION ALL\n"
    "SELECT 'end', '', '', ''";
/* clang-format on */
