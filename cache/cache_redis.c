/* cache_redis.c - commands to bytes; see cache_redis.h.
 *
 * A hit sends up to five commands of a few short words, so they are put together by hand: with
 * formats that are interpreted each time, that was more than half of what a hit cost.
 */
#include "cache/cache_redis.h"

#include "base/check.h"
#include "cache/cache_script.h"
#include "protocol/auth/digest.h"

#define ARGS_MAX (CACHE_REDIS_MEMBERS + 8)
#define KEY_MAX 512
#define HEX_BYTES 16
#define NUMBER_MAX 20                      /* digits of a number */
#define SIZE_LINE_MAX (1 + NUMBER_MAX + 2) /* bytes of "$N" and its end */

/* ---- commands -------------------------------------------------------------------------------- */

static char *put_text(char *to, struct str s)
{
    if (s.n > 0)
        memcpy(to, s.p, s.n);
    return to + s.n;
}

static char *put_number(char *to, uint64_t v)
{
    char digits[NUMBER_MAX];
    size_t at = sizeof(digits);
    do {
        digits[--at] = (char)('0' + v % 10);
        v /= 10;
    } while (v > 0);
    return put_text(to, (struct str){digits + at, sizeof(digits) - at});
}

static char *put_hex(char *to, uint64_t v)
{
    static const char hex[] = "0123456789abcdef";
    for (int shift = 60; shift >= 0; shift -= 4)
        *to++ = hex[v >> shift & 15];
    return to;
}

static char *put_size(char *to, char kind, size_t n)
{
    *to = kind;
    return put_text(put_number(to + 1, n), STR("\r\n"));
}

void cache_redis_plain(const struct str *argv, int n, struct buf *out)
{
    size_t most = SIZE_LINE_MAX;
    for (int i = 0; i < n; i++)
        most += argv[i].n + SIZE_LINE_MAX + 2;
    char *first = (char *)buf_reserve(out, most), *to = first;
    if (first == NULL)
        return;
    to = put_size(to, '*', (size_t)n);
    for (int i = 0; i < n; i++) {
        to = put_size(to, '$', argv[i].n);
        to = put_text(put_text(to, argv[i]), STR("\r\n"));
    }
    buf_commit(out, (size_t)(to - first));
}

void cache_redis_scripts(struct cache_redis_scripts *s)
{
    static const char hex[] = "0123456789abcdef";
    uint8_t digest[DIGEST_SHA1_BYTES];
    *s = (struct cache_redis_scripts){0};
    for (int k = 0; k < CACHE_CMD_COUNT; k++) {
        const char *text = cache_script_text((enum cache_cmd_kind)k);
        if (text == NULL)
            continue;
        digest_sha1(text, strlen(text), digest);
        for (size_t i = 0; i < sizeof(digest); i++) {
            s->sha[k][2 * i] = hex[digest[i] >> 4];
            s->sha[k][2 * i + 1] = hex[digest[i] & 15];
        }
    }
}

struct args { /* of one command, with the memory for those that are made here */
    struct str v[ARGS_MAX];
    int n;
    char numbers[6][24];
    int nnumbers;
    char keys[2][KEY_MAX];
    int nkeys;
    char members[CACHE_REDIS_MEMBERS][KEY_MAX];
};

static void add(struct args *a, struct str s)
{
    CHECK(a->n < ARGS_MAX);
    a->v[a->n++] = s.p == NULL ? STR("") : s;
}

static void add_hex(struct args *a, uint64_t v)
{
    char *to = a->numbers[a->nnumbers++];
    add(a, (struct str){to, (size_t)(put_hex(to, v) - to)});
}

static void add_number(struct args *a, uint64_t v)
{
    char *to = a->numbers[a->nnumbers++];
    add(a, (struct str){to, (size_t)(put_number(to, v) - to)});
}

static char *put_part(char *to, const char *end, struct str s)
{
    return put_text(to, (struct str){s.p, MIN(s.n, (size_t)(end - to))});
}

/* "PREFIX" "penstock:" what ":" a ":" b, or the entry's own name. Cut if ever too long: names and
 * databases are bounded far below. */
static struct str make_key(char *dst, const struct cache_redis_where *w, struct str what,
                           struct str a, struct str b)
{
    const char *end = dst + KEY_MAX;
    char *to = put_part(dst, end, w->prefix);
    to = put_part(to, end, STR("penstock:"));
    to = put_part(to, end, what);
    to = put_part(to, end, a.n > 0 ? STR(":") : STR(""));
    to = put_part(to, end, a);
    to = put_part(to, end, b.n > 0 ? STR(":") : STR(""));
    to = put_part(to, end, b);
    return (struct str){dst, (size_t)(to - dst)};
}

static struct str safe(struct str s)
{
    return s.p == NULL ? STR("") : s;
}

static void add_key(struct args *a, const struct cache_redis_where *w, struct str what,
                    struct str x, struct str y)
{
    char *to = a->keys[a->nkeys++];
    add(a, make_key(to, w, what, safe(x), safe(y)));
}

static void add_entry_key(struct args *a, const struct cache_redis_where *w)
{
    char *to = a->keys[a->nkeys++];
    size_t n = MIN(w->prefix.n, (size_t)KEY_MAX / 2), m = MIN(w->name.n, (size_t)KEY_MAX / 2);
    if (n > 0)
        memcpy(to, w->prefix.p, n);
    memcpy(to + n, w->name.p, m);
    add(a, (struct str){to, n + m});
}

/* EVALSHA or EVAL, and the number of keys. */
static void add_script(struct args *a, const struct cache_redis_scripts *s,
                       enum cache_cmd_kind kind, int nkeys)
{
    add(a, s != NULL ? STR("EVALSHA") : STR("EVAL"));
    add(a, str_of(s != NULL ? s->sha[kind] : cache_script_text(kind)));
    add_number(a, (uint64_t)nkeys);
}

/* Part of the key of a presence: what a replica has copied counts for nobody there. */
static struct str name_server(char dst[HEX_BYTES], const struct cache_redis_where *w)
{
    return (struct str){dst, w->server != 0 ? (size_t)(put_hex(dst, w->server) - dst) : 0};
}

static void write_members(struct args *a, const struct cache_redis_where *w)
{
    struct str list = w->members;
    char digits[HEX_BYTES];
    struct str server = name_server(digits, w);
    add(a, STR("EXISTS"));
    for (int i = 0; i < CACHE_REDIS_MEMBERS && list.n > 0; i++)
        add(a, make_key(a->members[i], w, STR("member"), str_cut(&list, ','), server));
    if (a->n == 1)
        add_key(a, w, STR("member"), STR("nobody"), STR(""));
}

static void write_entry_script(struct args *a, const struct cache_redis_scripts *s,
                               const struct cache_cmd *c, const struct cache_redis_where *w)
{
    add_script(a, s, c->kind, 1);
    add_entry_key(a, w);
    bool stores = c->kind == CACHE_CMD_STORE || c->kind == CACHE_CMD_KEEP;
    if (stores || c->kind == CACHE_CMD_TAKE_ENTRY || c->kind == CACHE_CMD_GIVE)
        add(a, w->field);
    if (c->kind != CACHE_CMD_KEEP)
        add_hex(a, c->nonce);
    if (c->kind == CACHE_CMD_END || c->kind == CACHE_CMD_DROP || c->kind == CACHE_CMD_GIVE)
        return;
    add_number(a, c->ms);
    if (c->kind == CACHE_CMD_TAKE_ENTRY)
        add(a, c->flag ? STR("1") : STR("0"));
    if (stores)
        add(a, w->value);
}

static void write_rule_script(struct args *a, const struct cache_redis_scripts *s,
                              const struct cache_cmd *c, const struct cache_redis_where *w)
{
    add_script(a, s, c->kind, 1);
    add_key(a, w, STR("rule"), w->database, w->rule);
    if (c->kind != CACHE_CMD_TAKE_RULE)
        add_hex(a, c->nonce);
    if (c->kind == CACHE_CMD_RULE_BEGIN)
        add_number(a, c->ms);
    add_hex(a, c->fresh);
}

static void write_renew(struct args *a, const struct cache_redis_scripts *s,
                        const struct cache_cmd *c, const struct cache_redis_where *w)
{
    char digits[HEX_BYTES];
    add_script(a, s, c->kind, 2);
    add_key(a, w, STR("world"), STR(""), STR(""));
    add_key(a, w, STR("member"), w->member, name_server(digits, w));
    add(a, w->member);
    if (c->kind == CACHE_CMD_LEAVE) {
        add_hex(a, c->fresh);
        add(a, w->defines ? STR("1") : STR("0"));
        return;
    }
    add_hex(a, c->nonce);
    add_number(a, c->ms);
    add_hex(a, c->fresh);
    add(a, c->flag ? STR("1") : STR("0"));
    add_number(a, w->period_ms);
    add_number(a, w->definitions);
    add(a, w->defines ? STR("1") : STR("0"));
}

/* Members are others than us: the script makes the keys of their presences. */
static void write_census(struct args *a, const struct cache_redis_scripts *s,
                         const struct cache_cmd *c, const struct cache_redis_where *w)
{
    add_script(a, s, c->kind, 1);
    add_key(a, w, STR("world"), STR(""), STR(""));
    add_key(a, w, STR("member"), STR(""), STR(""));
    add_hex(a, w->server);
    if (c->kind == CACHE_CMD_CENSUS)
        return;
    add(a, w->member);
    add_hex(a, c->fresh);
}

static void write_ask(struct args *a, const struct cache_cmd *c, const struct cache_redis_where *w)
{
    add(a, STR("HMGET"));
    if (c->kind == CACHE_CMD_WORLD) {
        add_key(a, w, STR("world"), STR(""), STR(""));
        add(a, STR("e"));
        add(a, STR("m"));
        add(a, STR("q"));
        return;
    }
    if (c->kind == CACHE_CMD_RULE) {
        add_key(a, w, STR("rule"), w->database, w->rule);
        add(a, STR("g"));
    } else {
        add_entry_key(a, w);
        add(a, w->field);
    }
    add(a, STR("!w"));
}

void cache_redis_command(const struct cache_redis_scripts *s, const struct cache_cmd *c,
                         const struct cache_redis_where *w, struct buf *out)
{
    struct args a;
    a.n = a.nnumbers = a.nkeys = 0;
    switch (c->kind) {
    case CACHE_CMD_TIME:
        add(&a, STR("TIME"));
        break;
    case CACHE_CMD_MEMBERS:
        write_members(&a, w);
        break;
    case CACHE_CMD_WORLD:
    case CACHE_CMD_RULE:
    case CACHE_CMD_ENTRY:
        write_ask(&a, c, w);
        break;
    case CACHE_CMD_TAKE_ENTRY:
    case CACHE_CMD_STORE:
    case CACHE_CMD_GIVE:
    case CACHE_CMD_KEEP:
    case CACHE_CMD_BEGIN:
    case CACHE_CMD_END:
    case CACHE_CMD_DROP:
        write_entry_script(&a, s, c, w);
        break;
    case CACHE_CMD_TAKE_RULE:
    case CACHE_CMD_RULE_BEGIN:
    case CACHE_CMD_RULE_END:
        write_rule_script(&a, s, c, w);
        break;
    case CACHE_CMD_RENEW:
    case CACHE_CMD_LEAVE:
        write_renew(&a, s, c, w);
        break;
    case CACHE_CMD_CENSUS:
    case CACHE_CMD_FORGET:
        write_census(&a, s, c, w);
        break;
    case CACHE_CMD_COUNT:
        UNREACHABLE();
    }
    cache_redis_plain(a.v, a.n, out);
}
