/* cache_link.c - see cache_link.h.
 *
 * Answers come in the order of the commands.  Each command has a slot in a ring: whose it is and
 * which of its batch.  A batch that has failed or was forgotten leaves its slots behind without
 * owner.  All batches wait equally long, so the list of them is ordered by deadline.
 */
#include "cache/cache_link.h"

#include "base/check.h"
#include "base/hash.h"
#include "base/mem.h"
#include "cache/cache_refusal.h"
#include "cache/cache_script.h"

#include <stdio.h>

#define OUT_MAX ((size_t)64 << 20) /* twice what an entry can be, and more */
#define FIRST_PAUSE(max) MAX((max) / 64, 1000)

struct cache_slot {
    struct cache_batch *batch; /* borrowed; NULL: nobody waits any more, or a greeting */
    int index;
    bool greeting, info, writes;
};

static void set_state(struct cache_link *l, enum cache_link_state to)
{
    static const uint8_t legal[] = {
        [CACHE_LINK_DOWN] = 1u << CACHE_LINK_GREETING | 1u << CACHE_LINK_DOWN,
        [CACHE_LINK_GREETING] = 1u << CACHE_LINK_UP | 1u << CACHE_LINK_DOWN,
        [CACHE_LINK_UP] = 1u << CACHE_LINK_DOWN,
    };
    CHECK((legal[l->state] >> to & 1) != 0);
    l->state = to;
}

void cache_link_init(struct cache_link *l, const struct cache_link_setup *setup)
{
    *l = (struct cache_link){.setup = setup, .state = CACHE_LINK_DOWN};
    buf_init(&l->out, OUT_MAX);
    list_init(&l->batches);
    cache_redis_scripts(&l->scripts);
}

/* ---- slots ----------------------------------------------------------------------------------- */

/* It changes something whenever it succeeds. */
static bool writes(enum cache_cmd_kind kind)
{
    switch (kind) {
    case CACHE_CMD_KEEP:
    case CACHE_CMD_BEGIN:
    case CACHE_CMD_END:
    case CACHE_CMD_RULE_BEGIN:
    case CACHE_CMD_RULE_END:
    case CACHE_CMD_RENEW:
    case CACHE_CMD_LEAVE:
    case CACHE_CMD_DROP:
        return true;
    case CACHE_CMD_CENSUS:
    case CACHE_CMD_FORGET: /* of nobody changes nothing */
    case CACHE_CMD_TIME:
    case CACHE_CMD_WORLD:
    case CACHE_CMD_MEMBERS:
    case CACHE_CMD_RULE:
    case CACHE_CMD_ENTRY:
    case CACHE_CMD_TAKE_RULE:
    case CACHE_CMD_TAKE_ENTRY:
    case CACHE_CMD_STORE:
    case CACHE_CMD_GIVE:
    case CACHE_CMD_COUNT:
        break;
    }
    return false;
}

static void push_slot(struct cache_link *l, struct cache_slot slot)
{
    if (l->n == l->cap) {
        size_t cap = MAX(2 * l->cap, (size_t)64);
        struct cache_slot *to = mem_new(cap * sizeof(*to));
        for (size_t i = 0; i < l->n; i++)
            to[i] = l->slots[(l->first + i) % l->cap];
        mem_free(l->slots);
        l->slots = to;
        l->cap = cap;
        l->first = 0;
    }
    l->slots[(l->first + l->n++) % l->cap] = slot;
}

static struct cache_slot pop_slot(struct cache_link *l)
{
    struct cache_slot slot = l->slots[l->first];
    l->first = (l->first + 1) % l->cap;
    l->n--;
    l->popped++;
    return slot;
}

static void disown(struct cache_link *l, const struct cache_batch *b)
{
    for (int i = b->got; i < b->n && l->n > 0; i++)
        l->slots[(l->first + (b->seq + (uint64_t)i - l->popped)) % l->cap].batch = NULL;
}

/* ---- batches --------------------------------------------------------------------------------- */

void cache_batch_init(struct cache_batch *b, void (*done)(struct cache_batch *b))
{
    *b = (struct cache_batch){.done = done};
    list_init(&b->node);
    buf_init(&b->values, SIZE_MAX);
}

void cache_batch_forget(struct cache_batch *b)
{
    if (b->waiting)
        disown(b->link, b);
    b->waiting = false;
    list_remove(&b->node);
}

void cache_batch_fini(struct cache_batch *b)
{
    cache_batch_forget(b);
    buf_fini(&b->values);
}

static void finish(struct cache_batch *b)
{
    list_remove(&b->node);
    b->waiting = false;
    b->done(b);
}

/* What has not been answered has failed. */
static void fail(struct cache_link *l, struct cache_batch *b)
{
    disown(l, b);
    for (int i = b->got; i < b->n; i++)
        b->answers[i] = (struct cache_answer){.state = CACHE_ANSWER_FAILED};
    l->counts.failed++;
    finish(b);
}

static bool has_room(const struct cache_link *l, int n, const struct cache_redis_where *w)
{
    return l->state == CACHE_LINK_UP && l->n + (size_t)n <= CACHE_LINK_PENDING_MAX &&
           buf_len(&l->out) + w->value.n <= OUT_MAX / 2;
}

bool cache_link_tell(struct cache_link *l, const struct cache_cmd *c,
                     const struct cache_redis_where *w)
{
    if (!has_room(l, 1, w))
        return false;
    cache_redis_command(&l->scripts, c, w, &l->out);
    push_slot(l, (struct cache_slot){.writes = writes(c->kind)});
    CHECK(!l->out.failed); /* half of it was free */
    return true;
}

bool cache_link_send(struct cache_link *l, struct cache_batch *b, int n,
                     const struct cache_redis_where *w, usec_t now)
{
    CHECK(!b->waiting && n > 0 && n <= CACHE_READ_CMDS);
    if (!has_room(l, n, w))
        return false;
    b->seq = l->popped + l->n;
    for (int i = 0; i < n; i++) {
        cache_redis_command(&l->scripts, &b->cmds[i], w, &l->out);
        push_slot(l,
                  (struct cache_slot){.batch = b, .index = i, .writes = writes(b->cmds[i].kind)});
    }
    CHECK(!l->out.failed); /* half of it was free */
    buf_reset(&b->values);
    b->link = l;
    b->n = n;
    b->got = 0;
    b->until = now + l->setup->timeout;
    b->waiting = true;
    list_push_back(&l->batches, &b->node);
    l->counts.sent++;
    return true;
}

/* The value stays with the batch, for the reader forgets it with the next reply. */
static void keep_value(struct cache_batch *b, struct cache_answer *a)
{
    if (a->value.p == NULL)
        return;
    buf_reset(&b->values); /* one of a batch has a value that counts: the last */
    buf_put_str(&b->values, a->value);
    buf_put_u8(&b->values, 0);
    a->value.p = (const char *)buf_data(&b->values);
}

static void on_answer(struct cache_link *l, const struct cache_slot *slot,
                      const struct cache_reply *reply)
{
    struct cache_batch *b = slot->batch;
    struct cache_answer a = cache_redis_answer(&b->cmds[slot->index], reply);
    keep_value(b, &a);
    b->answers[slot->index] = a;
    if (++b->got < b->n)
        return;
    l->failures = 0;
    histogram_add(&l->took, l->now - (b->until - l->setup->timeout)); /* since it was sent */
    finish(b);
}

/* ---- greeting -------------------------------------------------------------------------------- */

static void greet(struct cache_link *l, const struct str *argv, int n, bool info)
{
    cache_redis_plain(argv, n, &l->out);
    push_slot(l, (struct cache_slot){.greeting = true, .info = info});
    l->greetings++;
}

static void send_scripts(struct cache_link *l)
{
    for (int k = 0; k < CACHE_CMD_COUNT; k++) {
        const char *text = cache_script_text((enum cache_cmd_kind)k);
        if (text != NULL)
            greet(l, (struct str[]){STR("SCRIPT"), STR("LOAD"), str_of(text)}, 3, false);
    }
}

void cache_link_connected(struct cache_link *l, usec_t now)
{
    const struct cache_link_setup *s = l->setup;
    char number[16];
    set_state(l, CACHE_LINK_GREETING);
    l->counts.connects++;
    l->reader = cache_redis_reader_new(s->reply_max);
    l->greetings = 0;
    l->astray = 0;
    l->greet_until = now + s->greet_timeout;
    if (s->password.n > 0 && s->user.n > 0)
        greet(l, (struct str[]){STR("AUTH"), s->user, s->password}, 3, false);
    else if (s->password.n > 0)
        greet(l, (struct str[]){STR("AUTH"), s->password}, 2, false);
    if (s->database > 0) {
        (void)snprintf(number, sizeof(number), "%u", s->database);
        greet(l, (struct str[]){STR("SELECT"), str_of(number)}, 2, false);
    }
    send_scripts(l);
    greet(l, (struct str[]){STR("INFO"), STR("server")}, 2, true);
}

/* "run_id:..." of the answer to INFO; 0: it is not there. */
static uint64_t run_id(struct str info)
{
    while (info.n > 0) {
        struct str line = str_trim(str_cut(&info, '\n'));
        if (str_starts(line, STR("run_id:")))
            return hash_bytes(line.p, line.n, 3) | 1u;
    }
    return 0;
}

static enum status on_greeting(struct cache_link *l, const struct cache_slot *slot,
                               const struct cache_reply *reply)
{
    if (reply->type == CACHE_REPLY_ERROR) {
        (void)snprintf(l->reason, sizeof(l->reason), "refused: " STR_FMT, STR_ARG(reply->text));
        return ST_DENIED;
    }
    if (slot->info) {
        l->server = reply->type == CACHE_REPLY_TEXT ? run_id(reply->text) : 0;
        if (l->server == 0) {
            (void)snprintf(l->reason, sizeof(l->reason), "INFO does not tell a run id");
            return ST_INVALID;
        }
    }
    if (--l->greetings == 0) {
        if (l->state == CACHE_LINK_GREETING)
            set_state(l, CACHE_LINK_UP);
        if (!l->doubted)
            l->pause = 0;
    }
    return ST_OK;
}

/* ---- the connection -------------------------------------------------------------------------- */

/* Of commands; reads say nothing, a replica answers them. */
static enum status judge_server(struct cache_link *l, const struct cache_slot *slot,
                                const struct cache_reply *reply)
{
    if (reply->type == CACHE_REPLY_ERROR && cache_refusal_astray(reply->text)) {
        l->astray++;
        l->doubted = l->doubted || l->astray >= CACHE_LINK_ASTRAY;
    } else if (slot->writes && reply->type != CACHE_REPLY_ERROR) {
        l->astray = 0;
        l->doubted = false;
        l->pause = 0;
    }
    if (l->astray < CACHE_LINK_ASTRAY)
        return ST_OK;
    (void)snprintf(l->reason, sizeof(l->reason), "takes no writes: " STR_FMT, STR_ARG(reply->text));
    return ST_DENIED;
}

static enum status on_reply(struct cache_link *l, const struct cache_reply *reply)
{
    if (l->n == 0) {
        (void)snprintf(l->reason, sizeof(l->reason), "a reply that nobody asked for");
        return ST_INVALID;
    }
    struct cache_slot slot = pop_slot(l);
    if (slot.greeting)
        return on_greeting(l, &slot, reply);
    if (cache_redis_wants_script(reply) && l->greetings == 0)
        send_scripts(l); /* somebody has flushed them; this one has failed */
    l->counts.full += cache_redis_full(reply);
    l->counts.errors += reply->type == CACHE_REPLY_ERROR;
    enum status st = judge_server(l, &slot, reply);
    if (slot.batch != NULL)
        on_answer(l, &slot, reply);
    return st;
}

enum status cache_link_input(struct cache_link *l, struct str bytes, usec_t now)
{
    struct cache_reply reply;
    struct error err = {{0}};
    l->now = now;
    enum status st = cache_redis_feed(l->reader, bytes);
    if (st != ST_OK)
        (void)snprintf(l->reason, sizeof(l->reason), "a reply that is too long");
    while (st == ST_OK) {
        st = cache_redis_next(l->reader, &reply, &err);
        if (st == ST_OK)
            st = on_reply(l, &reply);
        else if (st != ST_AGAIN)
            (void)str_copy(l->reason, sizeof(l->reason), str_of(err.text));
    }
    return st == ST_AGAIN ? ST_OK : st;
}

static void fail_all(struct cache_link *l)
{
    struct list *node;
    l->popped += l->n;
    l->n = l->first = 0;
    while ((node = list_first(&l->batches)) != NULL)
        fail(l, container_of(node, struct cache_batch, node));
}

void cache_link_lost(struct cache_link *l, const char *reason, usec_t now)
{
    if (reason != NULL)
        (void)str_copy(l->reason, sizeof(l->reason), str_of(reason));
    l->counts.losses++;
    l->pause = l->pause == 0 ? FIRST_PAUSE(l->setup->pause_max)
                             : MIN(2 * l->pause, l->setup->pause_max);
    l->retry = now + l->pause;
    l->server = 0;
    l->failures = 0;
    set_state(l, CACHE_LINK_DOWN);
    cache_redis_reader_free(&l->reader);
    buf_reset(&l->out);
    fail_all(l);
}

void cache_link_fini(struct cache_link *l)
{
    l->state = CACHE_LINK_DOWN;
    fail_all(l);
    cache_redis_reader_free(&l->reader);
    buf_fini(&l->out);
    mem_free(l->slots);
}

usec_t cache_link_due(const struct cache_link *l)
{
    struct list *first = list_first(&l->batches);
    switch (l->state) {
    case CACHE_LINK_DOWN:
        return l->retry;
    case CACHE_LINK_GREETING:
        return l->greet_until;
    case CACHE_LINK_UP:
        break;
    }
    return first == NULL ? INT64_MAX : container_of(first, struct cache_batch, node)->until;
}

bool cache_link_step(struct cache_link *l, usec_t now)
{
    struct list *node;
    if (l->state == CACHE_LINK_GREETING && now >= l->greet_until) {
        (void)snprintf(l->reason, sizeof(l->reason), "no greeting in time");
        return false;
    }
    while ((node = list_first(&l->batches)) != NULL) {
        struct cache_batch *b = container_of(node, struct cache_batch, node);
        if (b->until > now)
            break;
        l->counts.late++;
        l->failures++;
        fail(l, b);
    }
    if (l->failures < CACHE_LINK_FAILURES)
        return true;
    (void)snprintf(l->reason, sizeof(l->reason), "%u answers in a row were late", l->failures);
    return false;
}
