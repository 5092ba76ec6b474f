/* server.h - a connection to a database: its machine, its in-flight queue, the release test.
 *
 * States (server_set_state is the only place that changes one; it moves the server between its
 * pool's lists and restarts its timer):
 *   SV_CONNECT  socket being connected         -> SV_LOGIN, SV_CLOSED
 *   SV_LOGIN    TLS, start-up, authentication  -> SV_INIT, SV_CONNECT (once more, the other way
 *               round about TLS), SV_CLOSED
 *   SV_INIT     connect_query, catalog         -> SV_IDLE, SV_CLOSED
 *   SV_IDLE     in the pool                    -> SV_ACTIVE, SV_SHARED, SV_CLOSED
 *   SV_ACTIVE   granted: works for a client or for the proxy -> SV_IDLE (release test), SV_SHARED,
 *               SV_CLOSED
 *   SV_SHARED   all that is in flight are repeatable reads, of any clients; held by nobody
 *               -> SV_ACTIVE (empty, or left to the client of the oldest), SV_CLOSED
 *   SV_CLOSED   freed at the end of the loop turn
 *
 * The in-flight queue says for each answer that is still to come whose it is and what becomes of
 * it; own statements (settings, asks, resets, pings) are entries like the clients' requests.
 * `client` is the one who holds the server; replies are handed out by the queue alone.
 *
 * Ownership rule (server_may_share): a request may stand behind others only on a server of which
 * nothing but repeatable reads is in flight, and only if it is one itself.
 */
#ifndef PENSTOCK_PROXY_SERVER_H
#define PENSTOCK_PROXY_SERVER_H

#include "base/base.h"
#include "base/clock.h"
#include "base/list.h"
#include "proxy/net/conn.h"
#include "proxy/pool/pool.h"
#include "proxy/statements.h"
#include "proxy/stmt.h"
#include "proxy/timeout.h"
#include "proxy/varset.h"
#include "proxy/worker.h"
#include "protocol/auth/scram.h"
#include "router/freshness.h"

struct client;
struct job;
struct session_fill;
struct session_writes;
struct session_claims;

enum server_state { SV_CONNECT, SV_LOGIN, SV_INIT, SV_IDLE, SV_ACTIVE, SV_SHARED, SV_CLOSED };

/* why a client keeps its server between requests; names in admin_names.c */
enum pin {
    PIN_TX = 1u << 0,
    PIN_TEMP = 1u << 1,
    PIN_LOCK = 1u << 2,
    PIN_CURSOR = 1u << 3,
    PIN_PREPARED = 1u << 4, /* prepared by text in a way that could not be followed */
    PIN_LISTEN = 1u << 5,
    PIN_LARGE = 1u << 10, /* a prepared statement too large to be kept by the proxy */
    PIN_COPY = 1u << 6,
    PIN_SESSION = 1u << 7, /* session mode */
    PIN_UNKNOWN = 1u << 8, /* its state is being asked for */
    PIN_REPLICATION = 1u << 9,
};

enum flight_kind {
    FLIGHT_CLIENT, /* forwarded to its client */
    FLIGHT_VARS,   /* settings before a request */
    FLIGHT_LIFT,   /* a short time limit put away, before statements of our own */
    FLIGHT_CHECK,  /* server_check_query or ping before a request */
    FLIGHT_BEGIN,  /* one that was answered already (session_begin.h), before the first statement */
    FLIGHT_PREP,   /* own prepare by text before a request; errors are the request's business */
    FLIGHT_ASK,    /* session state */
    FLIGHT_CLEAN,  /* rollback, reset query */
    FLIGHT_JOB,    /* a statement of the proxy itself */
    FLIGHT_CONNECT, /* connect_query */
    FLIGHT_LISTEN,  /* of the shared listener, or of leaving a server for it (listen.c) */
};

enum journal_kind {
    JOURNAL_NAME,
    JOURNAL_PREPARE,
    JOURNAL_UNPREPARE,
    JOURNAL_FORGET,
    JOURNAL_DESCRIBE, /* nothing to undo: only when it is final has the client been told */
};

struct journal { /* what to undo when a tracked part was not confirmed */
    enum journal_kind kind;
    bool named;        /* UNPREPARE: of a statement under a client's own name */
    uint32_t ack;      /* which confirmation of the flight makes it final */
    struct stmt *stmt; /* NAME: what the name meant before (reference or NULL);
                                 UNPREPARE, PREPARE: NULL */
    /* PREPARE: borrowed from the server's set; NULL once it was evicted */
    struct stmt_entry *entry;
    struct str name;      /* NAME, DESCRIBE: owned copy */
    uint32_t definitions; /* DESCRIBE: of the statement whose rows are described */
};

struct flight {
    enum flight_kind kind;
    bool ended;                /* its end marker was sent: nothing more will be added */
    bool output;               /* something of the answer has reached the client */
    bool noticed;              /* a notice has: sent again, the request would give it twice */
    bool waits;                /* the client's request waits for this own statement */
    bool taken;                /* it was taken away from here and is sent again elsewhere */
    struct client *client;     /* borrowed; NULL: gone, the answer is swallowed */
    struct job *job;           /* FLIGHT_JOB, FLIGHT_LIFT */
    usec_t start, first_start; /* sent; sent for the first time, perhaps to another server */
    uint32_t effects;
    uint32_t tracked; /* parts sent that will be confirmed, and */
    uint32_t acks;    /* how many were */
    uint16_t njournal, cap_journal;
    struct journal *journal;      /* owned */
    struct facts *facts;          /* reference: of a single simple statement; NULL otherwise */
    struct statement_batch batch; /* what it runs, for statistics; empty: nobody asks */
    usec_t waited;                /* its client, for a server */
    struct {                      /* its values, for the log; only if asked for */
        char *p;                  /* owned, kept with the slot; NULL: never asked for */
        uint16_t n;
    } said;
    struct str text; /* owned copy: PREPARE by text */
    uint64_t digest; /* of a repeatable read, whose time is noted; 0: none */
    bool once;       /* the copy may be sent only when the request was certainly not committed */
    uint32_t nheld;  /* bytes of the answer's beginning, behind the copy (session_retry.h) */
    uint64_t about;  /* digest of the statement that was copied there */
    bool routed;     /* counts in the numbers of its node (session_route.c), and */
    bool reads;      /* was proved to write nothing */
    struct freshness_set writing; /* tables that it may commit writes to, open in: */
    struct freshness_db *opened;  /* borrowed from the cluster */
    struct session_fill *fill;    /* owned: its answer is to be kept; NULL: it is not */
    struct {                      /* the request as it came, to be sent again elsewhere */
        uint8_t *p;               /* owned, kept with the slot */
        uint32_t n, cap;          /* n 0: not kept */
    } copy;
};

enum cleaning { CLEANING_NONE, CLEANING_TX, CLEANING_FULL, CLEANING_QUERY };

/* What the proxy asks a server about its session, from one question to the answer to the next. What
 * must be asked for is server->asks. */
struct server_question {
    struct varset *names;    /* what was set or reset (WAS_RESET) by name; those to ask for */
    struct varset *answered; /* settings being collected from an ASK_VARS_ALL */
    bool reset_seen;         /* a RESET or DISCARD ran since the settings were asked for */
    bool in_full;            /* what was bound has not named all that it sets */
    bool locally;            /* something was set for a transaction only: perhaps a role */
    bool of_prepared;        /* the question under way includes ASK_PREPARED, and */
    int nmatched;            /* statements in the answer to that are as recorded */
    int tries;               /* questions cut off in a row */
};

/* Making a session fit for anybody else. */
struct server_reset {
    bool due; /* used in session mode, or it holds what cannot be followed */
    enum cleaning step;
    bool unknown; /* a configured reset query ran: what it left is being asked for */
};

struct server {
    struct conn conn; /* first */
    struct mortal mortal;
    struct list link;  /* in one of the pool's lists */
    struct list all;   /* in worker->servers */
    struct pool *pool; /* borrowed */
    enum server_state state;
    struct client *client; /* borrowed: holder, NULL when idle or working for the proxy */
    uint64_t id;
    enum tx_state tx;
    uint32_t pins; /* enum pin, without PIN_TX and PIN_SESSION, which follow from tx and mode */
    uint32_t asks; /* enum wire_ask: state that must be asked for before release */
    struct server_question question;
    struct server_reset reset;
    struct varset *vars;    /* its settings as far as they differ from a fresh session's */
    struct varset *profile; /* what it reports */
    struct stmt_set stmts;
    struct stmt *unnamed;  /* what its unnamed statement is; NULL: unknown or none */
    bool unnamed_known;    /* unnamed NULL means: certainly none */
    uint64_t unnamed_by;   /* sequence number of the flight that prepared it */
    uint64_t flights_done; /* how many flights have been answered */
    bool unnamed_large;    /* the holder's own, too large to be kept by the proxy */
    int nlarge;        /* named statements too large to be kept; PIN_LARGE while there are any */
    bool upload;       /* in COPY FROM STDIN */
    bool half_request; /* a part of a request was sent and its end was not */
    bool half_message; /* of an upload that has failed: its rest is still to be sent */
    bool doubtful;     /* must not be reused: closed at release */
    bool login_asked;  /* the server has asked for credentials */
    bool other_tls;    /* with TLS where sslmode begins without, or the reverse */
    struct tls *tls_pending; /* owned; the server has agreed to TLS, the handshake has not begun */
    bool shared_listener;    /* listens for all clients of its pool (listen.h); held by nobody */
    bool was_idle;           /* came out of the idle list, not straight from another user */
    bool session_begun;      /* the first request of the holder has been prepared for */
    bool wire_fakes;         /* acknowledgements were made up that nothing else may carry out */
    bool defining;           /* definitions were changed in the transaction that is open */
    uint32_t unnamed_definitions; /* as stmt_entry.definitions, of the unnamed statement */
    uint64_t written;    /* conn.bytes_out when it was last without work: what comes before more is
                               written answers nothing */
    uint64_t seq_client; /* whose nextval may be the last on it; 0: nobody's */
    uint64_t tainted_by; /* whose unknown code may have left unlisted settings; 0: nobody's */
    int leaked;          /* statements it still has that its set has forgotten */
    enum server_error goodbye;    /* why it says that it ends; SE_NONE: it has not */
    bool wrote;                   /* the transaction, or what is in flight, may have written, and */
    struct freshness_set writing; /* where, as far as that matters (session_route.c) */
    bool check_failed;            /* server_check_query was answered with an error */
    int cancels;                  /* cancel requests on their way */
    int drains; /* how often the statement of a vanished client was to be cancelled */
    struct session_writes *writes; /* owned (session_write.c); NULL: nothing cached was written */
    struct session_claims
        *claims;            /* owned (session_intent.c); NULL: other processes know of nothing */
    uint32_t judged_at;     /* db_shared.reshaped when what is under way began to be judged */
    bool reshaping;         /* cached answers may depend on what the open transaction has defined */
    struct flight *flights; /* owned ring */
    uint32_t fl_head, fl_count, fl_cap;
    struct wire_key key; /* for cancelling */
    uint32_t epoch;      /* of db_shared when it was opened */
    bool fed;            /* SV_SHARED: further requests may stand behind; true otherwise */
    usec_t front_at;     /* SV_SHARED: since when the oldest request is what it works on */
    uint64_t dns_generation;
    struct resolver_addrs *addrs; /* owned while connecting: what its name means */
    unsigned addr_at;
    int addrs_left;     /* of addrs, not tried yet */
    bool dns_stale;     /* its name means other addresses now: closed on release */
    bool counts_pinned; /* in pool_shared.pinned */
    struct sockaddr_storage addr;
    uint32_t addr_len;
    int host_index;
    const char *host; /* borrowed from the registry: how statistics call it */
    struct timeout timeout;
    usec_t connected_at, idle_since, request_at;
    usec_t connect_wall, request_wall;
    struct scram_keys *login_keys;   /* owned during login */
    struct secret *login_secret;     /* owned during login */
    struct resolver_wait *resolving; /* owned by the answer; NULL: none pending */
    void *wire_state;                /* behind the struct */
};

extern const char *const server_state_names[];

/* Begins to open a server for p, whose place in the limits the caller has taken. */
void server_open(struct pool *p);
void server_set_state(struct server *s, enum server_state to);
/* Closes and frees at the turn's end; the holder and all in flight are told (session_server_lost).
 * why is for the log. */
void server_close(struct server *s, const char *why);
struct mortal;
void server_free(struct mortal *m); /* for worker_bury */
/* Says goodbye first. */
void server_quit(struct server *s, const char *why);

/* What keeps a server from being anybody else's, the most urgent first. */
enum server_work {
    WORK_IN_FLIGHT, /* answers are still to come */
    WORK_PART,      /* a request or an upload was sent in part: the rest is its client's to send */
    WORK_DOUBT,     /* its state or its stream of answers is not certain: it can only be closed */
    WORK_LISTENS,   /* it is the shared listener (listen.h) */
    WORK_CANCEL,    /* a cancel request is under way and may still strike */
    WORK_TX,        /* a transaction is open or failed */
    WORK_ASK,       /* what a request left in the session must be asked for */
    WORK_PIN,       /* state that lives on this server only */
    WORK_CLEAN,     /* it must be reset before anybody else gets it */
    WORK_UNWRITTEN, /* something was queued for it that nobody waits for */
    WORK_NONE,
};

/* The release test, in the one place that decides it: WORK_NONE says that nothing of anybody is
 * left. The holder is not looked at. */
enum server_work server_work(const struct server *s);
/* Something of the session is still its last user's: a transaction, a pin, or what it must be asked
 * for. */
bool server_has_state(const struct server *s);
/* The ownership rule: a repeatable read of a client with these settings may be sent to s now,
 * behind whatever is in flight there. stmt: the prepared statement that it uses and that s may
 * have; NULL: none. Says nothing of depth and of whether s should be fed. */
bool server_may_share(struct server *s, const struct varset *vars, const struct stmt *stmt);
/* Nobody holds it any more: to the pool if nothing is left, otherwise what is needed first. */
void server_release(struct server *s);

struct flight *server_push(struct server *s, enum flight_kind kind, struct client *c);
struct flight *server_front(struct server *s); /* NULL: nothing in flight */
struct flight *server_back(struct server *s);
void server_pop(struct server *s);
struct flight *server_flight(struct server *s, uint32_t i); /* i-th from the front */
/* What slots that are not in use have kept for the next flight. */
void server_free_slots(struct server *s);

bool server_needs_check(const struct server *s);
bool server_too_old(const struct server *s);
const char *server_unwanted(struct server *s); /* why it must be replaced; NULL: it need not */

/* server_login.c */
void server_login_event(struct server *s, struct wire_server_event *ev);
void server_login_abandon(struct server *s); /* frees what a login holds */
void server_init_done(struct server *s, bool ok);
void server_login_failed(struct server *s, enum server_error se, struct str code, struct str text);

/* server_own.c: own statements. */
/* Something of ours was sent: its answer must come in time. */
void server_arm(struct server *s);
void server_ask(struct server *s);
/* The question of flight f was answered with an error: true when it will be asked once more. */
bool server_ask_again(struct server *s, const struct flight *f, enum server_error why);
void server_clean(struct server *s);
/* Its client has gone and something still runs: that is cancelled, and waited for within bounds. */
void server_drain(struct server *s);
/* The same for what nobody waits for and is expected to end by itself: cancelled if it does not. */
void server_drain_soon(struct server *s);
void server_cleaned(struct server *s, bool ok);

#endif
