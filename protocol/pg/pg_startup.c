/* pg_startup.c - see pg_startup.h.  Any thread; no state. */
#include "protocol/pg/pg_startup.h"

#include "base/mem.h"
#include "protocol/pg/pg_frame.h"

#define TLS_HANDSHAKE 0x16 /* first byte of a TLS hello; no packet can start with it */
#define CANCEL_MIN 16      /* length, code, pid, four bytes of secret */
#define VAR_LEN_MIN 3      /* bytes of a parameter: a name and two terminators */

/* Reasons for which PostgreSQL has a code of its own. */
static const char no_user[] = "no PostgreSQL user name specified in startup packet";
static const char option_without_value[] = "startup option requires a value";
static const char unknown_option[] =
    "unsupported options startup parameter: only '-c config=val' and '--config=val' are allowed";
static const char other_protocol[] = "unsupported frontend protocol";
static const char bad_replication[] = "invalid value for parameter \"replication\"";

struct str pg_startup_code(struct str reason)
{
    if (str_eq(reason, str_of(no_user)))
        return STR("28000");
    if (str_eq(reason, str_of(option_without_value)) || str_eq(reason, str_of(unknown_option)))
        return STR("42601");
    if (str_eq(reason, str_of(other_protocol)))
        return STR("0A000");
    return str_eq(reason, str_of(bad_replication)) ? STR("22023") : STR("08P01");
}

static struct pg_startup bad(const char *reason)
{
    return (struct pg_startup){.kind = PG_STARTUP_BAD, .reason = reason};
}

static struct pg_startup more(size_t need)
{
    return (struct pg_startup){.kind = PG_STARTUP_MORE, .need = need};
}

static struct pg_startup classify(struct str packet)
{
    struct pg_startup s = {.total = packet.n, .body = pg_frame_slice(packet, 8, packet.n)};
    uint32_t code = pg_frame_u32(packet.p + 4);
    if (code == PG_STARTUP_TLS || code == PG_STARTUP_GSS) {
        if (packet.n != 8)
            return bad("invalid startup packet layout");
        s.kind = code == PG_STARTUP_TLS ? PG_STARTUP_WANTS_TLS : PG_STARTUP_WANTS_GSS;
        return s;
    }
    if (code == PG_STARTUP_CANCEL) {
        if (packet.n < CANCEL_MIN || s.body.n > WIRE_KEY_MAX)
            s.body = STR(""); /* names nobody; a cancel request is never answered */
        s.kind = PG_STARTUP_WANTS_CANCEL;
        return s;
    }
    if (code >> 16 == 2)
        return bad("old V2 protocol not supported");
    if (code >> 16 != 3)
        return bad(other_protocol);
    s.kind = PG_STARTUP_LOGIN;
    s.minor = code & 0xffff;
    return s;
}

struct pg_startup pg_startup_read(struct str in)
{
    if (in.n == 0)
        return more(8);
    if ((uint8_t)in.p[0] == TLS_HANDSHAKE)
        return (struct pg_startup){.kind = PG_STARTUP_WANTS_DIRECT_TLS};
    if (in.n < 4)
        return more(8);
    uint32_t len = pg_frame_u32(in.p);
    if (len < 8 || len > PG_STARTUP_MAX)
        return bad("invalid length of startup packet");
    if (len > in.n)
        return more(len);
    return classify((struct str){in.p, len});
}

/* ---- options --------------------------------------------------------------------------------- */

struct maker {
    struct pg_startup_login *l;
    const char *reason;
    uint32_t unknown; /* protocol options that are not known */
    uint32_t minor;   /* as asked */
};

static bool refuse(struct maker *m, const char *reason)
{
    m->reason = reason;
    return false;
}

static bool add_var(struct maker *m, struct str name, struct str value)
{
    struct pg_startup_login *l = m->l;
    if (l->login.nvars == l->cap)
        return refuse(m, "too many startup parameters");
    l->vars[l->login.nvars++] = (struct wire_var){name, value};
    return true;
}

static bool is_blank(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* The next word of `options`, a backslash takes the next character as it is. Written in place: a
 * word is never longer than its source. false: there is none. */
static bool next_word(char **p, char *end, struct str *word)
{
    char *at = *p;
    while (at < end && is_blank(*at))
        at++;
    if (at == end)
        return false;
    char *to = at;
    char *first = at;
    for (; at < end && !is_blank(*at); at++) {
        if (*at == '\\' && ++at == end)
            break;
        *to++ = *at;
    }
    *word = (struct str){first, (size_t)(to - first)};
    *p = at;
    return true;
}

/* "name=value": dashes in the name stand for underscores, as on PostgreSQL's own command line. */
static bool add_setting(struct maker *m, char *p, size_t n)
{
    char *eq = n > 0 ? memchr(p, '=', n) : NULL;
    if (!eq || eq == p)
        return refuse(m, option_without_value);
    size_t len = (size_t)(eq - p);
    for (size_t i = 0; i < len; i++)
        if (p[i] == '-')
            p[i] = '_';
    return add_var(m, (struct str){p, len}, (struct str){eq + 1, n - len - 1});
}

static bool add_options(struct maker *m, char *p, size_t n)
{
    char *end = p + n;
    char *base = p;
    struct str w;
    while (next_word(&p, end, &w)) {
        char *word = base + (w.p - base);
        bool dash_c = w.n >= 2 && w.p[0] == '-' && w.p[1] == 'c';
        if (!dash_c && !(w.n > 2 && w.p[0] == '-' && w.p[1] == '-'))
            return refuse(m, unknown_option);
        if (dash_c && w.n == 2) {
            if (!next_word(&p, end, &w))
                return refuse(m, option_without_value);
            if (!add_setting(m, base + (w.p - base), w.n))
                return false;
        } else if (!add_setting(m, word + 2, w.n - 2)) {
            return false;
        }
    }
    return true;
}

/* ---- parameters ------------------------------------------------------------------------------ */

static bool set_replication(struct maker *m, struct str v)
{
    static const char *const yes[] = {"true", "on", "yes", "1", "t", "y", "database"};
    static const char *const no[] = {"false", "off", "no", "0", "f", "n"};
    for (size_t i = 0; i < ARRAY_LEN(yes); i++)
        if (str_ieq(v, str_of(yes[i]))) {
            m->l->login.replication = true;
            m->l->login.replication_mode = v;
            return true;
        }
    for (size_t i = 0; i < ARRAY_LEN(no); i++)
        if (str_ieq(v, str_of(no[i])))
            return true;
    return refuse(m, bad_replication);
}

static bool add_pair(struct maker *m, struct str name, char *value, size_t n)
{
    struct wire_login *l = &m->l->login;
    struct str v = {value, n};
    if (str_eq(name, STR("user")))
        l->user = v;
    else if (str_eq(name, STR("database")))
        l->database = v;
    else if (str_eq(name, STR("options")))
        return add_options(m, value, n);
    else if (str_eq(name, STR("replication")))
        return set_replication(m, v);
    else if (str_starts(name, STR("_pq_."))) {
        m->unknown++;
        buf_put_str(&m->l->negotiate, name);
        buf_put_u8(&m->l->negotiate, 0);
    } else
        return add_var(m, name, v);
    return true;
}

static bool add_pairs(struct maker *m, char *p, size_t n)
{
    struct pg_reader r = pg_frame_reader((struct str){p, n});
    for (;;) {
        struct str name = pg_frame_get_z(&r);
        if (r.bad)
            return refuse(m, "invalid startup packet layout: expected terminator as last byte");
        if (name.n == 0)
            break;
        struct str value = pg_frame_get_z(&r);
        if (r.bad)
            return refuse(m, "invalid startup packet layout: expected terminator as last byte");
        if (!add_pair(m, name, p + (value.p - p), value.n))
            return false;
    }
    if (r.n != 0)
        return refuse(m, "invalid startup packet layout: expected terminator as last byte");
    return true;
}

/* Puts the header in front of the names that were collected in l->negotiate, or empties it. */
static void finish_negotiate(struct maker *m)
{
    struct pg_startup_login *l = m->l;
    uint32_t spoken = MIN(m->minor, (uint32_t)PG_STARTUP_MINOR);
    l->login.minor = (int)spoken;
    if (spoken == m->minor && m->unknown == 0)
        return;
    struct buf b;
    struct str names = buf_str(&l->negotiate);
    buf_init(&b, PG_STARTUP_MAX + 64);
    buf_put_u8(&b, 'v');
    buf_put_be32(&b, (uint32_t)(4 + 4 + 4 + names.n));
    /* the whole version: what libpq and the servers agree on */
    buf_put_be32(&b, (3u << 16) | spoken);
    buf_put_be32(&b, m->unknown);
    buf_put_str(&b, names);
    buf_fini(&l->negotiate);
    l->negotiate = b;
}

struct pg_startup_login *pg_startup_login_new(const struct pg_startup *s, const char **reason)
{
    size_t cap = MIN(s->body.n / VAR_LEN_MIN, (size_t)PG_STARTUP_VARS_MAX);
    struct pg_startup_login *l = mem_new(sizeof *l + cap * sizeof(l->vars[0]));
    l->cap = (int)cap;
    struct maker m = {.l = l, .minor = s->minor};
    buf_init(&l->text, PG_STARTUP_MAX);
    buf_init(&l->negotiate, PG_STARTUP_MAX + 64);
    l->login.vars = l->vars;
    l->login.user = l->login.database = l->login.replication_mode = STR("");
    char *copy = (char *)buf_reserve(&l->text, MAX(s->body.n, (size_t)1));
    bool ok = copy != NULL;
    if (!ok)
        m.reason = "out of memory";
    if (ok && s->body.n > 0)
        memcpy(copy, s->body.p, s->body.n);
    ok = ok && add_pairs(&m, copy, s->body.n);
    if (ok && l->login.user.n == 0)
        ok = refuse(&m, no_user);
    if (!ok) {
        *reason = m.reason;
        pg_startup_login_free(&l);
        return NULL;
    }
    if (l->login.database.n == 0)
        l->login.database = l->login.user;
    finish_negotiate(&m);
    return l;
}

void pg_startup_login_free(struct pg_startup_login **l)
{
    if (!*l)
        return;
    buf_fini(&(*l)->text);
    buf_fini(&(*l)->negotiate);
    mem_free(*l);
    *l = NULL;
}
