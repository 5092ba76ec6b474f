/* fuzz_sql.c - statement texts through lexer, normaliser, classifier, grammar and cache.
 *
 * The first byte is the dialect.  Oracles besides the sanitizers: what was not understood is
 * unknown; tokens lie inside the text and do not overlap; and a cache that has seen all earlier
 * inputs says the same as one that has seen only this, which finds two statements that normalise to
 * one key. The bytes also go to the reader of the parser's tree, as if they were one.
 */
#include "base/check.h"
#include "base/mem.h"
#include "protocol/sql/sql_cache.h"
#include "protocol/sql/sql_json.h"
#include "protocol/sql/sql_lex.h"
#include "protocol/sql/sql_tree.h"
#include "protocol/sql_slots.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct sql_cache *seen; /* lives as long as the process */

static void check_tokens(struct str text, uint32_t dialect)
{
    struct sql_lex lx;
    struct sql_token t;
    const char *last = text.p;

    sql_lex_init(&lx, text, dialect);
    while (sql_lex_next(&lx, &t) > SQL_TOK_BAD) {
        CHECK(t.text.p >= last && t.text.n > 0);
        last = t.text.p + t.text.n;
        CHECK(last <= text.p + text.n);
    }
}

static void check_tree(struct str text)
{
    struct sql_draft d;
    struct sql_json j;
    char *copy = mem_copy(text.n > 0 ? text.p : "x", text.n > 0 ? text.n : 1);

    sql_draft_init(&d);
    if (sql_json_parse(&j, copy, text.n))
        sql_tree_read(&j, text, &d);
    sql_json_fini(&j);
    sql_draft_fini(&d);
    mem_free(copy);
}

/* What the result cache relies on: places that exist, in relations that exist. */
static void check_matches(const struct facts *f, struct str text, uint32_t dialect)
{
    struct sql_slot slots[SQL_SLOTS_MAX];
    int n = f->nmatches == 0 ? 0 : sql_slots_read(text, dialect, slots, SQL_SLOTS_MAX);
    for (uint16_t i = 0; i < f->nmatches; i++) {
        const struct fact_match *m = &f->matches[i];
        CHECK(m->relation < f->nrelations && (int)m->slot < n && m->column.n > 0);
    }
    bool writes = f->shape == FACT_INSERT || f->shape == FACT_UPDATE || f->shape == FACT_DELETE;
    CHECK(!writes || (f->target < f->nrelations && f->relations[f->target].written));
    CHECK(f->shape == FACT_OTHER || f->complete);
}

static void check_facts(struct str text, uint32_t dialect)
{
    struct sql_cache *fresh = sql_cache_new(1 << 16);
    struct facts *a = sql_cache_get(seen, text, dialect);
    struct facts *b = sql_cache_get(fresh, text, dialect);

    CHECK(a->complete || (a->effects & FX_UNKNOWN) != 0);
    CHECK(a->complete || !b->complete);
    check_matches(a, text, dialect);
    check_matches(b, text, dialect);
    if (a->complete && b->complete) {
        CHECK(a->effects == b->effects && a->nrelations == b->nrelations);
        CHECK(a->nfunctions == b->nfunctions && a->nvars == b->nvars);
        CHECK(str_eq(a->prepared, b->prepared) && str_eq(a->channel, b->channel));
        CHECK(str_eq(a->hint, b->hint) && a->repeatable_text == b->repeatable_text);
    }
    (void)sql_effects(a, NULL);
    facts_put(&a);
    facts_put(&b);
    sql_cache_free(&fresh);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    if (seen == NULL)
        seen = sql_cache_new(8 << 20);
    uint32_t dialect = data[0] & 3u;
    struct str text = {(const char *)data + 1, size - 1};
    check_tokens(text, dialect);
    check_facts(text, dialect);
    check_tree(text);
    return 0;
}
