/* config_build.h - a snapshot while it is being made; internal to proxy/config.
 *
 * Called by config_load.c (from a file, from another snapshot) and config_url.c (from a URL), on
 * the main thread.  Until it is returned to the caller of config_load and its kin, a snapshot has
 * one owner and may change; afterwards nothing here may be called on it.
 */
#ifndef PENSTOCK_PROXY_CONFIG_BUILD_H
#define PENSTOCK_PROXY_CONFIG_BUILD_H

#include "proxy/config/config.h"

/* Empty entries and secrets, options at the defaults of [pgbouncer] or [penstock]. */
struct config *config_build_new(const struct wire *wire, bool penstock);

/* Sets every option to its default. */
void config_build_defaults(struct config *cfg, bool penstock);

struct config_secrets *config_build_secrets_new(void);
struct config_secrets *config_build_secrets_get(struct config_secrets *s);
void config_build_secrets_put(struct config_secrets **s);

/* Sets one option to the default that cfg->penstock and cfg->wire ask for. */
void config_build_default(struct config *cfg, const struct config_option *o);

/* A copy that shares entries, secrets and rules. */
struct config *config_build_copy(const struct config *from);

/* Reads what auth_file and, with auth_type = hba, auth_hba_file and auth_ident_file name; a
 * relative path may also be beside conffile. On failure *key is the option to blame. */
enum status config_build_auth(struct config *cfg, const char **key,
                              struct error *err) ATTR_NODISCARD;

#endif
