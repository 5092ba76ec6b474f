/* admin_command.c - the console's grammar and its table of rights; see admin_command.h.  Pure. */
#include "proxy/admin/admin_command.h"

#include <stdio.h>

#define SHOWN_MAX 100 /* bytes of a wrong command that are told back */

enum arg_rule {
    ARG_NONE,
    ARG_MAY,
    ARG_DATABASE,
    ARG_NODE,
    ARG_CLIENT,
    ARG_VIEW,
    ARG_SET,
    ARG_CACHE,
    ARG_SHUTDOWN,
    ARG_STATEMENTS,
    ARG_ROUTE
};

static const struct word {
    const char *word;
    enum admin_command_kind kind;
    enum arg_rule arg;
} words[] = {
    {"cache", CMD_CACHE_FLUSH, ARG_CACHE},
    {"disable", CMD_DISABLE, ARG_DATABASE},
    {"drain", CMD_DRAIN, ARG_NODE},
    {"enable", CMD_ENABLE, ARG_DATABASE},
    {"explain", CMD_EXPLAIN, ARG_ROUTE},
    {"kill", CMD_KILL, ARG_MAY},
    {"kill_client", CMD_KILL_CLIENT, ARG_CLIENT},
    {"pause", CMD_PAUSE, ARG_MAY},
    {"reconnect", CMD_RECONNECT, ARG_MAY},
    {"reload", CMD_RELOAD, ARG_NONE},
    {"reset", CMD_RESET, ARG_STATEMENTS},
    {"resume", CMD_RESUME, ARG_MAY},
    {"select", CMD_SHOW, ARG_VIEW},
    {"set", CMD_SET, ARG_SET},
    {"show", CMD_SHOW, ARG_VIEW},
    {"shutdown", CMD_SHUTDOWN, ARG_SHUTDOWN},
    {"suspend", CMD_SUSPEND, ARG_NONE},
    {"undrain", CMD_UNDRAIN, ARG_NODE},
    {"upgrade", CMD_UPGRADE, ARG_NONE},
    {"wait_close", CMD_WAIT_CLOSE, ARG_MAY},
};

static const struct right {
    enum admin_role role; /* of CMD_SHOW: at least; a view may ask for more */
    const char *tag;
} rights[CMDS] = {
    [CMD_CACHE_FLUSH] = {ADMIN_FULL, "CACHE FLUSH"},
    [CMD_CACHE_FORGET] = {ADMIN_FULL, "CACHE FORGET MEMBER"},
    [CMD_DISABLE] = {ADMIN_FULL, "DISABLE"},
    [CMD_DRAIN] = {ADMIN_FULL, "DRAIN"},
    [CMD_ENABLE] = {ADMIN_FULL, "ENABLE"},
    [CMD_EXPLAIN] = {ADMIN_STATS, "EXPLAIN"},
    [CMD_KILL] = {ADMIN_FULL, "KILL"},
    [CMD_KILL_CLIENT] = {ADMIN_FULL, "KILL_CLIENT"},
    [CMD_PAUSE] = {ADMIN_FULL, "PAUSE"},
    [CMD_RECONNECT] = {ADMIN_FULL, "RECONNECT"},
    [CMD_RELOAD] = {ADMIN_FULL, "RELOAD"},
    [CMD_RESET] = {ADMIN_FULL, "RESET"},
    [CMD_RESUME] = {ADMIN_FULL, "RESUME"},
    [CMD_SET] = {ADMIN_FULL, NULL},
    [CMD_SET_FAKED] = {ADMIN_STATS, NULL},
    [CMD_SHOW] = {ADMIN_STATS, "SHOW"},
    [CMD_SHOW_FAKED] = {ADMIN_STATS, "SHOW"},
    [CMD_SHUTDOWN] = {ADMIN_FULL, "SHUTDOWN"},
    [CMD_SHUTDOWN_CLIENTS] = {ADMIN_FULL, "SHUTDOWN"},
    [CMD_SHUTDOWN_SERVERS] = {ADMIN_FULL, "SHUTDOWN"},
    [CMD_SUSPEND] = {ADMIN_FULL, "SUSPEND"},
    [CMD_UNDRAIN] = {ADMIN_FULL, "UNDRAIN"},
    [CMD_UPGRADE] = {ADMIN_FULL, "UPGRADE"},
    [CMD_WAIT_CLOSE] = {ADMIN_FULL, "WAIT_CLOSE"},
};

const char *const admin_command_help =
    "\n\tSHOW HELP|CONFIG|DATABASES|POOLS|CLIENTS|SERVERS|USERS|VERSION"
    "\n\tSHOW NODES|ROUTING|PEERS|PEER_POOLS|WORKERS"
    "\n\tSHOW SOCKETS|ACTIVE_SOCKETS|LISTS|MEM|STATE"
    "\n\tSHOW DNS_HOSTS|DNS_ZONES"
    "\n\tSHOW STATEMENTS"
    "\n\tSHOW CACHE|CACHE_MEMBERS|REDIS"
    "\n\tSHOW STATS|STATS_TOTALS|STATS_AVERAGES|TOTALS"
    "\n\tSET key = arg"
    "\n\tRELOAD"
    "\n\tRESET STATEMENTS"
    "\n\tPAUSE [<db>]"
    "\n\tRESUME [<db>]"
    "\n\tDRAIN <node>"
    "\n\tUNDRAIN <node>"
    "\n\tEXPLAIN ROUTE <statement>"
    "\n\tDISABLE <db>"
    "\n\tENABLE <db>"
    "\n\tRECONNECT [<db>]"
    "\n\tKILL [<db>]"
    "\n\tKILL_CLIENT <client_id>"
    "\n\tSUSPEND"
    "\n\tSHUTDOWN"
    "\n\tSHUTDOWN WAIT_FOR_SERVERS|WAIT_FOR_CLIENTS"
    "\n\tUPGRADE"
    "\n\tWAIT_CLOSE [<db>]"
    "\n\tCACHE FLUSH [<rule>|<key>]"
    "\n\tCACHE FORGET MEMBER <member>";

/* ---- lexing ---------------------------------------------------------------------------------- */

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n' || c == '\f' || c == '\v';
}

static bool is_word(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

static void advance(struct str *s, size_t n)
{
    s->p += n;
    s->n -= n;
}

/* Returns whether there was one. */
static bool skip_blanks(struct str *s)
{
    size_t n = 0;
    while (n < s->n && is_blank(s->p[n]))
        n++;
    advance(s, n);
    return n > 0;
}

static struct str take_word(struct str *s)
{
    size_t n = 0;
    while (n < s->n && is_word(s->p[n]))
        n++;
    struct str w = {s->p, n};
    advance(s, n);
    return w;
}

/* Text in quotes, a doubled one standing for itself. false: no end, or too long. */
static bool take_quoted(struct str *s, char quote, char *dst, size_t cap)
{
    size_t n = 0;
    advance(s, 1);
    while (s->n > 0) {
        char c = s->p[0];
        advance(s, 1);
        if (c == quote && (s->n == 0 || s->p[0] != quote)) {
            dst[n] = '\0';
            return true;
        }
        if (c == quote)
            advance(s, 1);
        if (n + 1 >= cap)
            return false;
        dst[n++] = c;
    }
    return false;
}

/* Nothing but blanks and one semicolon is left. */
static bool at_end(struct str s)
{
    skip_blanks(&s);
    if (s.n > 0 && s.p[0] == ';')
        advance(&s, 1);
    skip_blanks(&s);
    return s.n == 0;
}

/* ---- grammar --------------------------------------------------------------------------------- */

static bool in_node(char c)
{
    return !is_blank(c) && c != ';' && c != '"' && c != '\'';
}

/* Nodes have names like host:port. */
static struct str take_node(struct str *s)
{
    size_t n = 0;
    while (n < s->n && in_node(s->p[n]))
        n++;
    struct str w = {s->p, n};
    advance(s, n);
    return w;
}

static bool parse_arg(struct str *s, enum arg_rule rule, struct admin_command *out, bool *quoted)
{
    bool apart = skip_blanks(s);
    *quoted = s->n > 0 && s->p[0] == '"';
    if (*quoted)
        return apart && take_quoted(s, '"', out->arg, sizeof(out->arg)) && out->arg[0] != '\0';
    struct str w = rule == ARG_NODE ? take_node(s) : take_word(s);
    return (w.n == 0 || apart) && str_copy(out->arg, sizeof(out->arg), w);
}

static bool bare_value(char c)
{
    return !is_blank(c) && c != ';' && c != '\'' && c != '"';
}

static bool parse_value(struct str *s, struct admin_command *out)
{
    skip_blanks(s);
    if (s->n > 0 && s->p[0] == '\'')
        return take_quoted(s, '\'', out->value, sizeof(out->value));
    size_t n = 0;
    while (n < s->n && bare_value(s->p[n]))
        n++;
    struct str v = {s->p, n};
    advance(s, n);
    return n > 0 && str_copy(out->value, sizeof(out->value), v);
}

/* After SET: key, then = or TO, then the value. */
static bool parse_set(struct str s, struct admin_command *out)
{
    if (!skip_blanks(&s))
        return false;
    struct str key = take_word(&s);
    if (key.n == 0 || !str_copy(out->arg, sizeof(out->arg), key))
        return false;
    bool apart = skip_blanks(&s);
    if (s.n > 0 && s.p[0] == '=')
        advance(&s, 1);
    else if (!apart || !str_ieq(take_word(&s), STR("to")) || s.n == 0 ||
             !(is_blank(s.p[0]) || s.p[0] == '\''))
        return false;
    if (!parse_value(&s, out) || !at_end(s))
        return false;
    out->faked = admin_view_faked(key);
    if (out->faked != NULL)
        out->kind = CMD_SET_FAKED;
    return true;
}

/* After EXPLAIN: the word ROUTE, and all the rest is the statement. */
static bool parse_explain(struct str s, struct admin_command *out)
{
    if (!skip_blanks(&s) || !str_ieq(take_word(&s), STR("route")) || !skip_blanks(&s))
        return false;
    return s.n > 0 && str_copy(out->statement, sizeof(out->statement), s);
}

/* After CACHE FORGET: the word MEMBER, and whom. */
static bool parse_forget(struct str s, struct admin_command *out)
{
    bool quoted;
    out->kind = CMD_CACHE_FORGET;
    return skip_blanks(&s) && str_ieq(take_word(&s), STR("member")) &&
           parse_arg(&s, ARG_NODE, out, &quoted) && out->arg[0] != '\0' && at_end(s);
}

/* After CACHE: FLUSH, and what; or FORGET. */
static bool parse_cache(struct str s, struct admin_command *out)
{
    if (!skip_blanks(&s))
        return false;
    struct str what = take_word(&s);
    if (str_ieq(what, STR("forget")))
        return parse_forget(s, out);
    if (!str_ieq(what, STR("flush")))
        return false;
    return at_end(s) || (is_blank(s.p[0]) && parse_value(&s, out) && at_end(s));
}

static bool check_view(struct admin_command *out)
{
    out->view = admin_view_find(str_of(out->arg));
    if (out->view != NULL)
        return true;
    out->faked = admin_view_faked(str_of(out->arg));
    out->kind = CMD_SHOW_FAKED;
    return out->faked != NULL;
}

static bool check_shutdown(struct admin_command *out)
{
    struct str how = str_of(out->arg);
    if (str_ieq(how, STR("wait_for_servers")))
        out->kind = CMD_SHUTDOWN_SERVERS;
    else if (str_ieq(how, STR("wait_for_clients")))
        out->kind = CMD_SHUTDOWN_CLIENTS;
    else
        return how.n == 0;
    return true;
}

static enum status check_arg(const struct word *w, struct admin_command *out, bool *ok,
                             struct error *err)
{
    int64_t id = 0;
    switch (w->arg) {
    case ARG_NONE:
        *ok = out->arg[0] == '\0';
        break;
    case ARG_MAY:
        break;
    case ARG_DATABASE:
        if (out->arg[0] == '\0')
            return error_set(err, ST_INVALID, "a database is required");
        break;
    case ARG_NODE:
        if (out->arg[0] == '\0')
            return error_set(err, ST_INVALID, "a node is required, see SHOW NODES");
        break;
    case ARG_CLIENT:
        if (!str_to_i64(str_of(out->arg), 0, INT64_MAX, &id))
            return error_set(err, ST_INVALID, "a client id is required, see SHOW CLIENTS");
        out->client = (uint64_t)id;
        break;
    case ARG_VIEW:
        *ok = check_view(out);
        break;
    case ARG_SHUTDOWN:
        *ok = check_shutdown(out);
        break;
    case ARG_STATEMENTS:
        *ok = str_ieq(str_of(out->arg), STR("statements"));
        break;
    case ARG_SET:
    case ARG_ROUTE:
    case ARG_CACHE:
        break;
    }
    return ST_OK;
}

static enum status invalid(struct str text, struct error *err)
{
    text = str_trim(text);
    if (text.n > SHOWN_MAX) {
        text.n = SHOWN_MAX;
        while (text.n > 0 && ((unsigned char)text.p[text.n] & 0xc0) == 0x80)
            text.n--; /* not in the middle of a character */
    }
    return error_set(err, ST_INVALID, "invalid command '" STR_FMT "', use SHOW HELP;",
                     STR_ARG(text));
}

static const struct word *find_word(struct str w)
{
    for (size_t i = 0; w.n <= ADMIN_WORD_MAX && i < ARRAY_LEN(words); i++)
        if (str_ieq(w, str_of(words[i].word)))
            return &words[i];
    return NULL;
}

enum status admin_command_parse(struct str text, struct admin_command *out, struct error *err)
{
    struct str s = text.p != NULL ? text : STR("");
    memset(out, 0, sizeof(*out));
    skip_blanks(&s);
    const struct word *w = find_word(take_word(&s));
    if (w == NULL)
        return invalid(text, err);
    out->kind = w->kind;
    if (w->arg == ARG_SET)
        return parse_set(s, out) ? ST_OK : invalid(text, err);
    if (w->arg == ARG_ROUTE)
        return parse_explain(s, out) ? ST_OK : invalid(text, err);
    if (w->arg == ARG_CACHE)
        return parse_cache(s, out) ? ST_OK : invalid(text, err);
    bool quoted = false, ok = true;
    if (!parse_arg(&s, w->arg, out, &quoted) || !at_end(s))
        return invalid(text, err);
    enum status st = check_arg(w, out, &ok, err);
    if (st != ST_OK)
        return st;
    return ok ? ST_OK : invalid(text, err);
}

/* ---- the rest -------------------------------------------------------------------------------- */

bool admin_command_refused(const struct admin_command *cmd, enum admin_role role, struct error *err)
{
    enum admin_role need = rights[cmd->kind].role;
    if (cmd->kind == CMD_SHOW)
        need = MAX(need, cmd->view->role);
    if (role >= need)
        return false;
    (void)!error_set(err, ST_DENIED, "admin access needed");
    return true;
}

void admin_command_tag(const struct admin_command *cmd, char *dst, size_t cap)
{
    if (rights[cmd->kind].tag != NULL)
        str_copy(dst, cap, str_of(rights[cmd->kind].tag));
    else if (cmd->kind == CMD_SET_FAKED)
        str_copy(dst, cap, STR("SET"));
    else
        snprintf(dst, cap, "SET %s=%s", cmd->arg, cmd->value);
}

/* admin_route.c fills them. */
static const struct wire_column explain_columns[] = {
    {"database", COL_TEXT},  {"target", COL_TEXT}, {"node", COL_TEXT}, {"reason", COL_TEXT},
    {"statement", COL_TEXT}, {"digest", COL_TEXT}, {"rule", COL_TEXT}, {"text", COL_TEXT},
};

int admin_command_columns(const struct admin_command *cmd, const struct wire_column **cols)
{
    if (cmd->kind == CMD_SHOW_FAKED) {
        *cols = &cmd->faked->col;
        return 1;
    }
    if (cmd->kind == CMD_EXPLAIN) {
        *cols = explain_columns;
        return (int)ARRAY_LEN(explain_columns);
    }
    *cols = cmd->kind == CMD_SHOW ? cmd->view->cols : NULL;
    return cmd->kind == CMD_SHOW ? cmd->view->ncols : 0;
}
