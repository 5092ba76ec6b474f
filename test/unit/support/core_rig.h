/* core_rig.h - the core of the proxy in one thread of a test, with scripted clients and servers.
 *
 * A rig is a process with one or two workers whose loops are turned by hand, a listening socket on
 * 127.0.0.1 that is its database, and the codec of the test's choice.  A test says a line as a
 * client or as a server and states what the other side must hear, byte for byte.  Nothing sleeps:
 * time is moved with rig_wait, and waiting for bytes means turning the loops.
 * rig_free proves on its way that nothing was left: settings, statements, blocks and buffers are
 * counted by the core and CHECKed there.
 */
#ifndef PENSTOCK_CORE_RIG_H
#define PENSTOCK_CORE_RIG_H

#include "proxy/client.h"
#include "proxy/pool/pool.h"
#include "proxy/process.h"
#include "proxy/server.h"
#include "proxy/worker.h"

#define RIG_WORKERS_MAX 2

struct rig {
    struct process process;
    struct worker *workers[RIG_WORKERS_MAX];
    struct runtime *runtime;
    int listen_fd, port;
};

struct peer { /* one end of a connection, the test's */
    int fd;
    size_t n;
    char got[8192];
};

/* options: lines of [pgbouncer], NULL: none; db: keys of the database entry "d" besides its
 * address, or with cluster= first, instead of one. */
struct rig *rig_new(const struct wire *wire, unsigned nworkers, const char *options,
                    const char *db);
void rig_free(struct rig **r);
struct worker *rig_worker(struct rig *r);
struct pool *rig_pool(struct rig *r, unsigned worker); /* its first; NULL: none */

void rig_turn(struct rig *r);            /* one turn of every loop */
void rig_settle(struct rig *r);          /* as many as anything here needs */
void rig_wait(struct rig *r, usec_t us); /* time passes */
void rig_reload(struct rig *r, const char *options, const char *db);
/* The same in two steps: the first worker has the new configuration, the other does not yet. */
void rig_reload_begins(struct rig *r, const char *options, const char *db);
void rig_reload_ends(struct rig *r);
/* As if the question for the catalog had been answered (the toy codec has none): the table t, whose
 * reads are repeatable, and v, whose are not. */
void rig_know_catalog(struct rig *r);
void rig_stop_listening(struct rig *r); /* connections are refused from now on */
void rig_listen_again(struct rig *r);

void rig_client(struct rig *r, unsigned worker, struct peer *p);
void rig_accept(struct rig *r, struct peer *p); /* the next connection to the database */
/* A further database on a free port (*port 0: chosen), and the next connection to it. */
int rig_listen(int *port);
void rig_accept_from(struct rig *r, int fd, struct peer *p);
void rig_accepts_nothing(struct rig *r);

void peer_say(struct peer *p, const char *text);
void peer_say_bytes(struct peer *p, const void *bytes, size_t n);
/* Exactly text is what p hears next, and nothing else is. */
void peer_hears(struct rig *r, struct peer *p, const char *text);
void peer_hears_nothing(struct rig *r, struct peer *p);
bool peer_pending(struct peer *p); /* something has arrived that was not heard yet */
void peer_hears_end(struct rig *r,
                    struct peer *p); /* the connection was closed, without another word */
/* Hears lines up to one that begins with word, and no further; copies that line to dst (may be
 * NULL). */
void peer_hears_until(struct rig *r, struct peer *p, const char *word, char *dst, size_t cap);
void peer_close(struct peer *p);

/* ---- toy protocol ---- */
/* Accepts a server and lets it log in with two settings and the cancel key "key". */
void rig_toy_server(struct rig *r, struct peer *s);
/* A client that has logged in as u to d; s non-NULL: with the first server, which is opened for
 * it. */
void rig_toy_client(struct rig *r, unsigned worker, struct peer *c, struct peer *s);
/* A client that comes with the setting NAME=VALUE, which s takes. */
void rig_toy_client_with(struct rig *r, struct peer *c, struct peer *s, const char *setting);
/* c asks what s answers with one row. */
void rig_toy_ask(struct rig *r, struct peer *c, struct peer *s);

#endif
