/* toy_wire.c - the toy codec: what a client says and hears, and the table.
 *
 * Called by the core through toy_wire.  The server's side is toy_server.c, keys, handles and the
 * words of the language are toy_language.c.
 */
#include "test/unit/support/toy_wire.h"

#include "base/mem.h"
#include "protocol/auth/secret.h"
#include "test/unit/support/toy_answer.h"
#include "test/unit/support/toy_language.h"
#include "test/unit/support/toy_server.h"

#define VARS_MAX 16

struct reading {     /* what cl_unread takes back */
    bool in_request; /* a piece was handed over and its end was not */
    bool in_line;    /* the rest of a line that was too long is still to come */
    bool line_ends;  /* and completes the request */
    bool skipping;   /* drops what is left of a request */
    bool upload;
};

struct toy_client {
    bool logged_in, raw;
    struct reading now, before;
    size_t max;
    struct wire_var vars[VARS_MAX]; /* of the login, borrowed from the input */
};

static void cl_init(void *st)
{
    memset(st, 0, sizeof(struct toy_client));
}

static void cl_fini(void *st)
{
    (void)st;
}

static void cl_limits(void *st, size_t max)
{
    ((struct toy_client *)st)->max = max;
}

static void bad(struct wire_client_event *ev, const char *why)
{
    ev->kind = CE_BAD;
    ev->reason = why;
}

/* ---- login ----------------------------------------------------------------------------------- */

static void read_hello(struct toy_client *c, struct str rest, struct wire_client_event *ev)
{
    ev->kind = CE_LOGIN;
    ev->login.user = str_cut(&rest, ' ');
    ev->login.database = str_cut(&rest, ' ');
    ev->login.vars = c->vars;
    while (rest.n > 0 && ev->login.nvars < VARS_MAX) {
        struct str pair = str_cut(&rest, ' ');
        struct str name = str_cut(&pair, '=');
        if (str_eq(name, STR("relay")))
            ev->login.replication = true;
        else
            c->vars[ev->login.nvars++] = (struct wire_var){name, pair};
    }
    if (ev->login.user.n == 0 || ev->login.database.n == 0)
        bad(ev, "hello without user or database");
}

static void login_line(struct toy_client *c, struct str line, struct wire_client_event *ev)
{
    struct str rest = line, word = str_cut(&rest, ' ');
    if (str_eq(word, STR("hello"))) {
        read_hello(c, rest, ev);
    } else if (str_eq(word, STR("pass"))) {
        ev->kind = CE_CRED;
        ev->data = rest;
    } else if (str_eq(word, STR("tls"))) {
        ev->kind = CE_TLS;
    } else if (str_eq(word, STR("cancel")) && rest.n <= WIRE_KEY_MAX) {
        ev->kind = CE_CANCEL;
        ev->key.n = (uint16_t)rest.n;
        memcpy(ev->key.b, rest.p, rest.n);
    } else if (str_eq(word, STR("bye"))) {
        ev->kind = CE_QUIT;
    } else {
        bad(ev, "not a line of the login");
    }
}

static void put(struct outq *out, const char *z)
{
    outq_put_str(out, str_of(z));
}

static void cl_tls_reply(void *st, bool accept, struct outq *out)
{
    (void)st;
    put(out, accept ? "tls yes\n" : "tls no\n");
}

static enum auth_result cl_auth_start(void *st, struct wire_auth *a, struct outq *out)
{
    (void)st;
    switch (a->method) {
    case AUTH_TRUST:
        return AUTH_OK;
    case AUTH_PLAIN:
    case AUTH_EXTERNAL:
        put(out, "ask password\n");
        return AUTH_MORE;
    case AUTH_MD5:
    case AUTH_SCRAM:
        break;
    }
    return AUTH_FAIL;
}

static enum auth_result cl_auth(void *st, struct wire_auth *a, struct str data, struct outq *out)
{
    (void)st;
    (void)out;
    a->password = data;
    if (a->method == AUTH_EXTERNAL)
        return AUTH_MORE;
    bool known = a->secret != NULL && a->secret->kind == SECRET_PLAIN;
    return known && str_eq(data, secret_plain(a->secret)) ? AUTH_OK : AUTH_FAIL;
}

/* ---- requests -------------------------------------------------------------------------------- */

static bool part_kind(char c, enum wire_part_kind *kind)
{
    static const char letters[] = "QXPBDECFS";
    static const enum wire_part_kind kinds[] = {PART_QUERY, PART_CALL,     PART_PARSE,
                                                PART_BIND,  PART_DESCRIBE, PART_EXECUTE,
                                                PART_CLOSE, PART_FLUSH,    PART_SYNC};
    const char *at = c == '\0' ? NULL : strchr(letters, c);
    if (at != NULL)
        *kind = kinds[at - letters];
    return at != NULL;
}

/* line: without its end. raw: with it. */
static bool read_part(struct str line, struct str raw, struct wire_part *p)
{
    memset(p, 0, sizeof(*p));
    if (line.n == 0 || !part_kind(line.p[0], &p->kind) || (line.n > 1 && line.p[1] != ' '))
        return false;
    struct str rest = {line.p + MIN(line.n, (size_t)2), line.n - MIN(line.n, (size_t)2)};
    p->raw = raw;
    if (p->kind == PART_QUERY || p->kind == PART_CALL) {
        p->text = rest;
        return true;
    }
    p->name = str_cut(&rest, ' ');
    if (str_eq(p->name, STR("-")))
        p->name.n = 0;
    if (p->kind == PART_EXECUTE)
        p->name.n = 0;
    p->text = rest;
    return true;
}

static bool ends(const struct wire_part *p)
{
    return p->kind == PART_QUERY || p->kind == PART_CALL || p->kind == PART_SYNC;
}

/* Notes that parts were handed over. */
static void hand_over(struct toy_client *c, struct wire_client_event *ev, bool end)
{
    struct wire_req *r = &ev->req;
    ev->kind = CE_REQ;
    if (!c->now.in_request)
        r->flags |= REQ_START;
    if (end)
        r->flags |= REQ_END;
    c->now.in_request = !end;
}

/* A text that does not fit the buffer: the rest of the line comes as CE_BODY. */
static void cut_line(struct toy_client *c, struct str in, struct wire_part *parts,
                     struct wire_client_event *ev)
{
    if (!read_part(in, in, &parts[0]) || parts[0].kind != PART_QUERY || c->now.in_request) {
        bad(ev, "line too long");
        return;
    }
    parts[0].cut = true;
    ev->req = (struct wire_req){REQ_SIMPLE, 1, parts, in};
    ev->consumed = in.n;
    hand_over(c, ev, false);
    c->now.in_line = c->now.line_ends = true;
}

static void read_request(struct toy_client *c, struct str in, struct wire_part *parts,
                         struct wire_client_event *ev)
{
    struct wire_req *r = &ev->req;
    bool end = false;
    r->parts = parts;
    while (!end && r->nparts < WIRE_PARTS_MAX) {
        struct str rest = {in.p + ev->consumed, in.n - ev->consumed};
        ptrdiff_t at = str_find(rest, '\n');
        if (at < 0)
            break;
        struct wire_part *p = &parts[r->nparts];
        struct str line = {rest.p, (size_t)at};
        bool fits = read_part(line, (struct str){rest.p, (size_t)at + 1}, p);
        if (!fits && r->nparts > 0)
            break;
        if (!fits || (p->kind == PART_QUERY && (c->now.in_request || r->nparts > 0))) {
            bad(ev, "not a request");
            return;
        }
        r->nparts++;
        ev->consumed += (size_t)at + 1;
        end = ends(p);
        r->flags |= p->kind == PART_FLUSH ? (uint32_t)REQ_FLUSH : 0;
        r->flags |= p->kind == PART_QUERY ? (uint32_t)REQ_SIMPLE : 0;
    }
    r->raw = (struct str){in.p, ev->consumed};
    if (r->nparts > 0)
        hand_over(c, ev, end);
}

/* Lines of an upload, whole ones only. */
static void read_upload(struct toy_client *c, struct str line, struct wire_client_event *ev)
{
    ev->consumed = line.n + 1;
    if (!c->now.upload) { /* what was on its way when the upload failed */
        ev->kind = CE_IGNORED;
        return;
    }
    ev->kind = CE_UPLOAD;
    ev->req.raw = (struct str){line.p, line.n + 1};
    if (line.p[0] != '+') {
        ev->req.flags = REQ_END;
        c->now.upload = false;
    }
}

/* The rest of a request that was given up. */
static void skip_line(struct toy_client *c, struct str line, struct wire_client_event *ev)
{
    struct wire_part p;
    bool end = c->now.in_line ? c->now.line_ends : read_part(line, line, &p) && ends(&p);
    ev->consumed = line.n + 1;
    ev->kind = end ? CE_SKIPPED : CE_IGNORED;
    c->now.in_line = false;
    c->now.skipping = !end;
    if (end)
        c->now.in_request = false;
}

static void rest_of_line(struct toy_client *c, struct str in, ptrdiff_t end,
                         struct wire_client_event *ev)
{
    ev->kind = c->now.skipping ? CE_IGNORED : CE_BODY;
    ev->consumed = end < 0 ? in.n : (size_t)end + 1;
    ev->req.raw = (struct str){in.p, ev->consumed};
    if (end < 0)
        return;
    c->now.in_line = false;
    ev->req.flags = c->now.line_ends ? REQ_END : 0;
    c->now.in_request = !c->now.line_ends;
}

static void cl_feed(void *st, struct str in, bool full, struct wire_part *parts,
                    struct wire_client_event *ev)
{
    struct toy_client *c = st;
    memset(ev, 0, sizeof(*ev));
    c->before = c->now;
    ptrdiff_t end = str_find(in, '\n');
    struct str line = {in.p, end < 0 ? in.n : (size_t)end};
    if (c->raw) {
        ev->kind = CE_BODY;
        ev->consumed = in.n;
        ev->req.raw = in;
    } else if (c->now.in_line && !(c->now.skipping && end >= 0)) {
        rest_of_line(c, in, end, ev);
    } else if (end < 0 && c->max > 0 && in.n > c->max) {
        bad(ev, "line too long");
    } else if (end < 0 && full && c->logged_in && !c->now.skipping) {
        cut_line(c, in, parts, ev);
    } else if (end < 0) {
        ev->kind = CE_MORE;
        if (full)
            bad(ev, "line too long");
    } else if (!c->logged_in) {
        ev->consumed = line.n + 1;
        login_line(c, line, ev);
    } else if (c->now.skipping) {
        skip_line(c, line, ev);
    } else if (line.n > 0 && strchr("+.!", line.p[0]) != NULL) {
        read_upload(c, line, ev);
    } else if (str_eq(line, STR("bye"))) {
        ev->kind = CE_QUIT;
        ev->consumed = line.n + 1;
    } else {
        read_request(c, in, parts, ev);
    }
}

static bool cl_wants_server(const void *st, struct str in)
{
    const struct toy_client *c = st;
    const struct reading *n = &c->now;
    return c->logged_in && !c->raw && !n->in_request && !n->in_line && !n->skipping && !n->upload &&
           str_find(in, '\n') > 0 && memchr("QPBDE", in.p[0], 5) != NULL;
}

static void cl_unread(void *st, const struct wire_client_event *ev)
{
    struct toy_client *c = st;
    (void)ev;
    c->now = c->before;
}

/* ---- what a client hears --------------------------------------------------------------------- */

static void put_done(enum tx_state tx, struct outq *out)
{
    put(out, tx == TX_OPEN ? "done T\n" : tx == TX_FAILED ? "done E\n" : "done I\n");
}

static void put_vars(const struct wire_var *vars, int n, struct outq *out)
{
    for (int i = 0; i < n; i++) {
        put(out, "var ");
        outq_put_str(out, vars[i].name);
        put(out, " ");
        outq_put_str(out, vars[i].value);
        put(out, "\n");
    }
}

static void cl_welcome(void *st, const struct wire_var *vars, int nvars, const struct wire_key *key,
                       struct outq *out)
{
    ((struct toy_client *)st)->logged_in = true;
    put_vars(vars, nvars, out);
    put(out, "hi ");
    outq_put(out, key->b, key->n);
    put(out, "\ndone I\n");
}

static void cl_raw(void *st)
{
    ((struct toy_client *)st)->raw = true;
}

static void cl_error(void *st, const struct wire_fault *f, struct outq *out)
{
    struct toy_client *c = st;
    put(out, f->fatal ? "bye " : "err ");
    outq_put_str(out, f->code.n > 0 ? f->code : str_of(cause_name(f->cause)));
    put(out, " ");
    outq_put_str(out, f->text.n > 0 ? f->text : STR("-"));
    put(out, "\n");
    if (f->fatal)
        return;
    if (f->req_open)
        c->now.skipping = true;
    else
        put_done(f->tx, out);
}

static void cl_notice(void *st, struct str text, struct str detail, struct outq *out)
{
    (void)st;
    (void)detail;
    put(out, "note ");
    outq_put_str(out, text);
    put(out, "\n");
}

static void cl_idle(void *st, enum tx_state tx, struct outq *out)
{
    (void)st;
    put_done(tx, out);
}

static void cl_vars(void *st, const struct wire_var *vars, int nvars, struct outq *out)
{
    (void)st;
    put_vars(vars, nvars, out);
}

static void cl_notify(void *st, uint32_t pid, struct str channel, struct str payload,
                      struct outq *out)
{
    (void)st;
    (void)pid;
    put(out, "push 0 ");
    outq_put_str(out, channel);
    put(out, " ");
    outq_put_str(out, payload);
    put(out, "\n");
}

static void cl_upload(void *st, bool sync_void)
{
    (void)sync_void; /* never here: an upload does not void the end of its request */
    ((struct toy_client *)st)->now.upload = true;
}

static bool cl_upload_over(void *st)
{
    ((struct toy_client *)st)->now.upload = false;
    return false; /* lines are never cut */
}

static void cl_ack(void *st, enum wire_part_kind kind, struct outq *out)
{
    (void)st;
    put(out, kind == PART_PARSE ? "parsed\n" : kind == PART_BIND ? "bound\n" : "closed\n");
}

static void cl_described(void *st, struct outq *out)
{
    (void)st;
    put(out, "described\n");
}

static void cl_params(void *st, const struct wire_column *params, int n, struct outq *out)
{
    (void)params;
    (void)n;
    cl_described(st, out);
}

static void cl_row_desc(void *st, const struct wire_column *cols, int ncols, struct outq *out)
{
    (void)cols;
    (void)ncols;
    cl_described(st, out);
}

static void cl_row(void *st, const struct str *values, int ncols, struct outq *out)
{
    (void)st;
    put(out, "row ");
    for (int i = 0; i < ncols; i++) {
        put(out, i > 0 ? "|" : "");
        outq_put_str(out, values[i].p == NULL ? STR("~") : values[i]);
    }
    put(out, "\n");
}

static void cl_complete(void *st, struct str tag, struct outq *out)
{
    (void)st;
    put(out, "ok ");
    outq_put_str(out, tag);
    put(out, "\n");
}

static const char *begin_tag(struct str text)
{
    (void)text;
    return "tx";
}

const struct wire toy_wire = {
    .name = "toy",
    .default_port = 7,
    .client_size = sizeof(struct toy_client),
    .server_size = sizeof(struct toy_server),
    .cl_init = cl_init,
    .cl_fini = cl_fini,
    .cl_wants_server = cl_wants_server,
    .cl_feed = cl_feed,
    .cl_unread = cl_unread,
    .cl_limits = cl_limits,
    .cl_tls_reply = cl_tls_reply,
    .cl_auth_start = cl_auth_start,
    .cl_auth = cl_auth,
    .cl_welcome = cl_welcome,
    .cl_raw = cl_raw,
    .cl_error = cl_error,
    .cl_notice = cl_notice,
    .cl_idle = cl_idle,
    .cl_vars = cl_vars,
    .cl_notify = cl_notify,
    .cl_upload = cl_upload,
    .cl_upload_over = cl_upload_over,
    .cl_ack = cl_ack,
    .cl_params = cl_params,
    .cl_no_data = cl_described,
    .cl_row_desc = cl_row_desc,
    .cl_row = cl_row,
    .cl_suspended = cl_described,
    .cl_complete = cl_complete,
    .rollback_tag = "rollback",
    .begin_tag = begin_tag,
    .sv_init = toy_server_init,
    .sv_fini = toy_server_fini,
    .sv_tls_request = toy_server_tls_request,
    .sv_open = toy_server_open,
    .sv_auth = toy_server_auth,
    .sv_feed = toy_server_feed,
    .sv_raw = toy_server_raw,
    .sv_split = toy_server_split,
    .sv_parts = toy_server_parts,
    .sv_part_named = toy_server_part_named,
    .sv_part_tracked = toy_server_part_tracked,
    .sv_part_fake = toy_server_part_fake,
    .sv_body = toy_server_body,
    .sv_prepare = toy_server_prepare,
    .sv_unprepare = toy_server_unprepare,
    .sv_sync = toy_server_sync,
    .handle_make = toy_language_handle_make,
    .handle_named = toy_language_handle_named,
    .sv_text = toy_server_text,
    .sv_ping = toy_server_ping,
    .sv_clean = toy_server_clean,
    .sv_vars = toy_server_vars,
    .sv_ask = toy_server_ask,
    .ask_row = toy_language_ask_row,
    .sv_listen = toy_server_listen,
    .sv_quit = toy_server_quit,
    .sv_pending = toy_server_pending,
    .cancel_bytes = toy_language_cancel_bytes,
    .key_make = toy_language_key_make,
    .key_read = toy_language_key_read,
    .key_peer = toy_language_key_peer,
    .key_pass_on = toy_language_key_pass_on,
    .dialect = toy_language_dialect,
    .var_rank = toy_language_var_rank,
    .var_analysis = toy_language_var_analysis,
    .var_hurries = toy_language_var_hurries,
    .quote_literal = toy_language_quote_literal,
    .answers = &toy_answers,
    .bind_values = toy_answer_values,
    .bind_formats = toy_answer_formats,
    .reset_query = "forget all",
    .auth_query = "whois $1",
    .catalog_query = NULL,
    .var_of_node = toy_language_var_of_node,
    .var_wishes = toy_language_var_wishes,
    .startup_wishes = toy_language_startup_wishes,
};
