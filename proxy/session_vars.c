/* session_vars.c - settings and other session state: put in front of a request, asked for after it.
 *
 * The rule that keeps this small: PostgreSQL is the source of truth.  A request that may have
 * changed session state leaves a note on the server (asks); when the transaction is over the server
 * is asked for exactly that, and the answer becomes both the client's wish and the server's record.
 * So LOCAL, ROLLBACK, savepoints and functions need no model of our own.
 * Before a request the server's record is compared with the client's wish (two pointers); the
 * difference goes out in the same write when all of it was accepted by this database before, and is
 * waited for otherwise: a role that is refused must not let the request run under the wrong
 * identity. Called by session.c and session_reply.c.  Thread: the worker's.
 */
#include "proxy/session_begin.h"

#include "base/check.h"
#include "base/mem.h"
#include "proxy/job.h"
#include "proxy/listen.h"

/* settings changed in one prelude: any two sets differ by less */
#define DELTA_MAX (2 * VARSET_MAX)
#define ACCEPTED_MAX 10000 /* remembered pairs of a pool; then it starts anew */
#define ASK_NAMES_MAX 256  /* named in one question; more: all are asked for */
#define WAS_RESET "reset"  /* in question.names */

/* ---- before ---------------------------------------------------------------------------------- */

static struct str pair_key(const struct wire_var *v, char *dst, size_t cap)
{
    if (v->name.n + 1 + v->value.n > cap)
        return STR_NONE;
    memcpy(dst, v->name.p, v->name.n);
    dst[v->name.n] = '=';
    memcpy(dst + v->name.n + 1, v->value.p, v->value.n);
    return (struct str){dst, v->name.n + 1 + v->value.n};
}

/* Cannot fail with the rights of the user who logged in: a pair that they have set before and that
 * depends on nothing else, or a reset. What other rights have set may not be theirs to reset, but
 * such a server is tainted (session_note_asks). */
static bool sure(const struct pool *p, const struct wire_var *v)
{
    char key[1024];
    if (p->worker->wire->var_rank(v->name) != 0)
        return false;
    if (v->value.p == NULL)
        return true;
    struct str k = pair_key(v, key, sizeof(key));
    return k.p != NULL && map_get(&p->accepted, k) != NULL;
}

bool session_var_known(const struct pool *p, const struct wire_var *v)
{
    const struct wire *wire = p->worker->wire;
    return (wire->var_free != NULL && wire->var_free(v->name)) || sure(p, v);
}

static void remember_accepted(struct pool *p, const struct varset *vars)
{
    char key[1024];
    if (map_count(&p->accepted) > ACCEPTED_MAX) {
        map_fini(&p->accepted);
        map_init(&p->accepted);
    }
    for (int i = 0; i < vars->n; i++) {
        struct str k = pair_key(&vars->vars[i], key, sizeof(key));
        if (k.p != NULL && map_get(&p->accepted, k) == NULL)
            map_put(&p->accepted, k, p);
    }
}

/* Rights decide what may be set, and a change of the user takes the role away: so the identity is
 * put on again behind whatever but free text changes before it. */
static bool needs_identity(const struct wire *wire, const struct wire_var *delta, int n)
{
    for (int i = 0; i < n; i++) {
        int rank = wire->var_rank(delta[i].name);
        bool is_free = wire->var_free != NULL && wire->var_free(delta[i].name);
        if (rank == 1 || (rank == 0 && !is_free))
            return true;
    }
    return false;
}

int session_vars_delta(const struct server *s, const struct varset *want, struct wire_var *delta,
                       int max)
{
    const struct wire *wire = conn_wire(&s->conn);
    int given = varset_diff(s->vars, want, delta, max), n = given;
    if (n > max || !needs_identity(wire, delta, n))
        return n;
    for (int i = 0; i < want->n; i++) {
        bool there = wire->var_rank(want->vars[i].name) == 0;
        for (int k = 0; k < given && !there; k++)
            there = delta[k].name.p == want->vars[i].name.p;
        if (!there && n++ < max)
            delta[n - 1] = want->vars[i];
    }
    return n;
}

static enum prelude put_vars(struct client *c, struct server *s)
{
    struct wire_var delta[DELTA_MAX];
    int n = session_vars_delta(s, c->vars, delta, DELTA_MAX);
    bool wait = false;
    if (n == 0)
        return PRELUDE_NONE;
    for (int i = 0; i < n; i++)
        wait = wait || !sure(s->pool, &delta[i]);
    conn_wire(&s->conn)->sv_vars(s->wire_state, delta, n, &s->conn.out);
    struct flight *f = server_push(s, FLIGHT_VARS, c);
    f->waits = wait;
    f->ended = true;
    varset_put(&s->vars);
    s->vars = varset_get(c->vars);
    conn_dirty(&s->conn);
    return wait ? PRELUDE_WAIT : PRELUDE_GLUED;
}

static int short_limits(const struct server *s, struct wire_var *out)
{
    int n = 0;
    for (int i = 0; i < s->vars->n; i++)
        if (conn_wire(&s->conn)->var_hurries(&s->vars->vars[i]))
            out[n++] = (struct wire_var){s->vars->vars[i].name, STR_NONE};
    return n;
}

/* The reset goes out twice: the timer of the first may strike as late as in the statement behind
 * it, and that shall be nobody's. */
bool session_lift_limits(struct server *s, struct client *c, struct job *j)
{
    struct wire_var delta[VARSET_MAX];
    if (!s->vars->hurries)
        return false;
    int n = short_limits(s, delta);
    for (int i = 0; i < 2; i++)
        conn_wire(&s->conn)->sv_vars(s->wire_state, delta, n, &s->conn.out);
    server_push(s, FLIGHT_LIFT, NULL);
    struct flight *f = server_push(s, FLIGHT_LIFT, c);
    f->waits = c != NULL;
    f->job = j;
    conn_dirty(&s->conn);
    return true;
}

void session_limits_lifted(struct server *s, struct flight *f, enum server_error why)
{
    struct job *j = f->job;
    f->job = NULL;
    if (s->vars->hurries && why == SE_NONE) {
        struct wire_var delta[VARSET_MAX];
        struct varset *old = varset_get(s->vars);
        int n = short_limits(s, delta);
        for (int i = 0; i < n; i++)
            varset_change(&s->vars, delta[i].name, STR_NONE);
        varset_put(&old);
    } else if (why != SE_NONE && (s->vars->hurries || why != SE_CANCELLED)) {
        s->doubtful = true; /* whoever waits gets another server */
    }
    if (j != NULL && s->doubtful)
        job_again(j);
    else if (j != NULL)
        job_run(j, s);
}

/* The identity is always known, and stays. */
void session_forget_unlisted(struct server *s)
{
    if (s->tainted_by == 0)
        return;
    conn_wire(&s->conn)->sv_clean(s->wire_state, CLEAN_SETTINGS, &s->conn.out);
    server_push(s, FLIGHT_CLEAN, NULL);
    s->tainted_by = 0;
    struct varset *kept = varset_empty(&s->conn.worker->vars);
    for (int i = 0; i < s->vars->n; i++)
        if (conn_wire(&s->conn)->var_rank(s->vars->vars[i].name) != 0)
            varset_change(&kept, s->vars->vars[i].name, s->vars->vars[i].value);
    varset_put(&s->vars);
    s->vars = kept;
    conn_dirty(&s->conn);
}

static void put_check(struct client *c, struct server *s)
{
    struct str query = str_of(worker_options(s->conn.worker)->server_check_query);
    struct flight *f = server_push(s, FLIGHT_CHECK, c);
    if (str_eq(query, STR("<empty>")))
        conn_wire(&s->conn)->sv_ping(s->wire_state, &s->conn.out);
    else
        conn_wire(&s->conn)->sv_text(s->wire_state, OWN_QUIET, query, &s->conn.out);
    f->waits = true;
    f->ended = true;
    s->idle_since = s->conn.worker->now;
    conn_dirty(&s->conn);
}

/* Sequence values that another client has drawn must not be seen as this client's last ones. They
 * are discarded before it draws its own or may ask; what a transaction will do is not known at its
 * start. */
static bool sequences_show(const struct client *c, const struct server *s, uint32_t effects)
{
    const uint32_t any = FX_SEQ_READ | FX_SEQ_WRITE | FX_UNKNOWN | FX_BEGIN;
    return ((effects & any) != 0 || session_begun(c)) && s->seq_client != 0 &&
           s->seq_client != c->id && !c->passthrough;
}

static void hide_sequences(struct server *s)
{
    conn_wire(&s->conn)->sv_clean(s->wire_state, CLEAN_SEQUENCES, &s->conn.out);
    server_push(s, FLIGHT_CLEAN, NULL);
    s->seq_client = 0;
}

static void put_named(struct client *c, struct server *s, const struct wire_req *r,
                      const struct plan *plan)
{
    if ((plan->effects & (FX_PREPARE | FX_EXECUTE | FX_DEALLOCATE)) && plan->facts != NULL)
        session_prepare_named(c, s, plan->facts->prepared);
    for (int i = 0; i < r->nparts; i++) {
        const struct stmt *stmt = s->conn.worker->part_stmts[i];
        const struct wire_part *p = &r->parts[i];
        if (p->kind != PART_BIND && p->kind != PART_DESCRIBE)
            continue;
        if (stmt != NULL && stmt->facts != NULL &&
            (stmt->facts->effects & (FX_EXECUTE | FX_DEALLOCATE)))
            session_prepare_named(c, s, stmt->facts->prepared);
        if (stmt == NULL || stmt->text->by_text)
            session_prepare_named(c, s, p->name);
    }
}

enum prelude session_prelude(struct client *c, struct server *s, const struct wire_req *r,
                             const struct plan *plan)
{
    enum prelude p = PRELUDE_NONE;
    if (s->tx == TX_IDLE && server_needs_check(s)) {
        put_check(c, s);
        return PRELUDE_WAIT;
    }
    if (c->passthrough && s->session_begun)
        return PRELUDE_NONE;
    if (s->tx == TX_IDLE) {
        bool strange = s->tainted_by != 0 && (s->tainted_by != c->id || s->vars != c->vars);
        bool sequences = sequences_show(c, s, plan->effects);
        if ((strange || sequences || s->vars != c->vars) && session_lift_limits(s, c, NULL))
            return PRELUDE_WAIT;
        if (strange)
            session_forget_unlisted(s);
        if (sequences)
            hide_sequences(s);
        if (s->vars != c->vars)
            p = put_vars(c, s);
    }
    if (s->fl_count == 0 && c->told != s->profile)
        session_report(c, s);
    if (p == PRELUDE_WAIT)
        return p;
    if (!s->session_begun && map_count(&s->stmts.by_name) > 0)
        session_expel_names(c, s);
    s->session_begun = true;
    if (!c->passthrough)
        put_named(c, s, r, plan);
    return p;
}

/* ---- reports --------------------------------------------------------------------------------- */

void session_note_report(struct server *s, const struct wire_var *v)
{
    if (s->pool->home != NULL && conn_wire(&s->conn)->var_of_node(v->name))
        return; /* clients are not to see that they are moved between nodes */
    varset_change(&s->profile, v->name, v->value);
}

void session_report(struct client *c, struct server *s)
{
    struct wire_var delta[DELTA_MAX];
    int n = varset_diff(c->told, s->profile, delta, DELTA_MAX), m = 0;
    for (int i = 0; i < MIN(n, DELTA_MAX); i++)
        if (delta[i].value.p != NULL)
            delta[m++] = delta[i];
    if (m > 0) {
        conn_wire(&s->conn)->cl_vars(c->wire_state, delta, m, &c->conn.out);
        conn_dirty(&c->conn);
    }
    for (int i = 0; i < m; i++)
        c->dialect = conn_wire(&s->conn)->dialect(delta[i].name, delta[i].value, c->dialect);
    varset_put(&c->told);
    c->told = varset_get(s->profile);
}

/* ---- after ----------------------------------------------------------------------------------- */

static uint32_t asks_of(uint32_t effects)
{
    uint32_t asks = 0;
    if (effects & FX_UNKNOWN)
        asks |= ASK_VARS_ALL | ASK_LOCKS | ASK_TEMP | ASK_CURSORS | ASK_PREPARED | ASK_LISTEN;
    if (effects & FX_VARS_NAMED)
        asks |= ASK_VARS;
    if (effects & (FX_VARS_ALL | FX_ROLE))
        asks |= ASK_VARS_ALL;
    if (effects & FX_LOCKS)
        asks |= ASK_LOCKS;
    if (effects & FX_TEMP)
        asks |= ASK_TEMP;
    if (effects & FX_CURSOR)
        asks |= ASK_CURSORS;
    if (effects & (FX_LISTEN | FX_UNLISTEN))
        asks |= ASK_LISTEN;
    return asks;
}

/* What the database says it did and the text did not announce. */
static uint32_t surprise(uint32_t effects, uint32_t tags)
{
    uint32_t asks = 0;
    if ((tags & (WT_SET | WT_RESET)) &&
        !(effects & (FX_VARS_NAMED | FX_VARS_ALL | FX_ROLE | FX_LOCAL)))
        asks |= ASK_VARS_ALL;
    if ((tags & WT_LISTEN) && !(effects & (FX_LISTEN | FX_UNLISTEN)))
        asks |= ASK_LISTEN;
    if ((tags & (WT_PREPARE | WT_DEALLOCATE)) && !(effects & (FX_PREPARE | FX_DEALLOCATE)))
        asks |= ASK_PREPARED;
    if ((tags & WT_CODE) && !(effects & FX_UNKNOWN))
        asks |= asks_of(FX_UNKNOWN);
    return asks;
}

/* It names all that it resets. */
static bool resets_by_name(const struct flight *f)
{
    bool named = f->facts == NULL ? (f->effects & FX_VARS_NAMED) != 0
                                  : f->facts->nvars > 0 && f->facts->vars_reset;
    return named && (f->effects & (FX_VARS_ALL | FX_UNKNOWN)) == 0;
}

/* What a statement sets or resets by name. True: that does not say it all. failed: some of it may
 * have been committed before, but what was there says more. */
static bool note_vars(struct server *s, const struct facts *f, bool failed)
{
    bool fits = s->question.names->n + f->nvars <= ASK_NAMES_MAX;
    if (!fits && !failed)
        s->question.reset_seen = s->question.reset_seen || f->vars_reset;
    for (int i = 0; fits && i < f->nvars; i++) {
        if (failed && varset_find(s->question.names, f->vars[i]).p != NULL)
            continue;
        varset_change(&s->question.names, f->vars[i],
                      facts_resets(f, i) && !failed ? STR(WAS_RESET) : STR(""));
    }
    return !fits || f->nvars == 0 || f->vars_reset;
}

/* The name of a custom setting, as far as its form goes. */
static bool like_custom(struct str v)
{
    if (v.n > 128 || str_find(v, '.') <= 0)
        return false;
    for (size_t i = 0; i < v.n; i++)
        if (v.p[i] <= ' ' || v.p[i] == '\'' || v.p[i] == '"' || v.p[i] == ',')
            return false;
    return true;
}

/* Custom settings are not in the database's list: only one that is named can be asked for. */
void session_note_bound(struct server *s, const struct facts *f, const struct wire_part *bind)
{
    struct str values[16];
    if ((f->effects & (FX_VARS_NAMED | FX_VARS_ALL)) == 0)
        return;
    if (note_vars(s, f, false))
        s->question.in_full = true;
    const struct wire *wire = conn_wire(&s->conn);
    int n = wire->bind_texts == NULL ? 0 : wire->bind_texts(bind, values, 16);
    if ((f->effects & FX_VARS_ALL) == 0)
        return;
    for (int i = 0; i < n && s->question.names->n < ASK_NAMES_MAX; i++)
        if (like_custom(values[i]))
            varset_change(&s->question.names, values[i], STR(""));
}

/* What is set now may be set with more rights than those of the user who logged in: in a role that
 * is on record, or in one of this transaction. */
static bool has_other_rights(const struct server *s)
{
    for (int i = 0; i < s->vars->n; i++)
        if (conn_wire(&s->conn)->var_rank(s->vars->vars[i].name) != 0)
            return true;
    return s->question.locally;
}

/* Everything was reset, also what had been set by name before. */
static void note_reset(struct server *s)
{
    struct varset *names = varset_get(s->question.names);
    s->question.reset_seen = true;
    for (int i = 0; i < names->n; i++)
        varset_change(&s->question.names, names->vars[i].name, STR(WAS_RESET));
    varset_put(&names);
}

/* What was refused, or set with other rights and perhaps rolled back, is not on record because it
 * was named: the database lists what is set. */
static void note_settings(struct server *s, const struct flight *f, uint32_t asks, bool failed)
{
    if ((asks & ASK_VARS) && f->facts != NULL && note_vars(s, f->facts, failed))
        s->asks |= ASK_VARS_ALL;
    s->question.locally = s->question.locally || (f->effects & FX_LOCAL) != 0;
    if ((s->asks & ASK_VARS) && (failed || s->question.in_full || has_other_rights(s)))
        s->asks |= ASK_VARS_ALL;
    if ((s->asks & ASK_VARS_ALL) && f->client != NULL)
        s->tainted_by = f->client->id;
    if (s->asks == 0 && s->tx == TX_IDLE)
        s->question.locally = false;
}

void session_note_asks(struct server *s, const struct flight *f, uint32_t tags, bool failed)
{
    uint32_t asks = asks_of(f->effects) | surprise(f->effects, tags);
    /* Dropping may end what a pin is for. */
    if ((s->pins & PIN_TEMP) && ((tags & (WT_DDL | WT_DISCARD_PART)) || (f->effects & FX_DDL)))
        asks |= ASK_TEMP;
    if ((s->pins & PIN_CURSOR) && (tags & WT_CURSOR))
        asks |= ASK_CURSORS;
    if ((tags & WT_DISCARD) != 0 || ((tags & WT_RESET) && !resets_by_name(f)))
        note_reset(s);
    if (tags & WT_DISCARD) {
        session_vars_reset(s);
        if (f->client != NULL) {
            varset_put(&f->client->vars);
            f->client->vars = varset_get(f->client->startup);
        }
        /* Unless it was that and nothing else, something may have followed it. */
        s->question.reset_seen = tags != WT_DISCARD || f->facts == NULL || (f->effects & FX_MULTI);
        asks = s->question.reset_seen ? asks_of(FX_UNKNOWN) : 0;
    }
    s->asks |= asks;
    note_settings(s, f, asks, failed);
}

void session_vars_reset(struct server *s)
{
    struct varset_table *t = &s->conn.worker->vars;
    varset_put(&s->vars);
    s->vars = varset_empty(t);
    varset_put(&s->question.names);
    s->question.names = varset_empty(t);
    s->question.reset_seen = s->question.in_full = s->question.locally = false;
    s->asks = 0;
    s->pins = 0;
    s->seq_client = 0;
    s->tainted_by = 0;
}

static void set_pin(struct server *s, uint32_t pin, bool held)
{
    s->pins = held ? s->pins | pin : s->pins & ~pin;
}

/* The client came with this setting, and that it has the database's default now is what somebody
 * wanted: for what the database cannot tell, that is so while nothing was reset. */
static bool set_to_default(const struct server *s, const struct wire_answer *a)
{
    if (s->client == NULL || varset_find(s->client->startup, a->var.name).p == NULL)
        return false;
    return a->was_set || (!s->question.reset_seen &&
                          !str_eq(varset_find(s->question.names, a->var.name), STR(WAS_RESET)));
}

/* A custom setting is empty after a reset, on a server whose login did not bring it. */
static bool reset_to_nothing(const struct server *s, const struct wire_answer *a)
{
    if (s->client == NULL || a->var.value.n > 0 || str_find(a->var.name, '.') < 0 ||
        varset_find(s->client->startup, a->var.name).p == NULL)
        return false;
    struct str named = varset_find(s->question.names, a->var.name);
    return named.p == NULL ? s->question.reset_seen : str_eq(named, STR(WAS_RESET));
}

void session_ask_row(struct server *s, const struct wire_server_event *ev)
{
    struct wire_answer a;
    if (conn_wire(&s->conn)->ask_row(ev->cols, ev->ncols, &a) != ST_OK) {
        s->doubtful = true;
        return;
    }
    switch (a.about) {
    case ASK_VARS:
    case ASK_VARS_ALL:
        varset_change(&s->question.answered, a.var.name,
                      (a.is_default && !set_to_default(s, &a)) || reset_to_nothing(s, &a)
                          ? STR_NONE
                          : a.var.value);
        break;
    case ASK_LOCKS:
        set_pin(s, PIN_LOCK, a.held);
        break;
    case ASK_TEMP:
        set_pin(s, PIN_TEMP, a.held);
        break;
    case ASK_CURSORS:
        set_pin(s, PIN_CURSOR, a.held);
        break;
    case ASK_PREPARED:
        session_prepared_row(s, a.var.name, a.var.value);
        break;
    case ASK_LISTEN:
        s->pins |= PIN_LISTEN;
        listen_ask_row(s, a.var.name);
        break;
    }
}

/* What a client came with and has not overridden comes back after a RESET. */
static void keep_startup(struct client *c)
{
    for (int i = 0; i < c->startup->n; i++) {
        const struct wire_var *v = &c->startup->vars[i];
        if (varset_find(c->vars, v->name).p == NULL)
            varset_change(&c->vars, v->name, v->value);
    }
}

void session_ask_done(struct server *s, const struct flight *f, bool ok)
{
    s->question.reset_seen = s->question.locally = s->question.in_full = false;
    if (s->question.of_prepared)
        session_prepared_end(s);
    s->question.of_prepared = false;
    s->reset.unknown = false;
    s->question.tries = 0;
    varset_put(&s->question.names);
    s->question.names = varset_empty(&s->conn.worker->vars);
    if (!ok || s->doubtful) {
        s->doubtful = true;    /* its state is not known: it will not be used again, and */
        s->asks |= f->effects; /* its client cannot go on as if it were */
        varset_put(&s->question.answered);
        return;
    }
    bool full = s->question.answered->n >= VARSET_MAX - 1;
    varset_put(&s->vars);
    s->vars = s->question.answered;
    s->question.answered = NULL;
    if (full) { /* more than can be kept: what is not on record would leak */
        s->reset.due = true;
        if (s->client != NULL)
            client_fatal(s->client, C_BAD_SETTING, STR("too many settings"));
        return;
    }
    listen_ask_done(s);
    struct client *c = s->client;
    if (c == NULL)
        return;
    varset_put(&c->vars);
    c->vars = varset_get(s->vars);
    keep_startup(c);
    if (s->tainted_by == 0)
        remember_accepted(s->pool, s->vars);
}

void session_vars_accepted(struct server *s)
{
    remember_accepted(s->pool, s->vars);
}
