/* config_url.c - a configuration from nothing but a connection URL.
 *
 * Called by main through config_from_url.  The form is libpq's:
 * postgres://user:password@host:port,host/db with percent-encoding, [IPv6], several hosts, and
 * parameters behind "?".  What the URL does not say comes from PGUSER and PGPASSWORD, then from the
 * operating system's user name. The URL's login becomes auth_user with its secret, so that
 * auth_query can ask the server for the keys of other users; clients log in as themselves, and
 * nobody is given the URL's rights.
 */
#include "base/base.h"

#include "proxy/config/config.h"

#include "base/buf.h"
#include "base/mem.h"
#include "protocol/wire.h"
#include "proxy/config/config_build.h"
#include "proxy/config/config_entry.h"
#include "proxy/config/config_option.h"

#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct url {
    struct str user, password, dbname, hosts, ports; /* decoded; owned by the arena */
    struct config_arena arena;
    struct config *cfg;
};

static int hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static enum status decode(struct url *u, struct str s, struct str *out, struct error *err)
{
    char *text = config_arena_new(&u->arena, s.n + 1);
    size_t n = 0;
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (c == '%') {
            int high = s.n - i > 2 ? hex(s.p[i + 1]) : -1;
            int low = s.n - i > 2 ? hex(s.p[i + 2]) : -1;
            if (high < 0 || low < 0 || (high == 0 && low == 0))
                return error_set(err, ST_INVALID, "bad %%-code in the URL");
            c = (char)(high * 16 + low);
            i += 2;
        }
        text[n++] = c;
    }
    *out = (struct str){text, n};
    return ST_OK;
}

/* Parameters of libpq that have a counterpart among our options. */
static const struct {
    const char *param, *option;
} renamed[] = {
    {"sslmode", "server_tls_sslmode"},
    {"sslrootcert", "server_tls_ca_file"},
    {"sslcert", "server_tls_cert_file"},
    {"sslkey", "server_tls_key_file"},
    {"connect_timeout", "server_connect_timeout"},
};

static enum status parameter(struct url *u, struct config_database *d, struct str key,
                             struct str value, struct error *err)
{
    struct error reason = {.text = ""};
    for (size_t i = 0; i < ARRAY_LEN(renamed); i++) {
        if (!str_eq(key, str_of(renamed[i].param)))
            continue;
        enum status st = config_option_set(&u->cfg->opt, &u->cfg->arena,
                                           config_option_find(str_of(renamed[i].option)), value,
                                           &reason);
        return st == ST_OK ? st : error_set(err, st, "%s: %.300s", renamed[i].param, reason.text);
    }
    if (str_eq(key, STR("user")))
        u->user = value;
    else if (str_eq(key, STR("password")))
        u->password = value;
    else if (str_eq(key, STR("dbname")))
        u->dbname = value;
    else if (str_eq(key, STR("host")))
        u->hosts = value;
    else if (str_eq(key, STR("port")))
        u->ports = value;
    else if (str_eq(key, STR("application_name")))
        d->application_name = config_arena_dup(&u->cfg->entries->arena, value);
    else if (str_eq(key, STR("client_encoding")))
        d->client_encoding = config_arena_dup(&u->cfg->entries->arena, value);
    else if (str_eq(key, STR("load_balance_hosts")))
        d->load_balance = str_eq(value, STR("disable")) ? CONFIG_NO_BALANCE : CONFIG_ROUND_ROBIN;
    else
        return error_set(err, ST_UNSUPPORTED, "unknown parameter \"%.*s\" in the URL",
                         (int)MIN(key.n, 60u), key.p);
    return ST_OK;
}

static enum status parameters(struct url *u, struct config_database *d, struct str rest,
                              struct error *err)
{
    while (rest.n > 0) {
        struct str value = str_cut(&rest, '&');
        struct str raw_key = str_cut(&value, '=');
        struct str key = STR_NONE;
        if (raw_key.n == 0)
            return error_set(err, ST_INVALID, "a parameter in the URL has no name");
        enum status st = decode(u, raw_key, &key, err);
        if (st == ST_OK)
            st = decode(u, value, &value, err);
        if (st == ST_OK)
            st = parameter(u, d, key, value, err);
        if (st != ST_OK)
            return st;
    }
    return ST_OK;
}

/* One "host:port", "[address]:port" or "host"; appended to the two lists. */
static enum status one_host(struct url *u, struct str item, struct buf *hosts, struct buf *ports,
                            struct error *err)
{
    struct str host = item, port = STR_NONE;
    if (item.n > 0 && item.p[0] == '[') {
        ptrdiff_t end = str_find(item, ']');
        if (end < 0)
            return error_set(err, ST_INVALID, "an address in the URL has no closing ]");
        host = (struct str){item.p + 1, (size_t)end - 1};
        port = (struct str){item.p + end + 1, item.n - (size_t)end - 1};
        if (port.n > 0 && port.p[0] != ':')
            return error_set(err, ST_INVALID, "after ] in the URL a :port is expected");
        (void)str_cut(&port, ':');
    } else if (str_find(item, ':') >= 0) {
        host = str_cut(&item, ':');
        port = item;
    }
    enum status st = decode(u, host, &host, err);
    if (st != ST_OK)
        return st;
    if (host.n == 0)
        host = STR("localhost");
    if (buf_len(hosts) > 0) {
        buf_put_u8(hosts, ',');
        buf_put_u8(ports, ',');
    }
    buf_put_str(hosts, host);
    if (port.n > 0)
        buf_put_str(ports, port);
    else
        buf_printf(ports, "%d", (int)u->cfg->wire->default_port);
    return ST_OK;
}

static enum status host_lists(struct url *u, struct str list, struct error *err)
{
    struct buf hosts, ports;
    enum status st = ST_OK;
    buf_init(&hosts, 65536);
    buf_init(&ports, 65536);
    do
        st = one_host(u, str_cut(&list, ','), &hosts, &ports, err);
    while (st == ST_OK && list.n > 0);
    if (hosts.failed || ports.failed)
        st = error_set(err, ST_LIMIT, "the URL is too long");
    struct str h = buf_str(&hosts), p = buf_str(&ports);
    u->hosts = (struct str){config_arena_dup(&u->arena, h), h.n};
    u->ports = (struct str){config_arena_dup(&u->arena, p), p.n};
    buf_fini(&hosts);
    buf_fini(&ports);
    return st;
}

static enum status parse(struct url *u, struct config_database *d, struct str s, struct error *err)
{
    if (str_starts(s, STR("postgres://")))
        s = (struct str){s.p + 11, s.n - 11};
    else if (str_starts(s, STR("postgresql://")))
        s = (struct str){s.p + 13, s.n - 13};
    else
        return error_set(err, ST_INVALID, "the URL must begin with postgres:// or postgresql://");
    struct str params = s;
    struct str path = str_cut(&params, '?');
    struct str authority = str_cut(&path, '/');
    struct str hosts = authority;
    enum status st = ST_OK;
    for (size_t i = authority.n; i > 0; i--) {
        if (authority.p[i - 1] != '@')
            continue;
        struct str password = {authority.p, i - 1};
        struct str user = str_cut(&password, ':');
        hosts = (struct str){authority.p + i, authority.n - i};
        st = decode(u, user, &u->user, err);
        if (st == ST_OK)
            st = decode(u, password, &u->password, err);
        break;
    }
    if (st == ST_OK)
        st = host_lists(u, hosts, err);
    if (st == ST_OK)
        st = decode(u, path, &u->dbname, err);
    if (st == ST_OK)
        st = parameters(u, d, params, err);
    return st;
}

/* What the URL leaves open. */
static enum status complete(struct url *u, struct error *err)
{
    char room[4096];
    struct passwd pw, *found = NULL;
    if (u->user.n == 0)
        u->user = str_of(secure_getenv("PGUSER"));
    if (u->password.n == 0)
        u->password = str_of(secure_getenv("PGPASSWORD"));
    if (u->user.n == 0 && getpwuid_r(geteuid(), &pw, room, sizeof(room), &found) == 0 &&
        found != NULL) {
        struct str name = str_of(pw.pw_name);
        u->user = (struct str){config_arena_dup(&u->arena, name), name.n};
    }
    if (u->dbname.n == 0)
        u->dbname = u->user;
    if (u->user.n == 0 || u->user.n > CONFIG_USER_NAME_MAX)
        return error_set(err, ST_INVALID, "the URL names no user, or one of more than %d bytes",
                         CONFIG_USER_NAME_MAX);
    if (u->dbname.n > CONFIG_DATABASE_NAME_MAX)
        return error_set(err, ST_LIMIT, "the database name has more than %d bytes",
                         CONFIG_DATABASE_NAME_MAX);
    if (str_eq(u->dbname, STR("pgbouncer")) || str_eq(u->dbname, STR("penstock")) ||
        str_eq(u->dbname, STR("*")))
        return error_set(err, ST_INVALID, "the database name \"%.*s\" is reserved",
                         (int)u->dbname.n, u->dbname.p);
    return ST_OK;
}

static void put_quoted(struct buf *b, struct str s)
{
    buf_put_u8(b, '"');
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == '"')
            buf_put_u8(b, '"');
        buf_put_u8(b, (uint8_t)s.p[i]);
    }
    buf_put_u8(b, '"');
}

static enum status remember_login(struct url *u, struct error *err)
{
    struct buf line;
    if (u->password.n == 0)
        return ST_OK;
    buf_init(&line, SIZE_MAX / 2);
    put_quoted(&line, u->user);
    buf_put_u8(&line, ' ');
    put_quoted(&line, u->password);
    enum status st = userlist_parse(&u->cfg->secrets->users, buf_str(&line), "login of the URL",
                                    NULL, err);
    mem_wipe(line.mem, line.cap);
    buf_fini(&line);
    return st;
}

static enum status build(struct url *u, struct str text, struct error *err)
{
    struct config *cfg = u->cfg;
    struct config_database *d = config_entry_blank(cfg->entries, STR_NONE);
    enum status st = parse(u, d, text, err);
    if (st == ST_OK)
        st = complete(u, err);
    if (st != ST_OK)
        return st;
    if (u->hosts.n == 0)
        u->hosts = STR("localhost");
    st = config_entry_hosts(&cfg->entries->arena, d, u->hosts, u->ports, cfg->wire->default_port,
                            err);
    if (st == ST_OK)
        st = remember_login(u, err);
    if (st != ST_OK)
        return st;
    d->name = d->dbname = config_arena_dup(&cfg->entries->arena, u->dbname);
    config_entry_add(cfg->entries, d);
    cfg->opt.auth_user = config_arena_dup(&cfg->arena, u->user);
    cfg->opt.admin_users = cfg->opt.auth_user;
    return config_entry_finish(cfg->entries, cfg->wire, &cfg->opt, err);
}

enum status config_from_url(const struct wire *wire, const char *url, struct config **out,
                            struct error *err)
{
    struct url u = {.cfg = config_build_new(wire, true)};
    config_arena_init(&u.arena);
    enum status st = build(&u, str_of(url), err);
    config_arena_fini(&u.arena);
    if (st == ST_OK)
        *out = u.cfg;
    else
        config_put(&u.cfg);
    return st;
}
