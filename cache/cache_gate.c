/* cache_gate.c - see cache_gate.h. */
#include "cache/cache_gate.h"

#include "base/check.h"

const char *cache_gate_word(enum cache_bypass b)
{
    static const char *const words[] = {
#define CACHE_BYPASS_WORD(name, word, text) word,
        CACHE_BYPASSES(CACHE_BYPASS_WORD)
#undef CACHE_BYPASS_WORD
    };
    CHECK((unsigned)b < ARRAY_LEN(words));
    return words[b];
}

const char *cache_gate_text(enum cache_bypass b)
{
    static const char *const texts[] = {
#define CACHE_BYPASS_TEXT(name, word, text) text,
        CACHE_BYPASSES(CACHE_BYPASS_TEXT)
#undef CACHE_BYPASS_TEXT
    };
    CHECK((unsigned)b < ARRAY_LEN(texts));
    return texts[b];
}

/* "penstock:" and then words; cache=off anywhere among them. */
bool cache_gate_hint_off(struct str hint)
{
    while (hint.n > 0) {
        struct str word = str_trim(str_cut(&hint, ' '));
        ptrdiff_t colon = str_find(word, ':');
        if (colon >= 0)
            word = (struct str){word.p + colon + 1, word.n - (size_t)colon - 1};
        if (str_ieq(word, STR("cache=off")))
            return true;
    }
    return false;
}

enum cache_bypass cache_gate_check(const struct cache_gate *g)
{
    if (g->rule->mode == CACHE_OFF)
        return CACHE_BYPASS_OFF;
    if (g->hint.n > 0 && cache_gate_hint_off(g->hint))
        return CACHE_BYPASS_HINT;
    if (g->bound == NULL)
        return CACHE_BYPASS_UNCHECKED;
    if (!g->bound->usable)
        return CACHE_BYPASS_REFUSED;
    if (!cache_rule_has_user(g->rule, g->user))
        return CACHE_BYPASS_USER;
    const struct {
        bool holds;
        enum cache_bypass why;
    } rest[] = {
        {g->tx_open, CACHE_BYPASS_TRANSACTION}, {g->serializable, CACHE_BYPASS_ISOLATION},
        {g->other_role, CACHE_BYPASS_ROLE},     {g->settings_unknown, CACHE_BYPASS_SETTINGS},
        {g->temp_objects, CACHE_BYPASS_TEMP},   {g->pinned, CACHE_BYPASS_PINNED},
        {g->not_alone, CACHE_BYPASS_PIPELINE},  {g->row_limit, CACHE_BYPASS_ROW_LIMIT},
        {g->upgrading, CACHE_BYPASS_UPGRADE},
    };
    for (size_t i = 0; i < ARRAY_LEN(rest); i++)
        if (rest[i].holds)
            return rest[i].why;
    return CACHE_BYPASS_NONE;
}

enum cache_bypass cache_gate_of_key(enum cache_key_result r)
{
    switch (r) {
    case CACHE_KEY_OK:
        return CACHE_BYPASS_NONE;
    case CACHE_KEY_CONSTANT:
        return CACHE_BYPASS_CONSTANT;
    case CACHE_KEY_VALUE:
        return CACHE_BYPASS_VALUE;
    case CACHE_KEY_LENGTH:
        return CACHE_BYPASS_LENGTH;
    }
    UNREACHABLE();
}
