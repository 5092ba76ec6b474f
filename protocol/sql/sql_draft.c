/* sql_draft.c - facts in the making, see sql_draft.h.
 *
 * sql_draft_finish lays out one heap block: struct facts, its arrays, then the bytes of all names,
 * the normalised text and the hint.  facts_put (sql_facts.c) frees it whole.
 */
#include "base/base.h"
#include "base/mem.h"
#include "protocol/sql/sql_draft.h"

void sql_draft_init(struct sql_draft *d)
{
    *d = (struct sql_draft){0};
}

void sql_draft_fini(struct sql_draft *d)
{
    mem_free(d->relations.items);
    mem_free(d->functions.items);
    mem_free(d->vars.items);
    mem_free(d->assigned.items);
    mem_free(d->conflict.items);
    mem_free(d->text);
    *d = (struct sql_draft){0};
}

static uint32_t add_text(struct sql_draft *d, struct str s)
{
    size_t at = d->text_len;

    if (s.n == 0) {
        return 0;
    }
    if (d->text_cap - at < s.n) {
        d->text_cap = 2 * d->text_cap + s.n + 256;
        d->text = mem_resize(d->text, d->text_cap);
    }
    memcpy(d->text + at, s.p, s.n);
    d->text_len += s.n;
    return (uint32_t)at;
}

static struct str name_of(const struct sql_draft *d, uint32_t at, uint32_t len)
{
    return len == 0 ? STR_NONE : (struct str){d->text + at, len};
}

static struct sql_draft_name make_name(struct sql_draft *d, struct str schema, struct str name)
{
    struct sql_draft_name n = {.schema_len = (uint32_t)schema.n, .name_len = (uint32_t)name.n};

    n.schema = add_text(d, schema);
    n.name = add_text(d, name);
    return n;
}

/* The entry of that name, made when there is none; NULL past the cap. */
static struct sql_draft_name *enter(struct sql_draft *d, struct sql_draft_list *l,
                                    struct str schema, struct str name)
{
    for (uint32_t i = 0; i < l->n; i++) {
        const struct sql_draft_name *it = &l->items[i];
        if (str_eq(name_of(d, it->name, it->name_len), name) &&
            str_eq(name_of(d, it->schema, it->schema_len), schema)) {
            return &l->items[i];
        }
    }
    if (l->n >= SQL_DRAFT_NAMES_MAX) {
        d->effects |= FX_UNKNOWN;
        return NULL;
    }
    if (l->n == l->cap) {
        l->cap = 2 * l->cap + 8;
        l->items = mem_resize(l->items, l->cap * sizeof(*l->items));
    }
    l->items[l->n] = make_name(d, schema, name);
    return &l->items[l->n++];
}

void sql_draft_relation(struct sql_draft *d, struct str schema, struct str name, bool written)
{
    struct sql_draft_name *it = enter(d, &d->relations, schema, name);

    if (it != NULL) {
        it->written |= written;
        if (it->times < UINT16_MAX) {
            it->times++;
        }
    }
}

int sql_draft_find(const struct sql_draft *d, struct str schema, struct str name)
{
    for (uint32_t i = 0; i < d->relations.n; i++) {
        const struct sql_draft_name *it = &d->relations.items[i];
        if (str_eq(name_of(d, it->name, it->name_len), name) &&
            str_eq(name_of(d, it->schema, it->schema_len), schema)) {
            return (int)i;
        }
    }
    return -1;
}

bool sql_draft_match(struct sql_draft *d, const struct fact_match *m)
{
    if (d->nmatches == SQL_DRAFT_MATCHES_MAX) {
        return false;
    }
    struct sql_draft_match *it = &d->matches[d->nmatches++];
    *it = (struct sql_draft_match){.fact = *m, .column_len = (uint32_t)m->column.n};
    it->column = add_text(d, m->column);
    return true;
}

void sql_draft_assigned(struct sql_draft *d, struct str column)
{
    (void)enter(d, &d->assigned, STR_NONE, column);
}

void sql_draft_conflict(struct sql_draft *d, struct str column)
{
    (void)enter(d, &d->conflict, STR_NONE, column);
}

void sql_draft_shapeless(struct sql_draft *d)
{
    d->shape = FACT_OTHER;
    d->nmatches = d->assigned.n = d->conflict.n = 0;
    d->upsert = false;
}

void sql_draft_function(struct sql_draft *d, struct str schema, struct str name)
{
    (void)enter(d, &d->functions, schema, name);
}

void sql_draft_var(struct sql_draft *d, struct str name, bool reset)
{
    char low[256];

    if (name.n == 0 || name.n > sizeof(low)) {
        d->effects |= FX_VARS_ALL | FX_UNKNOWN;
        return;
    }
    for (size_t i = 0; i < name.n; i++) {
        char c = name.p[i];
        low[i] = c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
    }
    struct str folded = {low, name.n};
    /* These belong to the current transaction whichever way they are set. */
    if (str_eq(folded, STR("transaction_isolation")) ||
        str_eq(folded, STR("transaction_read_only")) ||
        str_eq(folded, STR("transaction_deferrable"))) {
        d->effects |= FX_LOCAL;
        return;
    }
    d->effects |= FX_VARS_NAMED;
    if (str_eq(folded, STR("role")) || str_eq(folded, STR("session_authorization"))) {
        d->effects |= FX_ROLE;
    }
    d->vars_reset |= reset;
    struct sql_draft_name *it = enter(d, &d->vars, STR_NONE, folded);
    if (it != NULL) {
        it->reset = reset;
    }
}

void sql_draft_prepared(struct sql_draft *d, uint32_t effect, struct str name)
{
    if (d->has_prepared || (d->effects & FX_DEALLOCATE_ALL) != 0) {
        d->effects |= FX_UNKNOWN; /* their order matters and is not in the facts */
    }
    d->effects |= effect;
    if (!d->has_prepared) {
        d->prepared = make_name(d, STR_NONE, name);
        d->has_prepared = true;
    }
}

void sql_draft_channel(struct sql_draft *d, uint32_t effect, struct str name)
{
    d->effects |= effect;
    if (d->has_channel) {
        d->effects |= FX_UNKNOWN;
        return;
    }
    d->channel = make_name(d, STR_NONE, name);
    d->has_channel = true;
}

/* Fills dst from the list; base is where the draft's text now lies. */
static void copy_names(const struct sql_draft_list *l, struct fact_name *dst, const char *base)
{
    for (uint32_t i = 0; i < l->n; i++) {
        const struct sql_draft_name *it = &l->items[i];
        dst[i].schema = it->schema_len == 0 ? STR_NONE
                                            : (struct str){base + it->schema, it->schema_len};
        dst[i].name = (struct str){base + it->name, it->name_len};
        dst[i].written = it->written;
        dst[i].times = it->times;
    }
}

static void copy_words(const struct sql_draft_list *l, struct str *dst, const char *base)
{
    for (uint32_t i = 0; i < l->n; i++) {
        dst[i] = (struct str){base + l->items[i].name, l->items[i].name_len};
    }
}

static void copy_matches(const struct sql_draft *d, struct facts *f, const char *base)
{
    for (uint32_t i = 0; i < d->nmatches; i++) {
        f->matches[i] = d->matches[i].fact;
        f->matches[i].column = (struct str){base + d->matches[i].column, d->matches[i].column_len};
    }
    copy_words(&d->assigned, f->assigned, base);
    copy_words(&d->conflict, f->conflict, base);
}

static struct str copy_text(char **to, struct str s)
{
    struct str r = {*to, s.n};

    if (s.n == 0) {
        return STR_NONE;
    }
    memcpy(*to, s.p, s.n);
    *to += s.n;
    return r;
}

static void copy_flags(const struct sql_draft *d, struct facts *f)
{
    f->complete = d->complete;
    f->effects = d->effects | (d->complete ? 0 : (uint32_t)FX_UNKNOWN);
    f->repeatable_text = d->repeatable_text && d->complete;
    f->read_only_begin = d->read_only_begin;
    f->read_write_begin = d->read_write_begin;
    f->serializable_begin = d->serializable_begin;
    f->selects = d->selects;
    f->explains = d->explains;
    f->modifies = d->modifies;
    f->into = d->into;
    f->locks_rows = d->locks_rows;
    f->locks_table = d->locks_table;
    f->custom_types = d->custom_types;
    f->custom_operators = d->custom_operators;
    f->operators = d->operators;
    f->session_values = d->session_values;
    f->shape = d->complete ? d->shape : FACT_OTHER;
    f->target = d->target;
    f->rows = d->rows;
    f->upsert = d->upsert;
    f->vars_reset = d->vars_reset;
    for (uint32_t i = 0; i < d->vars.n && i < FACT_RESETS_MAX; i++) {
        f->resets |= (uint64_t)d->vars.items[i].reset << i;
    }
}

struct facts *sql_draft_finish(const struct sql_draft *d, struct str text, struct str hint,
                               uint64_t digest, size_t *bytes)
{
    size_t nnames = (size_t)d->relations.n + d->functions.n;
    size_t nwords = (size_t)d->vars.n + d->assigned.n + d->conflict.n;
    size_t arrays = nnames * sizeof(struct fact_name) + d->nmatches * sizeof(struct fact_match) +
                    nwords * sizeof(struct str);
    size_t n = sizeof(struct facts) + arrays + d->text_len + text.n + hint.n + d->shown.n;
    struct facts *f = mem_new(n);

    f->refs = 1;
    f->digest = digest;
    copy_flags(d, f);
    f->relations = (struct fact_name *)(void *)(f + 1);
    f->functions = f->relations + d->relations.n;
    f->matches = (struct fact_match *)(void *)(f->functions + d->functions.n);
    f->vars = (struct str *)(void *)(f->matches + d->nmatches);
    f->assigned = f->vars + d->vars.n;
    f->conflict = f->assigned + d->assigned.n;
    f->nrelations = (uint16_t)d->relations.n;
    f->nfunctions = (uint16_t)d->functions.n;
    f->nvars = (uint16_t)d->vars.n;
    f->nmatches = (uint16_t)d->nmatches;
    f->nassigned = (uint16_t)d->assigned.n;
    f->nconflict = (uint16_t)d->conflict.n;
    char *to = (char *)(f + 1) + arrays;
    struct str base = copy_text(&to, (struct str){d->text, d->text_len});
    copy_names(&d->relations, f->relations, base.p);
    copy_names(&d->functions, f->functions, base.p);
    copy_words(&d->vars, f->vars, base.p);
    copy_matches(d, f, base.p);
    if (d->prepared.name_len > 0) {
        f->prepared = (struct str){base.p + d->prepared.name, d->prepared.name_len};
    }
    if (d->channel.name_len > 0) {
        f->channel = (struct str){base.p + d->channel.name, d->channel.name_len};
    }
    f->text = copy_text(&to, text);
    f->hint = copy_text(&to, hint);
    f->shown = d->shown.n > 0 ? copy_text(&to, d->shown) : f->text;
    f->shown_digest = d->shown.n > 0 ? d->shown_digest : digest;
    *bytes = n;
    return f;
}
