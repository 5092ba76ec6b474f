/* listen_subs.h - the tables behind listen.h: who of this worker's clients listens to what, shared
 * by the listen_*.c files only.
 *
 * A pool has one struct listen on each worker, a client that listens one struct listen_client; a
 * struct sub ties a client to a channel and is on a list of both.  In a cluster the pool is that of
 * a node, the primary, for LISTEN runs there only; when the node is one no more its listening
 * clients are closed, as they are when the listening server is lost.  A channel without
 * subscriptions is freed at once, or at the end of the walk that is under way (busy).
 * A listening server is known by its seat, a number that is never used twice.  While l->seat is not
 * 0, this worker is one of that server's subscribers; whatever speaks of another seat comes from
 * the past.  A worker without channels subscribes to nothing.
 * Thread: the worker's that owns pool, clients and servers.
 */
#ifndef PENSTOCK_PROXY_LISTEN_SUBS_H
#define PENSTOCK_PROXY_LISTEN_SUBS_H

#include "base/list.h"
#include "base/map.h"
#include "base/outq.h"
#include "proxy/listen.h"

#define HEX_ID 16

enum channel_state { CHANNEL_OFF, CHANNEL_SENT, CHANNEL_ON };

struct channel {
    enum channel_state state; /* at the listening server */
    uint32_t ticket;          /* of the request to listen whose answer is awaited */
    struct list subs;
    struct str name; /* owned */
};

struct sub {
    struct list in_channel, in_client;
    struct channel *channel;     /* borrowed */
    struct listen_client *owner; /* borrowed */
    bool gated;                  /* the client's own server still delivers */
    bool seen;                   /* named by the answer that is being read */
};

struct op {          /* UNLISTEN of a transaction that is not over */
    struct str name; /* owned; empty: all */
    bool done;       /* its request has succeeded */
};

struct listen_client {
    struct client *client; /* borrowed */
    struct listen *listen; /* borrowed: of the pool of the server that first listened for it; NULL
                              while it listens to nothing */
    struct list subs;
    struct list leaving; /* in listen->leaving: a marker is under way */
    struct list member;  /* in listen->members */
    int ngated, nsubs;
    bool here, there; /* the marker has come over the own server, over the listening server */
    char marker[HEX_ID];
    usec_t retry_at;
    struct outq held; /* to be delivered between two answers */
    /* of gated channels: came behind the marker, which the own server has not shown */
    struct outq behind;
    struct op *ops; /* owned */
    int nops;
};

struct listen {
    struct pool *pool;        /* borrowed */
    struct listen_host *host; /* owned; NULL: the listening server, if any, is another worker's */
    uint64_t seat;            /* of the listening server subscribed at; 0: none */
    struct map channels;      /* name -> struct channel, owned */
    struct list members, leaving;
    struct channel marker; /* its name: the channel of this worker's markers */
    char marker_name[32];
    uint32_t tickets;
    bool busy;    /* channels are being walked: none may be freed */
    bool unswept; /* one would have been */
};

/* What an own statement of kind FLIGHT_LISTEN is, in flight.effects.  A server may still have to
 * answer the last kind when it is no listening server any more. */
#define WHAT_OTHER 0u
#define WHAT_MARK 1u           /* NOTIFY of the marker, on a client's server */
#define WHAT_LEAVE 2u          /* UNLISTEN * there */
#define WHAT_TICKET (1u << 31) /* LISTEN on the listening server, of wanted.ticket */

/* n random digits, not terminated. */
void listen_subs_put_hex(char *dst, size_t n);
/* Subscribes at the pool's listening server. false: there is none. */
bool listen_subs_join(struct listen *l);
/* Has the listening server LISTEN on ch; answered under the channel's ticket. */
void listen_subs_ask_for(struct listen *l, struct channel *ch);
/* After a walk of the channels: what lost its last subscriber meanwhile is dropped. */
void listen_subs_sweep(struct listen *l);
/* l ends; its members listen to nothing any more. */
void listen_subs_dismiss(struct listen *l);
/* The listening server is lost: this worker subscribes nowhere. */
void listen_subs_forget(struct listen *l);
struct sub *listen_subs_find(const struct listen_client *x, struct str channel); /* NULL: none */
/* Whether the client of s may be moved to a listening server at all. */
bool listen_subs_wanted(const struct server *s);
/* No answer of c is half-written, and it has no transaction open. */
bool listen_subs_may_hear(const struct client *c);
/* What was held back goes out. */
void listen_subs_write_held(struct listen_client *x);

/* ---- what the listening server says (listen.c; called from messages) ---- */
void listen_subs_answered(struct listen *l, struct str channel, uint32_t ticket, bool ok);
void listen_subs_heard(struct listen *l, const struct wire_server_event *ev);
void listen_subs_lost(struct listen *l);

#endif
