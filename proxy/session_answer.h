/* session_answer.h - one row as the answer to a client's statement that no database has run.
 *
 * Called for statements that the proxy knows the answer of: those that stop another client
 * (kill.c), and questions about the session's routing and cache (session_ours.c).  The request was
 * planned, and is of one statement; its end is answered by the caller.
 * Thread: the worker's.
 */
#ifndef PENSTOCK_PROXY_SESSION_ANSWER_H
#define PENSTOCK_PROXY_SESSION_ANSWER_H

#include "proxy/session.h"

struct session_answer { /* all borrowed for the call */
    const struct wire_column *columns;
    const struct wire_column
        *stated; /* the same for a Describe of the statement, which does not know
                                       * yet in which format its values will be wanted */
    const struct str *values;
    int n;
    const struct wire_column *params;
    int nparams;
    const char *tag; /* how it is completed */
};

/* Each part of the request in turn, up to its end marker. */
void session_answer_parts(struct client *c, const struct wire_req *r,
                          const struct session_answer *a);

/* The same where the statement returns nothing. */
void session_answer_none(struct client *c, const struct wire_req *r, struct str tag);

#endif
