/* cache_rig.h - rules and catalogs of the result cache for tests, from plain texts.
 *
 * Facts come from the real grammar.  A catalog is a list of rows "kind|a|b|c" as the codec's two
 * questions give them.  One thread.
 */
#ifndef PENSTOCK_TEST_CACHE_RIG_H
#define PENSTOCK_TEST_CACHE_RIG_H

#include "cache/cache_deps.h"
#include "cache/cache_key.h"
#include "cache/cache_rule.h"
#include "protocol/sql/sql_cache.h"

struct cache_rig {
    struct sql_cache *sql;
    struct cache_rules *rules;
    struct catalog *catalog;
    struct cache_bound *bound;
    struct cache_memo *memo;
    char error[ERROR_TEXT_MAX]; /* of the last rule that was refused */
};

void cache_rig_init(struct cache_rig *r);
void cache_rig_fini(struct cache_rig *r);

struct facts *cache_rig_facts(struct cache_rig *r, const char *text); /* one reference */

/* A rule with ttl 1 s, mode lease; key NULL: made from its name. false: refused. */
bool cache_rig_rule(struct cache_rig *r, const char *name, const char *query, const char *key);
bool cache_rig_add(struct cache_rig *r, const struct cache_rule_text *text);

/* A catalog of app.accounts(user_id int8, name text, balance), app.ledger(id int8, user_id int8,
 * amount), app.status(code text), the rows given (NULL-terminated), and the end. Binds the
 * rules. */
void cache_rig_bind(struct cache_rig *r, const char *const *rows);

/* "none", "all", or the names of the points with a blank between them; in static memory. */
const char *cache_rig_reach(struct cache_rig *r, const char *text);
/* With bound values in text form. */
const char *cache_rig_reach_bound(struct cache_rig *r, const char *text, const char *const *values,
                                  int n);

#endif
