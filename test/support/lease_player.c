/* lease_player.c - plays a proxy: many clients that read and write through the lease protocol, with
 * a real Redis and a database made of shared memory; for test_cache_lease.py.
 *
 * usage: lease_player SOCKET FILE NAME POLICY SECONDS WRITES_PERCENT
 * FILE is shared by all players: for each row the committed version and the highest acknowledged
 * one. A read notes what was acknowledged when it began and counts as stale when it returns less.
 * A query sees what is committed when it is sent and answers some time later, so that fills race
 * with writes.  Prints counts as one line of JSON at the end.
 */
#include "base/base.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/random.h"
#include "cache/cache_link.h"
#include "cache/cache_member.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define ROWS 40
#define CLIENTS 24
#define PERIOD 100000 /* of a presence, us */
#define INTENT_MS 2000
#define LEASE_MS 500
#define TTL_MS 3000

enum what {
    C_IDLE,
    C_ASK,
    C_TAKE,
    C_QUERY, /* under a lease */
    C_STORE,
    C_DIRECT,
    W_BEGIN,
    W_HELD, /* the presence lapses */
    W_RUN,
    W_END,
    W_KEPT, /* again, before the acknowledgement */
};

struct table { /* in FILE */
    _Atomic uint32_t committed[ROWS], acked[ROWS];
};

struct counts {
    uint64_t reads, hits, fills, bypasses, writes, refused, lapses, stale;
};

struct player;

struct client {
    struct player *player;
    struct cache_batch batch;
    enum what what;
    usec_t at; /* QUERY, DIRECT, HELD, RUN, KEPT: when it goes on */
    int row;
    uint32_t floor, version;
    char name[16];
    struct buf value;
    struct cache_read read;
    struct cache_intent intent;
    int holds;
};

struct player {
    struct table *table;
    struct cache_link link;
    struct cache_member member;
    struct cache_batch member_batch;
    char names[256];
    const char *path, *name;
    enum cache_without_redis policy;
    unsigned percent;
    int fd;
    usec_t now, end;
    struct counts counts;
    struct client clients[CLIENTS];
};

static const uint8_t digest[CACHE_DIGEST_BYTES] = {1};

static struct cache_redis_where where_of(struct player *p, const struct client *c)
{
    struct cache_redis_where w = {.database = STR("db"),
                                  .rule = STR("r"),
                                  .field = STR("00112233445566aa"),
                                  .period_ms = PERIOD / 1000};
    w.member = str_of(p->name);
    w.members = str_of(p->names);
    if (c != NULL) {
        w.name = str_of(c->name);
        w.value = buf_str(&c->value);
    }
    return w;
}

static usec_t some(usec_t most)
{
    return (usec_t)(random_u64() % (uint64_t)most);
}

static uint64_t fresh(void)
{
    return random_u64() | 1u;
}

/* What was not sent has failed. */
static void send_batch(struct client *c, int n)
{
    struct player *p = c->player;
    struct cache_redis_where w = where_of(p, c);
    if (cache_link_send(&p->link, &c->batch, n, &w, p->now))
        return;
    c->batch.n = n;
    for (int i = 0; i < n; i++)
        c->batch.answers[i] = (struct cache_answer){.state = CACHE_ANSWER_FAILED};
    c->batch.done(&c->batch);
}

/* ---- reads ----------------------------------------------------------------------------------- */

static void returns(struct client *c, uint32_t version)
{
    c->player->counts.reads++;
    c->player->counts.stale += version < c->floor;
}

static void query(struct client *c, enum what what)
{
    c->version = atomic_load(&c->player->table->committed[c->row]);
    c->what = what;
    c->at = c->player->now + some(1500);
    c->player->counts.bypasses += what == C_DIRECT;
}

static void start_read(struct client *c)
{
    c->what = C_ASK;
    c->floor = atomic_load(&c->player->table->acked[c->row]);
    cache_lease_ask(&c->read, c->batch.cmds);
    send_batch(c, CACHE_READ_CMDS);
}

/* true: the entry answers the read. */
static bool use_value(struct client *c)
{
    struct cache_entry *e;
    struct error err;
    uint32_t version;
    if (cache_entry_decode(c->batch.answers[3].value, digest, 64, &e, &err) != ST_OK)
        return false;
    bool ok = cache_lease_counts(&c->read, e) && e->data.n == sizeof(version);
    if (ok) {
        memcpy(&version, e->data.p, sizeof(version));
        returns(c, version);
        c->player->counts.hits++;
        c->what = C_IDLE;
    }
    cache_entry_put(&e);
    return ok;
}

static void take(struct client *c)
{
    c->what = C_TAKE;
    cache_lease_take(&c->read, fresh(), fresh(), LEASE_MS, c->batch.cmds);
    send_batch(c, CACHE_READ_CMDS);
}

static void go_on(struct client *c, enum cache_read_next next)
{
    bool taken = c->what == C_TAKE;
    if (next == CACHE_READ_VALUE && use_value(c))
        return;
    if (next == CACHE_READ_FILL)
        query(c, C_QUERY);
    else if (next == CACHE_READ_BYPASS || taken)
        query(c, C_DIRECT);
    else
        take(c);
}

static void store(struct client *c)
{
    struct cache_entry_parts parts = {.data = {(const char *)&c->version, sizeof(c->version)},
                                      .complete = STR("done")};
    returns(c, c->version);
    memcpy(parts.digest, digest, sizeof(digest));
    cache_lease_stamp(&c->read, &parts);
    struct cache_entry *e = cache_entry_new(&parts);
    CHECK(e != NULL);
    buf_reset(&c->value);
    cache_entry_encode(e, &c->value);
    cache_entry_put(&e);
    cache_lease_store(&c->read, TTL_MS, c->batch.cmds);
    c->what = C_STORE;
    send_batch(c, 1);
}

/* ---- writes ---------------------------------------------------------------------------------- */

static void start_write(struct client *c)
{
    c->what = W_BEGIN;
    c->holds = 0;
    cache_lease_begin(&c->intent, random_u64() % 8 == 0, fresh(), fresh(), INTENT_MS,
                      c->batch.cmds);
    send_batch(c, 1);
}

static void run_write(struct client *c)
{
    c->what = W_RUN;
    c->at = c->player->now + some(1500);
}

static void end_write(struct client *c)
{
    c->what = W_END;
    cache_lease_end(&c->intent, fresh(), c->batch.cmds);
    send_batch(c, 1);
}

static void raise_to(_Atomic uint32_t *at, uint32_t v)
{
    uint32_t was = atomic_load(at);
    while (was < v && !atomic_compare_exchange_weak(at, &was, v)) {
    }
}

static void acknowledge(struct client *c)
{
    struct player *p = c->player;
    if (c->version > 0)
        raise_to(&p->table->acked[c->row], c->version);
    for (; c->holds > 0; c->holds--)
        cache_member_resume(&p->member);
    p->counts.writes += c->version > 0;
    c->what = C_IDLE;
}

static void lapse(struct client *c, enum what what)
{
    struct player *p = c->player;
    c->holds++;
    c->what = what;
    c->at = cache_member_lapse(&p->member, p->now);
    p->counts.lapses++;
}

static void begun(struct client *c)
{
    struct player *p = c->player;
    cache_lease_begun(&c->intent, &c->batch.answers[0]);
    switch (cache_lease_may_write(&c->intent, 1, p->policy, p->member.joined)) {
    case CACHE_WRITE_WAIT:
        CHECK(false);
    case CACHE_WRITE_GO:
        run_write(c);
        return;
    case CACHE_WRITE_LAPSE:
        lapse(c, W_HELD);
        return;
    case CACHE_WRITE_REFUSE:
        p->counts.refused++;
        c->version = 0;
        end_write(c);
        return;
    }
}

static void ended(struct client *c)
{
    cache_lease_ended(&c->intent, &c->batch.answers[0]);
    if (c->version > 0 &&
        cache_lease_may_ack(&c->intent, 1, c->player->policy) == CACHE_WRITE_LAPSE)
        lapse(c, W_KEPT);
    else
        acknowledge(c);
}

/* ---- steps ----------------------------------------------------------------------------------- */

static void on_done(struct cache_batch *b)
{
    struct client *c = container_of(b, struct client, batch);
    const struct cache_view *view = &c->player->member.view;
    if (c->what == C_ASK)
        go_on(c, cache_lease_asked(&c->read, view, b->answers));
    else if (c->what == C_TAKE)
        go_on(c, cache_lease_taken(&c->read, view, b->answers));
    else if (c->what == W_BEGIN)
        begun(c);
    else if (c->what == W_END)
        ended(c);
    else { /* STORE */
        c->player->counts.fills += b->answers[0].state == CACHE_ANSWER_OK && b->answers[0].a == 1;
        c->what = C_IDLE;
    }
}

/* The time of a client has come. */
static void wake(struct client *c)
{
    struct player *p = c->player;
    switch (c->what) {
    case C_IDLE:
        c->row = (int)(random_u64() % ROWS);
        (void)snprintf(c->name, sizeof(c->name), "k:%d", c->row);
        if (random_u64() % 100 < p->percent)
            start_write(c);
        else
            start_read(c);
        return;
    case C_QUERY:
        store(c);
        return;
    case C_DIRECT:
        returns(c, c->version);
        c->what = C_IDLE;
        return;
    case W_HELD:
        run_write(c);
        return;
    case W_RUN:
        c->version = atomic_fetch_add(&p->table->committed[c->row], 1) + 1;
        end_write(c);
        return;
    case W_KEPT:
        acknowledge(c);
        return;
    case C_ASK:
    case C_TAKE:
    case C_STORE:
    case W_BEGIN:
    case W_END:
        return; /* waits for Redis */
    }
}

static bool waits(const struct client *c)
{
    return c->batch.waiting;
}

static void on_member(struct cache_batch *b)
{
    struct player *p = container_of(b, struct player, member_batch);
    const struct cache_answer *a = &b->answers[0];
    if (a->state == CACHE_ANSWER_OK && a->value.p != NULL)
        (void)str_copy(p->names, sizeof(p->names), a->value);
    cache_member_answer(&p->member, a, p->now);
}

static void step_member(struct player *p)
{
    struct cache_redis_where w = where_of(p, NULL);
    if (p->link.state != CACHE_LINK_UP || p->member_batch.waiting ||
        !cache_member_step(&p->member, p->now, fresh(), &p->member_batch.cmds[0]))
        return;
    if (!cache_link_send(&p->link, &p->member_batch, 1, &w, p->now)) {
        const struct cache_answer failed = {.state = CACHE_ANSWER_FAILED};
        cache_member_answer(&p->member, &failed, p->now);
    }
}

/* ---- the socket ------------------------------------------------------------------------------ */

static void lose(struct player *p, const char *why)
{
    if (p->fd >= 0)
        (void)close(p->fd);
    p->fd = -1;
    cache_link_lost(&p->link, why, p->now);
}

static void connect_to(struct player *p)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    (void)str_copy(a.sun_path, sizeof(a.sun_path), str_of(p->path));
    p->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    CHECK(p->fd >= 0);
    if (connect(p->fd, (const struct sockaddr *)&a, sizeof(a)) != 0)
        lose(p, "cannot connect");
    else
        cache_link_connected(&p->link, p->now);
}

static void read_socket(struct player *p)
{
    static char bytes[65536];
    bool was_up = p->link.state == CACHE_LINK_UP;
    ssize_t n = recv(p->fd, bytes, sizeof(bytes), 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0 || cache_link_input(&p->link, (struct str){bytes, (size_t)n}, p->now) != ST_OK)
        lose(p, n <= 0 ? "gone" : NULL);
    else if (!was_up && p->link.state == CACHE_LINK_UP)
        cache_member_connected(&p->member, p->link.server);
}

static void write_socket(struct player *p)
{
    struct str out = buf_str(&p->link.out);
    if (p->fd < 0 || out.n == 0)
        return;
    ssize_t n = send(p->fd, out.p, out.n, MSG_NOSIGNAL);
    if (n > 0)
        buf_consume(&p->link.out, (size_t)n);
    else if (errno != EAGAIN && errno != EINTR)
        lose(p, "cannot write");
}

static void turn(struct player *p)
{
    struct pollfd f = {.fd = p->fd, .events = POLLIN};
    if (buf_len(&p->link.out) > 0)
        f.events |= POLLOUT;
    (void)poll(&f, 1, 1);
    p->now = clock_mono_us();
    if (p->fd < 0 && p->now >= cache_link_due(&p->link))
        connect_to(p);
    if (p->fd >= 0 && (f.revents & (POLLIN | POLLHUP | POLLERR)) != 0)
        read_socket(p);
    if (p->fd >= 0 && !cache_link_step(&p->link, p->now))
        lose(p, NULL);
    step_member(p);
    for (int i = 0; i < CLIENTS; i++) {
        struct client *c = &p->clients[i];
        if (!waits(c) && c->at <= p->now)
            wake(c);
    }
    write_socket(p);
}

static void open_table(struct player *p, const char *file)
{
    int fd = open(file, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    CHECK(fd >= 0 && ftruncate(fd, sizeof(struct table)) == 0);
    p->table = mmap(NULL, sizeof(struct table), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    CHECK(p->table != MAP_FAILED);
    (void)close(fd);
}

int main(int argc, char **argv)
{
    static const struct cache_link_setup setup = {
        .timeout = 20000, .greet_timeout = 500000, .pause_max = 500000, .reply_max = 65536};
    static struct player p;
    CHECK(argc == 7);
    p.path = argv[1];
    p.name = argv[3];
    CHECK(cache_lease_policy(str_of(argv[4]), &p.policy));
    p.percent = (unsigned)strtoul(argv[6], NULL, 10);
    open_table(&p, argv[2]);
    cache_link_init(&p.link, &setup);
    cache_member_init(&p.member, PERIOD, fresh(), 0);
    cache_batch_init(&p.member_batch, on_member);
    for (int i = 0; i < CLIENTS; i++) {
        p.clients[i].player = &p;
        cache_batch_init(&p.clients[i].batch, on_done);
        buf_init(&p.clients[i].value, 4096);
    }
    p.fd = -1;
    p.now = clock_mono_us();
    p.end = p.now + (usec_t)(strtod(argv[5], NULL) * USEC_PER_SEC);
    while (p.now < p.end)
        turn(&p);
    (void)printf("{\"reads\": %llu, \"hits\": %llu, \"fills\": %llu, \"bypasses\": %llu, "
                 "\"writes\": %llu, \"refused\": %llu, \"lapses\": %llu, \"stale\": %llu, "
                 "\"losses\": %llu, \"late\": %llu, \"why\": \"%s\"}\n",
                 (unsigned long long)p.counts.reads, (unsigned long long)p.counts.hits,
                 (unsigned long long)p.counts.fills, (unsigned long long)p.counts.bypasses,
                 (unsigned long long)p.counts.writes, (unsigned long long)p.counts.refused,
                 (unsigned long long)p.counts.lapses, (unsigned long long)p.counts.stale,
                 (unsigned long long)p.link.counts.losses, (unsigned long long)p.link.counts.late,
                 p.link.reason);
    return 0;
}
