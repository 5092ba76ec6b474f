/* http_auth.h - who may look: basic authentication with the console's users.
 *
 * Those of admin_users and stats_users may, with the secret that auth_file has of them.  A user
 * whose secret only auth_query knows cannot: nothing here asks a database.
 * Pure: any thread, each with its own http_auth_known.
 */
#ifndef PENSTOCK_PROXY_HTTP_AUTH_H
#define PENSTOCK_PROXY_HTTP_AUTH_H

#include "proxy/config/config.h"

/* Checking a password takes long on purpose. Who scrapes comes with the same one every time: what
 * was right last is remembered as a keyed digest, for as long as the configuration is the same. */
struct http_auth_known {
    uint64_t generation; /* of the configuration; 0: nothing is remembered */
    uint8_t key[32], digest[32];
};

void http_auth_init(struct http_auth_known *k);
void http_auth_fini(struct http_auth_known *k);
/* header: of the request, "Basic ..."; NULL: there was none. What is not remembered takes the time
 * of a password check, whoever it is. generation: of cfg, above 0. */
bool http_auth_allows(const struct config *cfg, uint64_t generation, const char *header,
                      struct http_auth_known *k);

/* Host names a machine, not by a name that somebody else could make point here: a page of a foreign
 * site that a browser shows must not read ours (DNS rebinding). host NULL: true. */
bool http_auth_host_is_plain(const char *host);

#endif
