/* ldap_options.h - the ldap* options of auth_ldap_options and of hba lines, as pg_hba.conf has
 * them.
 *
 * Called while configuration is read (parse, or set per option, then check) and by external_auth.c
 * (names to DNs and filters).  Pure text; needs no LDAP library; any thread.  An options object is
 * immutable once checked, so that log-ins on resolver threads may share it.
 */
#ifndef PENSTOCK_PROXY_LDAP_OPTIONS_H
#define PENSTOCK_PROXY_LDAP_OPTIONS_H

#include "base/base.h"
#include "base/status.h"
#include "base/str.h"

struct ldap_options { /* all strings owned, NULL: not given */
    char *server;     /* ldapserver: one or several, with blanks between */
    char *scheme;     /* ldap or ldaps */
    char *prefix, *suffix;
    char *basedn, *binddn, *bindpasswd;
    char *searchattribute, *searchfilter;
    int port; /* 0: the scheme's */
    bool tls; /* ldaptls=1: StartTLS */
    bool has_url;
    int scope; /* 0 base, 1 one, 2 sub */
};

void ldap_options_init(struct ldap_options *o);
void ldap_options_fini(struct ldap_options *o); /* wipes the password */

bool ldap_options_is_key(struct str key);
/* One option; ST_INVALID for an unknown key or a bad value. */
enum status ldap_options_set(struct ldap_options *o, struct str key, struct str value,
                             struct error *err) ATTR_NODISCARD;
/* Blank-separated key=value, where quotes may enclose the whole or the value ("" is a quote).
 * Checks. */
enum status ldap_options_parse(struct ldap_options *o, const char *text,
                               struct error *err) ATTR_NODISCARD;
/* PostgreSQL's rules about what may stand together. */
enum status ldap_options_check(const struct ldap_options *o, struct error *err) ATTR_NODISCARD;

/* "ldap://host:389 ldap://other:389", for ldap_initialize. */
enum status ldap_options_uri(const struct ldap_options *o, char *dst, size_t cap,
                             struct error *err) ATTR_NODISCARD;
/* prefix + user + suffix. When prefix and suffix make a DN (they hold a '='), the user is escaped
 * as a DN value (RFC 4514); otherwise (DOMAIN\user, user@domain) it is taken as it is. */
enum status ldap_options_simple_dn(const struct ldap_options *o, const char *user, char *dst,
                                   size_t cap, struct error *err) ATTR_NODISCARD;
/* The search filter with the user escaped by RFC 4515. */
enum status ldap_options_filter(const struct ldap_options *o, const char *user, char *dst,
                                size_t cap, struct error *err) ATTR_NODISCARD;

#endif
