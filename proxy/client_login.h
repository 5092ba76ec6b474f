/* client_login.h - from an accepted socket to a logged-in client.
 *
 * Called by client.c.  PROXY header, TLS, start-up packet, the choice of method (auth_type or hba),
 * the secret (user list or auth_query), the exchange, limits, and the welcome, which may have to
 * wait for the first server of the pool.  Nothing from a client that has not logged in reaches a
 * server.
 * Thread: the worker's.
 */
#ifndef PENSTOCK_PROXY_CLIENT_LOGIN_H
#define PENSTOCK_PROXY_CLIENT_LOGIN_H

#include "proxy/client.h"

void login_begin(struct client *c);
size_t login_input(struct client *c, struct str data, bool full);
void login_free(struct client *c);
/* The settings to welcome it with are known (s NULL), or its private server is there
 * (replication). */
void login_granted(struct client *c, struct server *s);
void login_refused(struct client *c, enum cause cause, struct str code, struct str text);
/* It waits for the settings to report no more, or not there: it looks for a pool that learns
 * them. */
void login_look_again(struct client *c);
/* The user list has changed: what was derived from it is thrown away. */
void login_forget_verifiers(struct worker *w);

#endif
