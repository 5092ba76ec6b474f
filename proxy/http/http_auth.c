/* http_auth.c - who may look; see http_auth.h.  Pure. */
#include "proxy/http/http_auth.h"

#include "base/mem.h"
#include "protocol/auth/b64.h"
#include "protocol/auth/md5.h"
#include "protocol/auth/scram.h"
#include "protocol/auth/secret.h"
#include "proxy/net/sockopt.h"

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

bool http_auth_allows(const struct config *cfg, const char *header)
{
    char text[CREDENTIALS_MAX];
    size_t n;
    struct str h = str_of(header), scheme = STR("Basic ");
    if (h.n <= scheme.n || !str_istarts(h, scheme))
        return false;
    h = str_trim((struct str){h.p + scheme.n, h.n - scheme.n});
    if (!b64_decode((uint8_t *)text, sizeof(text), &n, h))
        return false;
    struct str password = {text, n};
    struct str user = str_cut(&password, ':');
    bool looks = config_list_has(cfg->opt.admin_users, user) ||
                 config_list_has(cfg->opt.stats_users, user);
    bool right = check(looks ? config_secret(cfg, user) : NULL, user, password);
    mem_wipe(text, sizeof(text));
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
