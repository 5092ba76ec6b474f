/* hba_lex.h - the words of access rules and user name maps; internal to hba.c and hba_ident.c.
 *
 * A line is words between blanks; '#' begins a comment where a word would; "..." keeps blanks,
 * commas and '#', and takes away a word's special meaning ("" inside is one quote).  A comma
 * outside quotes joins items to a list.
 */
#ifndef PENSTOCK_PROXY_HBA_LEX_H
#define PENSTOCK_PROXY_HBA_LEX_H

#include "base/status.h"
#include "base/str.h"
#include "proxy/config/config_arena.h"

struct hba_word {
    struct str text; /* owned by the arena, terminated; quotes taken away */
    bool quoted;     /* had quotes */
    bool more;       /* a comma followed: the next word belongs to the same list */
};

/* Takes the next word off *line. text.p is NULL at the end of the line. */
enum status hba_lex_word(struct str *line, struct config_arena *arena, struct hba_word *out,
                         struct error *err) ATTR_NODISCARD;

/* Puts "FILE:LINE: " before the reason. Returns st. */
enum status hba_lex_blame(const char *file, int line, enum status st, struct error *err);

#endif
