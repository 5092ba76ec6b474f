/* userlist.h - the file of user names and secrets that PgBouncer calls auth_file (userlist.txt).
 *
 * Called by: the proxy's configuration loader, which reads the file and gives its text.
 * A line is  "name" "secret"  with blanks between; "" inside quotes stands for one quote; what
 * follows the secret is ignored (old files have more columns there).  A line that begins with ; is
 * a comment, # is nothing special.  The secret may be empty (the user is known, but no password
 * logs in) and is told apart by secret_parse.  Lines end with LF or CRLF and may be of any length.
 * Unlike PgBouncer, which keeps what came before a broken line, a broken file is refused whole, and
 * a quoted text ends on the line on which it began.
 *
 * Invariants: a struct userlist owns its entries and is not changed after it was parsed, so that
 * several threads may read it; userlist_fini wipes the secrets.
 */
#ifndef PENSTOCK_USERLIST_H
#define PENSTOCK_USERLIST_H

#include "base/base.h"
#include "base/map.h"
#include "base/status.h"
#include "base/str.h"
#include "protocol/auth/secret.h"

#define USERLIST_NAME_MAX 127 /* bytes of a user name, as in PgBouncer */

struct userlist_entry {
    char *name; /* owned, terminated */
    struct secret secret;
    int line; /* where it stands */
};

struct userlist {
    struct map by_name; /* to struct userlist_entry, owned */
};

/* What is odd but not wrong: a name given twice (the last line counts), an empty name (left out), a
 * malformed SCRAM verifier (the user is kept, without a password). text is "FILE:LINE: reason". */
struct userlist_hook {
    void (*on_warning)(void *arg, const char *text);
    void *arg;
};

void userlist_init(struct userlist *u);
void userlist_fini(struct userlist *u);

/* Fills u (as after userlist_init) from text. file: for messages only. hook may be NULL.
 * ST_INVALID: err says "FILE:LINE: reason"; ST_LIMIT: name or secret too long; ST_MEMORY. After an
 * error u is empty. */
enum status userlist_parse(struct userlist *u, struct str text, const char *file,
                           const struct userlist_hook *hook, struct error *err) ATTR_NODISCARD;

/* Borrowed; NULL when there is no such user. */
const struct userlist_entry *userlist_find(const struct userlist *u, struct str name);

size_t userlist_count(const struct userlist *u);

#endif
