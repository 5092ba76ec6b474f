/* core_rig.c - the core in one thread, with scripted clients and servers; see core_rig.h. */
#include "test/unit/support/core_rig.h"

#include "base/buf.h"
#include "base/check.h"
#include "base/log.h"
#include "base/mem.h"
#include "cache/cache_l1.h"
#include "proxy/cluster/cluster.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define SETTLE_TURNS 8
#define PATIENCE 200 /* turns until bytes that were said must have been heard */

/* ---- configuration --------------------------------------------------------------------------- */

static struct runtime *make_runtime(const struct rig *r, const char *options, const char *db)
{
    char path[64];
    struct buf b;
    struct error err = {""};
    struct config *cfg = NULL;
    struct runtime *rt = NULL;
    buf_init(&b, 65536);
    if (db != NULL && strncmp(db, "cluster=", 8) == 0)
        buf_printf(&b, "[databases]\nd = %s\n", db);
    else
        buf_printf(&b, "[databases]\nd = host=127.0.0.1 port=%d %s\n", r->port,
                   db != NULL ? db : "");
    buf_put_text(&b, "[pgbouncer]\nauth_type = any\n");
    buf_printf(&b, "server_tls_sslmode = disable\npool_mode = transaction\n%s\n",
               options != NULL ? options : "");
    int fd = memfd_create("rig.ini", 0);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, buf_data(&b), buf_len(&b)), (ssize_t)buf_len(&b));
    buf_fini(&b);
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    if (config_load(r->process.wire, path, &cfg, &err) != ST_OK ||
        runtime_new(cfg, NULL, &rt, &err) != ST_OK)
        fail_msg("%s", err.text);
    close(fd);
    return rt;
}

/* ---- life ------------------------------------------------------------------------------------ */

int rig_listen(int *port)
{
    struct sockaddr_in sin = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(sin);
    int one = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    sin.sin_port = htons((uint16_t)*port);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)), 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&sin, len), 0);
    assert_int_equal(listen(fd, 64), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&sin, &len), 0);
    *port = ntohs(sin.sin_port);
    return fd;
}

struct rig *rig_new(const struct wire *wire, unsigned nworkers, const char *options, const char *db)
{
    struct log_config quiet = {.level = LL_FATAL};
    struct error err;
    struct rig *r = mem_new(sizeof(*r));
    struct process *p = &r->process;
    assert_int_equal(log_configure(&quiet, &err), ST_OK);
    r->listen_fd = rig_listen(&r->port);
    p->wire = wire;
    p->salt = 0x1000;
    p->resolver = resolver_new(1);
    p->registry = registry_new();
    p->clusters = cluster_set_new();
    p->workers = r->workers;
    p->nworkers = nworkers;
    atomic_store(&p->shared.next_id, 1);
    r->runtime = make_runtime(r, options, db);
    p->answers = cache_l1_new((size_t)r->runtime->config->cache->opt.memory);
    atomic_store(&p->shared.newest, r->runtime);
    for (unsigned i = 0; i < nworkers; i++)
        r->workers[i] = worker_new(p, i, r->runtime);
    return r;
}

void rig_free(struct rig **rp)
{
    struct rig *r = *rp;
    struct process *p = &r->process;
    *rp = NULL;
    for (unsigned i = 0; i < p->nworkers;
         i++) { /* as main.c stops: all first, then they are freed */
        clients_close_all(r->workers[i]);
        pools_close_all(r->workers[i]);
    }
    resolver_free(&p->resolver);
    for (unsigned i = 0; i < p->nworkers; i++)
        worker_free(&r->workers[i]);
    registry_free(&p->registry);
    cache_l1_free(&p->answers);
    cluster_set_free(&p->clusters);
    runtime_put(&r->runtime);
    if (r->listen_fd >= 0)
        close(r->listen_fd);
    mem_free(r);
}

struct worker *rig_worker(struct rig *r)
{
    return r->workers[0];
}

struct pool *rig_pool(struct rig *r, unsigned worker)
{
    struct list *l = list_first(&r->workers[worker]->pool_list);
    return l == NULL ? NULL : container_of(l, struct pool, link);
}

void rig_reload_begins(struct rig *r, const char *options, const char *db)
{
    struct runtime *rt = make_runtime(r, options, db);
    atomic_store(&r->process.shared.newest, rt);
    worker_post_runtime(r->workers[0], runtime_get(rt));
    runtime_put(&r->runtime);
    r->runtime = rt;
    rig_settle(r);
}

void rig_reload_ends(struct rig *r)
{
    for (unsigned i = 1; i < r->process.nworkers; i++)
        worker_post_runtime(r->workers[i], runtime_get(r->runtime));
    rig_settle(r);
}

void rig_reload(struct rig *r, const char *options, const char *db)
{
    rig_reload_begins(r, options, db);
    rig_reload_ends(r);
}

static void add_row(struct catalog *c, const char *kind, const char *name, const char *flags)
{
    struct str cols[4] = {str_of(kind), STR("public"), str_of(name), str_of(flags)};
    assert_int_equal(catalog_add_row(c, cols, 4, NULL), ST_OK);
}

void rig_know_catalog(struct rig *r)
{
    struct catalog *c = catalog_new(1);
    add_row(c, "r", "t", "rwstp");
    add_row(c, "r", "u", "rwstp");
    add_row(c, "r", "v", "rwt");
    registry_set_catalog(r->process.registry, rig_pool(r, 0)->shared->db, c, 0);
    for (unsigned i = 0; i < r->process.nworkers; i++)
        if (rig_pool(r, i) != NULL)
            catalog_wanted(rig_pool(r, i));
}

void rig_stop_listening(struct rig *r)
{
    close(r->listen_fd);
    r->listen_fd = -1;
}

void rig_listen_again(struct rig *r)
{
    r->listen_fd = rig_listen(&r->port);
}

/* ---- turning --------------------------------------------------------------------------------- */

void rig_turn(struct rig *r)
{
    for (unsigned i = 0; i < r->process.nworkers; i++)
        ev_run(r->workers[i]->loop, EVRUN_NOWAIT);
}

void rig_settle(struct rig *r)
{
    for (int i = 0; i < SETTLE_TURNS; i++)
        rig_turn(r);
}

void rig_wait(struct rig *r, usec_t us)
{
    clock_test_advance(us);
    rig_settle(r);
}

/* Nothing arrived yet: gives the kernel a moment, but only after turning did not help. */
static void wait_for(struct rig *r, int fd, int turn)
{
    struct pollfd pfd = {.fd = fd, .events = POLLIN};
    rig_turn(r);
    if (turn > SETTLE_TURNS)
        (void)poll(&pfd, 1, 1);
}

/* ---- peers ----------------------------------------------------------------------------------- */

static void peer_init(struct peer *p, int fd)
{
    p->fd = fd;
    p->n = 0;
}

void rig_client(struct rig *r, unsigned worker, struct peer *p)
{
    int fds[2];
    struct sockaddr_storage from = {.ss_family = AF_UNIX};
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    peer_init(p, fds[1]);
    worker_post_socket(r->workers[worker], fds[0], &from, true);
    rig_settle(r);
}

void rig_accept_from(struct rig *r, int from, struct peer *p)
{
    int one = 1;
    for (int i = 0; i < PATIENCE; i++) {
        int fd = accept4(from, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
            peer_init(p, fd);
            return;
        }
        wait_for(r, from, i);
    }
    fail_msg("no connection to the database was made");
}

void rig_accept(struct rig *r, struct peer *p)
{
    rig_accept_from(r, r->listen_fd, p);
}

void rig_accepts_nothing(struct rig *r)
{
    rig_settle(r);
    int fd = accept4(r->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0)
        fail_msg("an unexpected connection to the database was made");
}

void peer_say_bytes(struct peer *p, const void *bytes, size_t n)
{
    assert_int_equal(send(p->fd, bytes, n, MSG_NOSIGNAL), (ssize_t)n);
}

void peer_say(struct peer *p, const char *text)
{
    peer_say_bytes(p, text, strlen(text));
}

/* 1: something new; 0: nothing; -1: the end. */
static int hear(struct peer *p)
{
    ssize_t n = recv(p->fd, p->got + p->n, sizeof(p->got) - p->n, MSG_DONTWAIT);
    if (n > 0)
        p->n += (size_t)n;
    return n > 0 ? 1 : n < 0 && (errno == EAGAIN || errno == EINTR) ? 0 : -1;
}

static void consume(struct peer *p, size_t n)
{
    p->n -= n;
    memmove(p->got, p->got + n, p->n);
}

void peer_hears(struct rig *r, struct peer *p, const char *text)
{
    size_t n = strlen(text);
    for (int i = 0; i < PATIENCE && p->n < n; i++) {
        if (hear(p) < 0)
            break;
        if (p->n < n)
            wait_for(r, p->fd, i);
    }
    rig_turn(r);
    (void)hear(p);
    if (p->n != n || memcmp(p->got, text, n) != 0)
        fail_msg("expected \"%s\", heard \"%.*s\"", text, (int)p->n, p->got);
    p->n = 0;
}

void peer_hears_nothing(struct rig *r, struct peer *p)
{
    rig_settle(r);
    int got = hear(p);
    if (got != 0 || p->n > 0)
        fail_msg("expected nothing, heard \"%.*s\"%s", (int)p->n, p->got,
                 got < 0 ? " and the end" : "");
}

bool peer_pending(struct peer *p)
{
    (void)hear(p);
    return p->n > 0;
}

void peer_hears_end(struct rig *r, struct peer *p)
{
    int got = 0;
    for (int i = 0; i < PATIENCE && got == 0; i++) {
        got = hear(p);
        if (got == 0)
            wait_for(r, p->fd, i);
    }
    if (got >= 0 || p->n > 0)
        fail_msg("expected the end, heard \"%.*s\"%s", (int)p->n, p->got,
                 got < 0 ? " and the end" : "");
    peer_close(p);
}

void peer_hears_until(struct rig *r, struct peer *p, const char *word, char *dst, size_t cap)
{
    for (int i = 0; i < PATIENCE; i++) {
        struct str rest = {p->got, p->n};
        while (str_find(rest, '\n') >= 0) {
            struct str line = str_cut(&rest, '\n');
            if (!str_starts(line, str_of(word)))
                continue;
            if (dst != NULL)
                str_copy(dst, cap, line);
            consume(p, (size_t)(line.p + line.n + 1 - p->got));
            return;
        }
        if (hear(p) < 0)
            break;
        wait_for(r, p->fd, i);
    }
    fail_msg("expected a line \"%s\", heard \"%.*s\"", word, (int)p->n, p->got);
}

void peer_close(struct peer *p)
{
    if (p->fd >= 0)
        close(p->fd);
    p->fd = -1;
}

/* ---- toy protocol ---------------------------------------------------------------------------- */

void rig_toy_server(struct rig *r, struct peer *s)
{
    rig_accept(r, s);
    peer_hears(r, s, "hello u d\n");
    peer_say(s, "var server_version 1\nvar zone utc\nhi key\n");
    rig_settle(r);
}

void rig_toy_client(struct rig *r, unsigned worker, struct peer *c, struct peer *s)
{
    rig_client(r, worker, c);
    peer_say(c, "hello u d\n");
    if (s != NULL)
        rig_toy_server(r, s);
    peer_hears_until(r, c, "done I", NULL, 0);
    peer_hears_nothing(r, c);
}

void rig_toy_client_with(struct rig *r, struct peer *c, struct peer *s, const char *setting)
{
    char text[128];
    rig_client(r, 0, c);
    snprintf(text, sizeof(text), "hello u d %s\n", setting);
    peer_say(c, text);
    snprintf(text, sizeof(text), "set %s;\n", setting);
    peer_hears(r, s, text);
    if (strncmp(setting, "zone=", 5) == 0) { /* the only one of them that the server reports */
        snprintf(text, sizeof(text), "var zone %s\n", setting + 5);
        peer_say(s, text);
    }
    peer_say(s, "done I\n");
    peer_hears_until(r, c, "done I", NULL, 0);
}

void rig_toy_ask(struct rig *r, struct peer *c, struct peer *s)
{
    peer_say(c, "Q select 1\n");
    peer_hears(r, s, "Q select 1\n");
    peer_say(s, "row 1\nok read\ndone I\n");
    peer_hears(r, c, "row 1\nok read\ndone I\n");
}
