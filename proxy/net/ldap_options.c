/* ldap_options.c - the ldap* options; see ldap_options.h.  Any thread. */
#include "proxy/net/ldap_options.h"

#include "base/buf.h"
#include "base/mem.h"

#include <stdio.h>

#define TEXT_MAX 8192

void ldap_options_init(struct ldap_options *o)
{
    memset(o, 0, sizeof(*o));
    o->scope = 2;
}

void ldap_options_fini(struct ldap_options *o)
{
    if (o->bindpasswd != NULL)
        mem_wipe(o->bindpasswd, strlen(o->bindpasswd));
    char *all[] = {o->server, o->scheme,     o->prefix,          o->suffix,      o->basedn,
                   o->binddn, o->bindpasswd, o->searchattribute, o->searchfilter};
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        mem_free(all[i]);
    ldap_options_init(o);
}

static void replace(char **slot, struct str value)
{
    mem_free(*slot);
    *slot = str_dup(value);
}

/* ---- ldapurl --------------------------------------------------------------------------------- */

static int hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

/* Heap copy of s without percent signs; NULL when malformed. */
static char *unescape(struct str s)
{
    char *dst = mem_new(s.n + 1);
    size_t n = 0;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] != '%') {
            dst[n++] = s.p[i];
            continue;
        }
        int hi = s.n - i > 2 ? hex(s.p[i + 1]) : -1;
        int lo = s.n - i > 2 ? hex(s.p[i + 2]) : -1;
        if (hi < 0 || lo < 0 || (hi == 0 && lo == 0)) {
            mem_free(dst);
            return NULL;
        }
        dst[n++] = (char)(hi << 4 | lo);
        i += 2;
    }
    return dst;
}

static bool put_unescaped(char **slot, struct str s)
{
    if (s.n == 0)
        return true;
    char *text = unescape(s);
    if (text == NULL)
        return false;
    mem_free(*slot);
    *slot = text;
    return true;
}

static bool url_scope(struct ldap_options *o, struct str word)
{
    if (str_ieq(word, STR("base")) || word.n == 0) /* an URL without scope means base (RFC 4516) */
        o->scope = 0;
    else if (str_ieq(word, STR("one")) || str_ieq(word, STR("onelevel")))
        o->scope = 1;
    else if (str_ieq(word, STR("sub")) || str_ieq(word, STR("subtree")))
        o->scope = 2;
    else
        return false;
    return true;
}

static bool url_host(struct ldap_options *o, struct str hostport)
{
    struct str host = hostport, port = STR_NONE;
    ptrdiff_t colon = str_find(hostport, ':');
    if (hostport.n > 0 && hostport.p[0] == '[') {
        ptrdiff_t end = str_find(hostport, ']');
        if (end < 0)
            return false;
        host.n = (size_t)end + 1;
        port = (struct str){hostport.p + host.n, hostport.n - host.n};
        if (port.n > 0 && port.p[0] != ':')
            return false;
    } else if (colon >= 0) {
        host.n = (size_t)colon;
        port = (struct str){hostport.p + host.n, hostport.n - host.n};
    }
    int64_t n = 0;
    if (port.n > 0) {
        if (!str_to_i64((struct str){port.p + 1, port.n - 1}, 1, UINT16_MAX, &n))
            return false;
        o->port = (int)n;
    }
    return put_unescaped(&o->server, host);
}

static enum status set_url(struct ldap_options *o, struct str url, struct error *err)
{
    if (str_istarts(url, STR("ldap://")))
        replace(&o->scheme, STR("ldap"));
    else if (str_istarts(url, STR("ldaps://")))
        replace(&o->scheme, STR("ldaps"));
    else
        return error_set(err, ST_INVALID, "ldapurl must begin with ldap:// or ldaps://");
    size_t skip = strlen(o->scheme) + 3;
    struct str path = {url.p + skip, url.n - skip};
    struct str hostport = str_cut(&path, '/');
    struct str dn = str_cut(&path, '?');
    struct str attr = str_cut(&path, '?');
    struct str scope = str_cut(&path, '?');
    struct str filter = str_cut(&path, '?');
    struct str attr1 = str_cut(&attr, ','); /* like PostgreSQL: the first attribute */
    o->has_url = true;
    if (!url_host(o, hostport) || !put_unescaped(&o->basedn, dn) ||
        !put_unescaped(&o->searchattribute, attr1) || !url_scope(o, scope) ||
        !put_unescaped(&o->searchfilter, filter))
        return error_set(err, ST_INVALID, "malformed ldapurl");
    if (path.n > 0)
        return error_set(err, ST_INVALID, "ldapurl with extensions is not supported");
    return ST_OK;
}

/* ---- options --------------------------------------------------------------------------------- */

static bool find_slot(struct ldap_options *o, struct str key, char ***slot)
{
    const struct {
        const char *name;
        char **slot;
    } rows[] = {
        {"ldapserver", &o->server},
        {"ldapprefix", &o->prefix},
        {"ldapsuffix", &o->suffix},
        {"ldapbasedn", &o->basedn},
        {"ldapbinddn", &o->binddn},
        {"ldapbindpasswd", &o->bindpasswd},
        {"ldapsearchattribute", &o->searchattribute},
        {"ldapsearchfilter", &o->searchfilter},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        if (!str_eq(key, str_of(rows[i].name)))
            continue;
        *slot = rows[i].slot;
        return true;
    }
    return false;
}

bool ldap_options_is_key(struct str key)
{
    struct ldap_options probe;
    char **slot = NULL;
    ldap_options_init(&probe);
    return find_slot(&probe, key, &slot) || str_eq(key, STR("ldapport")) ||
           str_eq(key, STR("ldapscheme")) || str_eq(key, STR("ldaptls")) ||
           str_eq(key, STR("ldapurl"));
}

enum status ldap_options_set(struct ldap_options *o, struct str key, struct str value,
                             struct error *err)
{
    int64_t n = 0;
    char **slot = NULL;
    if (value.n > 0 && memchr(value.p, 0, value.n) != NULL)
        return error_set(err, ST_INVALID, "zero byte in an LDAP option");
    if (find_slot(o, key, &slot)) {
        replace(slot, value);
        return ST_OK;
    }
    if (str_eq(key, STR("ldapurl")))
        return set_url(o, value, err);
    if (str_eq(key, STR("ldapscheme"))) {
        if (!str_eq(value, STR("ldap")) && !str_eq(value, STR("ldaps")))
            return error_set(err, ST_INVALID, "ldapscheme must be ldap or ldaps");
        replace(&o->scheme, value);
        return ST_OK;
    }
    if (str_eq(key, STR("ldapport"))) {
        if (!str_to_i64(value, 1, UINT16_MAX, &n))
            return error_set(err, ST_INVALID, "invalid ldapport \"" STR_FMT "\"", STR_ARG(value));
        o->port = (int)n;
        return ST_OK;
    }
    if (str_eq(key, STR("ldaptls"))) {
        o->tls = str_eq(value, STR("1"));
        return o->tls || str_eq(value, STR("0"))
                   ? ST_OK
                   : error_set(err, ST_INVALID, "ldaptls must be 0 or 1");
    }
    return error_set(err, ST_INVALID, "unknown LDAP option \"" STR_FMT "\"", STR_ARG(key));
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* Takes one blank-separated word off *rest into word, quotes resolved. false: a quote is not
 * closed. */
static bool next_word(struct str *rest, struct buf *word)
{
    bool quoted = false;
    size_t i = 0;
    buf_reset(word);
    for (; i < rest->n && (quoted || !is_blank(rest->p[i])); i++) {
        if (rest->p[i] != '"') {
            buf_put(word, rest->p + i, 1);
        } else if (quoted && i + 1 < rest->n && rest->p[i + 1] == '"') {
            buf_put(word, rest->p + i, 1);
            i++;
        } else {
            quoted = !quoted;
        }
    }
    *rest = (struct str){rest->p + i, rest->n - i};
    return !quoted;
}

static enum status parse_words(struct ldap_options *o, struct str rest, struct buf *word,
                               struct error *err)
{
    for (rest = str_trim(rest); rest.n > 0; rest = str_trim(rest)) {
        if (!next_word(&rest, word))
            return error_set(err, ST_INVALID, "unterminated quote in LDAP options");
        struct str value = buf_str(word);
        if (word->failed || str_find(value, '=') < 0)
            return error_set(err, ST_INVALID, "LDAP options must be key=value");
        struct str key = str_cut(&value, '=');
        enum status st = ldap_options_set(o, key, value, err);
        if (st != ST_OK)
            return st;
    }
    return ST_OK;
}

enum status ldap_options_parse(struct ldap_options *o, const char *text, struct error *err)
{
    struct buf word;
    buf_init(&word, TEXT_MAX);
    enum status st = parse_words(o, str_of(text), &word, err);
    if (buf_len(&word) > 0)
        mem_wipe((void *)(uintptr_t)buf_data(&word), buf_len(&word)); /* it may be the password */
    buf_fini(&word);
    return st == ST_OK ? ldap_options_check(o, err) : st;
}

enum status ldap_options_check(const struct ldap_options *o, struct error *err)
{
    bool simple = o->prefix != NULL || o->suffix != NULL;
    bool search = o->basedn != NULL || o->binddn != NULL || o->bindpasswd != NULL ||
                  o->searchattribute != NULL || o->searchfilter != NULL || o->has_url;
    if (o->server == NULL || o->server[0] == '\0')
        return error_set(err, ST_INVALID, "ldap needs ldapserver or ldapurl");
    if (simple && search)
        return error_set(
            err, ST_INVALID,
            "ldapprefix and ldapsuffix cannot be used together with ldapbasedn, ldapbinddn, "
            "ldapbindpasswd, ldapsearchattribute, ldapsearchfilter or ldapurl");
    if (!simple && o->basedn == NULL)
        return error_set(err, ST_INVALID, "ldap needs ldapbasedn, ldapprefix or ldapsuffix");
    if (o->searchattribute != NULL && o->searchfilter != NULL)
        return error_set(err, ST_INVALID,
                         "ldapsearchattribute cannot be used together with ldapsearchfilter");
    if (o->tls && o->scheme != NULL && strcmp(o->scheme, "ldaps") == 0)
        return error_set(err, ST_INVALID, "ldaptls=1 cannot be used together with ldaps");
    return ST_OK;
}

/* ---- what is sent ---------------------------------------------------------------------------- */

/* b as a terminated string in dst. */
static enum status finish(struct buf *b, char *dst, size_t cap, const char *what, struct error *err)
{
    bool fits = !b->failed && str_copy(dst, cap, buf_str(b));
    buf_fini(b);
    if (fits)
        return ST_OK;
    dst[0] = '\0';
    return error_set(err, ST_LIMIT, "%s is too long", what);
}

enum status ldap_options_uri(const struct ldap_options *o, char *dst, size_t cap, struct error *err)
{
    struct buf b;
    const char *scheme = o->scheme != NULL ? o->scheme : "ldap";
    int port = o->port != 0 ? o->port : strcmp(scheme, "ldaps") == 0 ? 636 : 389;
    struct str rest = str_trim(str_of(o->server));
    buf_init(&b, cap);
    while (rest.n > 0) {
        struct str host = str_cut(&rest, ' ');
        rest = str_trim(rest);
        bool bare_v6 = host.p[0] != '[' && str_find(host, ':') >= 0;
        buf_printf(&b, bare_v6 ? "%s%s://[" STR_FMT "]:%d" : "%s%s://" STR_FMT ":%d",
                   buf_len(&b) > 0 ? " " : "", scheme, STR_ARG(host), port);
    }
    return finish(&b, dst, cap, "ldapserver", err);
}

static void put_hex(struct buf *b, char c)
{
    buf_printf(b, "\\%02x", (unsigned char)c);
}

static void put_dn_value(struct buf *b, const char *user)
{
    size_t n = strlen(user);
    for (size_t i = 0; i < n; i++) {
        bool edge = (i == 0 && (user[i] == ' ' || user[i] == '#')) ||
                    (i == n - 1 && user[i] == ' ');
        if (edge || strchr(",+\"\\<>;=", user[i]) != NULL || (unsigned char)user[i] < 0x20)
            put_hex(b, user[i]);
        else
            buf_put(b, user + i, 1);
    }
}

static void put_filter_value(struct buf *b, const char *user)
{
    for (; *user != '\0'; user++) {
        if (strchr("*()\\/", *user) != NULL || (unsigned char)*user < 0x20)
            put_hex(b, *user);
        else
            buf_put(b, user, 1);
    }
}

enum status ldap_options_simple_dn(const struct ldap_options *o, const char *user, char *dst,
                                   size_t cap, struct error *err)
{
    struct buf b;
    const char *prefix = o->prefix != NULL ? o->prefix : "";
    const char *suffix = o->suffix != NULL ? o->suffix : "";
    buf_init(&b, cap);
    buf_put_text(&b, prefix);
    if (strchr(prefix, '=') != NULL || strchr(suffix, '=') != NULL)
        put_dn_value(&b, user);
    else
        buf_put_text(&b, user);
    buf_put_text(&b, suffix);
    return finish(&b, dst, cap, "the LDAP name", err);
}

enum status ldap_options_filter(const struct ldap_options *o, const char *user, char *dst,
                                size_t cap, struct error *err)
{
    static const struct str mark = {"$username", sizeof("$username") - 1};
    struct buf b;
    buf_init(&b, cap);
    if (o->searchfilter == NULL) {
        buf_printf(&b, "(%s=", o->searchattribute != NULL ? o->searchattribute : "uid");
        put_filter_value(&b, user);
        buf_put_text(&b, ")");
        return finish(&b, dst, cap, "the LDAP filter", err);
    }
    struct str rest = str_of(o->searchfilter);
    while (rest.n > 0) {
        if (str_starts(rest, mark)) {
            put_filter_value(&b, user);
            rest = (struct str){rest.p + mark.n, rest.n - mark.n};
        } else {
            buf_put(&b, rest.p, 1);
            rest = (struct str){rest.p + 1, rest.n - 1};
        }
    }
    return finish(&b, dst, cap, "the LDAP filter", err);
}
