/* sql_facts.c - reference counts of facts, and their effects in a given database.
 *
 * See protocol/sql_facts.h.  Facts are one heap block (sql_draft.c).  The text alone says what a
 * statement does by its own words; code behind names (functions, triggers, rules, operators, types)
 * is asked of the catalog snapshot here, and what is not proved harmless is FX_UNKNOWN.
 */
#include "base/base.h"
#include "base/check.h"
#include "base/mem.h"
#include "protocol/sql_facts.h"

struct facts *facts_get(struct facts *f)
{
    f->refs++;
    return f;
}

void facts_put(struct facts **f)
{
    struct facts *it = *f;

    *f = NULL;
    if (it == NULL) {
        return;
    }
    DCHECK(it->refs > 0);
    if (--it->refs == 0) {
        mem_free(it);
    }
}

static bool relations_proved(const struct facts *f, const struct catalog *cat)
{
    for (uint16_t i = 0; i < f->nrelations; i++) {
        const struct fact_name *r = &f->relations[i];
        if (!catalog_relation_proved(cat, r->schema, r->name) ||
            (r->written && !catalog_relation_write_proved(cat, r->schema, r->name))) {
            return false;
        }
    }
    return true;
}

static bool functions_proved(const struct facts *f, const struct catalog *cat)
{
    for (uint16_t i = 0; i < f->nfunctions; i++) {
        if (!catalog_function_proved(cat, f->functions[i].schema, f->functions[i].name)) {
            return false;
        }
    }
    return true;
}

static bool proved(const struct facts *f, const struct catalog *cat)
{
    bool custom = f->custom_types || f->custom_operators;

    if (f->nrelations == 0 && f->nfunctions == 0 && !f->operators && !custom) {
        return true;
    }
    /* Types and operators that are not built in are harmless in a database where none of them runs
     * code in a procedural language. */
    return cat != NULL && !catalog_has_custom_code(cat) && relations_proved(f, cat) &&
           functions_proved(f, cat);
}

static uint32_t effects_in(const struct facts *f, const struct catalog *cat)
{
    /* Event triggers, index expressions, rewrites and default search_path targets are not looked
     * into. */
    const uint32_t never_proved = FX_DDL | FX_EXECUTE;

    if (!f->complete || (f->effects & never_proved) != 0 || !proved(f, cat)) {
        return f->effects | FX_UNKNOWN;
    }
    return f->effects;
}

static bool names_repeatable(const struct facts *f, const struct catalog *cat)
{
    for (uint16_t i = 0; i < f->nrelations; i++) {
        if (!catalog_relation_repeatable(cat, f->relations[i].schema, f->relations[i].name)) {
            return false;
        }
    }
    for (uint16_t i = 0; i < f->nfunctions; i++) {
        if (!catalog_function_repeatable(cat, f->functions[i].schema, f->functions[i].name)) {
            return false;
        }
    }
    return true;
}

static bool repeatable_in(const struct facts *f, uint32_t effects, const struct catalog *cat)
{
    if (!f->repeatable_text || (effects & ~(uint32_t)(FX_READ | FX_SHOW)) != 0) {
        return false;
    }
    if (effects == FX_SHOW) {
        return true;
    }
    /* A parameter's type is not in the text, so the database's types count even for SELECT $1. */
    return cat != NULL && !catalog_has_custom_code(cat) && !catalog_has_volatile_code(cat) &&
           names_repeatable(f, cat);
}

/* Brings the memo up to date; cat is not NULL. */
static void ask(struct facts *f, const struct catalog *cat)
{
    if (LIKELY(f->memo_catalog == cat && f->memo_generation == catalog_generation(cat))) {
        return;
    }
    f->memo_catalog = cat;
    f->memo_generation = catalog_generation(cat);
    f->flags_memo = effects_in(f, cat);
    f->repeatable_memo = repeatable_in(f, f->flags_memo, cat);
}

uint32_t sql_effects(struct facts *f, const struct catalog *cat)
{
    if (cat == NULL) {
        return effects_in(f, NULL);
    }
    ask(f, cat);
    return f->flags_memo;
}

bool sql_repeatable(struct facts *f, const struct catalog *cat)
{
    if (cat == NULL) {
        return repeatable_in(f, effects_in(f, NULL), NULL);
    }
    ask(f, cat);
    return f->repeatable_memo;
}
