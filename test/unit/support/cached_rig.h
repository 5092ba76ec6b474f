/* cached_rig.h - a rig whose first worker has clients of a pool with a rule, on the toy codec: for
 * the tests of the result cache between clients and servers. */
#ifndef PENSTOCK_TEST_CACHED_RIG_H
#define PENSTOCK_TEST_CACHED_RIG_H

#include "base/base.h"
#include "test/unit/support/core_rig.h"
#include "test/unit/support/toy_wire.h"

#define CLIENTS 4
#define SERVERS 3
#define MSEC ((usec_t)1000)

/* servers are left alone, however long a test pretends to wait */
#define POOL                                                                                       \
    "default_pool_size = 3\nmultiplex_depth = 1\nserver_check_delay = 100000\n"                    \
    "server_idle_timeout = 0\nserver_lifetime = 0\n"
#define RULE                                                                                       \
    "[cache one]\nquery = SELECT v FROM app.accounts WHERE user_id = $1\nkey = one:$1\nttl = "     \
    "100\n"
#define RULES POOL "[cache]\nwait = 0\n" RULE
#define OTHER_RULES                                                                                \
    RULES "[cache two]\nquery = SELECT w FROM app.accounts WHERE user_id = $1\nkey = two:$1\n"

#define READ "Q SELECT v FROM app.accounts WHERE user_id = 5\n"
#define WRITE "Q UPDATE app.accounts SET v = 1 WHERE user_id = 5\n"

struct cached { /* a rig with clients of the first worker */
    struct rig *r;
    struct peer c[CLIENTS], s[SERVERS];
};

/* The catalog is known, as if it had been asked for when definitions were at that number (or now);
 * the toy codec has none. */
void cached_know_catalog_of(struct cached *x, uint32_t definitions);
uint32_t cached_definitions(struct cached *x);
void cached_know_catalog(struct cached *x);
/* All clients have logged in; the server of the first one is s[0]. */
void cached_begin(struct cached *x, const char *rules);
void cached_end(struct cached *x);

void cached_say(struct cached *x, int c, const char *text);
/* Client c asks for row 5, and the database is asked: s hears it. */
void cached_asks(struct cached *x, int c, int s);
void cached_row(struct cached *x, int s, const char *value);   /* s answers a read */
void cached_hears(struct cached *x, int c, const char *value); /* c hears such an answer */
/* The answer is the cache's: no server hears of it. */
void cached_hit(struct cached *x, int c, const char *value);
void cached_miss(struct cached *x, int c, int s, const char *value);
void cached_runs(struct cached *x, int c, int s, const char *text, const char *answer);

#endif
