/* hba.h - who may connect how: pg_hba rules and user name maps.
 *
 * Called by the configuration loader (main thread) and by client logins (any worker).
 * The rules are read whole or refused with "FILE:LINE: reason"; once made they never change, are
 * shared by reference counts, and reading them needs no lock.
 * The format is PostgreSQL's as far as PgBouncer has it: record types local, host, hostssl,
 * hostnossl; databases all, sameuser, replication, names, @file; users all, names, @file; addresses
 * all, IPv4 and IPv6 with a mask or a prefix length; "quoted" words lose their special meaning.
 * Refused with a reason: samerole, +group, samehost, samenet, host names, and regular expressions
 * outside the user name map. `all` does not match physical replication connections, as in
 * PostgreSQL.
 */
#ifndef PENSTOCK_PROXY_HBA_H
#define PENSTOCK_PROXY_HBA_H

#include "base/status.h"
#include "base/str.h"

struct sockaddr;
struct hba;
struct hba_ident;

enum hba_method {
    HBA_TRUST,
    HBA_REJECT,
    HBA_MD5, /* an exchange by SCRAM when the stored secret is a verifier */
    HBA_PASSWORD,
    HBA_PEER,
    HBA_CERT,
    HBA_SCRAM,
    HBA_LDAP,
    HBA_PAM,
};

struct hba_rule {
    enum hba_method method;
    const char *map;     /* user name map for peer and cert; NULL: names must be equal */
    const char *options; /* the other options as they stand, for ldap; never NULL */
    int line;            /* for the log */
};

struct hba_query {
    bool is_unix;
    const struct sockaddr *addr; /* IPv4 or IPv6; ignored for is_unix */
    bool tls;
    bool replication; /* physical */
    struct str database, user;
};

/* ident may be NULL: then a rule with map= is refused. */
enum status hba_load(const char *path, const struct hba_ident *ident, struct hba **out,
                     struct error *err) ATTR_NODISCARD;
/* The same from memory; name stands for the file in errors, and @files are looked up beside it. */
enum status hba_parse(const char *name, struct str text, const struct hba_ident *ident,
                      struct hba **out, struct error *err) ATTR_NODISCARD;
struct hba *hba_get(struct hba *h);
void hba_put(struct hba **h); /* NULL is fine */

/* The first rule that matches, valid as long as h; NULL: nobody said this client may come in. */
const struct hba_rule *hba_find(const struct hba *h, const struct hba_query *q);
size_t hba_count(const struct hba *h);
const char *hba_method_name(enum hba_method m);

/* The user name map file: lines of MAP SYSTEM-NAME DATABASE-NAME. A system name that begins with /
 * is a POSIX extended regular expression, and \1 in the database name stands for its first group;
 * the database name all (unquoted) allows every user. */
enum status hba_ident_load(const char *path, struct hba_ident **out,
                           struct error *err) ATTR_NODISCARD;
enum status hba_ident_parse(const char *name, struct str text, struct hba_ident **out,
                            struct error *err) ATTR_NODISCARD;
struct hba_ident *hba_ident_get(struct hba_ident *i);
void hba_ident_put(struct hba_ident **i); /* NULL is fine */
bool hba_ident_has_map(const struct hba_ident *i, const char *map);

/* Whether somebody whom the system (certificate, operating system) knows as system may be user. map
 * NULL: only when the names are equal. i may be NULL. */
bool hba_ident_match(const struct hba_ident *i, const char *map, struct str system,
                     struct str user);

#endif
