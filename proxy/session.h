/* session.h - binds clients and servers for a transaction and acts on what both say.
 *
 * session.c: from client to server; session_plan.c: what a request does; session_reply.c: from
 * server to client; session_stmt.c: prepared statements on their way, with session_journal.c: what
 * to undo, and session_named.c: those under a client's own names; session_vars.c: settings and
 * other session state; session_end.c: leaving, losing, cancelling; session_share.c: several
 * clients' reads on one server; session_note.c: statistics of statements.
 * Thread: the worker's that owns both.
 */
#ifndef PENSTOCK_PROXY_SESSION_H
#define PENSTOCK_PROXY_SESSION_H

#include "proxy/client.h"
#include "proxy/server.h"
#include "protocol/sql_standby.h"

/* What a piece of a request needs and does, found out before anything is sent. */
struct plan {
    uint32_t effects;
    struct facts *facts;          /* reference: of the text of a simple request; NULL otherwise */
    struct str text;              /* borrowed: of that text */
    uint64_t digest;              /* of a repeatable read, whose time is noted; 0: none */
    bool may_share;               /* it may stand behind others */
    struct statement_batch batch; /* what it runs */
    /* Where there is a cluster (session_route.c): */
    bool whole;              /* all of the request is one statement: */
    struct facts *statement; /* borrowed; NULL: it is not */
    struct facts *begin; /* borrowed: the BEGIN in front of the statement, in one request; NULL */
    enum sql_standby verdict;
    struct pool *to; /* whose servers it goes to; always set for a client without a server */
};

/* A larger request is neither shared nor kept for sending it again. */
#define SESSION_COPY_MAX (OUTQ_BORROW_MIN - 1)

/* session.c */
/* The client's bytes, logged in. */
size_t session_input(struct client *c, struct str data, bool full);
/* The client was granted a server it had waited for. */
void session_granted(struct client *c, struct server *s);
/* c has waited long enough: its request goes to s, which may be its own or shared. */
void session_served(struct client *c, struct server *s);
void session_attach(struct client *c, struct server *s); /* and s is its own */
/* A new request of c in flight on s; takes plan->facts over. */
struct flight *session_push(struct client *c, struct server *s, const struct wire_req *r,
                            struct plan *plan);
void session_detach(struct client *c);
/* What f does on its server goes on for nobody: its client's names are as before. */
void session_disown(struct server *s, struct flight *f);
void session_disown_all(struct server *s, const struct client *c); /* all that c has in flight */
/* s is shared: it is left to the client of the request it works on (or to nobody, and stopped);
 * those behind it wait for other servers, and what s answers them is swallowed
 * (session_share.c). */
void session_unshare(struct server *s);
/* A reason to hold input back has gone. */
void session_go_on(struct client *c);
/* The same from a place where the input may not be looked at now: at the next turn. */
void session_go_on_later(struct client *c);

/* session_plan.c */
void session_plan(struct client *c, const struct wire_req *r, struct plan *plan);
void session_plan_done(struct client *c, const struct wire_req *r, struct plan *plan);
/* What a batch that is one statement consists of: which of the parts, -1: there is none. */
struct batch {
    int parse, bind, execute;
    const struct stmt *stmt; /* borrowed: the one that all of them are about */
};
/* r, planned, binds one statement of the protocol and executes it once, and does nothing else. */
bool session_batch_of_one(const struct client *c, const struct wire_req *r, struct batch *b);

/* session_vars.c */
enum prelude { PRELUDE_NONE, PRELUDE_GLUED, PRELUDE_WAIT };
/* Puts what the request needs on the server in front of it. WAIT: the client's own statement must
 * be done before the request may follow. */
enum prelude session_prelude(struct client *c, struct server *s, const struct wire_req *r,
                             const struct plan *plan);
/* What must be asked for after a request with these effects and completion tags, or one that
 * failed; names are added to the server's list. */
void session_note_asks(struct server *s, const struct flight *f, uint32_t tags, bool failed);
/* A statement is bound that may change settings: those whose names can be known are asked for
 * too. */
void session_note_bound(struct server *s, const struct facts *f, const struct wire_part *bind);
/* Statements of ours for c or j must not be cut off by a short time limit that was left on s: if
 * there is one it is put away, and c's request or j goes on after that. False: there is none. */
bool session_lift_limits(struct server *s, struct client *c, struct job *j);
void session_limits_lifted(struct server *s, struct flight *f, enum server_error why);
/* Code that nobody could look into may have left settings that the database does not list: they
 * are reset without being known, with those on record. */
void session_forget_unlisted(struct server *s);
/* What must be set or reset on s to have it as in want; writes at most max entries, returns how
 * many there would be. The slices live as long as both sets. */
int session_vars_delta(const struct server *s, const struct varset *want, struct wire_var *delta,
                       int max);
/* Whether the database is known to take this setting. */
bool session_var_known(const struct pool *p, const struct wire_var *v);
/* A row of the answer, and its end; not ok: there is none, and what f asked for stays unknown. */
void session_ask_row(struct server *s, const struct wire_server_event *ev);
void session_ask_done(struct server *s, const struct flight *f, bool ok);
/* The server reported a setting. */
void session_note_report(struct server *s, const struct wire_var *v);
/* Tells the client which reported settings differ from what it knows. */
void session_report(struct client *c, struct server *s);
/* The settings of a session that has been cleaned. */
void session_vars_reset(struct server *s);
/* The database took all of the settings on record: next time nobody waits for them. */
void session_vars_accepted(struct server *s);

/* session_stmt.c */
/* Sends the parts with statement names mapped, noting in f what to undo. */
void session_send(struct client *c, struct server *s, struct flight *f, const struct wire_req *r);
void session_prepare_named(struct client *c, struct server *s, struct str name);
/* The client's name means stmt from now on, without the database having been asked; in session mode
 * the server is given the statement under that name. */
void session_name(struct client *c, struct str name, struct stmt *stmt);
bool session_can_name(const struct client *c, struct str name);
/* Session mode, where names are the server's business: only statements that stop other clients are
 * kept in mind (kill.c). */
void session_note_kills(struct client *c, const struct wire_req *r);
/* The holder has changed: takes away what others have prepared under names of their own. */
void session_expel_names(struct client *c, struct server *s);
/* A flight is over: its journal becomes final or is undone, and what its text prepared is
 * learned. */
void session_apply(struct server *s, struct flight *f, const struct wire_server_event *ev);
void session_undo(struct server *s, struct flight *f);
/* The answer to ASK_PREPARED: a row, and its end. What is not as recorded pins the client. */
void session_prepared_row(struct server *s, struct str name, struct str text);
void session_prepared_end(struct server *s);
/* Something in flight prepares or names statements: whether it succeeds is not known yet, so
 * nothing that might rely on it may follow. */
bool session_unconfirmed(struct server *s);

/* session_reply.c */
size_t session_output(struct server *s, struct str data, bool full);
void session_settle(struct server *s); /* tx idle, nothing in flight: ask, clean or release */

/* session_note.c */
/* A request, or a further piece of one, goes out on f and is to be noted; takes plan->batch
 * over. */
void session_note_begin(struct server *s, struct flight *f, const struct wire_req *r,
                        struct plan *plan);
/* A request that is to be noted is over: answered, or (failed) lost with its server. */
void session_note(struct server *s, const struct flight *f, uint64_t rows, bool failed);
/* A planned request of c was answered from the result cache. */
void session_note_cached(struct client *c, const struct plan *plan);
/* What was said in it goes, memory and all. */
void session_note_forget(struct flight *f);

/* session_aborted.c */
/* r, planned, of a client whose transaction went with its server: answered without one. */
void session_aborted(struct client *c, const struct wire_req *r, const struct plan *plan);

/* session_end.c */
void session_client_gone(struct client *c);
/* What is in flight there for a client can be sent to another server, for its client has seen
 * nothing of the answer and it wrote nothing. */
bool session_can_repeat(struct server *s);
void session_server_lost(struct server *s, struct str code, struct str text);
/* c is about to be told that its open transaction has failed, with nothing in flight: the server
 * rolls it back, and keeps what else it has of c's. */
void session_give_up_tx(struct client *c);
enum running {
    RUNS,       /* a request of the client's, which is being cancelled */
    RUNS_LATER, /* a statement of ours, with the client's request behind it */
    RUNS_NOT,   /* nothing that the client waits for */
};
/* Asks the database to stop what runs for c; why C_CANCELLED: the client itself wanted it. */
enum running session_cancel_running(struct client *c, enum cause why);
/* The request at the front of c's input buffer is answered with an error instead of being run. code
 * non-empty: the database's own words. */
void session_refuse(struct client *c, enum cause cause, struct str code, struct str text);
/* c was waiting for a server (CL_WAIT) and will not get one. */
void session_wait_failed(struct client *c, enum cause cause, struct str code, struct str text);

#endif
