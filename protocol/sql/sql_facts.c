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

uint32_t sql_effects(struct facts *f, const struct catalog *cat)
{
    /* Event triggers, index expressions, rewrites and default search_path targets are not looked
     * into. */
    const uint32_t never_proved = FX_DDL | FX_EXECUTE;

    if (cat != NULL && f->memo_catalog == cat && f->memo_generation == catalog_generation(cat)) {
        return f->flags_memo;
    }
    uint32_t e = f->effects;
    if (!f->complete || (e & never_proved) != 0 || !proved(f, cat)) {
        e |= FX_UNKNOWN;
    }
    if (cat != NULL) {
        f->memo_catalog = cat;
        f->memo_generation = catalog_generation(cat);
        f->flags_memo = e;
    }
    return e;
}
