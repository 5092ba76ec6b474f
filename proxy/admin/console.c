/* console.c - a console session: simple and extended protocol in front of one command at a time.
 *
 * What a request asks for is copied into a list of steps, so that the input need not stay while a
 * command is under way on the main thread; no further input is taken before the last step of the
 * request's piece is done.  A statement of the extended protocol is a parsed command, so its
 * columns are known before it runs. Through the extended protocol every column is described as
 * text, because a client that asks for binary values gets what it can read: text is the same in
 * both. The statements and portals of a session are bounded (NAMES_MAX); a command text is at most
 * some hundred bytes, so a request that had to be cut is refused.
 */
#include "proxy/cancel.h"
#include "proxy/admin/console.h"

#include "base/check.h"
#include "base/log.h"
#include "base/mem.h"
#include "proxy/admin/admin.h"
#include "proxy/admin/admin_reply.h"
#include "proxy/login.h"
#include "proxy/session.h"

#define NAMES_MAX 200
#define COLUMNS_MAX 64

struct step {
    struct list link;
    enum wire_part_kind kind;
    bool cut;
    struct str name, portal, text; /* owned copies behind the struct */
};

struct console {
    struct list steps;
    bool piece_ended;               /* the piece in steps ends its request */
    bool flying;                    /* a command is on the main thread */
    bool simple;                    /* the step under way is a text of the simple protocol */
    struct map statements, portals; /* name -> struct admin_command *, owned */
};

/* ---- names ----------------------------------------------------------------------------------- */

static void forget(struct map *m, struct str name)
{
    mem_free(map_remove(m, name));
}

static void forget_all(struct map *m)
{
    struct str key;
    void *v;
    for (size_t i = 0; map_next(m, &i, &key, &v);)
        mem_free(v);
    map_fini(m);
    map_init(m);
}

static bool remember(struct map *m, struct str name, const struct admin_command *cmd)
{
    if (map_count(m) >= NAMES_MAX && map_get(m, name) == NULL)
        return false;
    mem_free(map_put(m, name, mem_copy(cmd, sizeof(*cmd))));
    return true;
}

/* ---- steps ----------------------------------------------------------------------------------- */

static char *put(struct str *dst, char *at, struct str src)
{
    if (src.n > 0)
        memcpy(at, src.p, src.n);
    *dst = (struct str){at, src.n};
    return at + src.n;
}

static void add_step(struct console *con, const struct wire_part *p)
{
    struct step *s = mem_new(sizeof(*s) + p->name.n + p->portal.n + p->text.n + 1);
    s->kind = p->kind;
    s->cut = p->cut;
    char *at = put(&s->name, (char *)(s + 1), p->name);
    put(&s->text, put(&s->portal, at, p->portal), p->text);
    list_init(&s->link);
    list_push_back(&con->steps, &s->link);
}

static void drop_steps(struct console *con)
{
    struct list *l;
    while ((l = list_pop_front(&con->steps)) != NULL)
        mem_free(container_of(l, struct step, link));
}

/* The request is answered with an error; what is left of it is dropped. */
static void fail(struct client *c, enum cause cause, const char *text)
{
    struct console *con = c->console;
    drop_steps(con);
    client_tell(c, &(struct wire_fault){
                       .cause = cause, .text = str_of(text), .req_open = !con->piece_ended});
}

/* ---- answers --------------------------------------------------------------------------------- */

static void describe(struct client *c, const struct admin_command *cmd, bool simple)
{
    const struct wire_column *cols;
    struct wire_column text[COLUMNS_MAX];
    int n = admin_command_columns(cmd, &cols);
    CHECK(n <= COLUMNS_MAX);
    for (int i = 0; i < n; i++)
        text[i] = (struct wire_column){cols[i].name, simple ? cols[i].type : COL_TEXT};
    if (n > 0)
        conn_wire(&c->conn)->cl_row_desc(c->wire_state, text, n, &c->conn.out);
    else if (!simple)
        conn_wire(&c->conn)->cl_no_data(c->wire_state, &c->conn.out);
}

static void write_done(struct client *c, struct admin_reply *r)
{
    const struct console *con = c->console;
    const struct wire_column *cols;
    const struct wire *wire = conn_wire(&c->conn);
    struct str values[COLUMNS_MAX], rest = buf_str(&r->rows);
    char tag[ADMIN_ARG_MAX + ADMIN_VALUE_MAX + 8];
    int n = admin_command_columns(&r->cmd, &cols);
    if (r->notice != NULL)
        wire->cl_notice(c->wire_state, str_of(r->notice),
                        r->detail != NULL ? str_of(r->detail) : STR_NONE, &c->conn.out);
    if (con->simple)
        describe(c, &r->cmd, true);
    while (n > 0 && admin_reply_next(&rest, values, n))
        wire->cl_row(c->wire_state, values, n, &c->conn.out);
    admin_command_tag(&r->cmd, tag, sizeof(tag));
    wire->cl_complete(c->wire_state, str_of(tag), &c->conn.out);
    if (con->simple)
        wire->cl_idle(c->wire_state, TX_IDLE, &c->conn.out);
}

static void write_answer(struct client *c, struct admin_reply *r)
{
    switch (r->outcome) {
    case ADMIN_DONE:
        if (r->rows.failed)
            fail(c, C_ADMIN, "the answer is too large");
        else
            write_done(c, r);
        break;
    case ADMIN_ERROR:
        fail(c, C_ADMIN, r->error.text);
        break;
    case ADMIN_UNLOADED:
        fail(c, C_BAD_CONFIG, r->error.text);
        break;
    case ADMIN_CANCELLED:
        fail(c, C_CANCELLED, "canceling statement due to user request");
        break;
    case ADMIN_LEAVE:
        client_end(c, "the console asked for it");
        break;
    }
    conn_dirty(&c->conn);
}

/* ---- running --------------------------------------------------------------------------------- */

static void run(struct client *c, const struct admin_command *cmd, bool simple)
{
    struct console *con = c->console;
    struct admin_reply *r = admin_reply_new();
    r->slot = c->slot;
    r->client = c->id;
    r->role = c->admin_ok ? ADMIN_FULL : ADMIN_STATS;
    r->cmd = *cmd;
    r->m.deliver = admin_run;
    c->request_wall = clock_wall_us();
    con->simple = simple;
    con->flying = true;
    if (!mailbox_post(c->conn.worker->process->main_box, &r->m)) {
        con->flying = false;
        admin_reply_free(&r);
        fail(c, C_ADMIN, "pooler is shutting down");
    }
}

static bool parse(struct client *c, const struct step *s, struct admin_command *cmd)
{
    struct error err;
    if (s->cut)
        (void)!error_set(&err, ST_INVALID, "invalid command, use SHOW HELP;");
    else if (admin_command_parse(s->text, cmd, &err) == ST_OK)
        return true;
    fail(c, C_ADMIN, err.text);
    return false;
}

static void do_parse(struct client *c, const struct step *s)
{
    struct console *con = c->console;
    struct admin_command cmd;
    if (s->name.n > 0 && map_get(&con->statements, s->name) != NULL)
        fail(c, C_STMT_EXISTS, "prepared statement already exists");
    else if (!parse(c, s, &cmd))
        return;
    else if (!remember(&con->statements, s->name, &cmd))
        fail(c, C_STMT_TOO_MANY, "too many prepared statements in a console session");
    else
        conn_wire(&c->conn)->cl_ack(c->wire_state, PART_PARSE, &c->conn.out);
}

static void do_bind(struct client *c, const struct step *s)
{
    struct console *con = c->console;
    const struct admin_command *cmd = map_get(&con->statements, s->name);
    if (s->cut)
        fail(c, C_ADMIN, "console commands have no parameters");
    else if (cmd == NULL)
        fail(c, C_STMT_UNKNOWN, "prepared statement does not exist");
    else if (!remember(&con->portals, s->portal, cmd))
        fail(c, C_STMT_TOO_MANY, "too many portals in a console session");
    else
        conn_wire(&c->conn)->cl_ack(c->wire_state, PART_BIND, &c->conn.out);
}

static void do_describe(struct client *c, const struct step *s)
{
    struct console *con = c->console;
    bool portal = s->kind == PART_DESCRIBE_PORTAL;
    const struct admin_command *cmd = portal ? map_get(&con->portals, s->portal)
                                             : map_get(&con->statements, s->name);
    if (cmd == NULL) {
        fail(c, portal ? C_PORTAL_UNKNOWN : C_STMT_UNKNOWN,
             portal ? "portal does not exist" : "prepared statement does not exist");
        return;
    }
    if (!portal)
        conn_wire(&c->conn)->cl_params(c->wire_state, NULL, 0, &c->conn.out);
    describe(c, cmd, false);
}

static void do_execute(struct client *c, const struct step *s)
{
    struct console *con = c->console;
    const struct admin_command *cmd = map_get(&con->portals, s->portal);
    if (cmd == NULL)
        fail(c, C_PORTAL_UNKNOWN, "portal does not exist");
    else
        run(c, cmd, false);
}

static void do_step(struct client *c, const struct step *s)
{
    struct console *con = c->console;
    struct admin_command cmd;
    switch (s->kind) {
    case PART_QUERY:
        if (parse(c, s, &cmd))
            run(c, &cmd, true);
        break;
    case PART_CALL:
        fail(c, C_ADMIN, "there are no functions on the console");
        break;
    case PART_PARSE:
        do_parse(c, s);
        break;
    case PART_BIND:
        do_bind(c, s);
        break;
    case PART_DESCRIBE:
    case PART_DESCRIBE_PORTAL:
        do_describe(c, s);
        break;
    case PART_EXECUTE:
        do_execute(c, s);
        break;
    case PART_CLOSE:
        forget(&con->statements, s->name);
        conn_wire(&c->conn)->cl_ack(c->wire_state, PART_CLOSE, &c->conn.out);
        break;
    case PART_CLOSE_PORTAL:
        forget(&con->portals, s->portal);
        conn_wire(&c->conn)->cl_ack(c->wire_state, PART_CLOSE_PORTAL, &c->conn.out);
        break;
    case PART_FLUSH:
        break;
    case PART_SYNC:
        forget_all(&con->portals);
        conn_wire(&c->conn)->cl_idle(c->wire_state, TX_IDLE, &c->conn.out);
        break;
    }
}

static void go_on(struct client *c)
{
    struct console *con = c->console;
    struct list *l;
    while (!con->flying && (l = list_pop_front(&con->steps)) != NULL) {
        struct step *s = container_of(l, struct step, link);
        do_step(c, s); /* fail() drops the steps behind it */
        mem_free(s);
    }
    conn_dirty(&c->conn);
}

void console_answer(struct message *m, void *ctx)
{
    struct admin_reply *r = container_of(m, struct admin_reply, m);
    struct client *c = worker_slot_find(ctx, r->slot);
    if (c != NULL && c->id == r->client && c->state == CL_ADMIN && c->console != NULL) {
        struct console *con = c->console;
        con->flying = false;
        write_answer(c, r);
        if (c->state == CL_ADMIN) {
            go_on(c);
            conn_kick(&c->conn);
        }
    }
    admin_reply_free(&r);
}

/* ---- bytes ----------------------------------------------------------------------------------- */

static void on_request(struct client *c, const struct wire_client_event *ev)
{
    struct console *con = c->console;
    con->piece_ended = (ev->req.flags & REQ_END) != 0;
    for (uint16_t i = 0; i < ev->req.nparts; i++)
        add_step(con, &ev->req.parts[i]);
    go_on(c);
}

/* false: nothing more may be read. */
static bool on_event(struct client *c, const struct wire_client_event *ev)
{
    switch (ev->kind) {
    case CE_REQ:
        on_request(c, ev);
        return true;
    case CE_SKIPPED:
        conn_wire(&c->conn)->cl_idle(c->wire_state, TX_IDLE, &c->conn.out);
        conn_dirty(&c->conn);
        return true;
    case CE_BODY:
    case CE_UPLOAD:
    case CE_IGNORED:
        return true;
    case CE_QUIT:
        client_close(c, "client close request");
        return false;
    case CE_BAD:
        client_fatal(c, C_PROTOCOL, str_of(ev->reason));
        return false;
    case CE_MORE:
        return false;
    case CE_TLS:
    case CE_LOGIN:
    case CE_CRED:
    case CE_CANCEL:
        client_fatal(c, C_PROTOCOL, STR_NONE);
        return false;
    }
    return false;
}

size_t console_input(struct client *c, struct str data, bool full)
{
    struct worker *w = c->conn.worker;
    size_t used = 0;
    while (used < data.n && !((struct console *)c->console)->flying) {
        struct wire_client_event ev;
        struct str rest = {data.p + used, data.n - used};
        w->wire->cl_feed(c->wire_state, rest, full && used == 0, w->parts, &ev);
        bool more = on_event(c, &ev);
        used += ev.consumed;
        if (c->state != CL_ADMIN)
            return data.n;
        if (!more)
            break;
    }
    return used;
}

/* ---- life ------------------------------------------------------------------------------------ */

void console_begin(struct client *c)
{
    static const struct wire_var vars[] = {
        {STR_INIT("server_version"), STR_INIT(ADMIN_SERVER_VERSION)},
        {STR_INIT("client_encoding"), STR_INIT("UTF8")},
        {STR_INIT("server_encoding"), STR_INIT("UTF8")},
        {STR_INIT("DateStyle"), STR_INIT("ISO")},
        {STR_INIT("TimeZone"), STR_INIT("GMT")},
        {STR_INIT("standard_conforming_strings"), STR_INIT("on")},
        {STR_INIT("is_superuser"), STR_INIT("on")},
    };
    struct console *con = mem_new(sizeof(*con));
    struct wire_key key;
    list_init(&con->steps);
    map_init(&con->statements);
    map_init(&con->portals);
    c->console = con;
    cancel_make_key(c, c->login->minor, &key);
    conn_wire(&c->conn)->cl_welcome(c->wire_state, vars, (int)ARRAY_LEN(vars), &key, &c->conn.out);
    conn_dirty(&c->conn);
}

static void tell_main(const struct client *c, void (*deliver)(struct message *m, void *ctx))
{
    struct admin_reply *r = admin_reply_new();
    r->slot = c->slot;
    r->client = c->id;
    r->m.deliver = deliver;
    if (!mailbox_post(c->conn.worker->process->main_box, &r->m))
        admin_reply_free(&r);
}

void console_cancel(struct client *c)
{
    if (((struct console *)c->console)->flying)
        tell_main(c, admin_cancel);
}

void console_gone(struct client *c)
{
    struct console *con = c->console;
    c->console = NULL;
    if (c->admin_ok)
        tell_main(c, admin_client_gone);
    drop_steps(con);
    forget_all(&con->statements);
    forget_all(&con->portals);
    map_fini(&con->statements);
    map_fini(&con->portals);
    mem_free(con);
}
