/* pg_key.h - the cancel keys that Penstock gives out, and the pids in them.
 *
 * A key is a pid of four bytes and a secret: four bytes under protocol 3.0, 32 under 3.2.  Without
 * peers the pid is the client's number above every process id of a Linux server.  With peers the
 * layout is PgBouncer's, so that both can stand in one group:
 *
 *   byte 0      1 to 126, the client's number divided by 256, plus one; 127: see below
 *   bytes 1, 2  number of the process among its peers, low byte first
 *   byte 3      the client's number modulo 256
 *   byte 7      its two low bits count how often the request may still be passed on; it starts
 *               with 3 and is no part of the secret
 *
 * The pids of the second layout are above those of the first.  Clients from number 32,256 on have
 * 127 in byte 0 and share their pids with others: the secret tells them apart, and a pid alone
 * names none of them.
 * Called through pg_wire.c, and by pg_kill.c.  Pure.
 */
#ifndef PENSTOCK_PG_KEY_H
#define PENSTOCK_PG_KEY_H

#include "protocol/wire.h"

void pg_key_make(const struct wire_identity *who, int minor, struct wire_key *key);
enum status pg_key_read(const struct wire_key *key, struct wire_identity *who);
uint16_t pg_key_peer(const struct wire_key *key);
bool pg_key_pass_on(struct wire_key *key);
uint32_t pg_key_pid(const struct wire_key *key);
/* The client that pid names, where peer is this process's own number. false: none of ours, or it
 * does not name one alone. */
bool pg_key_client(uint32_t pid, uint16_t peer, uint32_t *id);

#endif
