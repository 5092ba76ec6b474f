/* wire.h - what a database protocol implements, and the events the proxy acts on.
 *
 * Implemented by protocol/pg/pg_wire.c (PostgreSQL 3.0 and 3.2) and by the toy codec of the unit
 * tests; protocol/mysql/ will be a third.  Called by proxy/ only.
 *
 * Rules of the cut (design.md, wire.md):
 *  - The codec knows bytes and no sockets, loops, threads or timers.  It never calls the core; it
 *    returns one event per call and appends bytes for a peer to the struct outq it is given.
 *  - Everything written to a peer is made here: errors, pings, settings, console rows, idle
 *    markers.
 *  - Input stays where the core has it.  Slices in an event are borrowed from the input of that
 *    call (or from constants of the codec) and are valid until the next call with the same state.
 *  - Per-connection state is a block of client_size / server_size zeroed bytes that the core
 *    allocates with the connection and the codec initialises with *_init and releases with *_fini.
 *  - Outside bytes lead to EV_BAD with a reason, never to a CHECK.
 *  - All calls for one connection come from the worker that owns it.
 */
#ifndef PENSTOCK_WIRE_H
#define PENSTOCK_WIRE_H

#include "base/base.h"
#include "base/buf.h"
#include "base/outq.h"
#include "base/status.h"
#include "base/str.h"
#include "protocol/wire_node.h"

/* ---- words ----------------------------------------------------------------------------------- */

enum tx_state { TX_IDLE, TX_OPEN, TX_FAILED, TX_UNKNOWN };

/* Why the core tells a client an error; the codec has code, severity and default text. */
enum cause {
    C_PROTOCOL, /* malformed or unexpected message */
    C_AUTH,     /* login refused; one text for every reason that would tell a stranger something */
    C_NO_DB,    /* no such database */
    C_DB_DISABLED,
    C_TOO_MANY,          /* a client limit */
    C_POOL_TIMEOUT,      /* waited too long for a server */
    C_POOL_FULL,         /* the queue is full */
    C_SERVER_DOWN,       /* cannot connect */
    C_NO_NODE,           /* no node of the cluster may have the request */
    C_SERVER_LOST,       /* lost during a request, outcome known to be nothing or harmless */
    C_SERVER_LOST_IN_TX, /* lost while a transaction or a write was open: outcome unknown */
    C_NOT_RECORDED,      /* Redis could not be told of a write, which was not sent */
    C_TX_ABORTED,        /* the client has not ended a transaction that went with its server */
    C_QUERY_TIMEOUT,
    C_CANCELLED,
    C_IDLE_TX_TIMEOUT,
    C_TX_TIMEOUT,
    C_IDLE_TIMEOUT,
    C_LOGIN_TIMEOUT,
    C_SHUTDOWN,
    C_KILLED, /* by the console, or by another client */
    C_DENIED, /* not allowed to do that to another client */
    C_UNSUPPORTED,
    C_TX_IN_STATEMENT_MODE,
    C_OVERLOAD,    /* memory, descriptors, queue of a client that does not read */
    C_BAD_SETTING, /* a start-up option was refused */
    C_TLS_REQUIRED,
    C_ADMIN,          /* console: command failed */
    C_BAD_CONFIG,     /* console: the configuration file was refused */
    C_STMT_UNKNOWN,   /* console: no such prepared statement */
    C_STMT_EXISTS,    /* console: its name is taken */
    C_STMT_TOO_MANY,  /* console: more statements or portals than a session may have */
    C_PORTAL_UNKNOWN, /* console */
    C_INTERNAL,
};
#define CAUSES (C_INTERNAL + 1)

/* What a server's error means to the core; retry and pool rules use this, never a code. */
enum server_error {
    SE_NONE,
    SE_OTHER,
    SE_AUTH, /* password or role refused */
    SE_NO_DB,
    SE_STARTING, /* starting up or in recovery: try again */
    SE_SHUTDOWN, /* shut down or terminated by an administrator */
    SE_TOO_MANY, /* connection limit of the database */
    SE_READ_ONLY,
    SE_STANDBY_CONFLICT,
    SE_STMT_UNKNOWN,
    SE_STMT_EXISTS,
    SE_PLAN_CHANGED,
    SE_CANCELLED,
    SE_DEADLOCK,
    SE_UNABLE, /* not supported, or not now: another node may be able */
};

enum auth_method {
    AUTH_TRUST,
    AUTH_PLAIN,
    AUTH_MD5,
    AUTH_SCRAM,
    AUTH_EXTERNAL /* password checked by core */
};
enum auth_result { AUTH_OK, AUTH_MORE, AUTH_FAIL };

/* What the server did, from its completion tags: backs what the parser predicted. */
enum wire_tag {
    WT_SET = 1u << 0,
    WT_RESET = 1u << 1,
    WT_DISCARD = 1u << 2, /* DISCARD ALL */
    WT_DEALLOCATE = 1u << 3,
    WT_DEALLOCATE_ALL = 1u << 4,
    WT_PREPARE = 1u << 5,
    WT_LISTEN = 1u << 6, /* LISTEN or UNLISTEN */
    WT_CURSOR = 1u << 7, /* DECLARE or CLOSE of a cursor */
    WT_DDL = 1u << 8,    /* CREATE, ALTER, DROP, GRANT, ... */
    WT_WRITE = 1u << 9,
    WT_READ = 1u << 10,
    WT_COPY = 1u << 11,
    WT_CODE = 1u << 12,         /* DO, CALL, LOAD */
    WT_DISCARD_PART = 1u << 13, /* DISCARD TEMP, PLANS, SEQUENCES */
    WT_TX = 1u << 14,           /* BEGIN, COMMIT, ... */
    /* ROLLBACK, also to a savepoint, and the COMMIT of a failed transaction */
    WT_ROLLBACK = 1u << 15,
};

struct wire_var {
    struct str name, value;
};

#define WIRE_KEY_MAX 260 /* PostgreSQL: 4 bytes of pid and up to 256 of secret */

struct wire_key { /* cancel key as the peer has it: opaque */
    uint16_t n;
    uint8_t b[WIRE_KEY_MAX];
};

/* Whom a cancel key of our own names. */
struct wire_identity {
    uint32_t id;   /* the client, within its process */
    uint32_t step; /* out of key_read, not 0: or one that many numbers on, any number of times */
    uint16_t peer; /* the process, among its peers; 0: it has none */
    uint8_t nsecret;
    uint8_t secret[32];
};

struct wire_handle { /* name of a statement on a server: opaque, zero-padded */
    uint8_t b[64];
};

/* ---- client side ----------------------------------------------------------------------------- */

enum client_event {
    CE_MORE,    /* nothing complete; `need` says how many bytes the next message wants, 0 unknown */
    CE_TLS,     /* wants TLS: answer with cl_tls_reply */
    CE_LOGIN,   /* start-up is complete: login is filled */
    CE_CRED,    /* credentials: hand `data` to cl_auth */
    CE_CANCEL,  /* asks to cancel what key names; the connection ends */
    CE_REQ,     /* a request, or a piece of one */
    CE_BODY,    /* continuation bytes of a part that was larger than the buffer (req.raw) */
    CE_UPLOAD,  /* upload data in req.raw; flag REQ_END when it completes the request's upload */
    CE_SKIPPED, /* the end of a request that cl_error had given up: answer with cl_idle */
    CE_IGNORED, /* bytes without meaning here were consumed; early: see there */
    CE_QUIT,
    CE_BAD, /* protocol violation; `reason` */
};

enum wire_part_kind {
    PART_QUERY,           /* text is run as it is (simple protocol) */
    PART_CALL,            /* function call by number: nothing is known of it */
    PART_PARSE,           /* name, text, types */
    PART_BIND,            /* portal, name */
    PART_DESCRIBE,        /* name */
    PART_DESCRIBE_PORTAL, /* portal */
    PART_EXECUTE,         /* portal, row_limit */
    PART_CLOSE,           /* name */
    PART_CLOSE_PORTAL,
    PART_FLUSH,
    PART_SYNC,
};

struct wire_part {
    enum wire_part_kind kind;
    bool cut; /* the rest of raw comes as CE_BODY; text is then incomplete (and may be empty) */
    uint32_t row_limit;
    struct str raw;    /* the bytes as they came */
    struct str name;   /* statement name; empty = unnamed */
    struct str portal; /* empty = unnamed */
    struct str text;
    struct str types;  /* opaque; compared bytewise */
    struct str values; /* BIND: opaque, for bind_texts */
};

/* The type that a parameter was declared to have. */
enum wire_type {
    WIRE_TYPE_OPEN, /* not declared: the server takes what fits */
    WIRE_TYPE_INT,
    WIRE_TYPE_UUID,
    WIRE_TYPE_TEXT,
    WIRE_TYPE_OTHER,
};

struct wire_value { /* a bound parameter */
    enum wire_type type;
    bool null;
    bool binary;      /* INT: big-endian, 1 to 8 bytes; UUID: 16 bytes; TEXT: as in text form */
    struct str bytes; /* borrowed from the part */
};

#define WIRE_PARTS_MAX 64 /* of one piece; a longer request comes in several */

enum req_flag {
    REQ_START = 1u << 0,  /* first piece of a request */
    REQ_END = 1u << 1,    /* last piece: the server will answer with its idle marker */
    REQ_FLUSH = 1u << 2,  /* the client waits for answers before it sends more */
    REQ_SIMPLE = 1u << 3, /* a text, no prepared statements involved */
    REQ_REST = 1u << 4,   /* CE_UPLOAD: see cl_upload_over */
};

struct wire_req {
    uint32_t flags;
    uint16_t nparts;
    struct wire_part *parts; /* borrowed from the array given to cl_feed */
    struct str raw;          /* all bytes of this piece */
};

struct wire_login {
    struct str user, database; /* database is never empty (defaults to user) */
    /* every other start-up parameter, `options` taken apart; order kept */
    const struct wire_var *vars;
    int nvars;
    bool replication;            /* one to one: the core relays without looking (cl_raw, sv_raw) */
    struct str replication_mode; /* as asked, for wire_target; empty without replication */
    int minor;                   /* protocol minor spoken from now on */
};

struct wire_client_event {
    enum client_event kind;
    size_t consumed; /* bytes of the input used; valid for every kind */
    size_t need;
    bool early;      /* CE_IGNORED: data of an upload that the server may yet ask for */
    bool direct_tls; /* CE_TLS: the client starts with its hello, no reply must be sent */
    /* CE_TLS: another encryption that is never spoken (GSS): the reply must be no */
    bool tls_refuse;
    const char *reason; /* CE_BAD: constant text */
    struct wire_login login;
    struct wire_key key;
    struct str data;
    struct wire_req req;
};

/* What the core knows for a login. Filled before cl_auth_start, must live until AUTH_OK or
 * AUTH_FAIL. */
struct secret;
struct scram_keys;
struct wire_auth {
    enum auth_method method;
    struct str user;
    /* NULL: user unknown, the exchange is a mock that fails at its end */
    const struct secret *secret;
    struct str channel_binding; /* hash of the certificate on a TLS connection; empty otherwise */
    int scram_iterations;       /* when a verifier must be made from a plain secret */
    struct scram_keys *learned; /* out, may be NULL: keys of a successful SCRAM login */
    void *owner;                /* the core's; the codec does not look at it */
    struct str password;        /* out with AUTH_PLAIN/AUTH_EXTERNAL and AUTH_MORE: see cl_auth */
};

struct wire_fault { /* an error told to a client */
    enum cause cause;
    struct str code;  /* a database's own; empty: the cause's */
    struct str text;  /* empty: the cause's */
    bool fatal;       /* the connection will be closed */
    bool req_open;    /* the end of the request has not been read yet */
    enum tx_state tx; /* unless fatal: for the idle marker */
};

struct wire_column {
    const char *name;
    enum { COL_TEXT, COL_INT4, COL_INT8, COL_NUMERIC, COL_BYTES, COL_BOOL, COL_BOOL_BINARY } type;
};

struct wire_kill_ask {            /* might it stop another session? */
    struct str text;              /* of a statement */
    struct str types;             /* those given when it was prepared */
    const struct wire_part *bind; /* NULL: of the simple protocol */
    uint16_t peer;                /* as in wire_identity: this process's */
};

struct wire_kill {             /* a statement that does */
    uint32_t id;               /* as in wire_identity */
    bool terminate;            /* its connection, not just what it runs */
    struct wire_column column; /* of the answer: one row, */
    struct str yes;            /* with this value, */
    const char *tag;           /* and how it is completed */
    int nparams;               /* at most one: */
    struct wire_column param;
};

/* ---- server side ----------------------------------------------------------------------------- */

enum server_event {
    SV_MORE,  /* nothing complete; `out` may still hold bytes to forward */
    SV_TLS,   /* answer to the TLS request: `tls` says yes or no */
    SV_AUTH,  /* wants credentials: call sv_auth with `data` */
    SV_READY, /* login is complete; cancel key in key */
    SV_SPAN,  /* bytes of the current request's answer; error set (not SE_NONE): an upload whose end
                   marker was not sent has failed, call cl_upload_over and go on */
    SV_ACK, /* a tracked part (prepare, unprepare) was confirmed, in order; `out` may hold bytes */
    SV_ROW, /* a row of an own statement: cols, ncols */
    SV_VAR, /* the server reports a setting: var (also forwarded? see forward) */
    SV_NOTIFY, /* a notification: channel, payload, pid */
    SV_NOTICE, /* unasked notice in `out` */
    SV_UPLOAD, /* the server waits for upload data; `out` holds the message */
    SV_DONE,   /* the request's idle marker: tx, error, tags; `out` ends with it */
    SV_FATAL,  /* the server says goodbye: error, message; `out` holds the message for the client */
    SV_BAD,    /* protocol violation; reason */
};

#define WIRE_COLS_MAX 16

struct wire_server_event {
    enum server_event kind;
    size_t consumed;
    size_t need;
    struct str out; /* to be forwarded to the client of the current request; never for own ones */
    bool tls;
    bool notice; /* SV_SPAN: `out` is a notice, no part of the answer itself */
    /* After sv_split. Of SV_SPAN, SV_ACK and SV_MORE: `out` confirms and describes, and nothing has
     * been run yet. refused, not SE_NONE, of SV_SPAN: `out` is an error that answers the request,
     * and nothing else. */
    bool preamble;
    enum server_error refused;
    bool upload_ends_sync; /* SV_UPLOAD: the request's end marker was sent already and is void; the
                                client will send another (see cl_upload) */
    enum tx_state tx;
    enum server_error error; /* SV_DONE: first error of the request; SV_FATAL */
    uint32_t tags;           /* wire_tag bits of the request */
    uint64_t rows;           /* SV_DONE: that it returned or changed, as far as the server says */
    struct wire_var var;
    struct str channel, payload;
    uint32_t pid;
    struct str data;
    struct str message,
        code; /* human text and code of the error with SV_DONE/SV_FATAL; for logs, and
                                 for passing a login failure on to the client (cl_error) */
    const char *reason;
    struct wire_key key;
    int ncols;
    struct str cols[WIRE_COLS_MAX]; /* p NULL: SQL null */
};

struct scram_client_cache;
struct wire_target { /* whom to log in as; borrowed for the call */
    struct str user, database;
    const struct wire_var *vars; /* start-up parameters */
    int nvars;
    bool replication;
    struct str replication_mode; /* as the client asked: "true", "database", ... */
};

struct wire_cred {
    struct str user;
    const struct secret *secret;      /* NULL: none known */
    const struct scram_keys *keys;    /* passed through from the client's login, or NULL */
    struct scram_client_cache *cache; /* may be NULL */
    struct str channel_binding;
};

/* what an own statement is for: chooses what its answer yields */
enum wire_own {
    OWN_QUIET, /* answer swallowed; SV_DONE tells the error */
    OWN_ROWS,  /* rows come as SV_ROW */
};

/* What the core wants to know of a server's session (sv_ask); the answer rows are given to
 * ask_row. */
enum wire_ask {
    ASK_VARS = 1u << 0,     /* the settings named in the list */
    ASK_VARS_ALL = 1u << 1, /* every setting that was changed in this session */
    ASK_LOCKS = 1u << 2,
    ASK_TEMP = 1u << 3,
    ASK_CURSORS = 1u << 4,
    ASK_PREPARED = 1u << 5, /* names of statements prepared by text */
    ASK_LISTEN = 1u << 6,   /* channels */
};

struct wire_answer { /* one row of the answer, decoded */
    enum wire_ask about;
    bool held;           /* LOCKS, TEMP, CURSORS: there are some */
    struct wire_var var; /* VARS: name, value; value.p NULL when unset. PREPARED: name and whole
                              command. LISTEN: var.name */
    bool is_default, was_set; /* VARS: it is the session's reset value; somebody set it to that */
};

/* depth of sv_clean and its effect */
enum wire_clean {
    CLEAN_TX,        /* end an open or failed transaction */
    CLEAN_FULL,      /* as if freshly logged in: settings, statements, locks, temporary objects */
    CLEAN_SETTINGS,  /* settings that can be set freely, not the identity (var_rank) */
    CLEAN_SEQUENCES, /* forget which values of sequences this session has drawn */
};

struct wire {
    const char *name; /* "postgresql" */
    uint16_t default_port;
    size_t client_size, server_size;

    /* ---- client ---- */
    void (*cl_init)(void *st);
    void (*cl_fini)(void *st);
    /* Looks at the start of in. parts: room for WIRE_PARTS_MAX, reused by every call. secure: the
     * connection is under TLS. max: largest message accepted. Messages longer than `in` can hold:
     * parts are `cut` once the core passes full = true (its buffer will not grow any more);
     * otherwise CE_MORE with need set. */
    void (*cl_feed)(void *st, struct str in, bool full, struct wire_part *parts,
                    struct wire_client_event *ev);
    /* A cheap look: in begins with a complete message of a request that needs a server, and nothing
     * is half-read. May be NULL; false is always a safe answer (cl_feed will tell). */
    bool (*cl_wants_server)(const void *st, struct str in);
    /* Directly after cl_feed: the CE_REQ or early CE_IGNORED in ev was not acted on, and its bytes
     * will be fed again; or a CE_REQ that is whole is acted on later, as it was read. */
    void (*cl_unread)(void *st, const struct wire_client_event *ev);
    void (*cl_limits)(void *st, size_t max_message); /* before the first cl_feed; 0: its own */
    void (*cl_tls_reply)(void *st, bool accept, struct outq *out);
    enum auth_result (*cl_auth_start)(void *st, struct wire_auth *a, struct outq *out);
    /* AUTH_MORE with a->password set (EXTERNAL): the core checks it and ends with
     * cl_welcome/cl_error. */
    enum auth_result (*cl_auth)(void *st, struct wire_auth *a, struct str data, struct outq *out);
    /* Login succeeded: settings to report, cancel key, idle marker. */
    void (*cl_welcome)(void *st, const struct wire_var *vars, int nvars, const struct wire_key *key,
                       struct outq *out);
    /* From now on bytes are relayed both ways unparsed (replication). */
    void (*cl_raw)(void *st);
    /* Tells the client. Not fatal: the current request is given up and answered to its end; if its
     * end has not been read yet (req_open) the codec drops input up to it and then yields
     * CE_SKIPPED. */
    void (*cl_error)(void *st, const struct wire_fault *f, struct outq *out);
    void (*cl_notice)(void *st, struct str text, struct str detail, struct outq *out);
    void (*cl_idle)(void *st, enum tx_state tx, struct outq *out);
    /* Reports settings whose value has changed under the client. */
    void (*cl_vars)(void *st, const struct wire_var *vars, int nvars, struct outq *out);
    void (*cl_notify)(void *st, uint32_t pid, struct str channel, struct str payload,
                      struct outq *out);
    /* The server asked for an upload: until its end, input yields CE_UPLOAD. sync_void: see
     * SV_UPLOAD. */
    void (*cl_upload)(void *st, bool sync_void);
    /* The request of an upload has ended on the server: drop what is left of the upload. true: a
     * message of it was cut, and its rest, CE_UPLOAD up to REQ_REST, must still be sent on. */
    bool (*cl_upload_over)(void *st);
    const char *rollback_tag, *show_tag; /* how a failed transaction ends; of an answer of ours */
    const char *(*begin_tag)(
        struct str text); /* of a begin or its modes; NULL: not for us to tell */
    /* Local answers: console, LISTEN. For a request of the extended protocol the caller answers
     * part by part: cl_ack for parse/bind/close, cl_row_desc or cl_no_data for describe, then rows
     * and cl_complete, at sync cl_idle. */
    void (*cl_ack)(void *st, enum wire_part_kind kind, struct outq *out);
    /* describe of a statement: its parameters, whose names do not count; comes before its rows */
    void (*cl_params)(void *st, const struct wire_column *params, int n, struct outq *out);
    void (*cl_no_data)(void *st, struct outq *out);
    void (*cl_row_desc)(void *st, const struct wire_column *cols, int ncols, struct outq *out);
    /* p NULL = null */
    void (*cl_row)(void *st, const struct str *values, int ncols, struct outq *out);
    void (*cl_complete)(void *st, struct str tag, struct outq *out);
    /* Instead of it: the limit of the execute part has been reached. */
    void (*cl_suspended)(void *st, struct outq *out);

    const struct wire_answers *answers; /* wire_answer.h; NULL: answers cannot be kept */

    /* ---- server ---- */
    void (*sv_init)(void *st);
    void (*sv_fini)(void *st);
    void (*sv_tls_request)(void *st, struct outq *out); /* answer: SV_TLS */
    void (*sv_open)(void *st, const struct wire_target *t, struct outq *out);
    /* AUTH_MORE: the exchange goes on. data: from SV_AUTH. err: why AUTH_FAIL. */
    enum auth_result (*sv_auth)(void *st, const struct wire_cred *c, struct str data,
                                struct outq *out, struct error *err);
    /* One event. in may be empty: yields pending local acknowledgements (see sv_part_fake). full:
     * as in cl_feed. The codec splits rows of any size; it never needs more than 64 KiB
     * contiguous. */
    void (*sv_feed)(void *st, struct str in, bool full, struct wire_server_event *ev);
    void (*sv_raw)(void *st);
    /* From now on events tell what precedes the rows, and errors, from the rest of an answer. NULL:
     * they cannot. */
    void (*sv_split)(void *st);

    /* Sending a client's request: the core walks the parts in order. Each call appends the bytes
     * and notes the expected answer, so that the reply stream can be edited. */
    /* n parts unchanged; raw is their bytes. */
    void (*sv_parts)(void *st, const struct wire_part *parts, int n, struct str raw,
                     struct outq *out);
    /* one part with its statement name replaced (PARSE tracked: yields SV_ACK). */
    void (*sv_part_named)(void *st, const struct wire_part *part, const struct wire_handle *h,
                          struct outq *out);
    /* PARSE or CLOSE unchanged but tracked: yields SV_ACK. */
    void (*sv_part_tracked)(void *st, const struct wire_part *part, struct outq *out);
    /* Tracked. Not sent; its acknowledgement is made up at the right place in the reply stream. If
     * nothing else is expected before it, call sv_feed with empty input to get it. */
    void (*sv_part_fake)(void *st, const struct wire_part *part);
    /* Bytes that continue a cut part, upload data, or whatever expects no answer of its own. */
    void (*sv_body)(void *st, struct str raw, struct outq *out);
    /* Own prepare and unprepare inside a client's request; answers swallowed, SV_ACK each. */
    void (*sv_prepare)(void *st, const struct wire_handle *h, struct str text, struct str types,
                       struct outq *out);
    void (*sv_unprepare)(void *st, const struct wire_handle *h, struct outq *out);
    /* Ends a run of sv_prepare and sv_unprepare as a request of our own, with SV_DONE. */
    void (*sv_sync)(void *st, struct outq *out);
    /* The handle of statement number n, unguessable for others by the 64-bit salt. */
    void (*handle_make)(uint64_t salt, uint64_t n, struct wire_handle *h);
    /* A handle that stands for a name the client chose. false: does not fit in a handle. */
    bool (*handle_named)(struct str name, struct wire_handle *h);

    /* Own statements: each is a request of its own that ends with SV_DONE. */
    void (*sv_text)(void *st, enum wire_own own, struct str text, struct outq *out);
    void (*sv_ping)(void *st, struct outq *out);
    void (*sv_clean)(void *st, enum wire_clean depth, struct outq *out);
    /* Sets (value.p non-NULL) or resets (NULL) settings. */
    void (*sv_vars)(void *st, const struct wire_var *delta, int n, struct outq *out);
    /* Asks for session state; rows come as SV_ROW and are decoded by ask_row. */
    void (*sv_ask)(void *st, uint32_t asks, const struct str *names, int n, struct outq *out);
    enum status (*ask_row)(const struct str *cols, int ncols, struct wire_answer *out);
    /* off, empty: all */
    void (*sv_listen)(void *st, struct str channel, bool on, struct outq *out);
    /* NULL: notifications cannot be sent, and listening clients keep their servers. */
    void (*sv_notify)(void *st, struct str channel, struct str payload, struct outq *out);
    void (*sv_quit)(void *st, struct outq *out);
    /* Requests whose answer is still to come, by the codec's own count. */
    int (*sv_pending)(const void *st);
    /* Of an open request: all that was sent has been answered, and nothing of it has failed. NULL
     * where kill_read is. */
    bool (*sv_answered)(const void *st);
    /* Of an open request: something has failed, and its rest is skipped. NULL: no early data. */
    bool (*sv_skips)(const void *st);

    /* Complete bytes for a raw connection that cancels what key names. */
    void (*cancel_bytes)(const struct wire_key *key, struct outq *out);
    /* Packs and unpacks the proxy's own cancel identity: as much of the secret as fits. A key that
     * cannot be ours is ST_INVALID. minor: the protocol the client speaks (longer keys where
     * allowed). */
    void (*key_make)(const struct wire_identity *who, int minor, struct wire_key *key);
    enum status (*key_read)(const struct wire_key *key, struct wire_identity *who);
    /* Any key, also one that another program among the peers has given out: the number of its
     * process; 0: none. */
    uint16_t (*key_peer)(const struct wire_key *key);
    /* The key is about to be passed on to its process. false: that has been done too often. */
    bool (*key_pass_on)(struct wire_key *key);

    /* The number by which people know the peer that gave out this key; 0: it has none. */
    uint32_t (*key_pid)(const struct wire_key *key);
    /* The statement does nothing but cancel or terminate what a key of ours (key_make, with that
     * peer) names. NULL: no such statement. */
    bool (*kill_read)(const struct wire_kill_ask *ask, struct wire_kill *out);

    /* The values of a BIND that are there and may be texts, borrowed; at most max. Returns their
     * count. */
    int (*bind_texts)(const struct wire_part *part, struct str *out, int max);
    /* One of the types given with a PARSE is not built in: reading a value of it may run code of
     * the database's own. NULL: values have no such types. */
    bool (*types_custom)(struct str types);
    /* All values of a BIND, types as given with the PARSE. Returns their count, -1: more than max,
     * or malformed. NULL here: bound statements are not cached. */
    int (*bind_values)(const struct wire_part *part, struct str types, struct wire_value *out,
                       int max);
    /* In which form a BIND wants the columns of its result, to be compared bytewise; empty: all as
     * text, as a text of the simple protocol gets them. NULL where bind_values is. */
    struct str (*bind_formats)(const struct wire_part *part);

    /* ---- language ---- */
    /* new flags after a setting */
    uint32_t (*dialect)(struct str var, struct str value, uint32_t dialect);
    /* 0: ordinary. Settings with a rank are applied in that order and wait for their answer. */
    int (*var_rank)(struct str name);
    /* under it each read is a part of what the database watches, so that none may be answered
     * without it; may be NULL */
    bool (*var_serializable)(const struct wire_var *v);
    const char *encoding_var; /* reported setting: the encoding of texts; NULL: there is one only */
    /* decides how a statement is analysed (search_path, role, ...) */
    bool (*var_analysis)(struct str name);
    /* a time limit that could cut off short statements of the proxy's own; may be NULL */
    bool (*var_hurries)(const struct wire_var *v);
    /* may change what a read returns, or its bytes: all that is not known to leave them alone.
     * NULL: any may. */
    bool (*var_result)(struct str name);
    /* takes any text: no server need be asked whether it is valid */
    bool (*var_free)(struct str name);
    /* Appends value as a literal of the language, safe under any setting (auth_query's $1). */
    void (*quote_literal)(struct str value, struct buf *out);
    const char *reset_query; /* default texts for configuration */
    const char *auth_query;
    const char *catalog_query; /* rows for catalog_add_row */
    /* More rows for the same snapshot, asked only where there are rules of the result cache. NULL:
     * nothing is cached. */
    const char *catalog_details;
    const char *probe_query; /* one row for probe_row; NULL: there are no clusters */
    enum status (*probe_row)(const struct str *cols, int ncols, struct wire_probe *out);
    /* With probe_query: */
    bool (*var_of_node)(struct str name); /* reported, but says what the node is */
    void (*var_wishes)(const struct wire_var *v, struct wire_wishes *out);
    /* A start-up parameter that is for us alone: noted in out. */
    bool (*startup_wishes)(const struct wire_var *v, struct wire_wishes *out);
    enum wire_ours (*ours)(struct str text); /* a statement that the proxy itself answers */
};

extern const struct wire pg_wire; /* protocol/pg/pg_wire.c */

const char *cause_name(enum cause c); /* for logs and counters; wire.c */

#endif
