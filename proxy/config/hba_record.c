/* hba_record.c - one line of access rules, from text to record; see hba_record.h. */
#include "base/base.h"

#include "proxy/config/hba_record.h"

#include "proxy/config/config_file.h"
#include "proxy/config/hba_lex.h"

#include <arpa/inet.h>

#define NAME_FILE_MAX (1u << 20)

static const char *const type_names[] = {"local", "host", "hostssl", "hostnossl"};

static const char *const method_names[] = {
    "trust", "reject", "md5", "password", "peer", "cert", "scram-sha-256", "ldap", "pam",
};

const char *hba_method_name(enum hba_method m)
{
    return method_names[m];
}

static int find_name(const char *const *names, size_t n, struct str s)
{
    for (size_t i = 0; i < n; i++) {
        if (str_eq(s, str_of(names[i])))
            return (int)i;
    }
    return -1;
}

/* The next word must exist and be no list. */
static enum status one_word(struct hba_source *src, const char *what, struct hba_word *w,
                            struct error *err)
{
    enum status st = hba_lex_word(&src->line, src->arena, w, err);
    if (st != ST_OK)
        return st;
    if (w->text.p == NULL)
        return error_set(err, ST_INVALID, "%s is missing", what);
    if (w->more)
        return error_set(err, ST_INVALID, "%s must not be a list", what);
    return ST_OK;
}

static void add_name(struct hba_source *src, struct hba_name ***tail, enum hba_name_kind kind,
                     struct str text)
{
    struct hba_name *n = config_arena_new(src->arena, sizeof(*n));
    n->kind = kind;
    n->text = text;
    **tail = n;
    *tail = &n->next;
}

/* @file: words between blanks and commas, quoted or not, '#' comments. Keywords mean nothing in
 * there. */
static enum status names_from_file(struct hba_source *src, struct str name, struct hba_name ***tail,
                                   struct error *err)
{
    struct config_text text;
    const char *path = config_file_beside(src->arena, src->file, name);
    enum status st = config_file_read(path, NAME_FILE_MAX, &text, err);
    if (st != ST_OK)
        return st;
    struct str rest = {text.p, text.n};
    for (int line = 1; rest.n > 0 && st == ST_OK; line++) {
        struct str s = str_cut(&rest, '\n');
        struct hba_word w;
        while ((st = hba_lex_word(&s, src->arena, &w, err)) == ST_OK && w.text.p != NULL)
            add_name(src, tail, HBA_NAME_TEXT, w.text);
        if (st != ST_OK)
            st = hba_lex_blame(path, line, st, err);
    }
    config_file_free(&text);
    return st;
}

static enum status keyword(const struct hba_word *w, bool databases, enum hba_name_kind *kind,
                           struct error *err)
{
    *kind = HBA_NAME_TEXT;
    if (w->quoted)
        return ST_OK;
    if (str_eq(w->text, STR("all")))
        *kind = HBA_NAME_ALL;
    else if (databases && str_eq(w->text, STR("sameuser")))
        *kind = HBA_NAME_SAMEUSER;
    else if (databases && str_eq(w->text, STR("replication")))
        *kind = HBA_NAME_REPLICATION;
    else if (databases && (str_eq(w->text, STR("samerole")) || str_eq(w->text, STR("samegroup"))))
        return error_set(err, ST_UNSUPPORTED, "samerole is not supported");
    else if (w->text.p[0] == '+')
        return error_set(err, ST_UNSUPPORTED, "group names (+name) are not supported");
    else if (w->text.p[0] == '/')
        return error_set(err, ST_UNSUPPORTED, "regular expressions are not supported here");
    return ST_OK;
}

static enum status name_list(struct hba_source *src, bool databases, struct hba_name **out,
                             struct error *err)
{
    const char *what = databases ? "database" : "user";
    struct hba_name **tail = out;
    struct hba_word w = {.more = true};
    while (w.more) {
        enum hba_name_kind kind;
        enum status st = hba_lex_word(&src->line, src->arena, &w, err);
        if (st != ST_OK)
            return st;
        if (w.text.p == NULL)
            return error_set(err, ST_INVALID, "%s is missing", what);
        if (!w.quoted && w.text.p[0] == '@') {
            struct str path = {w.text.p + 1, w.text.n - 1};
            st = names_from_file(src, path, &tail, err);
        } else {
            st = keyword(&w, databases, &kind, err);
            if (st == ST_OK)
                add_name(src, &tail, kind, w.text);
        }
        if (st != ST_OK)
            return st;
    }
    return ST_OK;
}

/* The address in s into out; its length, or 0. */
static size_t read_address(struct str s, uint8_t out[16])
{
    char text[64];
    if (memchr(s.p, '\0', s.n) != NULL || !str_copy(text, sizeof(text), s))
        return 0;
    if (inet_pton(AF_INET, text, out) == 1)
        return 4;
    return inet_pton(AF_INET6, text, out) == 1 ? 16 : 0;
}

static enum status prefix_mask(struct hba_record *r, struct str bits, struct error *err)
{
    int64_t n = 0;
    if (!str_to_i64(bits, 0, (int64_t)r->addr_len * 8, &n))
        return error_set(err, ST_INVALID, "the prefix length of the address must be from 0 to %zu",
                         r->addr_len * 8);
    for (size_t i = 0; i < r->addr_len; i++) {
        int64_t here = n - (int64_t)i * 8;
        r->mask[i] = (uint8_t)(here >= 8 ? 0xff : here <= 0 ? 0 : 0xff << (8 - here));
    }
    return ST_OK;
}

static enum status network_mask(struct hba_source *src, struct hba_record *r, struct error *err)
{
    struct hba_word w;
    enum status st = one_word(src, "mask of the address", &w, err);
    if (st != ST_OK)
        return st;
    if (read_address(w.text, r->mask) != r->addr_len)
        return error_set(err, ST_INVALID, "bad address mask \"%.60s\"", w.text.p);
    bool ended = false;
    for (size_t bit = 0; bit < r->addr_len * 8; bit++) {
        bool set = (r->mask[bit / 8] >> (7 - bit % 8) & 1) != 0;
        if (set && ended)
            return error_set(err, ST_INVALID, "address mask \"%.60s\" has a hole", w.text.p);
        ended = ended || !set;
    }
    return ST_OK;
}

static enum status read_network(struct hba_source *src, struct hba_record *r, struct error *err)
{
    struct hba_word w;
    enum status st = one_word(src, "address", &w, err);
    if (st != ST_OK)
        return st;
    if (!w.quoted && str_eq(w.text, STR("all"))) {
        r->any_address = true;
        return ST_OK;
    }
    if (!w.quoted && (str_eq(w.text, STR("samehost")) || str_eq(w.text, STR("samenet"))))
        return error_set(err, ST_UNSUPPORTED, "samehost and samenet are not supported");
    struct str bits = w.text;
    struct str addr = str_cut(&bits, '/');
    bool has_bits = addr.n < w.text.n;
    r->addr_len = read_address(addr, r->addr);
    if (r->addr_len == 0)
        return error_set(err, ST_INVALID,
                         "\"%.60s\" is not an IPv4 or IPv6 address (host names are not supported)",
                         w.text.p);
    st = has_bits ? prefix_mask(r, bits, err) : network_mask(src, r, err);
    for (size_t i = 0; i < r->addr_len; i++)
        r->addr[i] &= r->mask[i];
    return st;
}

static enum status read_method(struct hba_source *src, struct hba_record *r, struct error *err)
{
    struct hba_word w;
    enum status st = one_word(src, "method", &w, err);
    if (st != ST_OK)
        return st;
    int m = find_name(method_names, ARRAY_LEN(method_names), w.text);
    if (m < 0)
        return error_set(err, ST_INVALID, "unknown method \"%.60s\"", w.text.p);
    r->rule.method = (enum hba_method)m;
    if (r->rule.method == HBA_PEER && r->type != HBA_LOCAL)
        return error_set(err, ST_INVALID, "peer works on local lines only");
    if (r->rule.method == HBA_CERT && r->type != HBA_HOSTSSL)
        return error_set(err, ST_INVALID, "cert works on hostssl lines only");
    return ST_OK;
}

static enum status read_map(struct hba_source *src, struct hba_record *r, const char *map,
                            struct error *err)
{
    if (r->rule.method != HBA_PEER && r->rule.method != HBA_CERT)
        return error_set(err, ST_INVALID, "map= goes with peer and cert only");
    if (src->ident == NULL || !hba_ident_has_map(src->ident, map))
        return error_set(err, ST_INVALID, "there is no user name map \"%.60s\" (auth_ident_file)",
                         map);
    r->rule.map = map;
    return ST_OK;
}

static enum status read_options(struct hba_source *src, struct hba_record *r, struct error *err)
{
    struct str all = str_trim(src->line);
    bool ldap = r->rule.method == HBA_LDAP;
    r->rule.options = config_arena_dup(src->arena, ldap ? all : STR_NONE);
    while (!ldap) {
        struct hba_word w;
        enum status st = hba_lex_word(&src->line, src->arena, &w, err);
        if (st != ST_OK || w.text.p == NULL)
            return st;
        if (str_starts(w.text, STR("map=")) && !w.more)
            st = read_map(src, r, w.text.p + 4, err);
        else if (!(r->rule.method == HBA_CERT && str_starts(w.text, STR("clientcert="))))
            st = error_set(err, ST_UNSUPPORTED, "option \"%.60s\" is not supported", w.text.p);
        if (st != ST_OK)
            return st;
    }
    return ST_OK;
}

enum status hba_record_read(struct hba_source *src, struct hba_record **out, struct error *err)
{
    struct hba_word w;
    enum status st = hba_lex_word(&src->line, src->arena, &w, err);
    if (st != ST_OK || w.text.p == NULL)
        return st;
    int type = find_name(type_names, ARRAY_LEN(type_names), w.text);
    if (type < 0 || w.more)
        return error_set(err, ST_INVALID,
                         "a line must begin with local, host, hostssl or hostnossl, not \"%.60s\"",
                         w.text.p);
    struct hba_record *r = config_arena_new(src->arena, sizeof(*r));
    r->type = (enum hba_type)type;
    st = name_list(src, true, &r->databases, err);
    if (st == ST_OK)
        st = name_list(src, false, &r->users, err);
    if (st == ST_OK && r->type != HBA_LOCAL)
        st = read_network(src, r, err);
    if (st == ST_OK)
        st = read_method(src, r, err);
    if (st == ST_OK)
        st = read_options(src, r, err);
    if (st == ST_OK)
        *out = r;
    return st;
}
