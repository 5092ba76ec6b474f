/* cache_deps.h - what a rule reads, and what a statement may write to that.
 *
 * A struct cache_bound is a set of rules seen through one database's catalog snapshot: immutable,
 * reference-counted atomically, made anew for each snapshot and each configuration, by any thread.
 * It resolves views, partitions both ways, inheritance, foreign-key actions, triggers and rules.
 * Names without schema mean every relation of that name.
 *
 * The safe side: what is not proved harmless writes everything.  Statements of a database whose
 * catalog is not known write everything.
 */
#ifndef PENSTOCK_CACHE_DEPS_H
#define PENSTOCK_CACHE_DEPS_H

#include "base/base.h"
#include "base/status.h"
#include "base/str.h"
#include "cache/cache_key.h"
#include "cache/cache_rule.h"
#include "protocol/catalog.h"
#include "protocol/sql_facts.h"

struct cache_bound_rule {
    const struct cache_rule *rule; /* of the set, which the bound keeps */
    bool usable;
    bool points;   /* some writes drop one key; otherwise every write drops all */
    char why[200]; /* not usable, or not points: the reason; otherwise empty */
    enum cache_type types[CACHE_RULE_PARAMS];
};

struct cache_bound;

struct cache_bound *cache_deps_bind(struct cache_rules *rules, struct catalog *catalog);
void cache_deps_put(struct cache_bound **b);                           /* NULL is fine */
const struct catalog *cache_deps_catalog(const struct cache_bound *b); /* compared, to know if it is
                                                                           the current one */
const struct cache_bound_rule *cache_deps_rule(const struct cache_bound *b, int index);

enum cache_reach {
    CACHE_REACH_NONE,  /* proved harmless to the rule */
    CACHE_REACH_POINT, /* the keys that cache_deps_point yields */
    CACHE_REACH_ALL,   /* every entry of the rule */
};

#define CACHE_POINTS_MAX 16 /* rows of one INSERT that are followed; more reach all */

/* What one statement may do to each rule; owned by a memo. */
struct cache_impact {
    bool harmless;  /* to all of them: nothing to do */
    uint8_t *reach; /* by rule index: enum cache_reach */
    uint8_t *key;   /* by rule index; private to cache_deps_points */
    int nrules;
    struct facts *facts; /* borrowed from the memo */
};

/* A worker's memory of impacts, keyed by facts. */
struct cache_memo;
struct cache_memo *cache_deps_memo_new(void);
void cache_deps_memo_free(struct cache_memo **m);
/* Never NULL; valid until the next call with this memo. bound NULL: an impact of no rules (there is
 * nothing that could be stale in a database without a bound). Hot after the first time. A statement
 * that runs another by name (FX_EXECUTE) reaches all: call this with the facts of the body too and
 * use that instead. */
const struct cache_impact *cache_deps_impact(struct cache_memo *m, struct cache_bound *b,
                                             struct facts *f);

/* The keys that the statement writes for a rule of reach POINT: fills at most CACHE_POINTS_MAX
 * names. Returns how many, or -1: a value has no canonical form, so it reaches all. */
int cache_deps_points(const struct cache_bound *b, const struct cache_impact *impact, int rule,
                      const struct cache_request *q, struct cache_key *out);

#endif
