/* login.h - what a login under way holds; shared by client_login.c and login_auth.c.
 *
 * Freed when the client is logged in or gone; then an idle client keeps nothing of it.
 * Thread: the worker's; what a resolver thread needs for PAM or LDAP is copied (struct external).
 */
#ifndef PENSTOCK_PROXY_LOGIN_H
#define PENSTOCK_PROXY_LOGIN_H

#include "protocol/auth/scram.h"
#include "protocol/auth/secret.h"
#include "proxy/client.h"
#include "proxy/job.h"

#define LOGIN_VARS_MAX 64

struct external; /* a question to PAM or LDAP */

struct login {
    char *user, *database; /* owned */
    struct wire_var *vars; /* owned, and so are the texts */
    int nvars, minor;
    bool replication, admin, proxy_done, start_tls;
    bool busy;       /* an answer is awaited: input stays unread */
    bool started;    /* the exchange with the client has begun */
    bool known_only; /* trust: nobody but users of the list or of auth_query */
    char replication_mode[16];
    char missing[160]; /* "no such database: X", told after the password was right */
    struct wire_auth auth;
    struct secret own;           /* from auth_query */
    const struct secret *secret; /* the user list's, own, or NULL */
    struct scram_keys keys;      /* learned */
    uint8_t binding[64];
    const char *ldap_options; /* borrowed from the configuration's snapshot; NULL: PAM */
    struct runtime *runtime;  /* reference: the snapshot that secrets are borrowed from */
    struct job query;         /* auth_query */
    struct str query_text;    /* owned */
    char *query_secret;       /* owned: found by auth_query, for servers; or NULL */
    bool query_running, query_found;
    struct external *external; /* owned by the resolver thread until it answers */
};

/* login_auth.c */
void login_choose(struct client *c);                       /* method and secret, then begins */
void login_credentials(struct client *c, struct str data); /* an answer of the client */

/* client_login.c */
void login_passed(struct client *c);

#endif
