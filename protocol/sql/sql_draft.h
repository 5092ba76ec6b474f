/* sql_draft.h - facts while they are being made; private to protocol/sql.
 *
 * sql_classify and sql_pgparse fill a draft, sql_cache turns it into an immutable struct facts.  A
 * draft grows on the heap; when it would grow past its caps the overflow is noted as FX_UNKNOWN,
 * never lost. One thread.
 */
#ifndef PENSTOCK_SQL_DRAFT_H
#define PENSTOCK_SQL_DRAFT_H

#include "base/base.h"
#include "base/str.h"
#include "protocol/sql_facts.h"

#define SQL_DRAFT_NAMES_MAX 1000u /* of each kind */

/* A name in the draft: offsets into its text, which moves as it grows. */
struct sql_draft_name {
    uint32_t schema, schema_len, name, name_len;
    uint16_t times;
    bool written;
    bool reset; /* of vars: what came last */
};

#define SQL_DRAFT_MATCHES_MAX 64u

struct sql_draft_match {
    struct fact_match fact; /* column is not set yet: */
    uint32_t column, column_len;
};

struct sql_draft_list {
    struct sql_draft_name *items; /* owned */
    uint32_t n, cap;
};

struct sql_draft {
    uint32_t effects;
    bool complete, repeatable_text, read_only_begin;
    bool read_write_begin, serializable_begin;
    bool selects, explains, modifies, into, locks_rows, locks_table;
    bool custom_types, custom_operators, operators, session_values;
    bool vars_reset; /* one of vars is RESET, SET TO DEFAULT or set_config to NULL */
    struct sql_draft_list relations, functions, vars, assigned, conflict;
    struct sql_draft_match matches[SQL_DRAFT_MATCHES_MAX];
    uint32_t nmatches;
    enum fact_shape shape;
    uint16_t target, rows;
    bool upsert;
    struct sql_draft_name prepared, channel;
    bool has_prepared, has_channel;
    char *text; /* owned; all names one behind the other */
    size_t text_len, text_cap;
    struct str shown; /* borrowed until the finish; empty: the text itself */
    uint64_t shown_digest;
};

void sql_draft_init(struct sql_draft *d);
void sql_draft_fini(struct sql_draft *d);

void sql_draft_relation(struct sql_draft *d, struct str schema, struct str name, bool written);
void sql_draft_function(struct sql_draft *d, struct str schema, struct str name);

/* Its index, or -1: it was never added. */
int sql_draft_find(const struct sql_draft *d, struct str schema, struct str name);
/* false: there are too many. m.column is copied. */
bool sql_draft_match(struct sql_draft *d, const struct fact_match *m);
void sql_draft_assigned(struct sql_draft *d, struct str column);
void sql_draft_conflict(struct sql_draft *d, struct str column);
/* Nothing is known of its shape after all. */
void sql_draft_shapeless(struct sql_draft *d);

/* One setting changes beyond the transaction: the bits that go with its name, folded to lower
 * case. */
void sql_draft_var(struct sql_draft *d, struct str name, bool reset);

/* PREPARE, EXECUTE, DEALLOCATE (effect says which) of name; a second one in a text is
 * FX_UNKNOWN. */
void sql_draft_prepared(struct sql_draft *d, uint32_t effect, struct str name);
/* LISTEN, UNLISTEN; an empty name is UNLISTEN *. */
void sql_draft_channel(struct sql_draft *d, uint32_t effect, struct str name);

/* The finished facts in one block with one reference, never NULL; *bytes is what they hold. */
struct facts *sql_draft_finish(const struct sql_draft *d, struct str text, struct str hint,
                               uint64_t digest, size_t *bytes);

#endif
