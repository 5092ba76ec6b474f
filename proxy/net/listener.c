/* listener.c - the sockets that clients connect to; see listener.h.  Main thread only.
 *
 * Opening the sockets is in listener_open.c; here is their life on the loop.
 */
#include "proxy/net/listener.h"

#include "base/log.h"
#include "base/mem.h"
#include "proxy/net/listener_open.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define BURST 64 /* connections per event: the rest of the loop must have its turn */
#define REST_S 0.5

struct listener {
    struct ev_loop *loop;       /* borrowed */
    struct listener_config cfg; /* its strings are owned */
    struct listener_handler handler;
    struct listener_socket sockets[LISTENER_SOCKETS_MAX];
    int nsockets;
    ev_timer rest;
    int spare_fd; /* given up to accept and close one client when descriptors are short; -1: none */
    bool paused, resting;
};

/* ---- watchers -------------------------------------------------------------------------------- */

static void watch(struct listener *l)
{
    for (int i = 0; i < l->nsockets; i++) {
        struct listener_socket *s = &l->sockets[i];
        bool want = s->fd >= 0 && !l->paused && !l->resting;
        if (want && !ev_is_active(&s->io))
            ev_io_start(l->loop, &s->io);
        else if (!want && ev_is_active(&s->io))
            ev_io_stop(l->loop, &s->io);
    }
}

static void on_rested(struct ev_loop *loop, ev_timer *w, int revents)
{
    (void)loop;
    (void)revents;
    struct listener *l = container_of(w, struct listener, rest);
    l->resting = false;
    watch(l);
}

static int spare_open(void)
{
    return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

/* Accepts and closes what waits, with the one descriptor that was kept for it. */
static void turn_away(struct listener *l, struct listener_socket *s)
{
    for (int i = 0; i < BURST && l->spare_fd >= 0; i++) {
        close(l->spare_fd);
        int fd = accept4(s->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0)
            close(fd);
        l->spare_fd = spare_open();
        if (fd < 0)
            return;
    }
}

static void rest(struct listener *l, struct listener_socket *s, int error)
{
    LOG_LIMITED(LL_WARNING, "cannot accept a client: %s; new clients are turned away",
                strerrordesc_np(error));
    turn_away(l, s);
    l->resting = true;
    ev_timer_stop(l->loop, &l->rest);
    ev_timer_set(&l->rest, l->cfg.rest_s > 0. ? l->cfg.rest_s : REST_S, 0.);
    ev_timer_start(l->loop, &l->rest);
    watch(l);
}

static void hand_over(struct listener *l, struct listener_socket *s, int fd,
                      const struct sockaddr_storage *peer)
{
    struct sockopt_cred cred = {0, 0, 0};
    struct error err = {""};
    if (s->kind == LISTENER_UNIX) {
        if (sockopt_peer_cred(fd, &cred, &err) != ST_OK)
            LOG_LIMITED(LL_WARNING, "Unix socket client: %s", err.text);
    } else if (sockopt_tune_tcp(fd, &l->cfg.tcp, &err) != ST_OK) {
        LOG_LIMITED(LL_WARNING, "client socket: %s", err.text);
    }
    l->handler.on_accept(l->handler.arg, fd, peer, cred.pid);
}

static bool is_shortage(int error)
{
    return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM;
}

static void on_readable(struct ev_loop *loop, ev_io *w, int revents)
{
    (void)loop;
    (void)revents;
    struct listener_socket *s = container_of(w, struct listener_socket, io);
    struct listener *l = w->data;
    /* the handler may close or pause the listener: then its watcher is no longer active */
    for (int i = 0; i < BURST && ev_is_active(&s->io); i++) {
        struct sockaddr_storage peer;
        socklen_t len = sizeof(peer);
        memset(&peer, 0, sizeof(peer));
        int fd = accept4(s->fd, (struct sockaddr *)&peer, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            hand_over(l, s, fd, &peer);
            continue;
        }
        if (is_shortage(errno)) {
            rest(l, s, errno);
            return;
        }
        if (errno == EAGAIN || errno == EWOULDBLOCK)
            return;
        /* ECONNABORTED and the network errors that accept passes on concern that client only */
    }
}

/* ---- life ------------------------------------------------------------------------------------ */

static char *dup_or_null(const char *z)
{
    return z == NULL || z[0] == '\0' ? NULL : str_dup(str_of(z));
}

static void free_text(const char *z)
{
    /* ours since listener_new; const only in the view of the caller's structure */
    mem_free((void *)(uintptr_t)z);
}

/* Forgets closed sockets; only while no watcher is active, for they move. */
static void compact(struct listener *l)
{
    int n = 0;
    for (int i = 0; i < l->nsockets; i++)
        if (l->sockets[i].fd >= 0)
            l->sockets[n++] = l->sockets[i];
    l->nsockets = n;
}

static void adopt(struct listener *l)
{
    for (int i = 0; i < l->nsockets; i++) {
        struct listener_socket *s = &l->sockets[i];
        ev_io_init(&s->io, on_readable, s->fd, EV_READ);
        s->io.data = l;
    }
}

static void close_socket(struct listener *l, struct listener_socket *s)
{
    if (s->fd < 0)
        return;
    if (ev_is_active(&s->io))
        ev_io_stop(l->loop, &s->io);
    listener_open_discard(s);
}

static bool any_open(const struct listener *l, enum listener_kind kind)
{
    for (int i = 0; i < l->nsockets; i++)
        if (l->sockets[i].fd >= 0 && l->sockets[i].kind == kind)
            return true;
    return false;
}

static enum status open_kinds(struct listener *l, unsigned kinds, struct error *err)
{
    struct listener_socket fresh[LISTENER_SOCKETS_MAX];
    int n = 0;
    enum status st = ST_OK;
    if (l->cfg.given.instead)
        st = listener_open_given(&l->cfg, fresh, &n, err);
    else if ((kinds & LISTENER_TCP) != 0 && l->cfg.addrs != NULL && !any_open(l, LISTENER_TCP))
        st = listener_open_tcp(&l->cfg, fresh, &n, err);
    if (st == ST_OK && !l->cfg.given.instead && (kinds & LISTENER_UNIX) != 0 &&
        l->cfg.unix_dir != NULL && !any_open(l, LISTENER_UNIX))
        st = listener_open_unix(&l->cfg, fresh, &n, err);
    if (st == ST_OK && n > 0) {
        bool was_paused = l->paused;
        l->paused = true; /* sockets move in the array: no watcher may point at them */
        watch(l);
        compact(l);
        if (n > LISTENER_SOCKETS_MAX - l->nsockets)
            st = error_set(err, ST_LIMIT, "too many addresses to listen on");
        for (int i = 0; st == ST_OK && i < n; i++)
            l->sockets[l->nsockets++] = fresh[i];
        adopt(l);
        l->paused = was_paused;
        watch(l);
    }
    for (int i = 0; st != ST_OK && i < n; i++)
        listener_open_discard(&fresh[i]);
    return st;
}

enum status listener_new(struct ev_loop *loop, const struct listener_config *cfg,
                         struct listener_handler handler, struct listener **out, struct error *err)
{
    struct listener *l = mem_new(sizeof(*l));
    *out = NULL;
    l->loop = loop;
    l->cfg = *cfg;
    l->cfg.addrs = dup_or_null(cfg->addrs);
    l->cfg.unix_dir = dup_or_null(cfg->unix_dir);
    l->cfg.unix_group = dup_or_null(cfg->unix_group);
    l->handler = handler;
    l->spare_fd = spare_open();
    ev_timer_init(&l->rest, on_rested, REST_S, 0.);
    enum status st = open_kinds(l, LISTENER_ALL, err);
    l->cfg.given = (struct listener_given){NULL, 0, cfg->given.instead};
    if (st != ST_OK) {
        listener_free(&l);
        return st;
    }
    *out = l;
    return ST_OK;
}

void listener_free(struct listener **l)
{
    struct listener *mine = *l;
    *l = NULL;
    if (mine == NULL)
        return;
    listener_close(mine, LISTENER_ALL);
    ev_timer_stop(mine->loop, &mine->rest);
    if (mine->spare_fd >= 0)
        close(mine->spare_fd);
    free_text(mine->cfg.addrs);
    free_text(mine->cfg.unix_dir);
    free_text(mine->cfg.unix_group);
    mem_free(mine);
}

void listener_close(struct listener *l, enum listener_kind kinds)
{
    for (int i = 0; i < l->nsockets; i++)
        if (((unsigned)l->sockets[i].kind & (unsigned)kinds) != 0)
            close_socket(l, &l->sockets[i]);
}

enum status listener_reopen(struct listener *l, enum listener_kind kinds, struct error *err)
{
    return open_kinds(l, (unsigned)kinds, err);
}

int listener_fds(const struct listener *l, int *fds)
{
    int n = 0;
    for (int i = 0; i < l->nsockets; i++)
        if (l->sockets[i].fd >= 0)
            fds[n++] = l->sockets[i].fd;
    return n;
}

void listener_leave(struct listener *l)
{
    for (int i = 0; i < l->nsockets; i++)
        l->sockets[i].ino = 0;
    listener_close(l, LISTENER_ALL);
}

void listener_pause(struct listener *l)
{
    l->paused = true;
    watch(l);
}

void listener_resume(struct listener *l)
{
    l->paused = false;
    watch(l);
}

void listener_set_tcp(struct listener *l, struct sockopt_tcp tcp, int defer_accept_s)
{
    l->cfg.tcp = tcp;
    l->cfg.defer_accept_s = defer_accept_s;
    for (int i = 0; i < l->nsockets; i++)
        if (l->sockets[i].fd >= 0 && l->sockets[i].kind == LISTENER_TCP)
            listener_open_defer(l->sockets[i].fd, defer_accept_s);
}

uint16_t listener_port(const struct listener *l)
{
    char text[SOCKOPT_TEXT_MAX];
    for (int i = 0; i < l->nsockets; i++)
        if (l->sockets[i].kind == LISTENER_TCP)
            return sockopt_format((const struct sockaddr *)&l->sockets[i].addr, 0, text,
                                  sizeof(text));
    return l->cfg.port;
}

static void row_of(const struct listener_socket *s,
                   void (*row)(void *arg, const char *where, uint16_t port), void *arg)
{
    char text[sizeof(struct sockaddr_un) + 2];
    if (s->kind == LISTENER_TCP) {
        uint16_t port = sockopt_format((const struct sockaddr *)&s->addr, 0, text, sizeof(text));
        row(arg, text, port);
        return;
    }
    struct sockaddr_un un;
    memcpy(&un, &s->addr, sizeof(un));
    if (un.sun_path[0] != '\0')
        snprintf(text, sizeof(text), "%.*s", (int)sizeof(un.sun_path), un.sun_path);
    else
        snprintf(text, sizeof(text), "@%.*s", (int)sizeof(un.sun_path) - 1, un.sun_path + 1);
    row(arg, text, 0);
}

void listener_each(const struct listener *l,
                   void (*row)(void *arg, const char *where, uint16_t port), void *arg)
{
    for (int i = 0; i < l->nsockets; i++)
        if (l->sockets[i].fd >= 0)
            row_of(&l->sockets[i], row, arg);
}
