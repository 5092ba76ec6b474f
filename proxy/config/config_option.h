/* config_option.h - text to value and back, for options and for connection strings.
 *
 * Called by the configuration reader, SHOW CONFIG and SET.  Pure functions over the caller's
 * structure.
 */
#ifndef PENSTOCK_PROXY_CONFIG_OPTION_H
#define PENSTOCK_PROXY_CONFIG_OPTION_H

#include "base/status.h"
#include "base/str.h"
#include "proxy/config/config_arena.h"
#include "proxy/config/config_schema.h"

struct buf;

/* The row of that name, or NULL. Names are compared exactly, as PgBouncer does. */
const struct config_option *config_option_find(struct str name);

/* Reads text into the field of o; texts are copied into arena. On error the field is unchanged and
 * err holds the reason, without the key and without the value of a text. */
enum status config_option_set(struct config_options *opt, struct config_arena *arena,
                              const struct config_option *o, struct str text,
                              struct error *err) ATTR_NODISCARD;
/* The same for the structure at base, which is the one that o belongs to. */
enum status config_option_read(void *base, struct config_arena *arena,
                               const struct config_option *o, struct str text,
                               struct error *err) ATTR_NODISCARD;

/* Appends the value of o as SHOW CONFIG shows it. */
void config_option_format(const struct config_options *opt, const struct config_option *o,
                          struct buf *out);
void config_option_write(const void *base, const struct config_option *o, struct buf *out);

/* The pieces, for connection strings. Each takes all of s; on failure *out is unchanged. */
enum status config_option_time(struct str s, usec_t *out, struct error *err) ATTR_NODISCARD;
enum status config_option_int(struct str s, int64_t min, int64_t max, int64_t *out,
                              struct error *err) ATTR_NODISCARD;
enum status config_option_size(struct str s, int64_t min, int64_t max, int64_t *out,
                               struct error *err) ATTR_NODISCARD;
enum status config_option_enum(struct str s, const struct config_enum *values, int *out,
                               struct error *err) ATTR_NODISCARD;

/* Appends us in seconds with as many decimals as it needs. */
void config_option_put_time(struct buf *out, usec_t us);

#endif
