/* pg_text.h - the SQL that Penstock itself sends to a PostgreSQL server, and how its answers are
 * read.
 *
 * Called by pg_server_own.c and pg_wire.c.  Every name is qualified and every operator is written
 * as OPERATOR(pg_catalog.=), so that a search_path of somebody's making changes nothing; every
 * literal is an E'' string, which means the same under any standard_conforming_strings.  Pure; any
 * thread.
 */
#ifndef PENSTOCK_PG_TEXT_H
#define PENSTOCK_PG_TEXT_H

#include "base/base.h"
#include "base/buf.h"
#include "base/str.h"
#include "protocol/wire.h"

#define PG_TEXT_MAX (1u << 24) /* bytes of a text made here; past it the buf is marked failed */

void pg_text_literal(struct str s, struct buf *out); /* E'...'; what follows a zero byte is cut */
void pg_text_identifier(struct str s, struct buf *out); /* "..." */

/* Sets and resets settings: the encoding, the identity's user, plain ones in order, the role, time
 * limits. */
void pg_text_vars(const struct wire_var *delta, int n, struct buf *out);
/* The question of sv_ask; rows: about, name, value, extra. */
void pg_text_ask(uint32_t asks, const struct str *names, int n, struct buf *out);
enum status pg_text_ask_row(const struct str *cols, int ncols, struct wire_answer *out);
void pg_text_listen(struct str channel, bool on, struct buf *out); /* off, empty: all channels */

int pg_text_var_rank(struct str name);
bool pg_text_var_analysis(struct str name);
bool pg_text_var_serializable(const struct wire_var *v);
bool pg_text_var_free(struct str name);
bool pg_text_var_hurries(const struct wire_var *v); /* a statement_timeout below a second */
uint32_t pg_text_dialect(struct str var, struct str value, uint32_t dialect);

extern const char pg_text_reset_query[];
extern const char pg_text_auth_query[];

#endif
