/* sql_slots.h - the places of a statement where a constant or a parameter stands.
 *
 * Called by the result cache: two texts with the same normalised text (facts.text) have the same
 * number of places, in the same order, and differ in nothing else but the names and layout that
 * normalising ignores.  So a rule's query and a client's are compared place by place.
 * Pure, no allocation; the slots borrow from the text.  Any thread.
 */
#ifndef PENSTOCK_SQL_SLOTS_H
#define PENSTOCK_SQL_SLOTS_H

#include "base/base.h"
#include "base/str.h"

#define SQL_SLOTS_MAX 64

enum sql_slot_kind {
    SQL_SLOT_PARAM,  /* $n: param */
    SQL_SLOT_NUMBER, /* as written, without a sign */
    SQL_SLOT_STRING, /* plain '...' on one line: sql_slot_string decodes it */
    SQL_SLOT_OTHER,  /* any other constant: E'', U&'', X'', $$...$$, continued strings */
};

struct sql_slot {
    enum sql_slot_kind kind;
    uint32_t param;  /* from 1 */
    struct str text; /* as written, quotes included */
};

/* Fills at most max slots; returns how many, or -1: more than max, or the text is no SQL. dialect:
 * SQL_DIALECT_ bits (sql_facts.h). */
int sql_slots_read(struct str text, uint32_t dialect, struct sql_slot *out, int max);

/* The value of a SQL_SLOT_STRING, written to dst. false: another kind, or longer than cap. */
bool sql_slots_string(const struct sql_slot *slot, char *dst, size_t cap,
                      struct str *out) ATTR_NODISCARD;

#endif
