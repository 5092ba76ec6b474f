/* cache_gate.h - the one place that says whether a read may be answered from the cache or kept.
 *
 * Called by the session for each request that belongs to a rule, before the key is made; the reason
 * is counted per rule and shown by SHOW CACHE and SHOW LAST.  Pure.
 */
#ifndef PENSTOCK_CACHE_GATE_H
#define PENSTOCK_CACHE_GATE_H

#include "base/base.h"
#include "cache/cache_deps.h"
#include "cache/cache_key.h"
#include "cache/cache_rule.h"

/* X(name, word, what a person reads) */
#define CACHE_BYPASSES(X)                                                                          \
    X(NONE, "none", "answered from the cache, or kept for it")                                     \
    X(OFF, "off", "the rule's mode is off")                                                        \
    X(HINT, "hint", "a comment of the statement says cache=off")                                   \
    X(UNCHECKED, "unchecked", "the database's catalog is not known yet")                           \
    X(REFUSED, "refused", "the rule cannot be safe in this database: SHOW CACHE says why")         \
    X(USER, "user", "the rule does not list the user")                                             \
    X(TRANSACTION, "transaction", "a transaction is open")                                         \
    X(ISOLATION, "isolation", "the session's transactions are serializable")                       \
    X(ROLE, "role", "the session has taken another role")                                          \
    X(SETTINGS, "settings", "not all settings of the session are known")                           \
    X(TEMP, "temp", "the session may have temporary objects")                                      \
    X(PINNED, "pinned", "the session keeps its server for another reason")                         \
    X(PIPELINE, "pipeline", "the request is more than this one statement")                         \
    X(ROW_LIMIT, "row_limit", "the client wants the rows in portions")                             \
    X(CONSTANT, "constant", "a constant differs from the rule's")                                  \
    X(VALUE, "value", "a parameter is NULL or has no canonical form")                              \
    X(LENGTH, "length", "the key would be too long")                                               \
    X(WRITE, "write", "a write to it is under way")                                                \
    X(HOT, "hot", "written too often to be kept")                                                  \
    X(STORE, "store", "Redis did not answer in time")                                              \
    X(MEMBERS, "members", "not all processes that share Redis are there")                          \
    X(LEASED, "leased", "another process is fetching it")                                          \
    X(UPGRADE, "upgrade", "two processes are running")

enum cache_bypass {
#define CACHE_BYPASS_ENUM(name, word, text) CACHE_BYPASS_##name,
    CACHE_BYPASSES(CACHE_BYPASS_ENUM)
#undef CACHE_BYPASS_ENUM
        CACHE_BYPASS_COUNT
};

const char *cache_gate_word(enum cache_bypass b);
const char *cache_gate_text(enum cache_bypass b);

/* What the session knows of itself and of the request. Everything is true when in doubt. */
struct cache_gate {
    const struct cache_rule *rule;
    const struct cache_bound_rule *bound; /* NULL: not checked in this database yet */
    struct str user;                      /* as logged in */
    struct str hint;                      /* of the statement (facts.hint) */
    bool tx_open;                         /* in a transaction, or a BEGIN is on its way */
    bool serializable;                    /* default_transaction_isolation is that, or not known */
    bool other_role;                      /* SET ROLE, SET SESSION AUTHORIZATION since login */
    bool settings_unknown;                /* code that is not understood may have changed some */
    bool temp_objects;
    bool pinned;    /* keeps its server for another reason (lock, cursor, listen ...) */
    bool not_alone; /* more statements up to the request's end, or an uncommon sequence */
    bool row_limit; /* an execute part with a limit */
    bool upgrading;
};

/* The first reason that holds, in the order of the list; CACHE_BYPASS_NONE when there is none. */
enum cache_bypass cache_gate_check(const struct cache_gate *g);
/* What a key that could not be made counts as. */
enum cache_bypass cache_gate_of_key(enum cache_key_result r);

/* The hint of a statement says that the cache is not to be used. */
bool cache_gate_hint_off(struct str hint);

#endif
