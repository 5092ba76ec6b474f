/* pg_stream.h - helpers for tests of protocol/pg: messages as literals, and a reader that feeds a
 * codec whole, byte by byte or split anywhere and writes down what it says.
 *
 * The log is free of what depends on the splitting (how spans and pieces were cut), so that the
 * logs of all ways of feeding must be equal.
 */
#ifndef PENSTOCK_TEST_PG_STREAM_H
#define PENSTOCK_TEST_PG_STREAM_H

#include "base/base.h"
#include "base/buf.h"
#include "base/outq.h"
#include "protocol/wire.h"

#define BYTES(lit) ((struct str){(lit), sizeof(lit) - 1})

/* A connection's codec state, its output and the log of its events. */
struct pg_stream {
    void *st;
    struct outq_pool pool;
    struct outq out;
    struct buf log;
    struct buf span;  /* bytes for the client since the last entry of the log */
    struct buf in;    /* not yet consumed */
    bool stop;        /* BAD, FATAL or QUIT was seen */
    bool full;        /* tell the codec that there is no more room */
    bool upload_void; /* of the last SV_UPLOAD */
};

void pg_stream_client(struct pg_stream *s);    /* start-up phase */
void pg_stream_running(struct pg_stream *s);   /* a client after trust login, log empty */
void pg_stream_server(struct pg_stream *s);    /* before sv_open */
void pg_stream_logged_in(struct pg_stream *s); /* a server after login, log empty */
void pg_stream_fini_client(struct pg_stream *s);
void pg_stream_fini_server(struct pg_stream *s);

/* Appends a message: type, length, body. type 0: no type byte. */
void pg_stream_message(struct buf *b, char type, struct str body);

/* Feeds bytes and logs all events. */
void pg_stream_feed_client(struct pg_stream *s, struct str bytes);
void pg_stream_feed_server(struct pg_stream *s, struct str bytes);

/* The log, terminated. */
const char *pg_stream_log(struct pg_stream *s);
/* What was written for the peer; empties it. Valid until the next call. */
struct str pg_stream_sent(struct pg_stream *s, struct buf *b);

/* Runs make(), then feed() for the whole of bytes, byte by byte, and split at each point, and
 * checks with cmocka that the log is `expected` each time. */

void pg_stream_all_ways(bool client, void (*prepare)(struct pg_stream *), struct str bytes,
                        const char *expected);

#endif
