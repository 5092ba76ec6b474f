/* pg_tag.h - completion tags: what the server says it did.
 *
 * Called by pg_server.c for each CommandComplete.  Pure; any thread.
 */
#ifndef PENSTOCK_PG_TAG_H
#define PENSTOCK_PG_TAG_H

#include "base/base.h"
#include "base/str.h"

/* wire_tag bits of a tag ("INSERT 0 1"). Unknown tags are WT_DDL: they are commands, not queries.
 * "SELECT n" may also be CREATE TABLE AS, which the tag alone does not tell. */
uint32_t pg_tag_bits(struct str tag);

/* How many rows a tag ("SELECT 5", "INSERT 0 1") says were returned or changed; 0 when it says
 * nothing of rows. */
uint64_t pg_tag_rows(struct str tag);

#endif
