/* config_explain.c - what each key of a file does here; see config_explain.h. */
#include "proxy/config/config_explain.h"

#include "base/mem.h"
#include "proxy/config/config_cluster.h"
#include "proxy/config/config_conn.h"
#include "proxy/config/config_entry.h"
#include "proxy/config/config_ini.h"
#include "proxy/config/config_option.h"

#define WIDTH 90
#define VALUE_SHOWN 200

struct explainer {
    FILE *out;
    const struct config *cfg;
    bool *set; /* owned; per option: the file has it */
};

/* ---- printing -------------------------------------------------------------------------------- */

/* A paragraph, its lines indented and filled. */
static void say(FILE *out, int indent, const char *first, const char *text)
{
    int column = fprintf(out, "%*s%s", indent, "", first);
    struct str rest = str_of(text);
    while (rest.n > 0) {
        struct str word = str_cut(&rest, ' ');
        if (word.n == 0)
            continue;
        if (column > indent && column + 1 + (int)word.n > WIDTH) {
            fprintf(out, "\n%*s", indent, "");
            column = indent;
        }
        column += fprintf(out, "%s" STR_FMT, column > indent ? " " : "", STR_ARG(word));
    }
    fputc('\n', out);
}

static void print_pair(FILE *out, int indent, struct str key, struct str value, bool secret)
{
    if (secret && value.n > 0)
        value = STR("(not shown)");
    fprintf(out, "%*s" STR_FMT " = " STR_FMT "%s\n", indent, "", STR_ARG(key),
            (int)MIN(value.n, (size_t)VALUE_SHOWN), value.p != NULL ? value.p : "",
            value.n > VALUE_SHOWN ? " ..." : "");
}

/* ---- options --------------------------------------------------------------------------------- */

static void explain_option(struct explainer *x, const struct config_item *it)
{
    const struct config_option *o = config_option_find(it->key);
    if (o == NULL)
        return;
    x->set[o - config_schema] = true;
    print_pair(x->out, 2, it->key, it->value, str_eq(it->key, STR("auth_ldap_options")));
    say(x->out, 6, "", o->help);
    if (o->inert != NULL)
        say(x->out, 6, "No effect here:", o->inert);
    if (o->differs != NULL)
        say(x->out, 6, "Unlike PgBouncer:", o->differs);
}

/* ---- entries --------------------------------------------------------------------------------- */

static const char *text_of(struct str key)
{
    if (str_eq(key, STR("host")))
        return "Name, address, folder of a Unix socket, or a comma list of them.";
    if (str_eq(key, STR("port")))
        return "Port of the server, or a comma list with one for each host.";
    if (str_eq(key, STR("load_balance_hosts")))
        return "Whether connections go to the hosts in turn, or always to the first that answers.";
    if (str_eq(key, STR("route")))
        return "Where its requests go: auto asks the analysis, primary and replica are demands.";
    for (size_t i = 0; i < config_entry_texts_count; i++)
        if (str_eq(key, str_of(config_entry_texts[i].name)))
            return config_entry_texts[i].help;
    return NULL;
}

static void explain_pair(struct explainer *x, struct str key, struct str value)
{
    const char *text = text_of(key);
    print_pair(x->out, 4, key, value, str_eq(key, STR("password")));
    if (text != NULL) {
        say(x->out, 8, "", text);
        return;
    }
    for (size_t i = 0; i < config_entry_limits_count; i++) {
        const struct config_limit_key *k = &config_entry_limits[i];
        const struct config_option *o = config_option_find(str_of(k->global));
        if (!str_eq(key, str_of(k->name)) || o == NULL)
            continue;
        say(x->out, 8, "For this entry:", o->help);
        if (o->differs != NULL)
            say(x->out, 8, "Unlike PgBouncer:", o->differs);
        return;
    }
}

static enum status explain_entry(struct explainer *x, const struct config_item *it,
                                 struct error *err)
{
    struct str rest = it->value;
    struct config_arena arena;
    struct config_pair pair;
    enum status st;
    config_arena_init(&arena);
    fprintf(x->out, "  " STR_FMT "\n", STR_ARG(it->key));
    while ((st = config_conn_next(&rest, &arena, &pair, err)) == ST_OK && pair.key.n > 0)
        explain_pair(x, pair.key, pair.value);
    config_arena_fini(&arena);
    return st;
}

static void explain_cache(struct explainer *x, const struct config_item *it)
{
    const struct config_option *o = config_cache_option(it->section, it->key);
    bool secret = str_eq(it->key, STR("redis_password")) || str_find(it->value, '@') >= 0;
    print_pair(x->out, 2, it->key, it->value, secret);
    if (o != NULL)
        say(x->out, 6, "", o->help);
    else if (str_starts(it->key, STR("table.")))
        say(x->out, 6, "",
            "By which columns the rows of this table are told apart that the rule's answer comes "
            "from; *: any change of the table drops all answers of the rule.");
}

static void explain_cluster(struct explainer *x, const struct config_item *it)
{
    const struct config_option *o = config_cluster_option(it->key);
    print_pair(x->out, 2, it->key, it->value, str_eq(it->key, STR("probe_password")));
    if (o != NULL)
        say(x->out, 6, "", o->help);
    else if (str_eq(it->key, STR("rule")))
        say(x->out, 6, "",
            "Statements that match the pattern or digest go there, whatever the analysis says; the "
            "first rule that matches counts.");
}

static enum status on_item(void *arg, const struct config_item *it, struct error *err)
{
    struct explainer *x = arg;
    if (it->key.p == NULL) {
        fprintf(x->out, "\n[" STR_FMT "]\n", STR_ARG(it->section));
        return ST_OK;
    }
    if (str_eq(it->section, STR("databases")) || str_eq(it->section, STR("users")) ||
        str_eq(it->section, STR("peers")))
        return explain_entry(x, it, err);
    if (config_cache_section(it->section))
        explain_cache(x, it);
    else if (config_cluster_section(it->section).p != NULL)
        explain_cluster(x, it);
    else
        explain_option(x, it);
    return ST_OK;
}

/* ---- what the file does not say -------------------------------------------------------------- */

static void explain_defaults(const struct explainer *x)
{
    if (x->cfg->penstock)
        return;
    fputc('\n', x->out);
    say(x->out, 0, "",
        "The file has a [pgbouncer] section, so options that it does not set have PgBouncer's "
        "defaults. With the section called [penstock] these would be others:");
    for (size_t i = 0; i < config_schema_count; i++) {
        const struct config_option *o = &config_schema[i];
        const char *def = config_schema_default(o, false, x->cfg->wire);
        if (!x->set[i] && o->penstock_def != NULL)
            fprintf(x->out, "  %s: %s, with [penstock] %s\n", o->name,
                    def[0] != '\0' ? def : "(empty)", o->penstock_def);
    }
}

enum status config_explain(FILE *out, const struct config *cfg, const char *path, struct error *err)
{
    struct explainer x = {.out = out, .cfg = cfg};
    const struct config_ini_sink sink = {on_item, &x, config_cache_section};
    x.set = mem_new(config_schema_count * sizeof(*x.set));
    enum status st = config_ini_read(path, &sink, err);
    if (st == ST_OK)
        explain_defaults(&x);
    mem_free(x.set);
    return st;
}
