/* config_explain.h - a configuration file told back, key by key: what each does here.
 *
 * Called by main for `penstock --check FILE.ini`, after the file was found to be good.  It reads
 * the file again, so that it can follow its order and its includes; what a key means comes from the
 * tables of the schema and of the entries.  Secrets are not repeated.
 */
#ifndef PENSTOCK_PROXY_CONFIG_EXPLAIN_H
#define PENSTOCK_PROXY_CONFIG_EXPLAIN_H

#include "proxy/config/config.h"

enum status config_explain(FILE *out, const struct config *cfg, const char *path,
                           struct error *err) ATTR_NODISCARD;

#endif
