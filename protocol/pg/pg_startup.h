/* pg_startup.h - the first packet of a client: TLS and GSS requests, cancel requests, start-up.
 *
 * Called by pg_client.c only.  Everything here comes from a stranger: the packet is at most 10,000
 * bytes, must end exactly with its terminator, and its parameters are counted.  Pure; any thread.
 */
#ifndef PENSTOCK_PG_STARTUP_H
#define PENSTOCK_PG_STARTUP_H

#include "base/base.h"
#include "base/buf.h"
#include "base/str.h"
#include "protocol/wire.h"

#define PG_STARTUP_MAX 10000    /* bytes of a start-up packet, as PostgreSQL has it */
#define PG_STARTUP_VARS_MAX 256 /* parameters, those inside `options` included */
#define PG_STARTUP_MINOR 2      /* newest minor protocol spoken here */

#define PG_STARTUP_CANCEL 80877102u
#define PG_STARTUP_TLS 80877103u
#define PG_STARTUP_GSS 80877104u

enum pg_startup_kind {
    PG_STARTUP_MORE,
    PG_STARTUP_WANTS_TLS,
    PG_STARTUP_WANTS_GSS,
    PG_STARTUP_WANTS_DIRECT_TLS, /* nothing is consumed */
    PG_STARTUP_WANTS_CANCEL,     /* body: the key */
    PG_STARTUP_LOGIN,            /* body: the parameters; minor: as asked */
    PG_STARTUP_BAD,
};

struct pg_startup {
    enum pg_startup_kind kind;
    size_t total; /* bytes of the packet */
    size_t need;  /* MORE */
    struct str body;
    uint32_t minor;
    const char *reason; /* BAD */
};

/* Looks at the start of in. Nothing is waited for whose announced length is out of bounds. */
struct pg_startup pg_startup_read(struct str in);

/* What a start-up packet says, taken apart. On the heap because it lives until the login is
 * over. */
struct pg_startup_login {
    struct wire_login login;
    struct buf text; /* copies that every slice of login points into */
    /* NegotiateProtocolVersion to be sent before anything else; may be empty */
    struct buf negotiate;
    int cap; /* as many parameters as a packet of its length can hold */
    struct wire_var vars[];
};

/* Takes the parameters apart. NULL: malformed, *reason says why. Freed with
 * pg_startup_login_free. */
struct pg_startup_login *pg_startup_login_new(const struct pg_startup *s, const char **reason);
/* The SQLSTATE that belongs to a reason given above; of any other text, that of a protocol
 * violation. */
struct str pg_startup_code(struct str reason);
void pg_startup_login_free(struct pg_startup_login **l);

#endif
