/* tls_settings.c - the words of the *_tls_* keys in OpenSSL's terms; see tls_settings.h.  Main
 * thread. */
#include "proxy/net/tls_settings.h"

#include "base/str.h"

#include <errno.h>
#include <openssl/err.h>
#include <stdio.h>

#define CIPHERS_MODERN                                                                             \
    "ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM:DHE+CHACHA20:ECDHE+AES:DHE+AES:!aNULL:!eNULL:!MD5"
#define CIPHERS_WIDE "HIGH:!aNULL:!eNULL:!MD5"
#define CIPHERS_ALL "ALL:!aNULL:!eNULL"

#define PATH_CAP 4096

enum {
    V10 = 1u << 0,
    V11 = 1u << 1,
    V12 = 1u << 2,
    V13 = 1u << 3,
};

struct word {
    const char *name;
    unsigned bits;
};

static const struct word protocol_words[] = {
    {"secure", V12 | V13},
    {"default", V12 | V13},
    {"all", V10 | V11 | V12 | V13},
    {"legacy", V10 | V11 | V12 | V13},
    {"tlsv1", V10 | V11 | V12 | V13},
    {"tlsv1.0", V10},
    {"tlsv1.1", V11},
    {"tlsv1.2", V12},
    {"tlsv1.3", V13},
};

enum status tls_settings_openssl_error(struct error *err, const char *what, const char *value)
{
    unsigned long code = ERR_get_error();
    const char *why = code != 0 ? ERR_reason_error_string(code) : NULL;
    if (code != 0 && ERR_SYSTEM_ERROR(code))
        why = strerrordesc_np(ERR_GET_REASON(code));
    ERR_clear_error();
    return error_set(err, ST_INVALID, "%s \"%s\": %s", what, value,
                     why != NULL ? why : "refused by OpenSSL");
}

static bool empty(const char *z)
{
    return z == NULL || z[0] == '\0';
}

static bool protocol_bits(struct str word, unsigned *bits)
{
    for (size_t i = 0; i < ARRAY_LEN(protocol_words); i++) {
        if (!str_ieq(word, str_of(protocol_words[i].name)))
            continue;
        *bits = protocol_words[i].bits;
        return true;
    }
    return false;
}

static enum status protocol_list(const char *text, unsigned *set, struct error *err)
{
    struct str rest = str_of(text);
    *set = 0;
    for (bool first = true; rest.n > 0; first = false) {
        ptrdiff_t comma = str_find(rest, ',');
        ptrdiff_t colon = str_find(rest, ':');
        char sep = comma < 0 || (colon >= 0 && colon < comma) ? ':' : ',';
        struct str word = str_trim(str_cut(&rest, sep));
        bool minus = word.n > 0 && (word.p[0] == '!' || word.p[0] == '-');
        unsigned bits = 0;
        if (minus)
            word = str_trim((struct str){word.p + 1, word.n - 1});
        if (!protocol_bits(word, &bits))
            return error_set(err, ST_INVALID, "unknown TLS protocol \"" STR_FMT "\"",
                             STR_ARG(word));
        if (minus && first)
            *set = V10 | V11 | V12 | V13;
        *set = minus ? *set & ~bits : *set | bits;
    }
    if (*set == 0)
        return error_set(err, ST_INVALID, "\"%s\" leaves no TLS protocol", text);
    return ST_OK;
}

enum status tls_settings_protocols(SSL_CTX *ctx, const char *text, struct error *err)
{
    static const struct {
        unsigned bit;
        int version;
        uint64_t off;
    } all[] = {
        {V10, TLS1_VERSION, SSL_OP_NO_TLSv1},
        {V11, TLS1_1_VERSION, SSL_OP_NO_TLSv1_1},
        {V12, TLS1_2_VERSION, SSL_OP_NO_TLSv1_2},
        {V13, TLS1_3_VERSION, SSL_OP_NO_TLSv1_3},
    };
    unsigned set = V12 | V13;
    if (!empty(text)) {
        enum status st = protocol_list(text, &set, err);
        if (st != ST_OK)
            return st;
    }
    int lowest = 0, highest = 0;
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        if ((set & all[i].bit) == 0) {
            SSL_CTX_set_options(ctx, all[i].off);
            continue;
        }
        lowest = lowest == 0 ? all[i].version : lowest;
        highest = all[i].version;
    }
    if (SSL_CTX_set_min_proto_version(ctx, lowest) != 1 ||
        SSL_CTX_set_max_proto_version(ctx, highest) != 1)
        return tls_settings_openssl_error(err, "TLS protocols", empty(text) ? "secure" : text);
    return ST_OK;
}

static const char *cipher_list(const char *text)
{
    static const char *const modern[] = {"default", "secure", "fast"};
    static const char *const wide[] = {"normal", "compat"};
    static const char *const every[] = {"all", "legacy", "insecure"};
    if (empty(text))
        return CIPHERS_MODERN;
    for (size_t i = 0; i < ARRAY_LEN(modern); i++)
        if (str_ieq(str_of(text), str_of(modern[i])))
            return CIPHERS_MODERN;
    for (size_t i = 0; i < ARRAY_LEN(wide); i++)
        if (str_ieq(str_of(text), str_of(wide[i])))
            return CIPHERS_WIDE;
    for (size_t i = 0; i < ARRAY_LEN(every); i++)
        if (str_ieq(str_of(text), str_of(every[i])))
            return CIPHERS_ALL;
    return text;
}

enum status tls_settings_ciphers(SSL_CTX *ctx, const struct tls_settings *s, struct error *err)
{
    char list[2048];
    bool no_curve = s->ecdhcurve != NULL && str_ieq(str_of(s->ecdhcurve), STR("none"));
    int n = snprintf(list, sizeof(list), "%s%s", cipher_list(s->ciphers),
                     no_curve ? ":!kECDHE" : "");
    if (n < 0 || (size_t)n >= sizeof(list))
        return error_set(err, ST_LIMIT, "the list of TLS ciphers is too long");
    if (SSL_CTX_set_cipher_list(ctx, list) != 1)
        return tls_settings_openssl_error(err, "TLS ciphers", list);
    if (!empty(s->tls13_ciphers) && SSL_CTX_set_ciphersuites(ctx, s->tls13_ciphers) != 1)
        return tls_settings_openssl_error(err, "TLS 1.3 ciphers", s->tls13_ciphers);
    return ST_OK;
}

enum status tls_settings_key_exchange(SSL_CTX *ctx, const struct tls_settings *s, struct error *err)
{
    struct str dh = empty(s->dheparams) ? STR("auto") : str_of(s->dheparams);
    struct str curve = empty(s->ecdhcurve) ? STR("auto") : str_of(s->ecdhcurve);
    if (str_ieq(dh, STR("auto")))
        SSL_CTX_set_dh_auto(ctx, 1);
    else if (str_ieq(dh, STR("legacy")))
        SSL_CTX_set_dh_auto(ctx, 2); /* 1024 bits, for clients of another age */
    else if (str_ieq(dh, STR("none")))
        SSL_CTX_set_dh_auto(ctx, 0);
    else
        return error_set(err, ST_INVALID, "dheparams must be auto, none or legacy, not \"%s\"",
                         s->dheparams);
    if (str_ieq(curve, STR("auto")) || str_ieq(curve, STR("none")))
        return ST_OK;
    char groups[256]; /* OpenSSL's macro wants it writable */
    if (!str_copy(groups, sizeof(groups), curve))
        return error_set(err, ST_LIMIT, "ecdhcurve is too long");
    if (SSL_CTX_set1_groups_list(ctx, groups) != 1)
        return tls_settings_openssl_error(err, "ecdhcurve", s->ecdhcurve);
    return ST_OK;
}

static enum status load_pair(SSL_CTX *ctx, struct str cert, struct str key, struct error *err)
{
    char cert_path[PATH_CAP], key_path[PATH_CAP];
    if (!str_copy(cert_path, sizeof(cert_path), cert) || !str_copy(key_path, sizeof(key_path), key))
        return error_set(err, ST_LIMIT, "the path of a certificate or key is too long");
    if (SSL_CTX_use_certificate_chain_file(ctx, cert_path) != 1)
        return tls_settings_openssl_error(err, "cannot load certificate file", cert_path);
    if (SSL_CTX_use_PrivateKey_file(ctx, key_path, SSL_FILETYPE_PEM) != 1)
        return tls_settings_openssl_error(err, "cannot load key file", key_path);
    if (SSL_CTX_check_private_key(ctx) != 1)
        return tls_settings_openssl_error(err, "the key does not fit the certificate in", key_path);
    return ST_OK;
}

/* Without it OpenSSL would ask for a pass phrase at the terminal and stop the process. */
static int no_pass_phrase(char *dst, int cap, int writing, void *arg)
{
    (void)dst;
    (void)cap;
    (void)writing;
    (void)arg;
    return 0;
}

enum status tls_settings_certificates(SSL_CTX *ctx, const struct tls_settings *s, struct error *err)
{
    if (empty(s->cert_file)) {
        if (!empty(s->key_file))
            return error_set(err, ST_INVALID, "there is a TLS key file but no certificate file");
        return ST_OK;
    }
    SSL_CTX_set_default_passwd_cb(ctx, no_pass_phrase);
    struct str certs = str_of(s->cert_file);
    struct str keys = empty(s->key_file) ? certs : str_of(s->key_file);
    while (certs.n > 0 && keys.n > 0) {
        struct str cert = str_trim(str_cut(&certs, ','));
        struct str key = str_trim(str_cut(&keys, ','));
        enum status st = load_pair(ctx, cert, key, err);
        if (st != ST_OK)
            return st;
    }
    if (certs.n != keys.n)
        return error_set(err, ST_INVALID, "there are not as many TLS keys as certificates");
    return ST_OK;
}
