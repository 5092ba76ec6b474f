/* config_diff.c - what a reload changed; see config.h. */
#include "base/base.h"

#include "proxy/config/config.h"

#include "base/buf.h"
#include "proxy/config/config_entry.h"
#include "proxy/config/config_option.h"

static bool same_text(const char *a, const char *b)
{
    if (a == NULL || b == NULL)
        return a == b;
    return strcmp(a, b) == 0;
}

static bool same_texts(const struct config_database *a, const struct config_database *b,
                       bool target)
{
    for (size_t i = 0; i < config_entry_texts_count; i++) {
        const struct config_entry_text *t = &config_entry_texts[i];
        const char *x = NULL, *y = NULL;
        memcpy(&x, (const char *)a + t->offset, sizeof(x));
        memcpy(&y, (const char *)b + t->offset, sizeof(y));
        if (t->target == target && !same_text(x, y))
            return false;
    }
    return true;
}

static bool same_target(const struct config_database *a, const struct config_database *b)
{
    if (a->nhosts != b->nhosts || !same_texts(a, b, true) ||
        (a->cluster == NULL) != (b->cluster == NULL))
        return false;
    for (size_t i = 0; i < a->nhosts; i++) {
        if (a->hosts[i].port != b->hosts[i].port || strcmp(a->hosts[i].host, b->hosts[i].host) != 0)
            return false;
    }
    return true;
}

static bool same_limits(const struct config_database *a, const struct config_database *b)
{
    for (size_t i = 0; i < config_entry_limits_count; i++) {
        const struct config_limit_key *k = &config_entry_limits[i];
        size_t n = k->type == CONFIG_TIME ? sizeof(usec_t) : sizeof(int);
        if (memcmp((const char *)&a->limits + k->offset, (const char *)&b->limits + k->offset, n) !=
            0)
            return false;
    }
    return a->load_balance == b->load_balance && a->route == b->route && same_texts(a, b, false);
}

void config_diff(const struct config *from, const struct config *to,
                 void (*fn)(void *arg, const char *name, enum config_change change), void *arg)
{
    const struct config_entries *x = from->entries, *y = to->entries;
    size_t i = 0, j = 0;
    while (i < x->ndatabases || j < y->ndatabases) {
        int order = i == x->ndatabases   ? 1
                    : j == y->ndatabases ? -1
                                         : strcmp(x->databases[i]->name, y->databases[j]->name);
        if (order < 0) {
            fn(arg, x->databases[i++]->name, CONFIG_REMOVED);
        } else if (order > 0) {
            fn(arg, y->databases[j++]->name, CONFIG_ADDED);
        } else {
            const struct config_database *a = x->databases[i++], *b = y->databases[j++];
            if (!same_target(a, b))
                fn(arg, a->name, CONFIG_TARGET);
            else if (!same_limits(a, b))
                fn(arg, a->name, CONFIG_LIMITS);
        }
    }
}

bool config_diff_tls(const struct config *from, const struct config *to, bool server)
{
    struct str prefix = server ? STR("server_tls") : STR("client_tls");
    struct buf a, b;
    bool same = true;
    buf_init(&a, SIZE_MAX / 2);
    buf_init(&b, SIZE_MAX / 2);
    for (size_t i = 0; i < config_schema_count && same; i++) {
        if (!str_starts(str_of(config_schema[i].name), prefix))
            continue;
        buf_reset(&a);
        buf_reset(&b);
        config_option_format(&from->opt, &config_schema[i], &a);
        config_option_format(&to->opt, &config_schema[i], &b);
        same = str_eq(buf_str(&a), buf_str(&b));
    }
    buf_fini(&a);
    buf_fini(&b);
    return !same;
}
