/* statements.h - statistics of statements: what was run how often, on which host, for how long.
 *
 * One table per worker, keyed by database entry, host and digest (sql_facts.h: the text without
 * its constants, so that a prepared statement and the same text in the simple protocol are one
 * row).  session_reply.c notes each request when its answer is complete; SHOW STATEMENTS merges the
 * tables of all workers (admin_statements.c).
 *
 * A request that runs several different statements is a row of its own, with their texts joined in
 * the order in which they first come: the database answers it as a whole, and when one of them was
 * done cannot be seen.  A request that runs one statement n times counts as n calls of equal
 * length.  What was not understood, was too large to be looked at, or was prepared earlier in
 * session mode (where names are the server's business) has digest 0 and no text.  What the result
 * cache answers has no host; SHOW STATEMENTS shows it with the statement's host.
 *
 * Bounded by bytes: for a new row the least valuable of some old ones gives way, the value being
 * the time a statement took, which counts for less the more others have needed room since.  Noting
 * a statement that has a row allocates nothing.
 * Thread: the worker's.
 */
#ifndef PENSTOCK_PROXY_STATEMENTS_H
#define PENSTOCK_PROXY_STATEMENTS_H

#include "base/base.h"
#include "base/clock.h"
#include "base/list.h"
#include "base/sketch.h"
#include "protocol/sql_facts.h"

#define STATEMENTS_BATCH 4       /* different statements of a request that are told apart */
#define STATEMENTS_TEXT_MAX 2048 /* bytes of a text that are kept */

struct db_shared;
struct statements;

struct statement_batch {                   /* what one request runs */
    struct facts *facts[STATEMENTS_BATCH]; /* references; each once, in order */
    uint8_t n;
    bool more;     /* there were further ones */
    bool unseen;   /* and such of which nothing is known */
    uint32_t runs; /* 0: it runs nothing */
};

/* f NULL: something of which nothing is known. */
void statement_batch_add(struct statement_batch *b, struct facts *f);
/* Appends the second to the first and empties it. */
void statement_batch_move(struct statement_batch *to, struct statement_batch *from);
void statement_batch_clear(struct statement_batch *b);
/* 0: nothing is known of it. */
uint64_t statement_batch_digest(const struct statement_batch *b);
/* Its text, terminated and cut to fit between two characters; returns the length. cap >= 16. */
size_t statement_batch_text(const struct statement_batch *b, char *dst, size_t cap);

struct statement_run { /* one answered request */
    const struct statement_batch *batch;
    const struct db_shared *db;
    const char *host; /* by registry_host */
    usec_t took, waited;
    uint64_t rows;
    bool failed;
};

struct statement_key {
    const struct db_shared *db;
    const char *host; /* NULL: none was asked, the answers came from the result cache */
    uint64_t digest;
};

struct statement { /* a row */
    struct statement_key key;
    uint64_t calls, errors, rows;
    uint64_t cached; /* not among the calls; 0 unless key.host is NULL */
    uint64_t total_us, wait_us;
    usec_t max_us;
    struct sketch times;
    struct str text; /* owned by the table */
};

struct statements_counts {
    size_t rows, bytes;
    uint64_t evicted;
};

struct statements *statements_new(void); /* off */
void statements_free(struct statements **t);
/* Off: everything is forgotten. A smaller max_bytes makes room at once. */
void statements_configure(struct statements *t, bool on, size_t max_bytes);
bool statements_on(const struct statements *t);
void statements_note(struct statements *t, const struct statement_run *r);
/* A request that the result cache has answered: in a row without host. */
void statements_note_cached(struct statements *t, const struct db_shared *db,
                            const struct statement_batch *b);
void statements_reset(struct statements *t);
void statements_each(const struct statements *t, void (*fn)(void *arg, const struct statement *s),
                     void *arg);
void statements_count(const struct statements *t, struct statements_counts *out);

#endif
