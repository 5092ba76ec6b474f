/* http_server.h - a small HTTP server on a thread of its own; the only user of libmicrohttpd.
 *
 * Made for looking: GET and HEAD without a body; everything else is refused before it is read.
 * Connections, the size of a request's head, the time until a head is there, the time a connection
 * may be silent and the time from a head to the last byte of its answer are bounded. Where there
 * are too many connections, one of the address that has most of them is closed: nobody can take the
 * places of others, which matters because a probe that is not answered restarts the process.
 * The handler's functions run on the server's thread, one at a time.  begin either fills in the
 * answer or says that it waits; then the connection is set aside, `waits` is called and somebody,
 * on any thread, calls http_server_wake once; `finish` then fills in the answer.
 */
#ifndef PENSTOCK_PROXY_HTTP_SERVER_H
#define PENSTOCK_PROXY_HTTP_SERVER_H

#include "base/base.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/status.h"
#include "base/str.h"

#define HTTP_SERVER_CONNECTIONS 64
#define HTTP_SERVER_SPARE 16       /* places for those that come while others are being closed */
#define HTTP_SERVER_HEAD_MAX 16384 /* bytes of a request's head, and what is kept of an answer's */
#define HTTP_SERVER_IDLE_S 15
#define HTTP_SERVER_HEAD_S 5 /* for a connection's first head; later ones may be silent before */
#define HTTP_SERVER_REQUEST_S 60 /* from the head to the end of the answer */

struct http_request {
    /* valid in begin only; headers that were not given are NULL */
    const char *path, *host, *authorization;
    void *arg; /* the handler's */
    struct {
        int status;
        const char *type;   /* constant */
        const char *policy; /* Content-Security-Policy, constant; NULL: one that allows nothing */
        bool ask_user;      /* 401: with what to answer it */
        struct str text;    /* constant; used when body is empty */
        struct buf body;    /* owned */
    } answer;
};

struct http_handler {
    bool (*begin)(void *arg, struct http_request *r); /* false: it waits */
    void (*waits)(void *arg, struct http_request *r);
    void (*finish)(void *arg, struct http_request *r);
    void (*end)(void *arg, struct http_request *r); /* always last: frees r->arg */
    void *arg;
};

struct http_server;

/* Takes fd, a listening socket, in any case. */
enum status http_server_new(int fd, const struct http_handler *h, struct http_server **out,
                            struct error *err) ATTR_NODISCARD;
/* Once for each call of `waits`; r may be gone when this returns. */
void http_server_wake(struct http_request *r);
/* Ends connections whose head or answer takes too long; to be called about once a second. Main
 * thread. */
void http_server_expire(struct http_server *s, usec_t now);
/* Ends the thread and all connections. Every request that waited has been woken before. */
void http_server_free(struct http_server **s);

#endif
