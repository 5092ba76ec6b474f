/* http_auth.h - who may look: basic authentication with the console's users.
 *
 * Those of admin_users and stats_users may, with the secret that auth_file has of them.  A user
 * whose secret only auth_query knows cannot: nothing here asks a database.
 * Pure: any thread.
 */
#ifndef PENSTOCK_PROXY_HTTP_AUTH_H
#define PENSTOCK_PROXY_HTTP_AUTH_H

#include "proxy/config/config.h"

/* header: of the request, "Basic ..."; NULL: there was none. Takes the time of a password check
 * whoever it is. */
bool http_auth_allows(const struct config *cfg, const char *header);

/* Host names a machine, not by a name that somebody else could make point here: a page of a foreign
 * site that a browser shows must not read ours (DNS rebinding). host NULL: true. */
bool http_auth_host_is_plain(const char *host);

#endif
