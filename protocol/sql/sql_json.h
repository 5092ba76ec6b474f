/* sql_json.h - a flat table of the values of one JSON text; private to protocol/sql.
 *
 * Called by sql_pgparse on what libpg_query prints, which is machine-made but as large and as deep
 * as the statement.  No recursion: the table is in document order, each entry knows its parent and
 * its next sibling, so that depth costs no stack.  Strings are unescaped in place.  Bounded by
 * SQL_JSON_MAX values.  One thread; entries borrow from the text, which must outlive the table.
 */
#ifndef PENSTOCK_SQL_JSON_H
#define PENSTOCK_SQL_JSON_H

#include "base/base.h"
#include "base/str.h"

#define SQL_JSON_MAX 500000u
#define SQL_JSON_NONE 0u /* entry 0 is the whole text, nobody's child */

enum sql_json_type {
    SQL_JSON_OBJECT,
    SQL_JSON_ARRAY,
    SQL_JSON_STRING,
    SQL_JSON_PLAIN, /* number, true, false, null: as written */
};

struct sql_json_value {
    struct str key;  /* empty in arrays */
    struct str text; /* of strings and plain values */
    uint32_t parent;
    uint32_t child; /* the first one, or SQL_JSON_NONE */
    uint32_t next;  /* sibling, or SQL_JSON_NONE */
    enum sql_json_type type;
};

struct sql_json {
    struct sql_json_value *v; /* owned */
    uint32_t n, cap;
};

/* false: not JSON, too large, or no memory. The text is written to. sql_json_fini in any case. */
bool sql_json_parse(struct sql_json *j, char *text, size_t n) ATTR_NODISCARD;
void sql_json_fini(struct sql_json *j);

/* The member of that name, or SQL_JSON_NONE. */
uint32_t sql_json_get(const struct sql_json *j, uint32_t object, struct str key);
/* The text of the member of that name when it is a string or plain, otherwise empty. */
struct str sql_json_text(const struct sql_json *j, uint32_t object, struct str key);

#endif
