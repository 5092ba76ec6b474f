/* route.h - where does a statement go, and why: a pure decision over a snapshot.
 *
 * Called by the session for every request that is not bound, and by EXPLAIN ROUTE.  Nothing is
 * allocated, locked or asked; the same ask gives the same choice, but for the atomics of
 * topology.h.
 *
 * Order: hint in the text > SET of the session > rule of the configuration > wish of the start-up
 * options > wish of the database entry > analysis.  The first wish that is there says primary or
 * replica; whether a replica shows what the client must see (freshness.h) is asked in every case:
 *   - a demanded replica (WISH_REPLICA) that is not there yet is waited for, or refused when there
 *     is none at all and the policy says so; what it cannot do fails there, as demanded;
 *   - everything else that finds no replica goes to the primary; with no_replica = error only where
 *     no replica is up at all, not where one is merely behind.
 * An open transaction and a pin bind a client to their node; nothing moves it.
 */
#ifndef PENSTOCK_ROUTE_H
#define PENSTOCK_ROUTE_H

#include "base/base.h"
#include "protocol/sql_standby.h"
#include "router/freshness.h"
#include "router/rules.h"
#include "router/topology.h"

enum route_target {
    ROUTE_NODE,  /* node says which */
    ROUTE_WAIT,  /* hold it back: ask again when the topology or the freshness has moved */
    ROUTE_ERROR, /* tell the client; reason says what */
};

enum route_reason {
    ROUTE_BOUND_TRANSACTION, /* the transaction is open on that node */
    ROUTE_BOUND_PIN,         /* so is something else that only that session has */
    ROUTE_LOCK_IN_READ_ONLY, /* error: an advisory lock in a transaction that reads a replica */
    ROUTE_BY_HINT,
    ROUTE_BY_SETTING,
    ROUTE_BY_RULE,
    ROUTE_BY_STARTUP,
    ROUTE_BY_ENTRY,
    ROUTE_BY_ANALYSIS, /* the verdict says why: STANDBY_OK is a read */
    ROUTE_READ_ONLY,   /* a READ ONLY transaction begins with a read */
    ROUTE_BEGIN_HELD,  /* nowhere yet: the first statement of the transaction decides */
    /* It might have gone to a replica: */
    ROUTE_UNSETTLED,  /* an earlier request of the client may be writing still */
    ROUTE_NOT_FRESH,  /* no replica shows yet what the client has written or seen */
    ROUTE_WRITING,    /* database scope: its tables are being written this moment */
    ROUTE_NO_REPLICA, /* none is up, near enough and not drained */
    ROUTE_NO_PRIMARY, /* none is known, or it is down */
    ROUTE_REASONS,
};

/* What the session knows. Zeroed but for topology, bound and verdict is a plain statement. */
struct route_ask {
    const struct topology *topology;
    enum sql_standby verdict; /* of the statement, or of the first one of a transaction */
    enum rules_wish hint, setting, rule, startup, entry;
    int16_t bound;     /* node that holds the client's transaction or pin; TOPOLOGY_NONE: none */
    bool bound_by_pin; /* otherwise by a transaction */
    bool begins_block; /* a BEGIN held back goes first */
    bool read_only;    /* and the transaction is READ ONLY, by its words or by default */
    bool serializable; /* the statement's transaction is */
    bool unsettled;    /* requests of this client are in flight that may write */
    bool learned;      /* a standby has refused this digest */
    uint64_t avoid;    /* nodes on which this request has failed: bit = index */
    uint64_t random;   /* for balance_pick */
    const struct freshness_mark *mark; /* NULL: nothing written, nothing seen */
    /* database scope, otherwise NULL: */
    const struct freshness_db *db;
    const struct freshness_set *reads;
};

struct route_choice {
    enum route_target target;
    enum route_reason reason;
    enum sql_standby verdict; /* what the analysis said, also where a wish decided */
    int16_t node;             /* ROUTE_NODE; otherwise TOPOLOGY_NONE */
    bool replica;             /* the node is one by its role at this moment */
    bool demanded; /* a replica was demanded: what it refuses is not repeated on the primary */
};

void route_decide(const struct route_ask *ask, struct route_choice *out);

/* The wish in facts.hint ("penstock: route=replica"), WISH_NONE when it holds none. */
enum rules_wish route_hint(const struct facts *f);

/* One lower-case word with underscores, for SHOW LAST, metrics and EXPLAIN ROUTE. Never NULL. */
const char *route_reason_name(enum route_reason r);

#endif
