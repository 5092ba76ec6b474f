/* pg_client.h - the client side of the PostgreSQL codec: state and the parts that make it up.
 *
 *   pg_client.c         start-up, requests, uploads, what is skipped after an error
 *   pg_client_part.c    one message of a request taken apart
 *   pg_client_auth.c    login: what is asked of the client and whether its answer is right
 *   pg_client_write.c   everything told to a client
 *
 * Called through the table in pg_wire.c only; the operations are described in protocol/wire.h.
 *
 * Requests: `open` says that pieces of an extended request were handed out and its Sync was not.  A
 * Query or FunctionCall in the middle of one ends it, as on the server.
 *
 * Uploads (COPY FROM STDIN), after cl_upload:
 *   PG_UP_SIMPLE  the text of a Query asked for it: CopyDone or CopyFail is REQ_END.
 *   PG_UP_VOID    an Execute asked for it, and the Sync behind was sent before the server asked.
 *                 Servers ignore Sync and Flush in copy mode, so the client sends another Sync.
 *                 That one is the last CE_UPLOAD (REQ_END); nobody expects an answer of its own for
 *                 it.
 *   PG_UP_OPEN    an Execute asked for it and no Sync was sent: after CopyDone the request goes on
 *                 with usual pieces.
 * Any other message in an upload makes the server fail: it is forwarded, and the server's answer
 * (an error, from recent servers the end of the session) goes its way.
 * If the server fails such an upload it skips up to a Sync (extended) or is ready at once (simple).
 * Simple: SV_DONE comes, the core calls cl_upload_over, left-over copy messages are CE_IGNORED.
 * Void: the core goes on forwarding CE_UPLOAD; the server drops it and answers the Sync at its end;
 * a client that saw the error sends its Sync at once, which is forwarded too, and then SV_DONE and
 * cl_upload_over come before the upload's end.  Open: sv_feed marks the error with an SV_SPAN whose
 * error is set; the core calls cl_upload_over, so that the client's Sync is read as the end of its
 * request and not as one that servers ignore.
 *
 * Owner thread only.
 */
#ifndef PENSTOCK_PG_CLIENT_H
#define PENSTOCK_PG_CLIENT_H

#include "base/base.h"
#include "base/outq.h"
#include "protocol/pg/pg_frame.h"
#include "protocol/wire.h"

#define PG_CLIENT_CRED_MAX 66000 /* length of a message with credentials */

enum pg_client_phase {
    PG_CL_START,
    PG_CL_LOGIN, /* start-up was handed out: nothing is read until cl_auth_start */
    PG_CL_AUTH,  /* credentials are expected */
    PG_CL_WAIT,  /* authenticated: nothing is read until cl_welcome */
    PG_CL_RUN,
    PG_CL_RAW,
};

/* what the rest of the message being read belongs to */
enum pg_client_body {
    PG_BODY_PART,     /* of Parse or Bind */
    PG_BODY_PART_END, /* of Query or FunctionCall: its end is the request's */
    PG_BODY_UPLOAD,
    PG_BODY_UPLOAD_REST, /* of a message whose upload has failed: the server waits for its end */
    PG_BODY_UPLOAD_LAST, /* of the message that ends the upload */
    PG_BODY_IGNORE,
};

enum pg_client_upload {
    PG_UP_NONE,
    PG_UP_SIMPLE,
    PG_UP_VOID,
    PG_UP_OPEN,
    PG_UP_VOID_DONE, /* CopyDone was read, the Sync is to come */
    /* a message came that servers refuse in an upload: all up to Sync is forwarded */
    PG_UP_VOID_BROKEN,
};

enum pg_client_skip {
    PG_SKIP_NONE,
    PG_SKIP_SYNC, /* up to Sync */
    PG_SKIP_BODY, /* up to the end of the message being read */
    PG_SKIP_NOW,  /* nothing left: the next call tells */
};

struct pg_client_auth;
struct pg_startup_login;

struct pg_client {
    enum pg_client_phase phase : 8;
    enum pg_client_body body : 8;
    enum pg_client_upload upload : 8;
    enum pg_client_skip skip : 8;
    uint8_t minor;
    bool tls_seen, gss_seen, gss_pending;
    bool open;      /* an extended request has begun and not ended */
    bool awaits;    /* its last execute part may yet be answered by asking for an upload */
    bool idle_sent; /* the idle marker of a skipped request is out: the next cl_idle is void */
    uint32_t max_message; /* length field; 0: the protocol's own limits */
    size_t body_left;
    struct pg_startup_login *login; /* owned; until cl_welcome */
    struct pg_client_auth *auth;    /* owned; during the exchange */
};

void pg_client_init(void *st);
void pg_client_fini(void *st);
void pg_client_feed(void *st, struct str in, bool full, struct wire_part *parts,
                    struct wire_client_event *ev);
void pg_client_unread(void *st, const struct wire_client_event *ev);
void pg_client_limits(void *st, size_t max_message);
bool pg_client_wants_server(const void *st, struct str in);
void pg_client_raw(void *st);
void pg_client_upload(void *st, bool sync_void);
bool pg_client_upload_over(void *st);

/* pg_client_part.c. total: of the whole message; raw: as much as there is. false: malformed,
 * *reason. */
bool pg_client_part_read(struct wire_part *part, struct str raw, size_t total, const char **reason);
int pg_client_bind_texts(const struct wire_part *part, struct str *out, int max);
bool pg_client_types_custom(struct str types);
/* Length limit for a message of this type; 0: no such type. */
uint32_t pg_client_part_limit(char type, uint32_t max_message);

/* pg_client_auth.c */
enum auth_result pg_client_auth_start(void *st, struct wire_auth *a, struct outq *out);
enum auth_result pg_client_auth_step(void *st, struct wire_auth *a, struct str data,
                                     struct outq *out);
void pg_client_auth_free(struct pg_client_auth **a);

/* pg_client_write.c. pg_client_negotiate sends what the start-up packet made necessary, once. */
void pg_client_negotiate(struct pg_client *c, struct outq *out);
void pg_client_tls_reply(void *st, bool accept, struct outq *out);
void pg_client_welcome(void *st, const struct wire_var *vars, int nvars, const struct wire_key *key,
                       struct outq *out);
void pg_client_error(void *st, const struct wire_fault *f, struct outq *out);
void pg_client_notice(void *st, struct str text, struct str detail, struct outq *out);
void pg_client_idle(void *st, enum tx_state tx, struct outq *out);
void pg_client_vars(void *st, const struct wire_var *vars, int nvars, struct outq *out);
void pg_client_notify(void *st, uint32_t pid, struct str channel, struct str payload,
                      struct outq *out);
void pg_client_ack(void *st, enum wire_part_kind kind, struct outq *out);
void pg_client_params(void *st, const struct wire_column *params, int n, struct outq *out);
void pg_client_no_data(void *st, struct outq *out);
void pg_client_row_desc(void *st, const struct wire_column *cols, int ncols, struct outq *out);
void pg_client_row(void *st, const struct str *values, int ncols, struct outq *out);
void pg_client_complete(void *st, struct str tag, struct outq *out);
void pg_client_suspended(void *st, struct outq *out);

#endif
