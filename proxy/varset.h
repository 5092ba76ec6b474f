/* varset.h - sets of settings, interned: equal sets are one pointer.
 *
 * A client's wished settings, a server's actual settings and the reported values a client was last
 * told are all varsets; comparing two costs one pointer comparison at checkout.  Sets are
 * immutable, reference- counted and belong to one worker's table; a server that moves between
 * workers takes a plain copy along (varset_export) and is interned anew.
 * Names are compared without case and kept lower-case for matching, in the given spelling for
 * reports.
 * Thread: the owning worker's.
 */
#ifndef PENSTOCK_PROXY_VARSET_H
#define PENSTOCK_PROXY_VARSET_H

#include "base/base.h"
#include "base/str.h"
#include "protocol/wire.h"

#define VARSET_MAX 512 /* settings of one set; of more the first ones named are dropped */

struct varset {
    uint32_t refs;
    uint16_t n;
    bool analysis;              /* holds a setting that decides how statements are analysed */
    bool hurries;               /* holds a time limit that could strike statements of ours */
    uint64_t hash;              /* of all names and values */
    uint64_t analysis_hash;     /* of those that decide analysis; 0 when none */
    struct varset *next;        /* in the table's chain */
    struct varset_table *table; /* borrowed */
    struct wire_var vars[];     /* sorted by name; text behind the array */
};

struct varset_table {
    struct varset **chains; /* owned */
    size_t nchains, count;
    const struct wire *wire;
    struct varset *empty; /* always there */
};

void varset_table_init(struct varset_table *t, const struct wire *wire);
void varset_table_fini(struct varset_table *t);

/* All return one reference that the caller owns. Duplicate names: the last wins. */
struct varset *varset_make(struct varset_table *t, const struct wire_var *vars, int n);
struct varset *varset_empty(struct varset_table *t);
struct varset *varset_get(struct varset *v);
void varset_put(struct varset **v); /* NULL is fine; clears */

/* Replaces *v by the set with name set to value (value.p NULL: removed). */
void varset_change(struct varset **v, struct str name, struct str value);
/* The value, or STR_NONE. */
struct str varset_find(const struct varset *v, struct str name);

/* What must be set or reset (value.p NULL) to get from `have` to `want`. Writes at most max
 * entries; returns how many there would be. The slices live as long as the sets. */
int varset_diff(const struct varset *have, const struct varset *want, struct wire_var *out,
                int max);

/* A copy without table, for another thread; free with mem_free after varset_import. */
struct varset *varset_export(const struct varset *v);
struct varset *varset_import(struct varset_table *t, const struct varset *exported);

#endif
