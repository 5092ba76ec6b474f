/* config_build.c - see config_build.h. */
#include "base/base.h"

#include "proxy/config/config_build.h"

#include "base/check.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/refs.h"
#include "proxy/config/config_entry.h"
#include "proxy/config/config_file.h"
#include "proxy/config/config_option.h"
#include "proxy/config/hba.h"

struct config_secrets *config_build_secrets_new(void)
{
    struct config_secrets *s = mem_new(sizeof(*s));
    refs_init(&s->refs);
    userlist_init(&s->users);
    return s;
}

struct config_secrets *config_build_secrets_get(struct config_secrets *s)
{
    refs_get(&s->refs);
    return s;
}

void config_build_secrets_put(struct config_secrets **s)
{
    struct config_secrets *x = *s;
    *s = NULL;
    if (x == NULL || !refs_put(&x->refs))
        return;
    userlist_fini(&x->users);
    mem_free(x);
}

void config_build_defaults(struct config *cfg, bool penstock)
{
    cfg->penstock = penstock;
    for (size_t i = 0; i < config_schema_count; i++)
        config_build_default(cfg, &config_schema[i]);
}

void config_build_default(struct config *cfg, const struct config_option *o)
{
    struct error err;
    const char *text = config_schema_default(o, cfg->penstock, cfg->wire);
    /* the table is ours: a default that its own type refuses is a bug */
    CHECK(config_option_set(&cfg->opt, &cfg->arena, o, str_of(text), &err) == ST_OK);
}

struct config *config_build_new(const struct wire *wire, bool penstock)
{
    struct config *cfg = mem_new(sizeof(*cfg));
    refs_init(&cfg->refs);
    cfg->wire = wire;
    config_arena_init(&cfg->arena);
    cfg->entries = config_entry_new();
    cfg->secrets = config_build_secrets_new();
    cfg->cache = config_cache_new();
    config_build_defaults(cfg, penstock);
    return cfg;
}

struct config *config_build_copy(const struct config *from)
{
    struct config *cfg = mem_new(sizeof(*cfg));
    refs_init(&cfg->refs);
    cfg->wire = from->wire;
    cfg->penstock = from->penstock;
    config_arena_init(&cfg->arena);
    cfg->opt = from->opt;
    for (size_t i = 0; i < config_schema_count; i++) {
        const char *text = NULL;
        char *field = (char *)&cfg->opt + config_schema[i].offset;
        if (config_schema[i].type != CONFIG_STRING)
            continue;
        memcpy(&text, field, sizeof(text));
        text = config_arena_dup(&cfg->arena, str_of(text));
        memcpy(field, &text, sizeof(text));
    }
    cfg->entries = config_entry_get(from->entries);
    cfg->secrets = config_build_secrets_get(from->secrets);
    cfg->cache = config_cache_get(from->cache);
    cfg->hba = from->hba != NULL ? hba_get(from->hba) : NULL;
    cfg->ident = from->ident != NULL ? hba_ident_get(from->ident) : NULL;
    return cfg;
}

static void warn(void *arg, const char *text)
{
    (void)arg;
    log_line(LL_WARNING, "%s", text);
}

static enum status read_secrets(struct config *cfg, const char *path, struct error *err)
{
    const struct userlist_hook hook = {.on_warning = warn};
    struct config_text text;
    enum status st = config_file_read(path, CONFIG_FILE_MAX, &text, err);
    if (st == ST_MISSING) {
        /* PgBouncer starts without it, and the file may come later */
        log_line(LL_WARNING, "auth_file: there is no %s, nobody is known yet", path);
        (void)error_set(err, ST_OK, "%s", "");
        return ST_OK;
    }
    if (st != ST_OK)
        return st;
    st = userlist_parse(&cfg->secrets->users, (struct str){text.p, text.n}, path, &hook, err);
    config_file_free(&text);
    return st;
}

static enum status read_rules(struct config *cfg, const char **key, struct error *err)
{
    const char *main_file = cfg->opt.conffile;
    enum status st = ST_OK;
    *key = "auth_ident_file";
    if (cfg->opt.auth_ident_file[0] != '\0') {
        const char *path = config_file_beside(&cfg->arena, main_file,
                                              str_of(cfg->opt.auth_ident_file));
        st = hba_ident_load(path, &cfg->ident, err);
        if (st != ST_OK)
            return st;
    }
    *key = "auth_type";
    if (cfg->opt.auth_hba_file[0] == '\0')
        return error_set(err, ST_INVALID, "hba needs an auth_hba_file");
    *key = "auth_hba_file";
    const char *path = config_file_beside(&cfg->arena, main_file, str_of(cfg->opt.auth_hba_file));
    return hba_load(path, cfg->ident, &cfg->hba, err);
}

enum status config_build_auth(struct config *cfg, const char **key, struct error *err)
{
    enum status st = ST_OK;
    if (cfg->opt.auth_file[0] != '\0' || cfg->opt.conffile[0] != '\0') {
        /* without any file the only secret is that of the URL, which stays */
        config_build_secrets_put(&cfg->secrets);
        cfg->secrets = config_build_secrets_new();
    }
    hba_put(&cfg->hba);
    hba_ident_put(&cfg->ident);
    *key = "auth_file";
    if (cfg->opt.auth_file[0] != '\0')
        st = read_secrets(
            cfg, config_file_beside(&cfg->arena, cfg->opt.conffile, str_of(cfg->opt.auth_file)),
            err);
    if (st == ST_OK && cfg->opt.auth_type == CONFIG_AUTH_HBA)
        st = read_rules(cfg, key, err);
    return st;
}
