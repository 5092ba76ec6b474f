/* freshness.h - which replica has what a client must see: read your writes without a question.
 *
 * The rule.  Probes of the primary are numbered and bring back its insert position, the end of what
 * has been written to its log in memory.  The number is taken before the probe is sent
 * (freshness_number).  When the idle marker of a request that may have written has been read, the
 * client remembers the newest number taken so far (freshness_wrote).  Any probe with a higher
 * number was sent after the write was acknowledged, so its position lies behind the write; a
 * replica that has replayed the position of such a probe shows the write.  Nothing is asked on the
 * data path, and no clock of another machine is believed.
 *
 * A client's reads never go backwards: what it has read, from whichever node, was on the primary
 * before the answer was here.  So a read leaves the same kind of mark as a write (freshness_read),
 * with one difference: the node that was read last may be read again at once, for a node does not
 * step back during its life (topology.h).
 *
 * `database` scope: each write leaves a mark on the tables it names, for all clients.  The tables
 * are a fixed array of slots chosen by hash; two tables in one slot share their marks, which can
 * only send reads to the primary, never make one stale, and so the array is never full.  A write
 * whose tables are not known (code, DDL, tables with triggers or cascades) marks the whole
 * database; a read of what is more than plain tables (views, partitions) counts every write.
 * An acknowledgement can reach a client in parts, before the idle marker has been read: from the
 * sending of a request that may commit to its idle marker its slots are `open`, and reads of them
 * go to the primary.
 *
 * A token carries a mark between connections and processes: system, timeline and position, asked
 * from the primary on demand.
 *
 * After a change of primary the positions of the old one prove nothing: freshness_reset forgets
 * them.  Numbers go on, so marks stay good: the first probe of the new primary is newer than all.
 * A replica counts only while it is known to follow the primary's timeline: one that has replayed
 * what the new primary never had is ahead by number and must not be read.
 *
 * Threads: struct freshness belongs to the prober; marks and sets to their client's worker; struct
 * freshness_db and struct topology_live are atomic and shared.
 */
#ifndef PENSTOCK_FRESHNESS_H
#define PENSTOCK_FRESHNESS_H

#include "base/base.h"
#include "base/clock.h"
#include "base/status.h"
#include "base/str.h"
#include "protocol/sql_facts.h"
#include "router/topology.h"

/* ---- tokens ---------------------------------------------------------------------------------- */

struct freshness_token {
    uint64_t system; /* 0: no token */
    uint64_t position;
    uint32_t timeline;
};

#define FRESHNESS_TOKEN_TEXT 64

/* "SYSTEM.TIMELINE.POSITION" in hexadecimal, terminated; of no token: empty. */
void freshness_token_format(const struct freshness_token *t, char text[FRESHNESS_TOKEN_TEXT]);
/* The empty text is no token. Anything but exactly that form is ST_INVALID. */
enum status freshness_token_parse(struct str text, struct freshness_token *out,
                                  struct error *err) ATTR_NODISCARD;

/* ---- the prober ------------------------------------------------------------------------------ */

#define FRESHNESS_PROBES 512u

struct freshness_probe { /* an answered probe of the primary */
    uint64_t number, position;
    uint64_t settled; /* what standbys could have by then (health.h); 0: all of it */
    usec_t sent_at;
};

/* Answered probes, oldest first. When there are too many, those left lie the farther apart the
 * older they are: a replica that is far behind is judged more coarsely, and never too well. */
struct freshness {
    struct freshness_probe probes[FRESHNESS_PROBES];
    unsigned n;
    uint64_t system;
    uint32_t timeline;
};

void freshness_init(struct freshness *f);
/* Takes the number of a probe of the primary. Before anything of it is written to the socket. */
uint64_t freshness_number(struct topology_live *l);
/* The answer of the probe with that number, sent at sent_at. Late and repeated ones are dropped,
 * and so are those that are not of the timeline given to freshness_reset. */
void freshness_primary(struct freshness *f, const struct freshness_probe *p, uint32_t timeline);
/* A node has told how far it has replayed (timeline 0: not known). Publishes what follows for
 * it. */
void freshness_replica(struct freshness *f, struct topology_live *l, int node, uint64_t position,
                       uint32_t timeline);
/* A change of primary: all positions are forgotten, on the nodes too. */
void freshness_reset(struct freshness *f, struct topology_live *l, uint64_t system,
                     uint32_t timeline);
/* The node has restarted, has changed its role, or was lost: nothing is known of it any more. */
void freshness_forget(struct topology_live *l, int node);
/* How far a position is behind the primary; -1 where that is not known. Time: since the first
 * probe was sent of which it lacks what it could have. */
void freshness_lag(const struct freshness *f, uint64_t position, usec_t now, usec_t *us,
                   int64_t *bytes);

/* ---- a client's mark ---------------------------------------------------------------------------
 */

struct freshness_mark {           /* all zero: nothing written, nothing seen */
    uint64_t wrote;               /* probes up to this number may miss what it has written */
    uint64_t saw;                 /* or what it has read */
    uint32_t saw_life;            /* of the node it read last */
    uint8_t saw_node;             /* index of that + 1; 0: none */
    struct freshness_token token; /* what it was told to see */
};

/* The idle marker (or the loss) of a request that may have written has been read. */
void freshness_wrote(struct freshness_mark *m, const struct topology_live *l);
/* The same of a request that has only read, from node; TOPOLOGY_NONE: it is none any more. */
void freshness_read(struct freshness_mark *m, const struct topology_live *l, int node);
/* The node shows at least what the mark asks for. The primary always does. */
bool freshness_met(const struct freshness_mark *m, const struct topology_live *l, int node);
/* The node has replayed a probe newer than number. */
bool freshness_has(const struct topology_live *l, int node, uint64_t number);

/* ---- database scope -------------------------------------------------------------------------- */

#define FRESHNESS_SLOTS 1024u
#define FRESHNESS_SET_MAX 12u

struct freshness_slot {
    atomic_uint_fast64_t mark; /* as wrote above */
    atomic_uint_fast32_t open; /* requests that may be committing a write of it */
};

struct freshness_db {            /* one for each database of a cluster; zeroed is ready */
    struct freshness_slot any;   /* every write */
    struct freshness_slot whole; /* writes whose tables are not known */
    struct freshness_slot slots[FRESHNESS_SLOTS];
};

struct freshness_set { /* tables of a statement or a transaction; zeroed: none */
    uint16_t n;
    bool all; /* more than fit, or not known which */
    uint16_t slots[FRESHNESS_SET_MAX];
};

/* Adds the tables that f may write; of a statement that writes none: nothing. EXECUTE is
 * everything: who knows the prepared text asks for that. cat: what sql_effects would be given. */
void freshness_set_written(struct freshness_set *s, const struct facts *f,
                           const struct catalog *cat);
/* Sets s to the tables that f reads. */
void freshness_set_read(struct freshness_set *s, const struct facts *f, const struct catalog *cat);
bool freshness_set_empty(const struct freshness_set *s);

/* A request that may commit writes to the tables of s is sent; its idle marker has been read, or it
 * is lost, but nothing of its end has been passed on yet. In pairs, with the same set. */
void freshness_db_open(struct freshness_db *db, const struct freshness_set *s);
void freshness_db_close(struct freshness_db *db, const struct freshness_set *s,
                        const struct topology_live *l);
/* What a read of the tables of s has to see: a number as wrote above. false: a write of them is
 * under way, and only the primary will do. */
bool freshness_db_need(const struct freshness_db *db, const struct freshness_set *s,
                       uint64_t *number);

#endif
