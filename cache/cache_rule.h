/* cache_rule.h - the rules of the result cache: which statements are answered from it, under what
 * key.
 *
 * A rule is made once, when the configuration is read, from its text and the facts of its query
 * (main thread, or a test).  A set of rules is immutable after that, shared by all workers and
 * reference-counted atomically.  What depends on one database's catalogs (tables, types of the
 * parameters, whether the rule can be safe at all) is not here but in a struct cache_bound
 * (cache_deps.h).
 *
 * A client's statement belongs to a rule when its normalised text is that of the rule's query.
 * Constants and parameters look alike there; cache_key_make then compares them place by place: a
 * constant of the rule's query must stand in the client's statement exactly as written, and what
 * stands in place of $n is part of the entry's identity.
 */
#ifndef PENSTOCK_CACHE_RULE_H
#define PENSTOCK_CACHE_RULE_H

#include "base/base.h"
#include "base/clock.h"
#include "base/status.h"
#include "base/str.h"
#include "protocol/sql_facts.h"
#include "protocol/sql_slots.h"

enum cache_mode {
    CACHE_OFF,
    CACHE_TTL,     /* as old as the time to live, plus the query's own time */
    CACHE_LEASE,   /* never older than an acknowledged write through the proxy */
    CACHE_BOUNDED, /* refused: not in this release */
    CACHE_STRICT,  /* refused: not in this release */
};

#define CACHE_RULES_MAX 256
#define CACHE_RULE_TABLES 32 /* tables stated in one rule */
#define CACHE_RULE_COLUMNS 4 /* key columns of one table */
#define CACHE_RULE_PARAMS 8  /* $n of one rule */
#define CACHE_KEY_TEXT 256   /* bytes of a key once it is filled in */
#define CACHE_TEMPLATE_PARTS (2 * CACHE_RULE_PARAMS + 1)

struct cache_rule_table { /* one line "table.NAME = ..." */
    struct str name;      /* "app.accounts", or without schema */
    struct str columns;   /* "user_id", "user_id = $1, tenant = $2", or "*": the whole table */
};

struct cache_rule_text { /* as it stands in the configuration; borrowed for the call */
    struct str name, query, key;
    enum cache_mode mode;
    usec_t ttl_us;           /* > 0 */
    usec_t local_us;         /* of this, in memory in front of another store; 0: none, < ttl_us */
    size_t max_result;       /* bytes of an answer */
    const struct str *users; /* nusers 0: entries are per user */
    int nusers;
    /* Functions that neither write to a table of this rule nor read others than stated: those in
     * the query, those behind triggers, and those that statements call. "schema.name" or "name" */
    const struct str *functions;
    int nfunctions;
    const struct cache_rule_table *tables;
    int ntables;
};

struct cache_template_part {
    struct str text; /* before the parameter; may be empty */
    uint32_t param;  /* 0: none follows */
};

struct cache_stated { /* a table line, taken apart */
    struct str schema, table;
    bool whole; /* "*" */
    int ncolumns;
    struct str column[CACHE_RULE_COLUMNS];
    uint32_t param[CACHE_RULE_COLUMNS]; /* from 1 */
};

struct cache_rule {
    uint16_t index; /* in its set, and of its bound twin */
    struct str name, key;
    enum cache_mode mode;
    usec_t ttl_us, local_us;
    size_t max_result;
    uint64_t text_hash;  /* of everything that decides what an entry holds */
    uint64_t entry_hash; /* of that, and of how old it may be: part of its identity */
    struct facts *facts; /* owned by the set; its counters and memos are touched by nobody else */
    int nslots;
    struct sql_slot slots[SQL_SLOTS_MAX]; /* of the query */
    int nparams;                          /* $1 ... $nparams, all of which occur */
    struct cache_template_part parts[CACHE_TEMPLATE_PARTS];
    int nparts;
    int nusers, nfunctions, nstated;
    struct str *users; /* owned arrays */
    struct fact_name *functions;
    struct cache_stated *stated;
    /* The next rule whose query differs from this one's in constants only; NULL: none. */
    const struct cache_rule *same;
};

struct cache_rules; /* a set */

/* Building, one thread. An empty set is legal and finds nothing. */
struct cache_rules *cache_rule_set_new(void);
/* Adds a rule whose query has these facts (dialect 0; the set takes its own reference, and the
 * caller must drop its own before the set is shared). Refused with the reason in err: no complete
 * single read, a key without or with unknown parameters, gaps in the numbers, two rules for one
 * query or of one name, words that mean another thing every day ('now', 'today'), modes of later
 * releases, stated tables that cannot be read. */
enum status cache_rule_add(struct cache_rules *set, const struct cache_rule_text *text,
                           struct facts *facts, struct error *err) ATTR_NODISCARD;

struct cache_rules *cache_rule_set_get(struct cache_rules *set);
void cache_rule_set_put(struct cache_rules **set); /* NULL is fine */
int cache_rule_count(const struct cache_rules *set);
const struct cache_rule *cache_rule_at(const struct cache_rules *set, int i);

/* The rule for a statement with these facts, or NULL. Hot: one probe by digest. Rules with mode off
 * are found too (the gate says why they are not used). The first of those that differ in constants
 * only: cache_key_rule chooses. */
const struct cache_rule *cache_rule_find(const struct cache_rules *set, const struct facts *f);
const struct cache_rule *cache_rule_named(const struct cache_rules *set, struct str name);

/* Entries of the rule may be given to this user: it lists none, or this one. */
bool cache_rule_has_user(const struct cache_rule *r, struct str user);
bool cache_rule_has_function(const struct cache_rule *r, struct str schema, struct str name);

bool cache_rule_mode(struct str word, enum cache_mode *out); /* "off", "ttl", "lease", ... */
const char *cache_rule_mode_name(enum cache_mode m);

#endif
