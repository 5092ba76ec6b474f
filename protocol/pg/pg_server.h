/* pg_server.h - the server side of the PostgreSQL codec: state and the parts that make it up.
 *
 *   pg_server_state.c  beginning, end, errors remembered
 *   pg_server.c        replies of running requests: split, tracked, edited
 *   pg_server_login.c  start-up, authentication, first idle marker
 *   pg_server_send.c   requests, own statements inside them, expectations
 *   pg_server_own.c    own statements that are requests of their own
 *
 * Called through the table in pg_wire.c only; the operations are described in protocol/wire.h.
 *
 * How replies are read: only headers are looked at.  The reader walks message by message and keeps
 * the longest run of bytes that belongs to the client in [start, pos); an event is returned when
 * something must be left out (own replies, settings, notifications), made up (fakes), told
 * (uploads, errors that end the session, the idle marker) or when the input ends.  A message that
 * may be cut (rows, copy data, long errors) is counted by its header, and body_left says how much
 * of it is still to come.
 *
 * An error that answers an own prepare inside a client's request goes to the client: from its point
 * of view its own statement failed, with the text PostgreSQL gave for it.  In a run of our own
 * (sv_sync) it does not.
 *
 * Owner thread only.
 */
#ifndef PENSTOCK_PG_SERVER_H
#define PENSTOCK_PG_SERVER_H

#include "base/base.h"
#include "base/outq.h"
#include "protocol/pg/pg_track.h"
#include "protocol/wire.h"

#define PG_SERVER_WHOLE_MAX 60000 /* longest message that is waited for as a whole */
#define PG_SERVER_ERROR_LOOK 512  /* bytes of an error that are read for its fields */
#define PG_SERVER_TAG_LOOK 256    /* bytes of a completion tag */
#define PG_SERVER_TEXT_MAX 200    /* bytes of an error text that are kept for SV_DONE */

enum pg_server_phase {
    PG_SV_NEW,
    PG_SV_TLS,   /* one byte answers the TLS request */
    PG_SV_LOGIN, /* before AuthenticationOk */
    PG_SV_BOOT,  /* after it, before the first idle marker */
    PG_SV_RUN,
    PG_SV_RAW,
    PG_SV_DEAD, /* said goodbye */
};

struct pg_server_login; /* pg_server_login.c */

struct pg_server {
    enum pg_server_phase phase;
    bool split;              /* see wire.h: sv_split */
    bool body_preamble;      /* the message being read confirms or describes */
    bool body_out;           /* the rest of the message being read goes to the client */
    bool answered;           /* the query at the head has had an answer: its idle marker may come */
    bool uploading;          /* the server is in copy-in mode, as far as is known */
    bool upload_open;        /* and the end marker of that request was not sent when it began */
    enum server_error error; /* first of the current request */
    uint32_t tags;
    uint64_t rows;
    size_t body_left;
    struct pg_track track;
    struct pg_server_login *login; /* owned; between sv_open and SV_READY */
    uint8_t text_len;
    char code[5];
    uint8_t code_len;
    char text[PG_SERVER_TEXT_MAX];
};

void pg_server_init(void *st);
void pg_server_fini(void *st);
void pg_server_feed(void *st, struct str in, bool full, struct wire_server_event *ev);
void pg_server_raw(void *st);
void pg_server_split(void *st);
int pg_server_pending(const void *st);
bool pg_server_answered(const void *st);
bool pg_server_skips(const void *st);

/* Remembers the first error of a request and its text. */
struct pg_error;
void pg_server_note_error(struct pg_server *s, const struct pg_error *e);
void pg_server_tell_error(const struct pg_server *s, struct wire_server_event *ev);
/* Fills ev with a violation; returns nothing worth. */
void pg_server_bad(struct wire_server_event *ev, const char *reason);
/* name and value of a ParameterStatus body; false: malformed. */
bool pg_server_read_var(struct str body, struct wire_var *var);

/* pg_server_login.c */
void pg_server_login_free(struct pg_server_login **l);
void pg_server_login_feed(struct pg_server *s, struct str in, struct wire_server_event *ev);
void pg_server_tls_request(void *st, struct outq *out);
void pg_server_open(void *st, const struct wire_target *t, struct outq *out);
enum auth_result pg_server_auth(void *st, const struct wire_cred *c, struct str data,
                                struct outq *out, struct error *err);

/* pg_server_send.c */
void pg_server_parts(void *st, const struct wire_part *parts, int n, struct str raw,
                     struct outq *out);
void pg_server_part_named(void *st, const struct wire_part *part, const struct wire_handle *h,
                          struct outq *out);
void pg_server_part_tracked(void *st, const struct wire_part *part, struct outq *out);
void pg_server_part_fake(void *st, const struct wire_part *part);
void pg_server_body(void *st, struct str raw, struct outq *out);
void pg_server_prepare(void *st, const struct wire_handle *h, struct str text, struct str types,
                       struct outq *out);
void pg_server_unprepare(void *st, const struct wire_handle *h, struct outq *out);
void pg_server_sync(void *st, struct outq *out);
void pg_server_quit(void *st, struct outq *out);
void pg_server_handle_make(uint64_t salt, uint64_t n, struct wire_handle *h);
bool pg_server_handle_named(struct str name, struct wire_handle *h);

/* pg_server_own.c */
void pg_server_text(void *st, enum wire_own own, struct str text, struct outq *out);
void pg_server_ping(void *st, struct outq *out);
void pg_server_clean(void *st, enum wire_clean depth, struct outq *out);
void pg_server_vars(void *st, const struct wire_var *delta, int n, struct outq *out);
void pg_server_ask(void *st, uint32_t asks, const struct str *names, int n, struct outq *out);
void pg_server_listen(void *st, struct str channel, bool on, struct outq *out);
void pg_server_notify(void *st, struct str channel, struct str payload, struct outq *out);

#endif
