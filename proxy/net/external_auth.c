/* external_auth.c - passwords that PAM or an LDAP server judges; see external_auth.h.
 *
 * Resolver threads.
 */
#include "proxy/net/external_auth.h"

#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static bool refuse(struct error *err, const char *why)
{
    (void)error_set(err, ST_DENIED, "%s", why);
    return false;
}

/* ---- PAM ------------------------------------------------------------------------------------- */

#ifdef HAVE_PAM

#include <security/pam_appl.h>

/* One question, answered with the password. libpam frees the answers with free(). */
static bool answer(const struct pam_message *m, struct pam_response *r, const char *password)
{
    switch (m->msg_style) {
    case PAM_PROMPT_ECHO_OFF:
        r->resp = strdup(password);
        return r->resp != NULL;
    case PAM_ERROR_MSG:
    case PAM_TEXT_INFO:
        return true;
    /* a visible question (a second factor, a new name) cannot be asked through the protocol */
    default:
        return false;
    }
}

static int converse(int n, const struct pam_message **msg, struct pam_response **resp, void *arg)
{
    if (n <= 0 || n > PAM_MAX_NUM_MSG)
        return PAM_CONV_ERR;
    struct pam_response *r = calloc((size_t)n, sizeof(*r));
    if (r == NULL)
        return PAM_BUF_ERR;
    for (int i = 0; i < n; i++) {
        if (answer(msg[i], &r[i], arg))
            continue;
        for (int k = 0; k < i; k++) {
            if (r[k].resp != NULL)
                mem_wipe(r[k].resp, strlen(r[k].resp));
            free(r[k].resp);
        }
        free(r);
        return PAM_CONV_ERR;
    }
    *resp = r;
    return PAM_SUCCESS;
}

static bool has_service(const char *dir, const char *name)
{
    char path[4096];
    int n = snprintf(path, sizeof(path), "%s/%s", dir, name);
    return n > 0 && (size_t)n < sizeof(path) && access(path, F_OK) == 0;
}

static const char *service_in(const char *dir)
{
    if (!has_service(dir, "penstock") && has_service(dir, "pgbouncer"))
        return "pgbouncer";
    return "penstock";
}

bool external_auth_pam_from(const char *confdir, const char *user, const char *password,
                            struct error *err)
{
    pam_handle_t *pam = NULL;
    char *secret = str_dup(str_of(password));
    struct pam_conv conv = {converse, secret};
    const char *step = "start";
    if (password[0] == '\0') {
        mem_free(secret);
        return refuse(err, "empty password");
    }
    int rc = confdir != NULL ? pam_start_confdir(service_in(confdir), user, &conv, confdir, &pam)
                             : pam_start(service_in("/etc/pam.d"), user, &conv, &pam);
    if (rc == PAM_SUCCESS) {
        step = "authentication";
        rc = pam_authenticate(pam, PAM_SILENT | PAM_DISALLOW_NULL_AUTHTOK);
    }
    if (rc == PAM_SUCCESS) {
        step = "account check";
        rc = pam_acct_mgmt(pam, PAM_SILENT | PAM_DISALLOW_NULL_AUTHTOK);
    }
    if (rc != PAM_SUCCESS)
        (void)error_set(err, ST_DENIED, "PAM %s: %s", step, pam_strerror(pam, rc));
    if (pam != NULL)
        pam_end(pam, rc);
    mem_wipe(secret, strlen(secret));
    mem_free(secret);
    return rc == PAM_SUCCESS;
}

bool external_auth_has_pam(void)
{
    return true;
}

#else

bool external_auth_pam_from(const char *confdir, const char *user, const char *password,
                            struct error *err)
{
    (void)confdir;
    (void)user;
    (void)password;
    return refuse(err, "PAM is not built in");
}

bool external_auth_has_pam(void)
{
    return false;
}

#endif

bool external_auth_pam(const char *user, const char *password, struct error *err)
{
    return external_auth_pam_from(NULL, user, password, err);
}

/* ---- LDAP ------------------------------------------------------------------------------------ */

#ifdef HAVE_LDAP

#include <ldap.h>
#include <sys/time.h>

#define LDAP_TEXT_CAP 4096
#define LDAP_TIMEOUT_S 10

static bool ldap_refuse(struct error *err, const char *step, int rc)
{
    (void)error_set(err, ST_DENIED, "LDAP %s: %s", step, ldap_err2string(rc));
    return false;
}

static void disconnect(LDAP **ld)
{
    if (*ld != NULL)
        ldap_unbind_ext_s(*ld, NULL, NULL);
    *ld = NULL;
}

static bool ldap_connection(const struct ldap_options *o, LDAP **ld, struct error *err)
{
    char uri[LDAP_TEXT_CAP];
    int version = LDAP_VERSION3;
    struct timeval limit = {LDAP_TIMEOUT_S, 0};
    *ld = NULL;
    if (ldap_options_uri(o, uri, sizeof(uri), err) != ST_OK)
        return false;
    int rc = ldap_initialize(ld, uri);
    if (rc != LDAP_SUCCESS)
        return ldap_refuse(err, "start", rc);
    rc = ldap_set_option(*ld, LDAP_OPT_PROTOCOL_VERSION, &version);
    if (rc == LDAP_SUCCESS)
        rc = ldap_set_option(*ld, LDAP_OPT_NETWORK_TIMEOUT, &limit);
    if (rc == LDAP_SUCCESS)
        rc = ldap_set_option(*ld, LDAP_OPT_TIMEOUT, &limit);
    /* followed referrals would bind anonymously somewhere else */
    if (rc == LDAP_SUCCESS)
        rc = ldap_set_option(*ld, LDAP_OPT_REFERRALS, LDAP_OPT_OFF);
    if (rc != LDAP_SUCCESS)
        return ldap_refuse(err, "options", rc);
    if (o->tls && (rc = ldap_start_tls_s(*ld, NULL, NULL)) != LDAP_SUCCESS)
        return ldap_refuse(err, "StartTLS", rc);
    return true;
}

static int bind_as(LDAP *ld, const char *dn, const char *password)
{
    char *secret = str_dup(str_of(password));
    struct berval cred = {strlen(secret), secret};
    int rc = ldap_sasl_bind_s(ld, dn, LDAP_SASL_SIMPLE, &cred, NULL, NULL, NULL);
    mem_wipe(secret, strlen(secret));
    mem_free(secret);
    return rc;
}

/* The DN of the only entry in found. */
static bool only_entry(LDAP *ld, LDAPMessage *found, char *dn, size_t cap, struct error *err)
{
    int count = ldap_count_entries(ld, found);
    if (count != 1)
        return refuse(err, count == 0 ? "LDAP search: no such user"
                                      : "LDAP search: the user is not unique");
    char *text = ldap_get_dn(ld, ldap_first_entry(ld, found));
    bool ok = text != NULL && text[0] != '\0' && str_copy(dn, cap, str_of(text));
    if (text != NULL)
        ldap_memfree(text);
    return ok || refuse(err, "LDAP search: the entry has no usable name");
}

static bool search(const struct ldap_options *o, LDAP *ld, const char *user, char *dn, size_t cap,
                   struct error *err)
{
    char filter[LDAP_TEXT_CAP], none[] = LDAP_NO_ATTRS;
    char *attrs[] = {none, NULL};
    struct timeval limit = {LDAP_TIMEOUT_S, 0};
    LDAPMessage *found = NULL;
    if (ldap_options_filter(o, user, filter, sizeof(filter), err) != ST_OK)
        return false;
    int rc = bind_as(ld, o->binddn != NULL ? o->binddn : "",
                     o->bindpasswd != NULL ? o->bindpasswd : "");
    if (rc != LDAP_SUCCESS)
        return ldap_refuse(err, "bind for the search", rc);
    rc = ldap_search_ext_s(ld, o->basedn, o->scope, filter, attrs, 0, NULL, NULL, &limit, 2,
                           &found);
    bool ok = rc == LDAP_SUCCESS || rc == LDAP_SIZELIMIT_EXCEEDED
                  ? only_entry(ld, found, dn, cap, err)
                  : ldap_refuse(err, "search", rc);
    if (found != NULL)
        ldap_msgfree(found);
    return ok;
}

static bool user_dn(const struct ldap_options *o, const char *user, char *dn, size_t cap,
                    struct error *err)
{
    LDAP *ld = NULL;
    if (o->basedn == NULL)
        return ldap_options_simple_dn(o, user, dn, cap, err) == ST_OK;
    bool ok = ldap_connection(o, &ld, err) && search(o, ld, user, dn, cap, err);
    disconnect(&ld);
    return ok;
}

bool external_auth_ldap(const struct ldap_options *o, const char *user, const char *password,
                        struct error *err)
{
    char dn[LDAP_TEXT_CAP];
    LDAP *ld = NULL;
    if (user[0] == '\0' || password[0] == '\0')
        return refuse(err, "empty user name or password");
    if (!user_dn(o, user, dn, sizeof(dn), err))
        return false;
    if (dn[0] == '\0') /* a bind without a name is an anonymous one too */
        return refuse(err, "empty LDAP name");
    bool ok = ldap_connection(o, &ld, err);
    if (ok) {
        int rc = bind_as(ld, dn, password);
        ok = rc == LDAP_SUCCESS || ldap_refuse(err, "bind", rc);
    }
    disconnect(&ld);
    return ok;
}

bool external_auth_has_ldap(void)
{
    return true;
}

#else

bool external_auth_ldap(const struct ldap_options *o, const char *user, const char *password,
                        struct error *err)
{
    (void)o;
    (void)user;
    (void)password;
    return refuse(err, "LDAP is not built in");
}

bool external_auth_has_ldap(void)
{
    return false;
}

#endif
