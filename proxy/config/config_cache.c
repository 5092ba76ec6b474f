/* config_cache.c - see config_cache.h. */
#include "base/base.h"

#include "proxy/config/config_cache.h"

#include "base/buf.h"
#include "base/check.h"
#include "base/mem.h"
#include "base/refs.h"
#include "cache/cache_rule.h"
#include "protocol/auth/digest.h"
#include "protocol/sql/sql_cache.h"
#include "proxy/config/config.h"
#include "proxy/config/config_file.h"
#include "proxy/config/config_option.h"

#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

#define LIST_MAX 64                 /* names in a list of users or functions */
#define SQL_BYTES ((size_t)1 << 20) /* for looking at the queries of rules */

static const struct config_option *find(const struct config_option *rows, size_t n, struct str name)
{
    for (size_t i = 0; i < n; i++) {
        if (str_eq(name, str_of(rows[i].name)))
            return &rows[i];
    }
    return NULL;
}

static void set_defaults(void *opt, struct config_arena *arena, const struct config_option *rows,
                         size_t n)
{
    struct error err;
    for (size_t i = 0; i < n; i++) {
        if (rows[i].def[0] != '\0' || rows[i].type == CONFIG_STRING)
            CHECK(config_option_read(opt, arena, &rows[i], str_of(rows[i].def), &err) == ST_OK);
    }
}

struct config_cache *config_cache_new(void)
{
    struct config_cache *c = mem_new(sizeof(*c));
    refs_init(&c->refs);
    atomic_init(&c->shared.adopted, 0);
    atomic_init(&c->shared.in_force, false);
    atomic_init(&c->shared.cut_off, false);
    config_arena_init(&c->arena);
    c->set = cache_rule_set_new();
    c->redis = (struct config_cache_redis){NULL, "", "", 0, 0, false};
    set_defaults(&c->opt, &c->arena, config_cache_schema, config_cache_schema_count);
    return c;
}

struct config_cache *config_cache_get(struct config_cache *c)
{
    refs_get(&c->refs);
    return c;
}

void config_cache_put(struct config_cache **c)
{
    struct config_cache *x = *c;
    *c = NULL;
    if (x == NULL || !refs_put(&x->refs))
        return;
    cache_rule_set_put(&x->set);
    config_arena_fini(&x->arena);
    mem_free(x);
}

/* ---- lines ----------------------------------------------------------------------------------- */

/* The name behind "cache", or STR_NONE: the section is not of the cache. */
static struct str rule_name(struct str section)
{
    if (!str_starts(section, STR("cache")))
        return STR_NONE;
    struct str rest = {section.p + 5, section.n - 5};
    if (rest.n > 0 && rest.p[0] != ' ' && rest.p[0] != '\t')
        return STR_NONE;
    return str_trim(rest);
}

bool config_cache_section(struct str section)
{
    return rule_name(section).p != NULL;
}

const struct config_option *config_cache_option(struct str section, struct str key)
{
    if (rule_name(section).n > 0)
        return find(config_cache_rule_schema, config_cache_rule_schema_count, key);
    return find(config_cache_schema, config_cache_schema_count, key);
}

static bool good_name(struct str name)
{
    for (size_t i = 0; i < name.n; i++) {
        char ch = name.p[i];
        if (!((ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z') || (ch >= '0' && ch <= '9') ||
              ch == '_' || ch == '-' || ch == '.'))
            return false;
    }
    return name.n > 0 && name.n <= CONFIG_CACHE_NAME_MAX;
}

static struct config_cache_rule *find_rule(const struct config_cache *c, struct str name)
{
    for (size_t i = 0; i < c->nrules; i++) {
        if (str_eq(name, str_of(c->rules[i]->name)))
            return c->rules[i];
    }
    return NULL;
}

static enum status begin_rule(struct config_cache *c, const struct config_item *it, struct str name,
                              struct error *err)
{
    if (!good_name(name))
        return error_set(err, ST_INVALID,
                         "[cache NAME]: the name has 1 to %d letters, digits, _ - and .",
                         CONFIG_CACHE_NAME_MAX);
    if (find_rule(c, name) != NULL)
        return error_set(err, ST_INVALID, "[cache %.*s] is there twice", (int)name.n, name.p);
    if (c->nrules == CONFIG_CACHE_RULES_MAX)
        return error_set(err, ST_LIMIT, "more than %d cache rules", CONFIG_CACHE_RULES_MAX);
    struct config_cache_rule *r = config_arena_new(&c->arena, sizeof(*r));
    r->name = config_arena_dup(&c->arena, name);
    r->mode = CONFIG_CACHE_UNSET;
    r->max_result = r->local_ttl = -1;
    set_defaults(r, &c->arena, config_cache_rule_schema, config_cache_rule_schema_count);
    r->file = config_arena_dup(&c->arena, str_of(it->file));
    r->line = it->line;
    c->rules[c->nrules++] = r;
    return ST_OK;
}

static enum status add_table(struct config_cache *c, struct config_cache_rule *r, struct str table,
                             struct str columns, struct error *err)
{
    if (table.n == 0 || columns.n == 0)
        return error_set(err, ST_INVALID, "must be table.NAME = COLUMN or table.NAME = *");
    struct config_cache_table *all = config_arena_new(&c->arena, (r->ntables + 1) * sizeof(*all));
    if (r->ntables > 0)
        memcpy(all, r->tables, r->ntables * sizeof(*all));
    all[r->ntables].table = config_arena_dup(&c->arena, table);
    all[r->ntables].columns = config_arena_dup(&c->arena, columns);
    r->tables = all;
    r->ntables++;
    return ST_OK;
}

static enum status check_mode(enum config_cache_mode mode, struct error *err)
{
    if (mode == CONFIG_CACHE_BOUNDED || mode == CONFIG_CACHE_STRICT)
        return error_set(err, ST_UNSUPPORTED, "%s is not in this release: off, ttl or lease",
                         config_cache_mode_name(mode));
    return ST_OK;
}

/* USER:PASSWORD@HOST:PORT/DATABASE */
static enum status parse_redis(struct config_cache *c, struct str url, struct error *err)
{
    struct config_cache_redis *r = &c->redis;
    struct str place = str_cut(&url, '/');
    int64_t number = 0;
    ptrdiff_t at = (ptrdiff_t)place.n - 1; /* of the last @: a password may have others */
    while (at >= 0 && place.p[at] != '@')
        at--;
    if (str_find(place, '%') >= 0)
        return error_set(err, ST_UNSUPPORTED, "%% is not understood: use redis_password");
    if (at >= 0) {
        struct str login = {place.p, (size_t)at};
        place = (struct str){place.p + at + 1, place.n - (size_t)at - 1};
        r->user = config_arena_dup(&c->arena, str_cut(&login, ':'));
        r->password = config_arena_dup(&c->arena, login);
    }
    struct str host = place.n > 0 && place.p[0] == '[' ? str_cut(&place, ']')
                                                       : str_cut(&place, ':');
    if (host.n > 0 && host.p[0] == '[') {
        host = (struct str){host.p + 1, host.n - 1};
        (void)str_cut(&place, ':');
    }
    if (host.n == 0)
        return error_set(err, ST_INVALID, "has no host");
    if (place.n > 0 && !str_to_i64(place, 1, 65535, &number))
        return error_set(err, ST_INVALID, "port must be from 1 to 65535");
    r->port = place.n > 0 ? (int)number : 6379;
    if (url.n > 0 && !str_to_i64(url, 0, 65535, &number))
        return error_set(err, ST_INVALID, "the database must be a number");
    r->database = url.n > 0 ? (int)number : 0;
    r->host = config_arena_dup(&c->arena, host);
    return ST_OK;
}

static enum status set_store(struct config_cache *c, struct error *err)
{
    struct str store = str_of(c->opt.store), redis = STR("redis://"), secure = STR("rediss://");
    c->redis = (struct config_cache_redis){NULL, "", "", 0, 0, false};
    if (str_eq(store, STR("memory")))
        return ST_OK;
    bool tls = str_starts(store, secure);
    if (!tls && !str_starts(store, redis))
        return error_set(err, ST_INVALID, "must be memory or redis://HOST:PORT/DATABASE");
    size_t n = tls ? secure.n : redis.n;
    enum status st = parse_redis(c, (struct str){store.p + n, store.n - n}, err);
    c->redis.tls = tls;
    return st;
}

static enum status check_name(const char *name, struct error *err)
{
    for (const char *p = name; *p != '\0'; p++)
        if (*p != ':' && !good_name((struct str){p, 1}))
            return error_set(err, ST_INVALID, "may have letters, digits and . _ : -");
    return strlen(name) <= CONFIG_CACHE_MEMBER_MAX
               ? ST_OK
               : error_set(err, ST_LIMIT, "longer than %d bytes", CONFIG_CACHE_MEMBER_MAX);
}

static enum status check_option(struct config_cache *c, const struct config_option *o,
                                struct error *err)
{
    if (o->offset == offsetof(struct config_cache_options, store))
        return set_store(c, err);
    if (o->offset == offsetof(struct config_cache_options, redis_password))
        return config_file_secret(&c->arena, str_of(c->opt.redis_password), &c->opt.redis_password,
                                  err);
    if (o->offset == offsetof(struct config_cache_options, redis_name))
        return check_name(c->opt.redis_name, err);
    if (strlen(c->opt.prefix) > CONFIG_CACHE_PREFIX_MAX)
        return error_set(err, ST_LIMIT, "longer than %d bytes", CONFIG_CACHE_PREFIX_MAX);
    return check_mode(c->opt.mode, err);
}

static enum status rule_item(struct config_cache *c, struct config_cache_rule *r,
                             const struct config_item *it, struct error *err)
{
    const struct str table = STR("table.");
    if (str_starts(it->key, table))
        return add_table(c, r, (struct str){it->key.p + table.n, it->key.n - table.n}, it->value,
                         err);
    const struct config_option *o = find(config_cache_rule_schema, config_cache_rule_schema_count,
                                         it->key);
    if (o == NULL)
        return error_set(err, ST_INVALID, "unknown key");
    enum status st = config_option_read(r, &c->arena, o, it->value, err);
    if (st == ST_OK && o->offset == offsetof(struct config_cache_rule, query))
        r->line = it->line;
    return st == ST_OK ? check_mode(r->mode, err) : st;
}

enum status config_cache_item(struct config_cache *c, const struct config_item *it,
                              struct error *err)
{
    struct str name = rule_name(it->section);
    if (it->key.p == NULL)
        return name.n > 0 ? begin_rule(c, it, name, err) : ST_OK;
    if (name.n > 0)
        return rule_item(c, find_rule(c, name), it, err);
    const struct config_option *o = find(config_cache_schema, config_cache_schema_count, it->key);
    if (o == NULL)
        return error_set(err, ST_INVALID, "unknown key");
    enum status st = config_option_read(&c->opt, &c->arena, o, it->value, err);
    return st == ST_OK ? check_option(c, o, err) : st;
}

/* ---- the whole ------------------------------------------------------------------------------- */

static enum status blame(const struct config_cache_rule *r, const char *key, enum status st,
                         struct error *err)
{
    struct error reason = *err;
    return error_set(err, st, "%.150s:%d: %s: [cache %s]: %.250s", r->file, r->line, key, r->name,
                     reason.text);
}

/* false: more than LIST_MAX. */
static bool split(const char *list, struct str *out, int *n)
{
    struct str rest = str_of(list);
    *n = 0;
    while (rest.n > 0) {
        struct str item = str_trim(str_cut(&rest, ','));
        if (item.n > 0 && *n == LIST_MAX)
            return false;
        if (item.n > 0)
            out[(*n)++] = item;
    }
    return true;
}

static enum cache_mode mode_of(enum config_cache_mode mode)
{
    switch (mode) {
    case CONFIG_CACHE_UNSET:
    case CONFIG_CACHE_OFF:
        break;
    case CONFIG_CACHE_TTL:
        return CACHE_TTL;
    case CONFIG_CACHE_LEASE:
        return CACHE_LEASE;
    case CONFIG_CACHE_BOUNDED:
        return CACHE_BOUNDED;
    case CONFIG_CACHE_STRICT:
        return CACHE_STRICT;
    }
    return CACHE_OFF;
}

static enum status compile(struct config_cache *c, const struct config_cache_rule *r,
                           struct sql_cache *sql, struct error *err)
{
    struct str users[LIST_MAX], functions[LIST_MAX];
    struct cache_rule_text t = {.name = str_of(r->name),
                                .query = str_of(r->query),
                                .key = str_of(r->key),
                                .mode = mode_of(r->mode),
                                .ttl_us = r->ttl,
                                .local_us = r->local_ttl,
                                .max_result = (size_t)r->max_result,
                                .users = users,
                                .functions = functions,
                                .ntables = (int)r->ntables};
    if (!split(r->users, users, &t.nusers))
        return blame(r, "users", error_set(err, ST_LIMIT, "more than %d", LIST_MAX), err);
    if (!split(r->functions, functions, &t.nfunctions))
        return blame(r, "functions", error_set(err, ST_LIMIT, "more than %d", LIST_MAX), err);
    struct cache_rule_table *tables = config_arena_new(&c->arena,
                                                       (r->ntables + 1) * sizeof(*tables));
    for (size_t i = 0; i < r->ntables; i++)
        tables[i] = (struct cache_rule_table){str_of(r->tables[i].table),
                                              str_of(r->tables[i].columns)};
    t.tables = tables;
    struct facts *f = sql_cache_get(sql, t.query, 0);
    enum status st = cache_rule_add(c->set, &t, f, err);
    facts_put(&f);
    return st == ST_OK ? st : blame(r, "query", st, err);
}

/* A process hears of other processes' writes from Redis only. */
static enum status check_local(const struct config_cache_rule *r, struct error *err)
{
    if (r->local_ttl == 0 || r->mode == CONFIG_CACHE_OFF)
        return ST_OK;
    if (r->mode != CONFIG_CACHE_TTL)
        return blame(r, "local_ttl",
                     error_set(err, ST_INVALID,
                               "is for mode ttl: in mode lease Redis must be asked each time, "
                               "because others may have written"),
                     err);
    if (r->local_ttl >= r->ttl)
        return blame(r, "local_ttl",
                     error_set(err, ST_INVALID, "must be below ttl, which it is a part of"), err);
    return ST_OK;
}

static enum status finish_rule(struct config_cache *c, struct config_cache_rule *r,
                               struct error *err)
{
    if (r->mode == CONFIG_CACHE_UNSET)
        r->mode = c->opt.mode;
    if (r->max_result < 0)
        r->max_result = c->opt.max_result;
    if (r->local_ttl < 0)
        r->local_ttl = c->opt.local_ttl;
    if (r->query[0] == '\0' || r->key[0] == '\0')
        return blame(r, r->query[0] == '\0' ? "query" : "key",
                     error_set(err, ST_INVALID, "must be given"), err);
    enum status st = check_local(r, err);
    if (c->redis.host == NULL || r->mode != CONFIG_CACHE_TTL)
        r->local_ttl = 0;
    c->local = c->local || r->local_ttl > 0;
    return st;
}

/* What is kept in one process is right only when no other one passes writes on. */
static enum status check_lease(const struct config_cache *c, const struct config_cache_rule *r,
                               const struct config_options *opt,
                               const struct config_entries *entries, struct error *err)
{
    const char *other = opt->so_reuseport ? "so_reuseport" : entries->npeers > 0 ? "[peers]" : NULL;
    if (r->mode != CONFIG_CACHE_LEASE)
        return ST_OK;
    if (c->redis.host != NULL) {
        bool nameless = opt->so_reuseport && opt->peer_id == 0 && c->opt.redis_name[0] == '\0';
        if (!nameless)
            return ST_OK;
        return blame(
            r, "mode",
            error_set(err, ST_INVALID, "lease with so_reuseport needs a redis_name or a peer_id"),
            err);
    }
    if (other == NULL)
        return ST_OK;
    return blame(r, "mode",
                 error_set(err, ST_INVALID,
                           "lease with store = memory is for one process alone, but there is %s",
                           other),
                 err);
}

/* What decides what a write drops. */
static void put_rule(struct buf *b, const struct config_cache_rule *r)
{
    buf_put_z(b, r->name);
    buf_put_z(b, config_cache_mode_name(r->mode));
    buf_put_z(b, r->query);
    buf_put_z(b, r->key);
    buf_put_z(b, r->functions);
    for (size_t i = 0; i < r->ntables; i++) {
        buf_put_z(b, r->tables[i].table);
        buf_put_z(b, r->tables[i].columns);
    }
}

/* A short name for the rules of mode lease: processes that go by others must be noticed. */
static void name_rules(struct config_cache *c)
{
    uint8_t digest[DIGEST_BYTES];
    struct buf b;
    buf_init(&b, SIZE_MAX);
    for (size_t i = 0; i < c->nrules; i++)
        if (c->rules[i]->mode == CONFIG_CACHE_LEASE)
            put_rule(&b, c->rules[i]);
    buf_put_u8(&b, 0);
    digest_sha256(buf_data(&b), buf_len(&b), digest);
    buf_fini(&b);
    (void)snprintf(c->rules_name, sizeof(c->rules_name), "%02x%02x%02x%02x", digest[0], digest[1],
                   digest[2], digest[3]);
}

/* Who this process is among those on its Redis, and by which rules it goes. */
static void name_member(struct config_cache *c, const struct config_options *opt)
{
    char host[CONFIG_CACHE_MEMBER_MAX - 12] = "";
    c->leased = false;
    for (size_t i = 0; i < c->nrules; i++)
        c->leased = c->leased || (c->redis.host != NULL && c->rules[i]->mode == CONFIG_CACHE_LEASE);
    if (c->opt.redis_name[0] != '\0') {
        (void)str_copy(c->member, sizeof(c->member), str_of(c->opt.redis_name));
    } else {
        (void)gethostname(host, sizeof(host) - 1);
        (void)snprintf(c->member, sizeof(c->member), opt->peer_id > 0 ? "%s:%d:%d" : "%s:%d", host,
                       opt->listen_port, opt->peer_id);
    }
}

enum status config_cache_finish(struct config_cache *c, const struct config_options *opt,
                                const struct config_entries *entries, struct error *err)
{
    struct sql_cache *sql = sql_cache_new(SQL_BYTES);
    enum status st = ST_OK;
    if (c->opt.redis_password[0] != '\0')
        c->redis.password = c->opt.redis_password;
    for (size_t i = 0; i < c->nrules && st == ST_OK; i++) {
        st = finish_rule(c, c->rules[i], err);
        if (st == ST_OK)
            st = check_lease(c, c->rules[i], opt, entries, err);
        if (st == ST_OK)
            st = compile(c, c->rules[i], sql, err);
    }
    name_member(c, opt);
    name_rules(c);
    sql_cache_free(&sql);
    return st;
}

static bool same_tables(const struct config_cache_rule *a, const struct config_cache_rule *b)
{
    if (a->ntables != b->ntables)
        return false;
    for (size_t i = 0; i < a->ntables; i++) {
        if (strcmp(a->tables[i].table, b->tables[i].table) != 0 ||
            strcmp(a->tables[i].columns, b->tables[i].columns) != 0)
            return false;
    }
    return true;
}

static bool same_rule(const struct config_cache_rule *a, const struct config_cache_rule *b)
{
    return strcmp(a->name, b->name) == 0 && strcmp(a->query, b->query) == 0 &&
           strcmp(a->key, b->key) == 0 && strcmp(a->users, b->users) == 0 &&
           strcmp(a->functions, b->functions) == 0 && a->ttl == b->ttl &&
           a->local_ttl == b->local_ttl && a->mode == b->mode && a->max_result == b->max_result &&
           same_tables(a, b);
}

bool config_cache_differs(const struct config_cache *a, const struct config_cache *b)
{
    if (a == b)
        return false;
    if (a->nrules != b->nrules || a->opt.memory != b->opt.memory ||
        a->opt.redis_timeout != b->opt.redis_timeout || a->opt.wait != b->opt.wait ||
        strcmp(a->opt.store, b->opt.store) != 0 || strcmp(a->opt.prefix, b->opt.prefix) != 0 ||
        strcmp(a->member, b->member) != 0 || a->opt.redis_members != b->opt.redis_members ||
        a->opt.redis_tls_sslmode != b->opt.redis_tls_sslmode ||
        strcmp(a->opt.redis_tls_ca_file, b->opt.redis_tls_ca_file) != 0 ||
        strcmp(a->opt.redis_tls_cert_file, b->opt.redis_tls_cert_file) != 0 ||
        strcmp(a->opt.redis_tls_key_file, b->opt.redis_tls_key_file) != 0 ||
        a->opt.write_without_redis != b->opt.write_without_redis ||
        strcmp(a->opt.redis_password, b->opt.redis_password) != 0)
        return true;
    for (size_t i = 0; i < a->nrules; i++) {
        if (!same_rule(a->rules[i], b->rules[i]))
            return true;
    }
    return false;
}

const char *config_cache_mode_name(enum config_cache_mode mode)
{
    switch (mode) {
    case CONFIG_CACHE_UNSET:
        break;
    case CONFIG_CACHE_OFF:
        return "off";
    case CONFIG_CACHE_TTL:
        return "ttl";
    case CONFIG_CACHE_LEASE:
        return "lease";
    case CONFIG_CACHE_BOUNDED:
        return "bounded";
    case CONFIG_CACHE_STRICT:
        return "strict";
    }
    return "";
}
