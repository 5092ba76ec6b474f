/* certs.c - a small certification authority for tests; see certs.h.  One thread. */
#include "test/unit/support/certs.h"

#include <openssl/ec.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct pair {
    X509 *cert;
    EVP_PKEY *key;
};

struct wish {
    const char *file;
    struct {
        const char *p;
        int n;
    } cn;
    const char *san, *digest; /* digest NULL: Ed25519 */
    bool other_ca, is_ca;
};

#define CN(text)                                                                                   \
    {                                                                                              \
        text, (int)sizeof(text) - 1                                                                \
    }
#define SERVER_NAMES "DNS:db.example,IP:127.0.0.1,IP:::1"

static const struct wish wishes[] = {
    {"server", CN("server"), SERVER_NAMES, "SHA256", false, false},
    {"server384", CN("server"), SERVER_NAMES, "SHA384", false, false},
    {"server_sha1", CN("server"), SERVER_NAMES, "SHA1", false, false},
    {"client", CN("alice"), NULL, "SHA256", false, false},
    {"zero", CN("alice\0evil"), NULL, "SHA256", false, false},
    {"stranger", CN("alice"), NULL, "SHA256", true, false},
};

static void path_of(const struct certs *c, const char *name, const char *ext, char *dst, size_t cap)
{
    snprintf(dst, cap, "%s/%s%s", c->dir, name, ext);
}

static bool extend(X509 *cert, int nid, const char *value)
{
    X509V3_CTX ctx;
    X509V3_set_ctx(&ctx, cert, cert, NULL, NULL, 0);
    X509_EXTENSION *ext = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    bool ok = ext != NULL && X509_add_ext(cert, ext, -1) == 1;
    X509_EXTENSION_free(ext);
    return ok;
}

static bool issue(struct pair *out, const struct wish *w, const struct pair *issuer, long serial)
{
    out->key = w->digest != NULL ? EVP_EC_gen("P-256") : EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    out->cert = X509_new();
    if (out->key == NULL || out->cert == NULL)
        return false;
    X509_set_version(out->cert, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(out->cert), serial);
    X509_gmtime_adj(X509_getm_notBefore(out->cert), -60);
    X509_gmtime_adj(X509_getm_notAfter(out->cert), 86400);
    X509_NAME *name = X509_get_subject_name(out->cert);
    X509_NAME_add_entry_by_txt(name, "O", MBSTRING_ASC, (const unsigned char *)"Penstock", -1, -1,
                               0);
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, (const unsigned char *)w->cn.p, w->cn.n,
                               -1, 0);
    const struct pair *by = issuer != NULL ? issuer : out;
    X509_set_issuer_name(out->cert, X509_get_subject_name(by->cert));
    X509_set_pubkey(out->cert, out->key);
    if (w->is_ca && !extend(out->cert, NID_basic_constraints, "critical,CA:TRUE"))
        return false;
    if (w->san != NULL && !extend(out->cert, NID_subject_alt_name, w->san))
        return false;
    const EVP_MD *md = w->digest != NULL ? EVP_get_digestbyname(w->digest) : NULL;
    return X509_sign(out->cert, by->key, md) > 0;
}

static bool write_key(const struct certs *c, const char *name, EVP_PKEY *key, const char *phrase)
{
    char path[128];
    path_of(c, name, ".key", path, sizeof(path));
    FILE *f = fopen(path, "we");
    if (f == NULL)
        return false;
    int n = phrase != NULL ? (int)strlen(phrase) : 0;
    bool ok = PEM_write_PKCS8PrivateKey(f, key, phrase != NULL ? EVP_aes_128_cbc() : NULL, phrase,
                                        n, NULL, NULL) == 1;
    return fclose(f) == 0 && ok;
}

static bool write_cert(const struct certs *c, const char *name, const char *mode, X509 *cert)
{
    char path[128];
    path_of(c, name, ".crt", path, sizeof(path));
    FILE *f = fopen(path, mode);
    if (f == NULL)
        return false;
    bool ok = PEM_write_X509(f, cert) == 1;
    return fclose(f) == 0 && ok;
}

static bool save(const struct certs *c, const char *name, const struct pair *p)
{
    return write_cert(c, name, "we", p->cert) && write_key(c, name, p->key, NULL);
}

static void drop(struct pair *p)
{
    X509_free(p->cert);
    EVP_PKEY_free(p->key);
}

static bool make_all(struct certs *c, struct pair *ca, struct pair *other, struct pair *ed)
{
    const struct wish w_ca = {"ca", CN("CA"), NULL, "SHA256", false, true};
    const struct wish w_other = {"other_ca", CN("other CA"), NULL, "SHA256", false, true};
    /* self-signed, for only then is the signature Ed25519 too */
    const struct wish w_ed = {"ed25519", CN("server"), SERVER_NAMES, NULL, false, false};
    char path[128];
    if (!issue(ca, &w_ca, NULL, 1) || !issue(other, &w_other, NULL, 2) ||
        !issue(ed, &w_ed, NULL, 3))
        return false;
    if (!save(c, "ca", ca) || !save(c, "other_ca", other) || !save(c, "ed25519", ed) ||
        !write_cert(c, "both_ca", "we", ca->cert) || !write_cert(c, "both_ca", "ae", other->cert) ||
        !write_cert(c, "damaged", "we", ca->cert) || !write_key(c, "locked", ca->key, "secret"))
        return false;
    path_of(c, "damaged", ".crt", path, sizeof(path));
    if (truncate(path, 200) != 0)
        return false;
    for (size_t i = 0; i < ARRAY_LEN(wishes); i++) {
        struct pair p = {NULL, NULL};
        bool ok = issue(&p, &wishes[i], wishes[i].other_ca ? other : ca, 10 + (long)i) &&
                  save(c, wishes[i].file, &p);
        drop(&p);
        if (!ok)
            return false;
    }
    return true;
}

bool certs_make(struct certs *c)
{
    struct pair ca = {NULL, NULL}, other = {NULL, NULL}, ed = {NULL, NULL};
    snprintf(c->dir, sizeof(c->dir), "/tmp/pstlsXXXXXX");
    if (mkdtemp(c->dir) == NULL)
        return false;
    bool ok = make_all(c, &ca, &other, &ed);
    drop(&ca);
    drop(&other);
    drop(&ed);
    return ok;
}

void certs_remove(struct certs *c)
{
    static const char *const more[] = {"ca", "other_ca", "ed25519", "both_ca", "damaged", "locked"};
    char path[128];
    for (size_t i = 0; i < ARRAY_LEN(wishes) + ARRAY_LEN(more); i++) {
        const char *name = i < ARRAY_LEN(wishes) ? wishes[i].file : more[i - ARRAY_LEN(wishes)];
        path_of(c, name, ".crt", path, sizeof(path));
        (void)unlink(path);
        path_of(c, name, ".key", path, sizeof(path));
        (void)unlink(path);
    }
    (void)rmdir(c->dir);
}

size_t certs_hash(const struct certs *c, const char *name, uint8_t *dst)
{
    char path[128];
    unsigned n = 0;
    path_of(c, name, ".crt", path, sizeof(path));
    FILE *f = fopen(path, "re");
    X509 *cert = f != NULL ? PEM_read_X509(f, NULL, NULL, NULL) : NULL;
    if (f != NULL)
        fclose(f);
    if (cert != NULL && strcmp(name, "ed25519") != 0)
        X509_digest(cert, strcmp(name, "server384") == 0 ? EVP_sha384() : EVP_sha256(), dst, &n);
    X509_free(cert);
    return n;
}
