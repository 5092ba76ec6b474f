/* cache_rule.c - see cache_rule.h.
 *
 * Rules are found by the digest of their normalised text through a small open hash; the text is
 * compared whole.  All strings of a rule are copies that the set owns.
 */
#include "cache/cache_rule.h"

#include "base/buf.h"
#include "base/check.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/refs.h"
#include "protocol/auth/digest.h"

#include <ctype.h>

#define SLOTS (4u * CACHE_RULES_MAX)

struct cache_rules {
    struct {
        struct refs refs;
    } shared;
    int n;
    struct cache_rule *rules[CACHE_RULES_MAX]; /* owned */
    const struct cache_rule *by_digest[SLOTS]; /* open addressing; chained by `same` */
    void **owned;                              /* owned, and all it points to */
    size_t nowned, cap_owned;
};

struct cache_rules *cache_rule_set_new(void)
{
    struct cache_rules *set = mem_new(sizeof(*set));
    refs_init(&set->shared.refs);
    return set;
}

struct cache_rules *cache_rule_set_get(struct cache_rules *set)
{
    refs_get(&set->shared.refs);
    return set;
}

void cache_rule_set_put(struct cache_rules **set)
{
    struct cache_rules *was = *set;
    *set = NULL;
    if (was == NULL || !refs_put(&was->shared.refs))
        return;
    for (int i = 0; i < was->n; i++)
        facts_put(&was->rules[i]->facts);
    for (size_t i = 0; i < was->nowned; i++)
        mem_free(was->owned[i]);
    mem_free(was->owned);
    mem_free(was);
}

/* A zeroed block that lives as long as the set. */
static void *own(struct cache_rules *set, size_t n)
{
    if (set->nowned == set->cap_owned) {
        set->cap_owned = 2 * set->cap_owned + 32;
        set->owned = mem_resize(set->owned, set->cap_owned * sizeof(void *));
    }
    return set->owned[set->nowned++] = mem_new(n);
}

static struct str own_str(struct cache_rules *set, struct str s)
{
    char *p = own(set, s.n + 1);
    if (s.n > 0)
        memcpy(p, s.p, s.n);
    return (struct str){p, s.n};
}

int cache_rule_count(const struct cache_rules *set)
{
    return set->n;
}

const struct cache_rule *cache_rule_at(const struct cache_rules *set, int i)
{
    return set->rules[i];
}

const struct cache_rule *cache_rule_find(const struct cache_rules *set, const struct facts *f)
{
    if (set->n == 0)
        return NULL;
    for (size_t i = f->digest % SLOTS; set->by_digest[i] != NULL; i = (i + 1) % SLOTS) {
        const struct facts *have = set->by_digest[i]->facts;
        if (have->digest == f->digest && str_eq(have->text, f->text))
            return set->by_digest[i];
    }
    return NULL;
}

const struct cache_rule *cache_rule_named(const struct cache_rules *set, struct str name)
{
    for (int i = 0; i < set->n; i++)
        if (str_eq(set->rules[i]->name, name))
            return set->rules[i];
    return NULL;
}

bool cache_rule_has_user(const struct cache_rule *r, struct str user)
{
    for (int i = 0; i < r->nusers; i++)
        if (str_eq(r->users[i], user))
            return true;
    return r->nusers == 0;
}

bool cache_rule_has_function(const struct cache_rule *r, struct str schema, struct str name)
{
    for (int i = 0; i < r->nfunctions; i++) {
        const struct fact_name *f = &r->functions[i];
        if (str_eq(f->name, name) &&
            (f->schema.n == 0 || schema.n == 0 || str_eq(f->schema, schema)))
            return true;
    }
    return false;
}

static const char *const mode_names[] = {"off", "ttl", "lease", "bounded", "strict"};

bool cache_rule_mode(struct str word, enum cache_mode *out)
{
    for (size_t i = 0; i < ARRAY_LEN(mode_names); i++) {
        if (str_ieq(word, str_of(mode_names[i]))) {
            *out = (enum cache_mode)i;
            return true;
        }
    }
    return false;
}

const char *cache_rule_mode_name(enum cache_mode m)
{
    CHECK((unsigned)m < ARRAY_LEN(mode_names));
    return mode_names[m];
}

/* ---- the query ------------------------------------------------------------------------------- */

static enum status check_query(const struct cache_rule_text *text, const struct facts *f,
                               struct error *err)
{
    const char *why = NULL;
    if (!f->complete)
        why = "it cannot be parsed";
    else if (f->shape != FACT_SELECT || !f->repeatable_text || f->effects != FX_READ)
        why = "it is not one SELECT that only reads (no INTO, no FOR UPDATE, nothing that changes "
              "rows or the session)";
    else if (f->session_values)
        why = "CURRENT_USER, CURRENT_DATE and the like change under it";
    else if (f->custom_types || f->custom_operators)
        why = "it uses a type or an operator that is not built in";
    else if (f->nrelations == 0)
        why = "it reads no table";
    if (why == NULL)
        return ST_OK;
    return error_set(err, ST_INVALID, "query of rule " STR_FMT ": %s", STR_ARG(text->name), why);
}

/* A constant like 'today' is read anew by every execution. */
static bool names_a_day(struct str text)
{
    static const struct str words[] = {STR_INIT("now"), STR_INIT("today"), STR_INIT("tomorrow"),
                                       STR_INIT("yesterday")};
    size_t i = 0;
    while (i < text.n) {
        size_t from = i;
        while (i < text.n && isalpha((unsigned char)text.p[i]))
            i++;
        for (size_t w = 0; w < ARRAY_LEN(words); w++)
            if (str_ieq((struct str){text.p + from, i - from}, words[w]))
                return true;
        i += i < text.n;
    }
    return false;
}

static enum status read_slots(struct cache_rule *r, struct str query, struct error *err)
{
    bool seen[CACHE_RULE_PARAMS] = {false};
    r->nslots = sql_slots_read(query, 0, r->slots, SQL_SLOTS_MAX);
    if (r->nslots < 0)
        return error_set(err, ST_INVALID, "query of rule " STR_FMT ": more than %d constants",
                         STR_ARG(r->name), SQL_SLOTS_MAX);
    for (int i = 0; i < r->nslots; i++) {
        const struct sql_slot *s = &r->slots[i];
        if (s->kind != SQL_SLOT_PARAM && s->kind != SQL_SLOT_NUMBER && names_a_day(s->text))
            return error_set(err, ST_INVALID,
                             "query of rule " STR_FMT ": " STR_FMT " means another time every day",
                             STR_ARG(r->name), STR_ARG(s->text));
        if (s->kind != SQL_SLOT_PARAM)
            continue;
        if (s->param > CACHE_RULE_PARAMS)
            return error_set(err, ST_INVALID, "query of rule " STR_FMT ": at most %d parameters",
                             STR_ARG(r->name), CACHE_RULE_PARAMS);
        seen[s->param - 1] = true;
        r->nparams = MAX(r->nparams, (int)s->param);
    }
    for (int i = 0; i < r->nparams; i++)
        if (!seen[i])
            return error_set(err, ST_INVALID, "query of rule " STR_FMT ": there is no $%d",
                             STR_ARG(r->name), i + 1);
    return ST_OK;
}

/* ---- key and tables -------------------------------------------------------------------------- */

/* "$n" at p: its number, and what is behind it. */
static bool read_param(struct str *rest, int nparams, uint32_t *param)
{
    size_t n = 1;
    int64_t v;
    while (n < rest->n && isdigit((unsigned char)rest->p[n]))
        n++;
    if (!str_to_i64((struct str){rest->p + 1, n - 1}, 1, nparams, &v))
        return false;
    *param = (uint32_t)v;
    *rest = (struct str){rest->p + n, rest->n - n};
    return true;
}

static enum status read_key(struct cache_rule *r, struct error *err)
{
    struct str rest = r->key;
    if (rest.n == 0 || rest.n > CACHE_KEY_TEXT / 2 || memchr(rest.p, '\0', rest.n) != NULL)
        return error_set(err, ST_INVALID, "rule " STR_FMT ": key must have 1 to %d characters",
                         STR_ARG(r->name), CACHE_KEY_TEXT / 2);
    while (rest.n > 0) {
        struct cache_template_part part = {.text = rest};
        ptrdiff_t dollar = str_find(rest, '$');
        if (r->nparts == CACHE_TEMPLATE_PARTS)
            return error_set(err, ST_INVALID, "rule " STR_FMT ": key has too many parts",
                             STR_ARG(r->name));
        if (dollar >= 0)
            part.text.n = (size_t)dollar;
        rest = (struct str){rest.p + part.text.n, rest.n - part.text.n};
        if (rest.n > 0 && !read_param(&rest, r->nparams, &part.param))
            return error_set(err, ST_INVALID,
                             "rule " STR_FMT ": a $ of the key must be followed by the number of "
                             "one of the query's parameters",
                             STR_ARG(r->name));
        r->parts[r->nparts++] = part;
    }
    return ST_OK;
}

/* Cuts "schema.name" or "name". */
static void split_name(struct str s, struct str *schema, struct str *name)
{
    ptrdiff_t dot = str_find(s, '.');
    *schema = dot < 0 ? STR_NONE : (struct str){s.p, (size_t)dot};
    *name = dot < 0 ? s : (struct str){s.p + dot + 1, s.n - (size_t)dot - 1};
}

static bool read_columns(const struct cache_rule *r, struct str list, struct cache_stated *out)
{
    out->whole = str_eq(str_trim(list), STR("*"));
    while (!out->whole && list.n > 0) {
        struct str item = str_cut(&list, ',');
        struct str column = str_trim(str_cut(&item, '='));
        struct str param = str_trim(item);
        uint32_t n = 1;
        if (column.n == 0 || out->ncolumns == CACHE_RULE_COLUMNS)
            return false;
        if (param.n == 0 ? r->nparams != 1
                         : param.p[0] != '$' || !read_param(&param, r->nparams, &n) || param.n > 0)
            return false;
        out->column[out->ncolumns] = column;
        out->param[out->ncolumns++] = n;
    }
    return out->whole || out->ncolumns > 0;
}

static enum status read_tables(struct cache_rules *set, struct cache_rule *r,
                               const struct cache_rule_text *text, struct error *err)
{
    if (text->ntables > CACHE_RULE_TABLES)
        return error_set(err, ST_INVALID, "rule " STR_FMT ": more than %d tables", STR_ARG(r->name),
                         CACHE_RULE_TABLES);
    r->stated = own(set, (size_t)text->ntables * sizeof(*r->stated));
    for (int i = 0; i < text->ntables; i++) {
        struct cache_stated *st = &r->stated[i];
        split_name(own_str(set, text->tables[i].name), &st->schema, &st->table);
        if (st->table.n == 0 || !read_columns(r, own_str(set, text->tables[i].columns), st))
            return error_set(err, ST_INVALID,
                             "rule " STR_FMT ": table." STR_FMT " must be * or columns of its key, "
                             "each with the parameter it equals when there are several",
                             STR_ARG(r->name), STR_ARG(text->tables[i].name));
    }
    r->nstated = text->ntables;
    return ST_OK;
}

/* ---- adding ---------------------------------------------------------------------------------- */

static enum status check_mode(const struct cache_rule_text *text, struct error *err)
{
    if (text->mode == CACHE_BOUNDED || text->mode == CACHE_STRICT)
        return error_set(err, ST_UNSUPPORTED,
                         "rule " STR_FMT ": mode %s is not in this release (lease and ttl are)",
                         STR_ARG(text->name), cache_rule_mode_name(text->mode));
    if (text->ttl_us <= 0)
        return error_set(err, ST_INVALID, "rule " STR_FMT ": ttl must be above zero",
                         STR_ARG(text->name));
    return ST_OK;
}

static bool same_constants(const struct cache_rule *a, const struct cache_rule *b)
{
    for (int i = 0; i < a->nslots; i++) {
        bool param = a->slots[i].kind == SQL_SLOT_PARAM;
        if (param != (b->slots[i].kind == SQL_SLOT_PARAM) ||
            (!param && !str_eq(a->slots[i].text, b->slots[i].text)))
            return false;
    }
    return true;
}

/* Enters it behind the rules of the same text. */
static enum status enter(struct cache_rules *set, struct cache_rule *r, struct error *err)
{
    struct cache_rule *last = NULL;
    for (int i = 0; i < set->n; i++) {
        struct cache_rule *have = set->rules[i];
        if (have->facts->digest != r->facts->digest || !str_eq(have->facts->text, r->facts->text))
            continue;
        if (same_constants(have, r))
            return error_set(err, ST_INVALID, "rules " STR_FMT " and " STR_FMT " have one query",
                             STR_ARG(have->name), STR_ARG(r->name));
        last = have;
    }
    if (last != NULL) {
        last->same = r;
    } else {
        size_t i = r->facts->digest % SLOTS;
        while (set->by_digest[i] != NULL)
            i = (i + 1) % SLOTS;
        set->by_digest[i] = r;
    }
    r->index = (uint16_t)set->n;
    set->rules[set->n++] = r;
    return ST_OK;
}

/* Whatever decides what an entry holds, in one number that is the same in every process. */
static uint64_t hash_text(const struct cache_rule *r)
{
    struct buf b;
    uint8_t digest[DIGEST_BYTES];
    uint64_t hash;
    buf_init(&b, SIZE_MAX);
    buf_put_str(&b, r->name);
    buf_put_u8(&b, 0);
    buf_put_str(&b, r->key);
    buf_put_u8(&b, 0);
    buf_put_str(&b, r->facts->text);
    for (int i = 0; i < r->nslots; i++) {
        buf_put_u8(&b, 0);
        buf_put_str(&b, r->slots[i].text);
    }
    digest_sha256(buf_data(&b), buf_len(&b), digest);
    buf_fini(&b);
    memcpy(&hash, digest, sizeof(hash));
    return hash;
}

/* Processes with other times for a rule share none of its entries: each stores them for as long as
 * it may serve them itself. */
static uint64_t hash_entry(const struct cache_rule *r)
{
    const uint64_t parts[] = {r->text_hash, (uint64_t)r->ttl_us, (uint64_t)r->local_us};
    return hash_bytes(parts, sizeof(parts), 0);
}

static void copy_lists(struct cache_rules *set, struct cache_rule *r,
                       const struct cache_rule_text *text)
{
    r->users = own(set, (size_t)text->nusers * sizeof(*r->users));
    for (r->nusers = 0; r->nusers < text->nusers; r->nusers++)
        r->users[r->nusers] = own_str(set, text->users[r->nusers]);
    r->functions = own(set, (size_t)text->nfunctions * sizeof(*r->functions));
    for (r->nfunctions = 0; r->nfunctions < text->nfunctions; r->nfunctions++) {
        struct fact_name *f = &r->functions[r->nfunctions];
        split_name(own_str(set, text->functions[r->nfunctions]), &f->schema, &f->name);
    }
}

enum status cache_rule_add(struct cache_rules *set, const struct cache_rule_text *text,
                           struct facts *facts, struct error *err)
{
    enum status st = check_mode(text, err);
    if (st == ST_OK)
        st = check_query(text, facts, err);
    if (st != ST_OK)
        return st;
    if (set->n == CACHE_RULES_MAX)
        return error_set(err, ST_LIMIT, "more than %d rules", CACHE_RULES_MAX);
    if (text->name.n == 0 || cache_rule_named(set, text->name) != NULL)
        return error_set(err, ST_INVALID, "two rules of the name " STR_FMT, STR_ARG(text->name));
    struct cache_rule *r = own(set, sizeof(*r));
    *r = (struct cache_rule){
        .mode = text->mode, .ttl_us = text->ttl_us, .facts = facts, .max_result = text->max_result};
    r->local_us = text->local_us;
    r->name = own_str(set, text->name);
    r->key = own_str(set, text->key);
    copy_lists(set, r, text);
    st = read_slots(r, own_str(set, text->query), err);
    if (st == ST_OK)
        st = read_key(r, err);
    if (st == ST_OK)
        st = read_tables(set, r, text, err);
    if (st != ST_OK)
        return st;
    r->text_hash = hash_text(r);
    r->entry_hash = hash_entry(r);
    st = enter(set, r, err);
    if (st == ST_OK)
        (void)facts_get(facts);
    return st;
}
