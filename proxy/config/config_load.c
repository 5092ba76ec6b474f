/* config_load.c - a snapshot from a file, for a reload, or with one option changed.
 *
 * Options remember whether and where the file set them: the defaults can only be filled in at the
 * end, when it is known whether the file has a [pgbouncer] section (PgBouncer's defaults) or not
 * (ours), and what is found wrong late is still blamed on its line.
 */
#include "base/base.h"

#include "proxy/config/config.h"

#include "base/buf.h"
#include "base/log.h"
#include "base/mem.h"
#include "proxy/config/config_build.h"
#include "proxy/config/config_entry.h"
#include "proxy/config/config_ini.h"
#include "proxy/config/config_option.h"

struct origin {
    const char *file; /* NULL: not set by the file */
    int line;
};

struct loader {
    struct config *cfg;
    struct origin *origin; /* owned; per option */
    bool pgbouncer;        /* the file has that section */
};

static bool main_section(struct str name)
{
    return str_eq(name, STR("pgbouncer")) || str_eq(name, STR("penstock"));
}

/* "cache balance" is of the kind "cache". */
static bool section_kind(struct str name, struct str kind)
{
    return str_eq(name, kind) || (str_starts(name, kind) && name.n > kind.n &&
                                  (name.p[kind.n] == ' ' || name.p[kind.n] == '\t'));
}

static enum status on_section(struct loader *l, struct str name, struct error *err)
{
    if (str_eq(name, STR("pgbouncer")))
        l->pgbouncer = true;
    if (config_cluster_section(name).p != NULL)
        return config_cluster_begin(l->cfg->entries, config_cluster_section(name), err);
    if (main_section(name) || str_eq(name, STR("databases")) || str_eq(name, STR("users")) ||
        str_eq(name, STR("peers")))
        return ST_OK;
    int shown = (int)MIN(name.n, 200u);
    if (section_kind(name, STR("service")))
        return error_set(err, ST_UNSUPPORTED, "section [%.*s] is not implemented in this release",
                         shown, name.p);
    return error_set(err, ST_INVALID, "unknown section [%.*s]", shown, name.p);
}

static enum status on_option(struct loader *l, const struct config_item *it, struct error *err)
{
    const struct config_option *o = config_option_find(it->key);
    struct error reason = {.text = ""};
    if (o == NULL)
        return error_set(err, ST_INVALID, "unknown key");
    enum status st = config_option_set(&l->cfg->opt, &l->cfg->arena, o, it->value, &reason);
    if (st != ST_OK)
        return error_set(err, st, "%.300s%s", reason.text,
                         str_find(it->value, ';') >= 0 || str_find(it->value, '#') >= 0
                             ? " (a comment needs a line of its own)"
                             : "");
    struct origin *from = &l->origin[o - config_schema];
    from->file = config_arena_dup(&l->cfg->arena, str_of(it->file));
    from->line = it->line;
    return ST_OK;
}

static enum status on_item(void *arg, const struct config_item *it, struct error *err)
{
    struct loader *l = arg;
    struct config *cfg = l->cfg;
    if (config_cache_section(it->section))
        return config_cache_item(cfg->cache, it, err);
    if (it->key.p == NULL)
        return on_section(l, it->section, err);
    if (main_section(it->section))
        return on_option(l, it, err);
    if (config_cluster_section(it->section).p != NULL)
        return config_cluster_set(cfg->entries, config_cluster_section(it->section), it->key,
                                  it->value, err);
    if (str_eq(it->section, STR("users")))
        return config_entry_user(cfg->entries, it->key, it->value, err);
    if (str_eq(it->section, STR("peers")))
        return config_entry_peer(cfg->entries, it->key, it->value, err);
    if (map_get(&cfg->entries->database_by_name, it->key) != NULL)
        log_line(LL_WARNING, "%s:%d: database \"%.*s\" is defined again, the last line counts",
                 it->file, it->line, (int)MIN(it->key.n, 63u), it->key.p);
    return config_entry_database(cfg->entries, cfg->wire, it->key, it->value, err);
}

/* Puts file, line and key before the reason. */
static enum status blame(const struct loader *l, const char *path, const char *key, enum status st,
                         struct error *err)
{
    struct error reason = {.text = ""};
    const struct config_option *o = config_option_find(str_of(key));
    const struct origin *from = o != NULL ? &l->origin[o - config_schema] : NULL;
    if (err != NULL)
        reason = *err;
    if (from != NULL && from->file != NULL)
        return error_set(err, st, "%.150s:%d: %s: %.280s", from->file, from->line, key,
                         reason.text);
    return error_set(err, st, "%.150s: %s: %.280s", path, key, reason.text);
}

static bool same_value(const struct config *a, const struct config *b,
                       const struct config_option *o, struct buf *text)
{
    buf_reset(text);
    config_option_format(&a->opt, o, text);
    size_t n = buf_len(text);
    config_option_format(&b->opt, o, text);
    struct str both = buf_str(text);
    return str_eq((struct str){both.p, n}, (struct str){both.p + n, both.n - n});
}

/* What needs a restart stays as it is in old. */
static void keep_old(struct config *cfg, const struct config *old)
{
    struct buf text, names;
    buf_init(&text, SIZE_MAX / 2);
    buf_init(&names, 4096);
    for (size_t i = 0; i < config_schema_count; i++) {
        const struct config_option *o = &config_schema[i];
        struct error err;
        if (!o->restart || same_value(cfg, old, o, &text))
            continue;
        buf_printf(&names, "%s%s", buf_len(&names) > 0 ? ", " : "", o->name);
        buf_reset(&text);
        config_option_format(&old->opt, o, &text);
        if (config_option_set(&cfg->opt, &cfg->arena, o, buf_str(&text), &err) != ST_OK)
            log_line(LL_ERROR, "%s: %s", o->name, err.text);
    }
    if (buf_len(&names) > 0)
        log_line(LL_WARNING, "changed, but in force only after a restart: %.*s",
                 (int)buf_len(&names), (const char *)buf_data(&names));
    buf_fini(&names);
    buf_fini(&text);
}

/* Options that the file did not set get their defaults; those that do nothing here are named. */
static void settle(struct loader *l)
{
    struct config *cfg = l->cfg;
    struct config *plain = config_build_new(cfg->wire, !l->pgbouncer);
    struct buf text;
    buf_init(&text, SIZE_MAX / 2);
    cfg->penstock = !l->pgbouncer;
    for (size_t i = 0; i < config_schema_count; i++) {
        const struct config_option *o = &config_schema[i];
        if (l->origin[i].file == NULL)
            config_build_default(cfg, o);
        else if (o->inert != NULL && !same_value(cfg, plain, o, &text))
            log_line(LL_WARNING, "%s:%d: %s has no effect: %s", l->origin[i].file,
                     l->origin[i].line, o->name, o->inert);
    }
    buf_fini(&text);
    config_put(&plain);
}

static enum status load(const struct wire *wire, const char *path, const struct config *old,
                        struct config **out, struct error *err)
{
    struct loader l = {.cfg = config_build_new(wire, false)};
    const struct config_ini_sink sink = {on_item, &l, config_cache_section};
    const char *key = NULL;
    l.origin = mem_new(config_schema_count * sizeof(*l.origin));
    enum status st = config_ini_read(path, &sink, err);
    if (st != ST_OK)
        goto fail;
    settle(&l);
    if (l.cfg->opt.conffile[0] == '\0')
        l.cfg->opt.conffile = config_arena_dup(&l.cfg->arena, str_of(path));
    if (old != NULL)
        keep_old(l.cfg, old);
    key = "[databases]";
    st = config_entry_finish(l.cfg->entries, wire, &l.cfg->opt, err);
    if (st == ST_OK)
        st = config_build_auth(l.cfg, &key, err);
    if (st != ST_OK) {
        st = blame(&l, path, key, st, err);
        goto fail;
    }
    st = config_cache_finish(l.cfg->cache, &l.cfg->opt, l.cfg->entries, err);
    if (st != ST_OK)
        goto fail;
    if (old != NULL && !config_cache_differs(old->cache, l.cfg->cache)) {
        config_cache_put(&l.cfg->cache); /* what is kept stays */
        l.cfg->cache = config_cache_get(old->cache);
    }
    mem_free(l.origin);
    *out = l.cfg;
    return ST_OK;
fail:
    mem_free(l.origin);
    config_put(&l.cfg);
    return st;
}

enum status config_load(const struct wire *wire, const char *path, struct config **out,
                        struct error *err)
{
    return load(wire, path, NULL, out, err);
}

enum status config_load_reload(const struct config *old, const char *path, struct config **out,
                               struct error *err)
{
    if (path == NULL)
        path = old->opt.conffile;
    if (path[0] == '\0')
        return error_set(err, ST_UNSUPPORTED, "there is no configuration file to read again");
    return load(old->wire, path, old, out, err);
}

enum status config_set(const struct config *old, struct str key, struct str value,
                       struct config **out, struct error *err)
{
    const struct config_option *o = config_option_find(key);
    struct error reason = {.text = ""};
    const char *blamed = NULL;
    int shown = (int)MIN(key.n, 60u);
    if (o == NULL || (o->hidden && o->restart))
        return error_set(err, ST_MISSING, "unknown key: %.*s", shown, key.p);
    if (o->restart)
        return error_set(err, ST_UNSUPPORTED, "%s cannot be changed without a restart", o->name);
    struct config *cfg = config_build_copy(old);
    enum status st = config_option_set(&cfg->opt, &cfg->arena, o, value, &reason);
    blamed = o->name;
    if (st == ST_OK && str_starts(key, STR("auth_")) &&
        (str_eq(key, STR("auth_type")) || str_eq(key, STR("auth_file")) ||
         str_eq(key, STR("auth_hba_file")) || str_eq(key, STR("auth_ident_file"))))
        st = config_build_auth(cfg, &blamed, &reason);
    if (st != ST_OK) {
        config_put(&cfg);
        return error_set(err, st, "%s: %.300s", blamed, reason.text);
    }
    *out = cfg;
    return ST_OK;
}
