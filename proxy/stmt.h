/* stmt.h - prepared statements: what clients named, what servers hold, and that both are the same.
 *
 * A struct stmt is a statement's identity: its text, parameter types and, where they were not the
 * defaults, the settings that decide its analysis.  Clients map their names to statements
 * (stmt_names); a server maps statements to the handles under which it has them (stmt_set),
 * bounded, least recently used first.  Thousands of clients with the same text share one statement
 * on each server. Names that must exist on a server under the client's own spelling (SQL PREPARE
 * and EXECUTE) are kept in the same set under `named` entries.
 *
 * Thread: everything belongs to one worker, but for struct stmt_text, which is immutable and
 * counted atomically, so that a server can take its set along to another worker.
 */
#ifndef PENSTOCK_PROXY_STMT_H
#define PENSTOCK_PROXY_STMT_H

#include "base/base.h"
#include "base/list.h"
#include "base/map.h"
#include "base/refs.h"
#include "base/str.h"
#include "protocol/sql_facts.h"
#include "protocol/wire.h"

struct stmt_text { /* immutable, shared between workers */
    struct refs refs;
    uint64_t hash;
    uint64_t analysis; /* hash of the settings that decide analysis; 0: defaults */
    bool by_text;      /* made by SQL PREPARE: text is the whole command */
    struct str text, types;
};

struct stmt {
    uint32_t refs;
    struct stmt_text *text; /* one reference */
    struct facts *facts;    /* owned reference, NULL until asked for, and with it: */
    bool custom_types;      /* given for its parameters */
    struct stmt *next;      /* chain in the registry */
    struct list unused;     /* on the registry's list while refs is 0 */
    struct stmt_registry *registry;
};

struct stmt_registry {
    struct stmt **chains; /* owned */
    size_t nchains, count;
    struct list unused; /* oldest first */
    size_t nunused, unused_bytes;
    uint64_t next_number; /* of handles; the worker's index is in the upper bits */
    uint64_t salt;        /* the process's, makes handles unguessable */
};

void stmt_registry_init(struct stmt_registry *r, unsigned worker, uint64_t salt);
void stmt_registry_fini(struct stmt_registry *r);

struct stmt_key {
    struct str text, types;
    uint64_t analysis;
    bool by_text;
};

/* The statement with that identity, made if new; the caller owns one reference. NULL: no memory. */
struct stmt *stmt_find(struct stmt_registry *r, const struct stmt_key *key);
struct stmt *stmt_get(struct stmt *s);
void stmt_put(struct stmt **s);

/* A client's names. */
struct stmt_names {
    struct map by_name;   /* name -> struct stmt *, one reference each */
    struct stmt *unnamed; /* owned reference or NULL */
    struct map described; /* name -> definitions under which its rows were described, plus one */
};
/* The client was told what rows name gives, under these definitions; 0 and false: it was not. */
void stmt_names_described(struct stmt_names *n, struct str name, uint32_t definitions);
bool stmt_names_description(const struct stmt_names *n, struct str name, uint32_t *definitions);
void stmt_names_init(struct stmt_names *n);
void stmt_names_fini(struct stmt_names *n);
/* borrowed; NULL: none */
struct stmt *stmt_names_find(const struct stmt_names *n, struct str name);
/* Sets (s non-NULL, reference taken over) or removes; returns the old one, whose reference is the
 * caller's now, or NULL. */
struct stmt *stmt_names_set(struct stmt_names *n, struct str name, struct stmt *s);
void stmt_names_clear(struct stmt_names *n);
size_t stmt_names_count(const struct stmt_names *n);

/* What one server holds. */
struct stmt_entry {
    struct list lru;   /* in the set, oldest first */
    struct stmt *stmt; /* owned reference */
    struct wire_handle handle;
    bool named;           /* the handle is a client's own spelling */
    struct str name;      /* of a named entry; owned */
    uint32_t definitions; /* of the database when it was prepared (db_shared) */
    uint64_t flight;      /* sequence number of the flight that prepared it (server.flights_done) */
};

struct stmt_set {
    struct map by_stmt; /* pointer bytes -> struct stmt_entry * */
    struct map by_name; /* named entries */
    struct list lru;    /* unnamed-handle entries only */
    size_t count;       /* of entries on lru */
};
void stmt_set_init(struct stmt_set *s);
void stmt_set_fini(struct stmt_set *s);
void stmt_set_clear(struct stmt_set *s);
/* NULL when the server does not have it; otherwise it becomes the most recently used. */
struct stmt_entry *stmt_set_find(struct stmt_set *s, const struct stmt *stmt);
/* Adds it under a fresh handle. wire makes the handle. */
struct stmt_entry *stmt_set_add(struct stmt_set *s, struct stmt *stmt, const struct wire *wire);
struct stmt_entry *stmt_set_find_named(struct stmt_set *s, struct str name);
struct stmt_entry *stmt_set_add_named(struct stmt_set *s, struct stmt *stmt, struct str name);
void stmt_set_remove(struct stmt_set *s, struct stmt_entry *e);
struct stmt_entry *stmt_set_oldest(struct stmt_set *s); /* NULL when empty */

/* Hand-over to another worker: a list of texts and handles without ties to the registry. */
struct stmt_parcel;
struct stmt_parcel *stmt_set_export(struct stmt_set *s); /* empties the set */
/* frees p */
void stmt_set_import(struct stmt_set *s, struct stmt_registry *r, struct stmt_parcel *p);
void stmt_parcel_free(struct stmt_parcel *p);

#endif
