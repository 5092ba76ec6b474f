/* toy_language.h - keys, handles and words of the toy codec; used by toy_wire.c only. */
#ifndef PENSTOCK_TOY_LANGUAGE_H
#define PENSTOCK_TOY_LANGUAGE_H

#include "protocol/wire.h"

void toy_language_handle_make(uint64_t salt, uint64_t n, struct wire_handle *h);
bool toy_language_handle_named(struct str name, struct wire_handle *h);
void toy_language_cancel_bytes(const struct wire_key *key, struct outq *out);
void toy_language_key_make(const struct wire_identity *who, int minor, struct wire_key *key);
enum status toy_language_key_read(const struct wire_key *key, struct wire_identity *who);
uint16_t toy_language_key_peer(const struct wire_key *key);
bool toy_language_key_pass_on(struct wire_key *key);
uint32_t toy_language_dialect(struct str var, struct str value, uint32_t old);
int toy_language_var_rank(struct str name);
bool toy_language_var_analysis(struct str name);
bool toy_language_var_hurries(const struct wire_var *v);
void toy_language_quote_literal(struct str value, struct buf *out);
bool toy_language_var_of_node(struct str name);
void toy_language_var_wishes(const struct wire_var *v, struct wire_wishes *out);
bool toy_language_startup_wishes(const struct wire_var *v, struct wire_wishes *out);
enum status toy_language_ask_row(const struct str *cols, int ncols, struct wire_answer *out);

#endif
