/* config_entry.h - [databases], [users] and [peers]: one line into one entry.
 *
 * Called by config_load.c and config_url.c while a snapshot is built; main thread.
 */
#ifndef PENSTOCK_PROXY_CONFIG_ENTRY_H
#define PENSTOCK_PROXY_CONFIG_ENTRY_H

#include "base/status.h"
#include "base/str.h"
#include "proxy/config/config.h"

#define CONFIG_DATABASE_NAME_MAX 63
#define CONFIG_USER_NAME_MAX 127

enum config_entry_scope { CONFIG_IN_DATABASE = 1, CONFIG_IN_USER = 2 };

struct config_limit_key { /* one row per limit that an entry may have */
    const char *name;
    unsigned scopes; /* config_entry_scope bits */
    size_t offset;   /* into struct config_limits */
    enum config_type type;
    const char *global; /* the option that it overrides */
};
extern const struct config_limit_key config_entry_limits[];
extern const size_t config_entry_limits_count;

struct config_entry_text { /* one text of a database entry */
    const char *name;
    size_t offset; /* into struct config_database */
    bool target;   /* a change closes the servers */
    const char *help;
};
extern const struct config_entry_text config_entry_texts[];
extern const size_t config_entry_texts_count;

struct config_entries *config_entry_new(void);
void config_entry_put(struct config_entries **e);
struct config_entries *config_entry_get(struct config_entries *e);

/* Adds the entry, or replaces the one of that name. On error e may hold unused memory, nothing
 * else. Hosts that were not given stay unset until config_entry_finish. */
enum status config_entry_database(struct config_entries *e, const struct wire *wire,
                                  struct str name, struct str conn,
                                  struct error *err) ATTR_NODISCARD;
enum status config_entry_user(struct config_entries *e, struct str name, struct str conn,
                              struct error *err) ATTR_NODISCARD;
enum status config_entry_peer(struct config_entries *e, struct str name, struct str conn,
                              struct error *err) ATTR_NODISCARD;

/* Sorts, joins entries and clusters, and gives entries without a host the local socket. Call once,
 * after the last entry. */
enum status config_entry_finish(struct config_entries *e, const struct wire *wire,
                                const struct config_options *opt, struct error *err) ATTR_NODISCARD;

/* Splits "a,b,c" and "5432,5433,5434" into the hosts of d. port_list may be one number or empty;
 * def is the port that is used then. */
enum status config_entry_hosts(struct config_arena *arena, struct config_database *d,
                               struct str host_list, struct str port_list, int def,
                               struct error *err) ATTR_NODISCARD;

/* A new entry with every limit unset. */
struct config_database *config_entry_blank(struct config_entries *e, struct str name);
/* Puts d into e, in place of the entry of that name. */
void config_entry_add(struct config_entries *e, struct config_database *d);

#endif
