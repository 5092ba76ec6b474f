/* catalog.h - what one database's catalogs say about harmlessness: an immutable snapshot.
 *
 * Built by the main data path from rows that the codec's catalog question returns (wire.h,
 * catalog_text and catalog_row), shared read-only between workers, reference-counted atomically.
 * It answers questions about names, deliberately without resolving search_path: a bare name
 * that is suspect in any schema is suspect.
 *
 * "Proved" means: running a statement that names only proved relations and functions can change
 * nothing of the session (no setting, session lock, temporary object, cursor, prepared statement,
 * channel).
 */
#ifndef PENSTOCK_CATALOG_H
#define PENSTOCK_CATALOG_H

#include "base/base.h"
#include "base/str.h"
#include "base/status.h"

struct catalog;

/* Building: one thread, then shared. */
struct catalog *catalog_new(uint64_t generation); /* one reference */
/* One row of the catalog question, as text columns (NULL: p is NULL). Rows that make no sense are
 * ST_INVALID and the snapshot must be thrown away. Bounded: ST_LIMIT past 1,000,000 names. */
enum status catalog_add_row(struct catalog *c, const struct str *cols, int ncols,
                            struct error *err) ATTR_NODISCARD;

struct catalog *catalog_get(struct catalog *c);
void catalog_put(struct catalog **c);
uint64_t catalog_generation(const struct catalog *c);

/* A system relation, or a user's relation that is known and proved. Unknown names are not
 * proved. */
bool catalog_relation_proved(const struct catalog *c, struct str schema, struct str name);
/* Writing to it is harmless too (no trigger, policy, rule, computed default that is not proved). */
bool catalog_relation_write_proved(const struct catalog *c, struct str schema, struct str name);
/* A built-in function, or one of a trusted extension, not shadowed by an unproved function (or a
 * type) of that name. Built-in functions whose effect the statement's own text shows (set_config,
 * session advisory locks, sequences) count as proved: sql_facts.h has bits for them. Those that run
 * text given to them do not. */
bool catalog_function_proved(const struct catalog *c, struct str schema, struct str name);
/* The database runs code in a procedural language behind operators, casts, types (domain checks),
 * index support, or attribute notation: anything at all may call it, so nothing is proved. When
 * this is false, custom types and operators named in a text are harmless. */
bool catalog_has_custom_code(const struct catalog *c);

/* ---- details: how tables hang together, for the result cache (wire.h, catalog_details) ---- */

enum catalog_detail_kind {
    CATALOG_RELATION,  /* schema, name; id; what, flags */
    CATALOG_COLUMN,    /* id of the relation; name; what: its type */
    CATALOG_VIEW,      /* id of a view, id2 of what it reads */
    CATALOG_CHILD,     /* id of a partition or heir, id2 of what it belongs to */
    CATALOG_REFERENCE, /* writing id may write id2, a table with a foreign key; flags */
    CATALOG_CODE,      /* writing id runs the function schema.name */
    CATALOG_RULE,      /* writing id runs a rule of that name, or what else is not looked into */
    CATALOG_UNSTEADY,  /* reading the view id gives more than its tables hold; name: why */
    CATALOG_IMMUTABLE, /* all built-in functions of that name depend on their arguments alone */
};

enum catalog_detail_flag {
    CATALOG_POLICIES = 1u << 0,  /* RELATION: row security is on */
    CATALOG_ON_DELETE = 1u << 1, /* REFERENCE: the action of the key writes id2 */
    CATALOG_ON_UPDATE = 1u << 2,
};

enum catalog_what { CATALOG_TABLE, CATALOG_IS_VIEW, CATALOG_OTHER };
enum catalog_type { CATALOG_INT2, CATALOG_INT4, CATALOG_INT8, CATALOG_UUID, CATALOG_TEXT };

struct catalog_detail { /* borrowed from the snapshot */
    enum catalog_detail_kind kind;
    uint32_t id, id2, flags;
    enum catalog_what what; /* RELATION */
    enum catalog_type type; /* COLUMN; other types are not listed */
    struct str schema, name;
};

/* The details were asked for, and have come whole. */
bool catalog_has_details(const struct catalog *c);
/* for (size_t i = 0; catalog_next_detail(c, &i, &d);) */
bool catalog_next_detail(const struct catalog *c, size_t *iter, struct catalog_detail *out);

/* The second question: may a read be executed twice, or beside others on one server, unnoticed?
 * (sql_repeatable in sql_facts.h.)  Each answer implies the "proved" above for the same name. */

/* Reading it, and all that its views and policies reach, takes no lock on rows, calls nothing
 * volatile and shows no session.  Never a sequence, foreign or temporary table. */
bool catalog_relation_repeatable(const struct catalog *c, struct str schema, struct str name);
/* A proved function of which each overload, whoever made it, is IMMUTABLE or STABLE, and that does
 * not look at this backend, at other sessions or at the server process. */
bool catalog_function_repeatable(const struct catalog *c, struct str schema, struct str name);
/* A volatile function stands behind an operator, a cast, a type (its input, output, or a domain's
 * check), index support or attribute notation: no read is repeatable. */
bool catalog_has_volatile_code(const struct catalog *c);

/* The third question: may a read run on a standby? (sql_standby.h.)  Here a user's own function
 * counts by its label, and being proved above is not asked for. */
enum catalog_use {
    CATALOG_UNKNOWN,  /* no such name, or a temporary table */
    CATALOG_STANDBY,  /* yes: nothing volatile, also behind views and policies */
    CATALOG_VOLATILE, /* something volatile, or a lock on rows */
    CATALOG_SHOWS,    /* shows this server or its sessions */
    CATALOG_UNLOGGED, /* an unlogged table, also behind views */
    CATALOG_SEQUENCE,
    CATALOG_FOREIGN,
};
enum catalog_use catalog_relation_use(const struct catalog *c, struct str schema, struct str name);
/* All overloads together; CATALOG_STANDBY, _VOLATILE, _SHOWS or _UNKNOWN. */
enum catalog_use catalog_function_use(const struct catalog *c, struct str schema, struct str name);

/* A table for itself: reading it reads no other relation, writing it writes no other (no view,
 * partition, inheritance, row security, trigger, rule, and no cascade from it). */
bool catalog_relation_plain(const struct catalog *c, struct str schema, struct str name);

#endif
