/* sql_facts.h - what is known of a statement, free of any database's syntax.
 *
 * Made by protocol/sql (lexer plus real grammar), read by proxy, router and cache.  Facts belong to
 * a normalised text (constants taken out) and are shared by all clients of a worker; they are
 * immutable but for the reference count and the memo of sql_effects and sql_repeatable.  Worker
 * thread only.
 *
 * The safe side: whoever makes facts sets FX_UNKNOWN when in doubt; `complete` false means that the
 * text was not understood (cut, too long, too deep, not parsable) and implies FX_UNKNOWN.
 */
#ifndef PENSTOCK_SQL_FACTS_H
#define PENSTOCK_SQL_FACTS_H

#include "base/base.h"
#include "base/str.h"
#include "protocol/catalog.h"

/* Dialect flags: they change how text is cut into tokens. */
#define SQL_DIALECT_BACKSLASH 1u /* standard_conforming_strings is off */
/* client_encoding is one whose characters contain ASCII bytes (SJIS, BIG5, GBK, UHC, GB18030,
 * JOHAB, SHIFT_JIS_2004): a text with bytes of 128 and above is then not understood. */
#define SQL_DIALECT_MULTIBYTE 2u

/* What a text may do to the session or needs from it. A text of several statements has the
 * union. */
enum fact_effect {
    FX_READ = 1u << 0,       /* reads tables */
    FX_WRITE = 1u << 1,      /* may write tables (also row locks, data-modifying CTE, COPY FROM) */
    FX_DDL = 1u << 2,        /* may change the catalogs */
    FX_BEGIN = 1u << 3,      /* opens a transaction block */
    FX_END = 1u << 4,        /* COMMIT, ROLLBACK, PREPARE TRANSACTION, also AND CHAIN */
    FX_VARS_NAMED = 1u << 5, /* may change the settings listed in vars[] beyond the transaction */
    FX_VARS_ALL = 1u << 6,   /* may change any setting (RESET ALL, set_config with unknown name) */
    FX_ROLE = 1u << 7,       /* SET ROLE, SET SESSION AUTHORIZATION, their RESET; also in vars[] */
    FX_LOCKS = 1u << 8,      /* session advisory lock taken or given back */
    FX_TEMP = 1u << 9,       /* temporary object made, or one may have been dropped */
    FX_CURSOR = 1u << 10,    /* DECLARE ... WITH HOLD, or CLOSE */
    FX_PREPARE = 1u << 11,   /* SQL PREPARE; name in prepared */
    /* SQL EXECUTE (also inside CREATE TABLE AS, EXPLAIN); name in prepared */
    FX_EXECUTE = 1u << 12,
    FX_DEALLOCATE = 1u << 13, /* one name, in prepared */
    FX_DEALLOCATE_ALL = 1u << 14,
    FX_DISCARD_ALL = 1u << 15,
    FX_LISTEN = 1u << 16,   /* channel in channel */
    FX_UNLISTEN = 1u << 17, /* channel, or empty for all */
    FX_NOTIFY = 1u << 18,
    FX_SEQ_READ = 1u << 19,  /* lastval, currval */
    FX_SEQ_WRITE = 1u << 20, /* nextval, setval, or an insert whose defaults may */
    FX_COPY = 1u << 21,      /* COPY FROM STDIN or TO STDOUT */
    FX_KILL = 1u << 22,      /* pg_cancel_backend, pg_terminate_backend */
    /* SET LOCAL, SET CONSTRAINTS, SET TRANSACTION: ends with the transaction */
    FX_LOCAL = 1u << 23,
    FX_MULTI = 1u << 24,   /* more than one statement */
    FX_TXCTL = 1u << 25,   /* SAVEPOINT, RELEASE, ROLLBACK TO, and everything FX_BEGIN or FX_END */
    FX_EMPTY = 1u << 26,   /* nothing but blanks and comments */
    FX_LOAD = 1u << 27,    /* LOAD, DO, CALL: code that may do anything (also FX_UNKNOWN) */
    FX_SHOW = 1u << 28,    /* SHOW: reads settings only */
    FX_UNKNOWN = 1u << 30, /* may have done anything to the session: ask the server */
};

struct fact_name {
    struct str schema; /* empty when not qualified; owned by the facts */
    struct str name;
    bool written;   /* relations only */
    uint16_t times; /* how often it is named; relations only */
};

/* "column = value" where value is a constant or a parameter, maybe under a cast that keeps it what
 * it is; column is one of the relation itself, if it has one of that name. */
enum fact_cast { FACT_CAST_NONE, FACT_CAST_INT, FACT_CAST_UUID, FACT_CAST_TEXT };

struct fact_match {
    uint16_t relation; /* index into relations[] */
    uint16_t slot;     /* which constant or parameter, counted as sql_slots_read does */
    uint16_t row;      /* of VALUES in an INSERT, from 0 */
    enum fact_cast cast;
    /* Every row that the statement reads of this relation where it stands in FROM, or writes of it,
     * has that value: a part of the outermost WHERE, joined by AND. In an INSERT: the row's
     * column. */
    bool holds;
    struct str column;
};

/* What a text is as a whole when it is a single statement of these kinds that changes at most the
 * one relation it names as its target. */
enum fact_shape {
    FACT_OTHER,
    FACT_SELECT, /* also of UNION and the like, whose parts have no outermost WHERE */
    FACT_INSERT, /* of VALUES with a list of columns; each row's values are there or are no match */
    FACT_UPDATE,
    FACT_DELETE,
};

#define FACT_RESETS_MAX 64

struct facts {
    uint32_t refs;
    uint32_t effects; /* fact_effect bits from the text alone, before the catalog was asked */
    /* Private to sql_effects and sql_repeatable: what they said of memo_catalog, which is compared,
     * never followed. */
    uint32_t flags_memo;
    bool repeatable_memo;
    uint8_t standby_memo;                  /* of sql_standby: enum sql_standby, */
    uint64_t standby_generation;           /* of this catalog, */
    const struct catalog *standby_catalog; /* compared only */
    uint32_t rule_memo;                    /* private to rules_match */
    uint64_t rule_generation;
    uint64_t memo_generation;
    const struct catalog *memo_catalog;
    bool complete; /* the grammar understood all of it */
    /* single SELECT (or SHOW) without locking clause, INTO or data-modifying CTE, and no effect but
     * FX_READ or FX_SHOW */
    bool repeatable_text;
    bool read_only_begin;    /* BEGIN or SET TRANSACTION with READ ONLY */
    bool read_write_begin;   /* the same with READ WRITE */
    bool serializable_begin; /* BEGIN or SET TRANSACTION with ISOLATION LEVEL SERIALIZABLE */
    /* With what a statement reads, locks or changes rows; for naming the reason, not for proofs. */
    bool selects, explains, modifies, into, locks_rows, locks_table;
    uint64_t digest;
    struct str text; /* normalised text, owned */
    /* The text without a single constant, and its digest, for statistics and logs: constants stay
     * in `text` where facts hang on them.  Empty and 0: nothing is known of the text. */
    struct str shown;
    uint64_t shown_digest;
    struct fact_name *relations; /* owned array; every table or view named */
    uint16_t nrelations;
    struct fact_name *functions; /* owned array; every function named (not operators) */
    uint16_t nfunctions;
    struct fact_match *matches; /* owned array */
    uint16_t nmatches;
    enum fact_shape shape;
    uint16_t target;      /* INSERT, UPDATE, DELETE: index into relations[] */
    uint16_t rows;        /* INSERT: of VALUES */
    struct str *assigned; /* owned; columns that UPDATE or ON CONFLICT DO UPDATE assigns */
    uint16_t nassigned;
    struct str *conflict; /* owned; INSERT ... ON CONFLICT (these) DO UPDATE */
    uint16_t nconflict;
    bool upsert;      /* ON CONFLICT DO UPDATE */
    struct str *vars; /* owned; lower-case names for FX_VARS_NAMED */
    uint16_t nvars;
    bool vars_reset;       /* some of vars[] are RESET, to DEFAULT or NULL, outside a function */
    uint64_t resets;       /* which of the first FACT_RESETS_MAX, where that came last */
    bool custom_types;     /* casts to or constants of a type that is not in the built-in catalog */
    bool session_values;   /* CURRENT_USER, CURRENT_DATE and their kin stand in it */
    bool operators;        /* any operator or cast: code of a custom one may be behind it */
    bool custom_operators; /* operators not in the built-in catalog, OPERATOR() included */
    struct str prepared;   /* name of PREPARE, EXECUTE, DEALLOCATE, as the server has it; owned */
    struct str channel;    /* of LISTEN, UNLISTEN; owned */
    struct str hint;       /* a leading or trailing comment that starts with "penstock:"; owned */
};

struct facts *facts_get(struct facts *f); /* one more reference; returns f */
void facts_put(struct facts **f);         /* drops one and clears the pointer; NULL is fine */

/* vars[i] was reset, and not set after that. */
static inline bool facts_resets(const struct facts *f, int i)
{
    return i < FACT_RESETS_MAX ? (f->resets >> i & 1) != 0 : f->vars_reset;
}

/* The effects once the catalog of the client's database has had its say: FX_UNKNOWN is added when a
 * user-defined function, an unproved relation (trigger, policy, default, view over such) or a
 * custom type or operator is involved, when the database has code of its own behind operators and
 * there is one, or when cat is NULL and there is anything to ask.  Also for FX_DDL (event triggers,
 * index expressions) and for FX_EXECUTE: who knows the prepared text combines f->effects with the
 * effects of its body (sql_classify_prepared_body).  FETCH is FX_READ alone: what its query does
 * was said at DECLARE, in the same transaction, so the server is to be asked at the transaction's
 * end, not before. Memoised per catalog object and generation. */
uint32_t sql_effects(struct facts *f, const struct catalog *cat);

/* The statement is a repeatable read: it may be executed twice, and beside other statements on one
 * server, and neither it nor they can tell.  One SELECT, VALUES, TABLE or SHOW that
 *   - writes nothing and locks nothing (rows, advisory locks), has no INTO and no data-modifying
 *     WITH, leaves nothing in the session;
 *   - calls only functions that are built in or of a known extension, each overload of the name
 *     IMMUTABLE or STABLE, and none that shows this backend, other sessions or the server process
 *     (inet_client_addr, pg_stat_get_...); a user's own function is no proof whatever its label;
 *   - reads tables, partitions, materialized views, and views and row security policies for which
 *     the same holds all the way down; no sequence, foreign or temporary table, no view of sessions
 *     (pg_stat_activity, pg_locks, pg_prepared_statements, pg_settings);
 *   - in a database without volatile or procedural code behind operators, casts or types.
 * What is not shown is false, and so is all but SHOW when cat is NULL.  It implies that sql_effects
 * is FX_READ or FX_SHOW alone.
 * Not promised: the same answer at another time (now() and concurrent writers change it), or under
 * another role, other settings or another search_path, for these are the caller's to compare; that
 * it is quick, or does not wait for a table lock; that a standby can run it (unlogged tables).  The
 * caller must know that the client has no temporary objects, and that no transaction is open.
 * Memoised like sql_effects. */
bool sql_repeatable(struct facts *f, const struct catalog *cat);

#endif
