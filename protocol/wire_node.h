/* wire_node.h - what a codec tells of nodes and of sessions that may use several; see wire.h.
 *
 * Filled by probe_row, var_wishes and startup_wishes, read by proxy/cluster and session_route.c.
 */
#ifndef PENSTOCK_WIRE_NODE_H
#define PENSTOCK_WIRE_NODE_H

#include "base/base.h"
#include "base/str.h"

enum wire_ours { WIRE_OURS_NONE, WIRE_OURS_LAST, WIRE_OURS_TOKEN };

struct wire_wishes { /* where a client's statements may go; texts are those of the settings */
    struct str route, token; /* empty: none */
    bool read_only;          /* its transactions are, unless they say otherwise */
    bool serializable;
};

struct wire_probe { /* what a node of a cluster says of itself */
    bool in_recovery;
    uint64_t system_id; /* nodes of one cluster have the same */
    uint32_t timeline;  /* grows with each promotion; of a standby: what it follows, 0: not known */
    /* Of a primary: all that it has acknowledged lies before. Of a standby: what it has
     * replayed. */
    uint64_t position;
    uint64_t settled; /* of a primary: up to where its standbys can have it by now */
};

#endif
