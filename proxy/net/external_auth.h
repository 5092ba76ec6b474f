/* external_auth.h - passwords that PAM or an LDAP server judges.
 *
 * These functions block for as long as the other side takes (LDAP: at most about 10 seconds a
 * step), so the client machine calls them through resolver_run, never on a loop.  They keep no
 * state between calls and may run on several threads at once.  Nothing here logs or stores a
 * password. An empty password is refused before anybody is asked: LDAP takes a bind with a name and
 * an empty password for an anonymous one, and says yes.
 * Each is there when the program was built with the library (HAVE_PAM, HAVE_LDAP), and otherwise
 * always says no with the reason.
 */
#ifndef PENSTOCK_PROXY_EXTERNAL_AUTH_H
#define PENSTOCK_PROXY_EXTERNAL_AUTH_H

#include "base/base.h"
#include "base/status.h"
#include "proxy/net/ldap_options.h"

/* Authentication and account check (expired, locked) by the PAM service "penstock"; when /etc/pam.d
 * has no such file but one named "pgbouncer", by that. err: for the log, not for the client. */
bool external_auth_pam(const char *user, const char *password, struct error *err);
/* The same with services read from a directory instead of /etc/pam.d (tests, private
 * installations). */
bool external_auth_pam_from(const char *confdir, const char *user, const char *password,
                            struct error *err);
bool external_auth_has_pam(void);

/* A bind as the user: with the name made of prefix and suffix, or with the DN that a search finds.
 * o has passed ldap_options_check. */
bool external_auth_ldap(const struct ldap_options *o, const char *user, const char *password,
                        struct error *err);
bool external_auth_has_ldap(void);

#endif
