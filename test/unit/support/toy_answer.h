/* toy_answer.h - answers of the toy codec that can be kept and given again; used by toy_wire.c. */
#ifndef PENSTOCK_TOY_ANSWER_H
#define PENSTOCK_TOY_ANSWER_H

#include "protocol/wire_answer.h"

extern const struct wire_answers toy_answers;

/* B NAME VALUE binds one value of no declared type, and all columns come in one form. */
int toy_answer_values(const struct wire_part *part, struct str types, struct wire_value *out,
                      int max);
struct str toy_answer_formats(const struct wire_part *part);

#endif
