/* toy_server.c - what a toy server hears and says; the lines are listed in toy_wire.h.
 *
 * Called through the table in toy_wire.c.  Every line that is sent leaves a `want` for each answer
 * it will get; the answers are read against that queue, so that what is the client's goes on and
 * what is ours does not.
 */
#include "test/unit/support/toy_server.h"

#include "base/mem.h"
#include "protocol/auth/secret.h"

enum want_kind { WANT_PART, WANT_QUERY, WANT_SYNC };

struct toy_server_want {
    enum want_kind kind;
    bool forward, tracked, rows;
    const char *fake; /* answer to be made up; NULL: it comes from the server */
};

struct word {
    const char *text;
    unsigned value;
};

static const struct word codes[] = {
    {"auth", SE_AUTH},
    {"nodb", SE_NO_DB},
    {"starting", SE_STARTING},
    {"shutdown", SE_SHUTDOWN},
    {"toomany", SE_TOO_MANY},
    {"readonly", SE_READ_ONLY},
    {"conflict", SE_STANDBY_CONFLICT},
    {"unknown", SE_STMT_UNKNOWN},
    {"exists", SE_STMT_EXISTS},
    {"plan", SE_PLAN_CHANGED},
    {"cancelled", SE_CANCELLED},
    {"deadlock", SE_DEADLOCK},
    {"unable", SE_UNABLE},
};

static const struct word tags[] = {
    {"set", WT_SET},         {"reset", WT_RESET},
    {"discard", WT_DISCARD}, {"deallocate", WT_DEALLOCATE},
    {"prepare", WT_PREPARE}, {"listen", WT_LISTEN},
    {"cursor", WT_CURSOR},   {"ddl", WT_DDL},
    {"write", WT_WRITE},     {"read", WT_READ},
    {"copy", WT_COPY},       {"code", WT_CODE},
    {"tx", WT_TX},           {"deallocate_all", WT_DEALLOCATE_ALL},
};

static const char *const ask_words[] = {"vars",    "all",      "locks", "temp",
                                        "cursors", "prepared", "listen"};

static unsigned look_up(const struct word *words, size_t n, struct str s, unsigned missing)
{
    for (size_t i = 0; i < n; i++)
        if (str_eq(s, str_of(words[i].text)))
            return words[i].value;
    return missing;
}

void toy_server_init(void *st)
{
    memset(st, 0, sizeof(struct toy_server));
}

void toy_server_fini(void *st)
{
    mem_free(((struct toy_server *)st)->wants);
}

/* ---- sending --------------------------------------------------------------------------------- */

static void put(struct outq *out, const char *z)
{
    outq_put_str(out, str_of(z));
}

static void want(struct toy_server *s, struct toy_server_want w)
{
    if (s->skipping && w.kind != WANT_SYNC)
        return; /* the server drops it, as everything up to the end of the request */
    s->skipping = false;
    if (s->nwants == s->cap_wants) {
        s->cap_wants = s->cap_wants == 0 ? 8 : s->cap_wants * 2;
        s->wants = mem_resize(s->wants, (size_t)s->cap_wants * sizeof(*s->wants));
    }
    s->wants[s->nwants++] = w;
}

static void want_part(struct toy_server *s, const struct wire_part *p, bool tracked)
{
    struct toy_server_want w = {WANT_PART, true, tracked, false, NULL};
    switch (p->kind) {
    case PART_QUERY:
    case PART_CALL:
        w.kind = WANT_QUERY;
        break;
    case PART_SYNC:
        w.kind = WANT_SYNC;
        break;
    case PART_FLUSH:
        return;
    case PART_PARSE:
    case PART_BIND:
    case PART_DESCRIBE:
    case PART_DESCRIBE_PORTAL:
    case PART_EXECUTE:
    case PART_CLOSE:
    case PART_CLOSE_PORTAL:
        break;
    }
    want(s, w);
}

void toy_server_parts(void *st, const struct wire_part *parts, int n, struct str raw,
                      struct outq *out)
{
    for (int i = 0; i < n; i++)
        want_part(st, &parts[i], false);
    outq_put_borrowed(out, raw.p, raw.n);
}

static void put_handle(struct outq *out, const struct wire_handle *h)
{
    size_t n = 0;
    while (n < sizeof(h->b) && h->b[n] != 0)
        n++;
    if (n == 0)
        outq_put_str(out, STR("-"));
    else
        outq_put(out, h->b, n);
}

void toy_server_part_named(void *st, const struct wire_part *p, const struct wire_handle *h,
                           struct outq *out)
{
    want_part(st, p, p->kind == PART_PARSE);
    outq_put(out, p->raw.p, 2);
    put_handle(out, h);
    if (p->text.n > 0) {
        put(out, " ");
        outq_put_str(out, p->text);
    }
    put(out, "\n");
}

void toy_server_part_tracked(void *st, const struct wire_part *p, struct outq *out)
{
    want_part(st, p, true);
    outq_put_str(out, p->raw);
}

void toy_server_part_fake(void *st, const struct wire_part *p)
{
    const char *answer = p->kind == PART_PARSE ? "parsed\n" : "closed\n";
    want(st, (struct toy_server_want){WANT_PART, true, true, false, answer});
}

void toy_server_body(void *st, struct str raw, struct outq *out)
{
    (void)st;
    outq_put_borrowed(out, raw.p, raw.n);
}

void toy_server_prepare(void *st, const struct wire_handle *h, struct str text, struct str types,
                        struct outq *out)
{
    (void)types;
    want(st, (struct toy_server_want){WANT_PART, false, true, false, NULL});
    put(out, "P ");
    put_handle(out, h);
    put(out, " ");
    outq_put_str(out, text);
    put(out, "\n");
}

void toy_server_unprepare(void *st, const struct wire_handle *h, struct outq *out)
{
    want(st, (struct toy_server_want){WANT_PART, false, true, false, NULL});
    put(out, "C ");
    put_handle(out, h);
    put(out, "\n");
}

void toy_server_sync(void *st, struct outq *out)
{
    want(st, (struct toy_server_want){WANT_SYNC, false, false, false, NULL});
    put(out, "S\n");
}

static void own(void *st, bool rows)
{
    want(st, (struct toy_server_want){WANT_QUERY, false, false, rows, NULL});
}

void toy_server_text(void *st, enum wire_own what, struct str text, struct outq *out)
{
    own(st, what == OWN_ROWS);
    put(out, "Q ");
    outq_put_str(out, text);
    put(out, "\n");
}

void toy_server_ping(void *st, struct outq *out)
{
    own(st, false);
    put(out, "ping\n");
}

void toy_server_clean(void *st, enum wire_clean depth, struct outq *out)
{
    static const char *const words[] = {[CLEAN_TX] = "tx",
                                        [CLEAN_FULL] = "full",
                                        [CLEAN_SETTINGS] = "settings",
                                        [CLEAN_SEQUENCES] = "sequences"};
    own(st, false);
    put(out, "clean ");
    put(out, words[depth]);
    put(out, "\n");
}

void toy_server_vars(void *st, const struct wire_var *delta, int n, struct outq *out)
{
    own(st, false);
    put(out, "set ");
    for (int i = 0; i < n; i++) {
        outq_put_str(out, delta[i].name);
        if (delta[i].value.p != NULL) {
            put(out, "=");
            outq_put_str(out, delta[i].value);
        }
        put(out, ";");
    }
    put(out, "\n");
}

void toy_server_ask(void *st, uint32_t asks, const struct str *names, int n, struct outq *out)
{
    own(st, true);
    put(out, "state");
    for (size_t i = 0; i < ARRAY_LEN(ask_words); i++) {
        if ((asks & (1u << i)) == 0)
            continue;
        put(out, " ");
        put(out, ask_words[i]);
    }
    for (int i = 0; i < n; i++) {
        put(out, i == 0 ? ":" : ",");
        outq_put_str(out, names[i]);
    }
    put(out, "\n");
}

void toy_server_listen(void *st, struct str channel, bool on, struct outq *out)
{
    own(st, false);
    put(out, on ? "listen " : "unlisten ");
    outq_put_str(out, channel);
    put(out, "\n");
}

void toy_server_quit(void *st, struct outq *out)
{
    (void)st;
    put(out, "bye\n");
}

int toy_server_pending(const void *st)
{
    const struct toy_server *s = st;
    int n = 0;
    for (int i = 0; i < s->nwants; i++)
        n += s->wants[i].kind != WANT_PART;
    return n;
}

/* ---- login ----------------------------------------------------------------------------------- */

void toy_server_tls_request(void *st, struct outq *out)
{
    (void)st;
    put(out, "tls\n");
}

void toy_server_open(void *st, const struct wire_target *t, struct outq *out)
{
    (void)st;
    put(out, "hello ");
    outq_put_str(out, t->user);
    put(out, " ");
    outq_put_str(out, t->database);
    for (int i = 0; i < t->nvars; i++) {
        put(out, " ");
        outq_put_str(out, t->vars[i].name);
        put(out, "=");
        outq_put_str(out, t->vars[i].value);
    }
    put(out, "\n");
}

enum auth_result toy_server_auth(void *st, const struct wire_cred *c, struct str data,
                                 struct outq *out, struct error *err)
{
    (void)st;
    if (!str_eq(data, STR("password")) || c->secret == NULL || c->secret->kind != SECRET_PLAIN) {
        (void)error_set(err, ST_DENIED, "no password for the server");
        return AUTH_FAIL;
    }
    put(out, "pass ");
    outq_put_str(out, secret_plain(c->secret));
    put(out, "\n");
    return AUTH_MORE;
}

void toy_server_raw(void *st)
{
    ((struct toy_server *)st)->phase = TOY_SV_RAW;
}

void toy_server_split(void *st)
{
    ((struct toy_server *)st)->split = true;
}

/* ---- reading --------------------------------------------------------------------------------- */

static void bad(struct wire_server_event *ev, const char *why)
{
    ev->kind = SV_BAD;
    ev->reason = why;
}

static void read_var(struct str rest, struct wire_server_event *ev)
{
    ev->kind = SV_VAR;
    ev->var.name = str_cut(&rest, ' ');
    ev->var.value = rest;
}

static void read_goodbye(struct toy_server *s, struct str rest, struct wire_server_event *ev)
{
    s->phase = TOY_SV_DEAD;
    ev->kind = SV_FATAL;
    ev->code = str_cut(&rest, ' ');
    ev->message = rest;
    ev->error = (enum server_error)look_up(codes, ARRAY_LEN(codes), ev->code, SE_OTHER);
}

static void login_line(struct toy_server *s, struct str line, struct wire_server_event *ev)
{
    struct str rest = line, word = str_cut(&rest, ' ');
    if (str_eq(word, STR("ask"))) {
        ev->kind = SV_AUTH;
        ev->data = rest;
    } else if (str_eq(word, STR("var"))) {
        read_var(rest, ev);
    } else if (str_eq(word, STR("bye"))) {
        read_goodbye(s, rest, ev);
    } else if (str_eq(word, STR("hi")) && rest.n <= WIRE_KEY_MAX) {
        ev->kind = SV_READY;
        ev->key.n = (uint16_t)rest.n;
        memcpy(ev->key.b, rest.p, rest.n);
        s->phase = TOY_SV_RUN;
    } else {
        bad(ev, "not a line of the login");
    }
}

static void pop(struct toy_server *s, int n)
{
    s->nwants -= n;
    memmove(s->wants, s->wants + n, (size_t)s->nwants * sizeof(*s->wants));
}

/* The rest of the request is not done; says whether the error is the client's to hear. */
static bool take_error(struct toy_server *s, struct str rest)
{
    struct str code = str_cut(&rest, ' ');
    if (s->error == SE_NONE) {
        s->error = (enum server_error)look_up(codes, ARRAY_LEN(codes), code, SE_OTHER);
        str_copy(s->code, sizeof(s->code), code);
        str_copy(s->text, sizeof(s->text), rest);
    }
    if (s->wants[0].kind != WANT_PART)
        return s->wants[0].forward;
    int n = 0;
    while (n < s->nwants && s->wants[n].kind == WANT_PART)
        n++;
    bool forward = n == s->nwants || s->wants[n].forward;
    s->skipping = n == s->nwants;
    pop(s, n);
    return forward;
}

static void read_done(struct toy_server *s, struct str rest, struct wire_server_event *ev)
{
    if (s->wants[0].kind == WANT_PART || rest.n != 1) {
        bad(ev, "idle marker at the wrong place");
        return;
    }
    ev->kind = SV_DONE;
    ev->tx = rest.p[0] == 'I' ? TX_IDLE : rest.p[0] == 'T' ? TX_OPEN : TX_FAILED;
    ev->error = s->error;
    ev->tags = s->tags;
    ev->rows = s->rows;
    ev->code = str_of(s->code);
    ev->message = str_of(s->text);
    s->error = SE_NONE;
    s->tags = 0;
    s->rows = 0;
    pop(s, 1);
}

static void read_row(struct str rest, struct wire_server_event *ev)
{
    ev->kind = SV_ROW;
    while (ev->ncols < WIRE_COLS_MAX) {
        bool more = str_find(rest, '|') >= 0;
        struct str col = str_cut(&rest, '|');
        ev->cols[ev->ncols++] = str_eq(col, STR("~")) ? STR_NONE : col;
        if (!more)
            return;
    }
}

/* An answer to what was sent. Returns whether it goes to the client; kind stays SV_MORE when the
 * line means nothing else. */
static bool answer_line(struct toy_server *s, struct str line, struct wire_server_event *ev)
{
    struct str rest = line, word = str_cut(&rest, ' ');
    struct toy_server_want w = s->wants[0];
    if (str_eq(word, STR("row"))) {
        s->rows++;
        if (!w.forward && w.rows)
            read_row(rest, ev);
    } else if (str_eq(word, STR("ok"))) {
        s->tags |= look_up(tags, ARRAY_LEN(tags), rest, 0);
        if (w.kind == WANT_PART)
            pop(s, 1);
    } else if (str_eq(word, STR("err"))) {
        return take_error(s, rest);
    } else if (str_eq(word, STR("up"))) {
        ev->kind = SV_UPLOAD;
    } else if (str_eq(word, STR("done"))) {
        read_done(s, rest, ev);
    } else if (w.kind == WANT_PART &&
               (str_eq(word, STR("parsed")) || str_eq(word, STR("bound")) ||
                str_eq(word, STR("described")) || str_eq(word, STR("closed")))) {
        pop(s, 1);
        if (w.tracked)
            ev->kind = SV_ACK;
    } else {
        bad(ev, "not an answer");
    }
    return w.forward;
}

/* Lines that a server may say at any time. */
static bool unasked_line(struct toy_server *s, struct str line, struct wire_server_event *ev)
{
    struct str rest = line, word = str_cut(&rest, ' ');
    if (str_eq(word, STR("var"))) {
        read_var(rest, ev);
    } else if (str_eq(word, STR("note"))) {
        ev->notice = s->nwants > 0 && s->wants[0].forward;
        ev->kind = ev->notice ? SV_SPAN : SV_NOTICE;
    } else if (str_eq(word, STR("push"))) {
        int64_t pid = 0;
        ev->kind = SV_NOTIFY;
        if (!str_to_i64(str_cut(&rest, ' '), 0, UINT32_MAX, &pid))
            bad(ev, "push without a number");
        ev->pid = (uint32_t)pid;
        ev->channel = str_cut(&rest, ' ');
        ev->payload = rest;
    } else if (str_eq(word, STR("bye"))) {
        read_goodbye(s, rest, ev);
    } else if (s->nwants == 0) {
        bad(ev, "answer without a request");
    } else {
        return false;
    }
    return true;
}

/* The first thing that is said of a request of the client's is that it failed. */
static bool is_refusal(const struct toy_server *s, struct str line)
{
    return s->split && s->wants[0].forward && s->error == SE_NONE && s->rows == 0 && s->tags == 0 &&
           str_starts(line, STR("err "));
}

/* [start, *pos): bytes to be forwarded so far. True: ev is complete. */
static bool one_line(struct toy_server *s, struct str in, size_t *start, size_t *pos,
                     struct wire_server_event *ev)
{
    struct str rest = {in.p + *pos, in.n - *pos};
    size_t n = (size_t)str_find(rest, '\n');
    struct str line = {rest.p, n};
    struct toy_server before = *s;
    if (unasked_line(s, line, ev)) {
        if (*pos > *start) { /* what came first goes out first */
            *s = before;
            memset(ev, 0, sizeof(*ev));
            ev->kind = SV_SPAN;
            return true;
        }
        bool whole = ev->kind == SV_SPAN || ev->kind == SV_NOTICE || ev->kind == SV_FATAL;
        *start = *pos + (whole ? 0 : n + 1);
        *pos += n + 1;
        return true;
    }
    bool refusal = is_refusal(s, line);
    if ((refusal || !s->wants[0].forward) && *pos > *start) {
        ev->kind = SV_SPAN;
        return true;
    }
    bool forward = answer_line(s, line, ev);
    *pos += n + 1;
    if (!forward)
        *start = *pos;
    if (refusal) {
        ev->kind = SV_SPAN;
        ev->refused = s->error;
    }
    return ev->kind != SV_MORE;
}

/* A row that is longer than the buffer goes through in pieces. */
static bool long_row(struct toy_server *s, struct str in, bool full, struct wire_server_event *ev)
{
    ptrdiff_t end = str_find(in, '\n');
    bool begins = full && end < 0 && str_starts(in, STR("row ")) && s->nwants > 0 &&
                  s->wants[0].forward;
    if (!s->mid_row && !begins)
        return false;
    s->mid_row = end < 0;
    ev->kind = SV_SPAN;
    ev->consumed = end < 0 ? in.n : (size_t)end + 1;
    ev->out = (struct str){in.p, ev->consumed};
    return true;
}

static void run_feed(struct toy_server *s, struct str in, bool full, struct wire_server_event *ev)
{
    size_t start = 0, pos = 0;
    bool ready = false;
    if (in.n > 0 && long_row(s, in, full, ev))
        return;
    while (!ready) {
        if (s->nwants > 0 && s->wants[0].fake != NULL && pos == 0) {
            ev->kind = SV_ACK;
            ev->out = str_of(s->wants[0].fake);
            pop(s, 1);
            return;
        }
        struct str rest = {in.p + pos, in.n - pos};
        bool stop = rest.n == 0 || str_find(rest, '\n') < 0 ||
                    (s->nwants > 0 && s->wants[0].fake != NULL);
        if (stop) {
            ev->kind = pos > 0 ? SV_SPAN : SV_MORE;
            break;
        }
        ready = one_line(s, in, &start, &pos, ev);
    }
    ev->consumed = pos;
    if (pos > start)
        ev->out = (struct str){in.p + start, pos - start};
}

void toy_server_feed(void *st, struct str in, bool full, struct wire_server_event *ev)
{
    struct toy_server *s = st;
    memset(ev, 0, sizeof(*ev));
    ptrdiff_t end = in.n == 0 ? -1 : str_find(in, '\n');
    switch (s->phase) {
    case TOY_SV_LOGIN:
        if (end < 0 && full)
            bad(ev, "line too long");
        if (end < 0)
            return;
        ev->consumed = (size_t)end + 1;
        login_line(s, (struct str){in.p, (size_t)end}, ev);
        return;
    case TOY_SV_RUN:
        run_feed(s, in, full, ev);
        if (full && ev->kind == SV_MORE)
            bad(ev, "line too long");
        return;
    case TOY_SV_RAW:
        ev->kind = in.n > 0 ? SV_SPAN : SV_MORE;
        ev->consumed = in.n;
        ev->out = in;
        return;
    case TOY_SV_DEAD:
        ev->consumed = in.n;
        return;
    }
}
