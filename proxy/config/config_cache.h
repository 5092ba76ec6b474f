/* config_cache.h - [cache] and [cache NAME]: the result cache and its rules.
 *
 * Two tables describe the keys, as config_schema.h does for the main section; the sample and the
 * manual are made from them.  A rule's query and key are compiled when the file is read, so that a
 * rule that cannot work makes the file bad.  The whole is immutable once read and shared between
 * snapshots that a SET makes.
 * Called by config_load.c and config_print.c (main thread); read by the cache on any thread.
 */
#ifndef PENSTOCK_PROXY_CONFIG_CACHE_H
#define PENSTOCK_PROXY_CONFIG_CACHE_H

#include "base/refs.h"
#include "base/status.h"
#include "base/str.h"
#include "cache/cache_lease.h"
#include "proxy/config/config_arena.h"
#include "proxy/config/config_ini.h"
#include "proxy/config/config_schema.h"
#include "proxy/net/tls_ctx.h"

#define CONFIG_CACHE_RULES_MAX 64
#define CONFIG_CACHE_NAME_MAX 63
#define CONFIG_CACHE_PREFIX_MAX 64

#define CONFIG_CACHE_MEMBER_MAX 40 /* bytes of redis_name */

struct cache_rules;
struct config_entries;

enum config_cache_mode {
    CONFIG_CACHE_UNSET = -1,
    CONFIG_CACHE_OFF,
    CONFIG_CACHE_TTL,
    CONFIG_CACHE_LEASE,
    CONFIG_CACHE_BOUNDED, /* known, and refused: not in this release */
    CONFIG_CACHE_STRICT,
};

struct config_cache_options { /* [cache] */
    const char *store, *prefix, *redis_password, *redis_name;
    usec_t redis_timeout, wait, local_ttl;
    int redis_members;
    int64_t memory;     /* bytes */
    int64_t max_result; /* bytes */
    enum config_cache_mode mode;
    enum cache_without_redis write_without_redis;
    enum tls_mode redis_tls_sslmode;
    const char *redis_tls_ca_file, *redis_tls_cert_file, *redis_tls_key_file;
};

struct config_cache_table { /* table.X = COLUMNS */
    const char *table;      /* as written: [schema.]name */
    const char *columns;    /* comma list; "*": the whole table */
};

struct config_cache_rule { /* [cache NAME] */
    const char *name;
    const char *query, *key;
    const char *users, *functions; /* comma lists; empty: unset */
    usec_t ttl;
    usec_t local_ttl;   /* resolved, as the next two: 0 unless there is another store */
    int64_t max_result; /* never unset once read */
    enum config_cache_mode mode;
    struct config_cache_table *tables;
    size_t ntables;
    const char *file; /* where it begins, and */
    int line;         /* where its query stands, for messages */
};

struct config_cache_redis { /* store, taken apart */
    const char *host;       /* NULL: answers are kept in memory */
    const char *user, *password;
    int port, database;
    bool tls;
};

struct config_cache {
    struct refs refs;
    struct config_arena arena;
    struct config_cache_options opt;
    struct config_cache_redis redis;
    struct config_cache_rule *rules[CONFIG_CACHE_RULES_MAX];
    size_t nrules;
    bool local;  /* some rule has a first level in front of Redis */
    bool leased; /* some rule is of mode lease in Redis: there this process is a member */
    char member[CONFIG_CACHE_MEMBER_MAX + 1]; /* with this name */
    char rules_name[9];                       /* a hash of the rules of mode lease, in digits */
    struct cache_rules *set; /* owned: the same rules, compiled, in the same order */
    struct {
        _Atomic unsigned adopted; /* workers that go by it (session_cache.c) */
        _Atomic bool in_force;    /* all of them do */
        _Atomic bool cut_off;     /* until then this process is no member */
    } shared;
};

extern const struct config_option config_cache_schema[];
extern const size_t config_cache_schema_count;
extern const struct config_option config_cache_rule_schema[];
extern const size_t config_cache_rule_schema_count;

struct config_cache *config_cache_new(void); /* defaults and no rules */
struct config_cache *config_cache_get(struct config_cache *c);
void config_cache_put(struct config_cache **c);

/* The name is that of such a section: "cache", or "cache" and a name. */
bool config_cache_section(struct str section);
/* The row of that key in such a section; NULL: none, or table.NAME. */
const struct config_option *config_cache_option(struct str section, struct str key);
/* A section begins, or a line of one. On failure err holds the reason without file, line and
 * key. */
enum status config_cache_item(struct config_cache *c, const struct config_item *it,
                              struct error *err) ATTR_NODISCARD;
/* After the last line: rules are complete and fit together with the rest of the file. err holds
 * "FILE:LINE: key: reason". */
enum status config_cache_finish(struct config_cache *c, const struct config_options *opt,
                                const struct config_entries *entries,
                                struct error *err) ATTR_NODISCARD;
/* Something of the cache differs, so that what was stored under the old rules must not be served
 * under the new ones. */
bool config_cache_differs(const struct config_cache *a, const struct config_cache *b);

const char *config_cache_mode_name(enum config_cache_mode mode);

#endif
