/* http_auth.c - who may look; see http_auth.h.  Pure. */
#include "proxy/http/http_auth.h"

#include "base/mem.h"
#include "base/random.h"
#include "protocol/auth/b64.h"
#include "protocol/auth/md5.h"
#include "protocol/auth/scram.h"
#include "protocol/auth/secret.h"
#include "proxy/net/sockopt.h"

#include <openssl/evp.h>

#define CREDENTIALS_MAX 1024

/* What a SCRAM secret costs, so that the delay does not tell who has one, or exists. */
static void spend(struct str password)
{
    struct scram_keys unused;
    if (scram_derive_keys(&unused, password, SCRAM_ITERATIONS, STR("0123456789abcdef")) == ST_OK)
        scram_keys_wipe(&unused);
}

static bool check(const struct secret *s, struct str user, struct str password)
{
    enum secret_kind kind = s != NULL ? s->kind : SECRET_NONE;
    if (kind != SECRET_SCRAM)
        spend(password);
    switch (kind) {
    case SECRET_PLAIN:
        return password.n > 0 && secret_same(secret_plain(s), password);
    case SECRET_MD5:
        return md5_check_password(s, user, password);
    case SECRET_SCRAM:
        return scram_check_password(s, password, NULL);
    case SECRET_NONE:
        return false;
    }
    return false;
}

static bool check_text(const struct config *cfg, struct str text)
{
    struct str password = text;
    struct str user = str_cut(&password, ':');
    bool looks = config_list_has(cfg->opt.admin_users, user) ||
                 config_list_has(cfg->opt.stats_users, user);
    return check(looks ? config_secret(cfg, user) : NULL, user, password);
}

static bool check_header(const struct config *cfg, struct str h)
{
    char text[CREDENTIALS_MAX];
    size_t n = 0;
    bool right = b64_decode((uint8_t *)text, sizeof(text), &n, h) &&
                 check_text(cfg, (struct str){text, n});
    mem_wipe(text, sizeof(text));
    return right;
}

/* false: the library refuses, and nothing is remembered. */
static bool digest(const struct http_auth_known *k, struct str h, uint8_t out[32])
{
    EVP_MD_CTX *c = EVP_MD_CTX_new();
    unsigned n = 0;
    bool ok = c != NULL && EVP_DigestInit_ex(c, EVP_sha256(), NULL) == 1 &&
              EVP_DigestUpdate(c, k->key, sizeof(k->key)) == 1 &&
              EVP_DigestUpdate(c, h.p, h.n) == 1 && EVP_DigestFinal_ex(c, out, &n) == 1;
    EVP_MD_CTX_free(c);
    return ok && n == 32;
}

void http_auth_init(struct http_auth_known *k)
{
    memset(k, 0, sizeof(*k));
    random_bytes(k->key, sizeof(k->key));
}

void http_auth_fini(struct http_auth_known *k)
{
    mem_wipe(k, sizeof(*k));
}

bool http_auth_allows(const struct config *cfg, uint64_t generation, const char *header,
                      struct http_auth_known *k)
{
    uint8_t seen[32];
    struct str h = str_of(header), scheme = STR("Basic ");
    if (h.n <= scheme.n || !str_istarts(h, scheme))
        return false;
    h = str_trim((struct str){h.p + scheme.n, h.n - scheme.n});
    bool sum = digest(k, h, seen);
    if (sum && k->generation == generation && secret_equal(seen, k->digest, sizeof(seen)))
        return true;
    bool right = check_header(cfg, h);
    if (right && sum) {
        memcpy(k->digest, seen, sizeof(seen));
        k->generation = generation;
    }
    return right;
}

/* Without the port. */
static struct str host_part(struct str s)
{
    if (s.n > 0 && s.p[0] == '[') {
        ptrdiff_t end = str_find(s, ']');
        return end < 0 ? s : (struct str){s.p, (size_t)end + 1};
    }
    return str_cut(&s, ':');
}

bool http_auth_host_is_plain(const char *host)
{
    struct sockaddr_storage ss;
    uint32_t len;
    if (host == NULL)
        return true;
    struct str s = host_part(str_trim(str_of(host)));
    return str_ieq(s, STR("localhost")) || sockopt_parse(s, 0, &ss, &len);
}
