/* pg_track.h - the queue of replies a server still owes, one byte each.
 *
 * Called by pg_server*.c.  What is sent pushes entries, what is read pops them; the head says what
 * the next reply message means.  After an error in the extended protocol the server skips messages
 * up to Sync: pg_track_error drops the same entries, and while no Sync was sent yet `skipping`
 * makes pushes vanish that the server will skip too.
 * Invariant: `requests` counts the entries that end with ReadyForQuery (QUERY, CALL, SYNC).
 * `broken` is set when the queue can no longer tell the truth (memory, a Query that the server
 * skips); the connection must then be closed.  Owner thread only.
 */
#ifndef PENSTOCK_PG_TRACK_H
#define PENSTOCK_PG_TRACK_H

#include "base/base.h"

enum pg_expect {
    PX_QUERY,
    PX_CALL,
    PX_PARSE,
    PX_BIND,
    PX_DESCRIBE,        /* of a statement: parameters, then as a portal */
    PX_DESCRIBE_PORTAL, /* columns or none */
    PX_EXECUTE,
    PX_CLOSE,
    PX_SYNC,
};

#define PX_KIND 0x0fu
#define PX_OWN 0x10u     /* the answer is not for the client */
#define PX_TRACKED 0x20u /* the answer yields SV_ACK */
#define PX_FAKE 0x40u    /* was not sent: the answer is made up when the entry gets to the head */
#define PX_ROWS 0x80u    /* own query whose rows are wanted */

#define PG_TRACK_INLINE 32      /* a power of two */
#define PG_TRACK_MAX (1u << 24) /* entries; past it the connection is broken */

struct pg_track {
    uint8_t *ring; /* owned; NULL while few[] is enough */
    uint32_t cap;  /* of ring; a power of two */
    uint32_t head, count;
    uint32_t requests;
    bool skipping;
    bool broken;
    uint8_t few[PG_TRACK_INLINE];
};

void pg_track_init(struct pg_track *t);
void pg_track_fini(struct pg_track *t);

/* Appends an entry: pg_expect with flags. */
void pg_track_push(struct pg_track *t, unsigned entry);
/* The entry at the head; only while count > 0. */
unsigned pg_track_head(const struct pg_track *t);
void pg_track_set_head(struct pg_track *t, unsigned entry);
void pg_track_pop(struct pg_track *t);
/* An error at the head: drops what the server skips. Entries that end with ReadyForQuery stay. */
void pg_track_error(struct pg_track *t);
/* The request at the head is ours: the entry that ends it is PX_OWN. false while that was not
 * pushed. */
bool pg_track_own(const struct pg_track *t);
/* COPY FROM STDIN began at the head, in the extended protocol: what the server will read as
 * upload. */
enum pg_upload {
    PG_UPLOAD_OPEN, /* nothing was sent behind it: the end marker is still to come */
    PG_UPLOAD_VOID, /* the end marker was sent; the server ignores it and wants another */
    /* other messages of the request follow: the server will refuse them and fail */
    PG_UPLOAD_DOOMED,
    PG_UPLOAD_LOST, /* another request was sent behind: its answers can no longer be told apart */
};
enum pg_upload pg_track_upload(const struct pg_track *t);

#endif
