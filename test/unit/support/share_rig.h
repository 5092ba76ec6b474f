/* share_rig.h - a rig on which reads of several clients may share a server.
 *
 * The database's catalog knows the table t, whose reads are repeatable, and v, whose are not.
 * Client i asks "select 'i'" and is answered with the row i, so that an answer in the wrong hands
 * shows; all these texts have one digest, which share_new lets run once, so that it is known to be
 * short.  Time stands still but for rig_wait: what is late here does not depend on the machine.
 * Strings like "012" name clients in the order in which they are meant.
 */
#ifndef PENSTOCK_SHARE_RIG_H
#define PENSTOCK_SHARE_RIG_H

#include "test/unit/support/core_rig.h"

#define SHARE_CLIENTS_MAX 10
#define SHARE_SERVERS_MAX 4
#define SHARE_TWO_SERVERS "default_pool_size = 2\n"
#define SHARE_MSEC ((usec_t)1000)

struct share_rig {
    struct rig *r;
    struct peer c[SHARE_CLIENTS_MAX], s[SHARE_SERVERS_MAX];
    char key[SHARE_CLIENTS_MAX][160]; /* the request that cancels it */
    int nclients;
};

/* nclients clients of the first worker, and the first server. options: lines of configuration, with
 * multiplex_depth among them unless 16 will do. */
void share_new(struct share_rig *x, unsigned nworkers, const char *options, int nclients);
void share_reload(struct share_rig *x, const char *options);
void share_free(struct share_rig *x); /* closes what is open of the test's ends */
/* One more client, of that worker, which may come with a setting (NULL: none) that s[0] takes. */
int share_client(struct share_rig *x, unsigned worker, const char *setting);

void share_ask(struct share_rig *x, const char *clients);
/* Exactly these requests are what s hears next, and they were sent in that order. */
void share_heard(struct share_rig *x, int s, const char *clients);
void share_answer(struct share_rig *x, int s, const char *clients);
/* Each hears its own answer and nothing else. */
void share_answered(struct share_rig *x, const char *clients);
void share_silent(struct share_rig *x, const char *clients);
/* All four: asked together of s[0], answered by it. */
void share_round(struct share_rig *x, const char *clients);
void share_server(struct share_rig *x, int s); /* accepts one and lets it log in */
void share_cancel(struct share_rig *x, int client);
void share_accept_cancel(struct share_rig *x, struct peer *p); /* of any server */
/* A rig with clients 0, 1 and 2 in flight on s[0], in that order; 3 idle. */
void share_three(struct share_rig *x, const char *options);
/* Those clients are served by s[1], one after the other or together, whoever has waited longest
 * first. */
void share_elsewhere(struct share_rig *x, const char *clients);
const struct stats *share_stats(struct share_rig *x);

#endif
