/* session_journal.h - what a request in flight has changed about statements, and how it is undone.
 *
 * session_stmt.c and session_named.c note every change they make in advance of the database's
 * answer, in the order of what was sent, each line with the number of the confirmation that makes
 * it final.  When the flight is over the lines become final, or, after an error, those without a
 * confirmation are taken back.
 * Also here: forgetting, so that no line ever points to an entry that is gone.
 * Thread: the worker's.
 */
#ifndef PENSTOCK_PROXY_SESSION_JOURNAL_H
#define PENSTOCK_PROXY_SESSION_JOURNAL_H

#include "proxy/session.h"

/* A new line, final with the part of the request that was sent last. */
struct journal *journal_note(struct flight *f, enum journal_kind kind);
/* The client's names, made when it has none yet. */
struct stmt_names *journal_names(struct client *c);
/* The client's name means stmt (NULL: nothing) from now on. */
void journal_rename(struct client *c, struct flight *f, struct str name, struct stmt *stmt);
/* The client will be told the rows of its statement of that name, as they are under these
 * definitions. */
void journal_describe(struct flight *f, struct str name, uint32_t definitions);
/* The entry leaves the server's set, and no line names it any more. */
void journal_forget_entry(struct server *s, struct stmt_entry *e);
/* The server's unnamed statement is stmt, or certainly none. */
void journal_set_unnamed(struct server *s, struct stmt *stmt);
/* The database has dropped all statements: so do the set and the client's names, but for what f
 * made behind its last JOURNAL_FORGET line. */
void journal_forget_all(struct server *s, struct flight *f);
void journal_accept(struct flight *f); /* all lines are final */

/* session_stmt.c, for session_named.c: prepares under a handle inside f, and records a statement
 * that the server has under a client's own name. */
void stmt_prepare(struct server *s, struct flight *f, const struct wire_handle *h,
                  const struct stmt_text *t);
struct stmt_entry *stmt_add_named(struct server *s, struct flight *f, struct stmt *stmt,
                                  struct str name);

#endif
