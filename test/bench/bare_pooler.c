/* bare_pooler.c - a pooler without any of a pooler's duties: the second physical reference of `make
 * bench`.
 *
 * usage: bare_pooler LISTEN_PORT SERVER_PORT SERVERS USER DATABASE
 *
 * Run by test/bench/bench.py only.  SERVERS connections are opened at start (the server must trust
 * USER).  A client is let in without a question and gets the first server's greeting.  A request,
 * which is a Query or what goes up to a Sync, is sent to an idle server when it is complete, or
 * waits in line for the next one; the reply is sent on as it arrives and the server is free after
 * ReadyForQuery.  No settings, no transactions (a pinned server does not exist), no limits, no
 * timeouts, no TLS: what it spends is what N clients over M servers cost before a pooler has done
 * anything for its users.
 *
 * Named statements are faked so that pgbench -M prepared runs: all clients are taken to prepare the
 * same text under one name.  The first Parse is given to all servers, later ones are answered here.
 *
 * Invariants: a server with a client is busy and not on the idle stack; a client that waits holds
 * exactly one complete request or more in its buffer.  One thread, blocking sends.
 */
#include "base/base.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MAX_FD = 32768, MAX_SERVERS = 1024, MAX_EVENTS = 256, CHUNK = 65536, WAITERS = 32768 };
enum { CLIENT_BYTES = 4096, START_UP = 8, PROTOCOL_3 = 196608, SSL_REQUEST = 80877103 };

enum kind { KIND_NONE, KIND_NEW, KIND_CLIENT, KIND_SERVER };

struct end {
    enum kind kind;
    int with;     /* the client a server works for, the server a client has; -1 none */
    size_t have;  /* client: bytes in data; server: bytes in head */
    size_t skip;  /* server: bytes of the current message that have not arrived */
    char head[5]; /* server: the start of a header that came in two reads */
    char *data;   /* client: what could not be sent yet */
    bool waiting;
};

struct pooler {
    int epoll;
    int listener;
    struct end ends[MAX_FD];
    int servers[MAX_SERVERS];
    int idle[MAX_SERVERS];
    size_t n_servers;
    size_t n_idle;
    int waiters[WAITERS]; /* a ring; an entry whose client has gone is skipped */
    size_t first_waiter;
    size_t last_waiter;
    char greeting[4096];
    size_t greeting_size;
    char prepared[4096];
    size_t prepared_size;
    char chunk[CHUNK];
};

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static uint32_t be32(const char *p)
{
    uint32_t n;
    memcpy(&n, p, sizeof n);
    return ntohl(n);
}

static void put_all(int fd, const char *p, size_t n)
{
    while (n > 0) {
        ssize_t w = send(fd, p, n, MSG_NOSIGNAL);
        if (w <= 0) {
            return; /* the reading side will see it */
        }
        p += w;
        n -= (size_t)w;
    }
}

static void watch(struct pooler *p, int fd, enum kind kind)
{
    struct epoll_event e = {.events = EPOLLIN, .data.fd = fd};
    p->ends[fd] = (struct end){.kind = kind, .with = -1};
    if (epoll_ctl(p->epoll, EPOLL_CTL_ADD, fd, &e) != 0) {
        die("epoll_ctl");
    }
}

static int tcp_socket(void)
{
    int on = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || fd >= MAX_FD) {
        die("socket");
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    return fd;
}

static struct sockaddr_in loopback(const char *port)
{
    struct sockaddr_in a = {.sin_family = AF_INET};
    a.sin_port = htons((uint16_t)strtoul(port, NULL, 10));
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return a;
}

/* Reads up to ReadyForQuery, which is always the last message of what we asked for. */
static size_t read_reply(int fd, char *to, size_t max)
{
    size_t n = 0;
    while (n < 6 || to[n - 6] != 'Z' || be32(to + n - 5) != 5) {
        ssize_t r = recv(fd, to + n, max - n, 0);
        if (r <= 0) {
            fprintf(stderr, "bare_pooler: the server refused\n");
            exit(1);
        }
        n += (size_t)r;
    }
    return n;
}

static void open_server(struct pooler *p, struct sockaddr_in *to, const char *user, const char *db)
{
    char m[512];
    int fd = tcp_socket();
    if (connect(fd, (struct sockaddr *)to, sizeof *to) != 0) {
        die("connect");
    }
    int n = snprintf(m + START_UP, sizeof m - START_UP, "user%c%s%cdatabase%c%s%c", 0, user, 0, 0,
                     db, 0);
    uint32_t size = htonl((uint32_t)(START_UP + n + 1));
    uint32_t version = htonl(PROTOCOL_3);
    memcpy(m, &size, 4);
    memcpy(m + 4, &version, 4);
    m[START_UP + n] = 0;
    put_all(fd, m, (size_t)(START_UP + n + 1));
    p->greeting_size = read_reply(fd, p->greeting, sizeof p->greeting);
    watch(p, fd, KIND_SERVER);
    p->servers[p->n_servers++] = fd;
    p->idle[p->n_idle++] = fd;
}

static void drop_client(struct pooler *p, int fd)
{
    struct end *c = &p->ends[fd];
    if (c->with >= 0) {
        p->ends[c->with].with = -1; /* its reply is thrown away */
    }
    free(c->data);
    *c = (struct end){.kind = KIND_NONE, .with = -1};
    close(fd);
}

/* Length of the whole request at the head of n bytes, 0 when there is none; -1: the client
 * leaves. */
static ssize_t whole_request(const char *d, size_t n)
{
    size_t at = 0;
    while (n - at >= 5) {
        size_t size = 1 + (size_t)be32(d + at + 1);
        if (d[at] == 'X') {
            return -1;
        }
        if (n - at < size) {
            return 0;
        }
        at += size;
        if (d[at - size] == 'Q' || d[at - size] == 'S') {
            return (ssize_t)at;
        }
    }
    return 0;
}

/* A Parse with a name: known texts are answered here, the first one is given to all servers. */
static void prepare(struct pooler *p, int client, const char *d, size_t n)
{
    static const char done[] = {'1', 0, 0, 0, 4, 'Z', 0, 0, 0, 5, 'I'};
    if (p->prepared_size != n || memcmp(p->prepared, d, n) != 0) {
        if (p->n_idle != p->n_servers || n > sizeof p->prepared || p->prepared_size != 0) {
            fprintf(stderr, "bare_pooler: only one statement, prepared before all work\n");
            exit(1);
        }
        memcpy(p->prepared, d, n);
        p->prepared_size = n;
        for (size_t i = 0; i < p->n_servers; i++) {
            put_all(p->servers[i], d, n);
            read_reply(p->servers[i], p->chunk, sizeof p->chunk);
        }
    }
    put_all(client, done, sizeof done);
}

static void keep(struct end *c, const char *d, size_t n)
{
    if (c->data == NULL) {
        c->data = malloc(CLIENT_BYTES);
    }
    if (c->data == NULL || c->have + n > CLIENT_BYTES) {
        fprintf(stderr, "bare_pooler: a request is too long\n");
        exit(1);
    }
    memmove(c->data + c->have, d, n);
    c->have += n;
}

static void send_request(struct pooler *p, int client, const char *d, size_t n)
{
    int server = p->idle[--p->n_idle];
    p->ends[server].with = client;
    p->ends[client].with = server;
    put_all(server, d, n);
}

/* n bytes of a client: sent on when they are a request and a server is free, kept otherwise. */
static void on_request(struct pooler *p, int fd, const char *d, size_t n)
{
    struct end *c = &p->ends[fd];
    ssize_t size = whole_request(d, n);
    if (size < 0) {
        drop_client(p, fd);
        return;
    }
    if (size > 0 && d[0] == 'P' && d[5] != 0 && c->with < 0) {
        char copy[CLIENT_BYTES];
        size_t parse = n < sizeof copy ? n : 0;
        memcpy(copy, d, parse);
        c->have = 0;
        prepare(p, fd, copy, parse);
        return;
    }
    if (size > 0 && c->with < 0 && p->n_idle > 0) {
        c->have = 0;
        send_request(p, fd, d, (size_t)size);
        if (n > (size_t)size) {
            keep(c, d + size, n - (size_t)size);
        }
        return;
    }
    if (d != c->data) {
        keep(c, d, n);
    }
    if (size > 0 && !c->waiting) {
        c->waiting = true;
        p->waiters[p->last_waiter++ % WAITERS] = fd;
    }
}

static void on_start_up(struct pooler *p, int fd, const char *d, size_t n)
{
    if (n >= START_UP && be32(d + 4) == SSL_REQUEST) {
        put_all(fd, "N", 1);
        return;
    }
    p->ends[fd].kind = KIND_CLIENT;
    put_all(fd, p->greeting, p->greeting_size);
}

/* Walks over n bytes of a reply; true when its last message is there. */
static bool reply_ends(struct end *s, const char *d, size_t n)
{
    bool done = false;
    for (size_t at = 0; at < n;) {
        if (s->skip > 0) {
            size_t step = s->skip < n - at ? s->skip : n - at;
            s->skip -= step;
            at += step;
            continue;
        }
        size_t part = 5 - s->have < n - at ? 5 - s->have : n - at;
        memcpy(s->head + s->have, d + at, part);
        s->have += part;
        at += part;
        if (s->have == 5) {
            s->have = 0;
            s->skip = be32(s->head + 1) - 4;
            done = s->head[0] == 'Z';
        }
    }
    return done && s->skip == 0 && s->have == 0;
}

static void next_waiter(struct pooler *p)
{
    while (p->first_waiter < p->last_waiter && p->n_idle > 0) {
        int fd = p->waiters[p->first_waiter++ % WAITERS];
        struct end *c = &p->ends[fd];
        if (c->kind == KIND_CLIENT && c->waiting) {
            c->waiting = false;
            size_t n = c->have;
            on_request(p, fd, c->data, n);
        }
    }
}

static void on_reply(struct pooler *p, int fd, const char *d, size_t n)
{
    struct end *s = &p->ends[fd];
    int client = s->with;
    if (client >= 0) {
        put_all(client, d, n);
    }
    if (reply_ends(s, d, n)) {
        s->with = -1;
        if (client >= 0) {
            p->ends[client].with = -1;
        }
        p->idle[p->n_idle++] = fd;
        next_waiter(p);
    }
}

static void on_client(struct pooler *p)
{
    int on = 1;
    int fd = accept4(p->listener, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0) {
        return;
    }
    if (fd >= MAX_FD) {
        close(fd);
        return;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    watch(p, fd, KIND_NEW);
}

static void on_bytes(struct pooler *p, int fd)
{
    struct end *e = &p->ends[fd];
    if (e->kind == KIND_NONE) {
        return;
    }
    ssize_t n = recv(fd, p->chunk, sizeof p->chunk, MSG_DONTWAIT);
    if (n <= 0 && e->kind == KIND_SERVER) {
        fprintf(stderr, "bare_pooler: a server is gone\n");
        exit(1);
    }
    if (n <= 0) {
        drop_client(p, fd);
    } else if (e->kind == KIND_SERVER) {
        on_reply(p, fd, p->chunk, (size_t)n);
    } else if (e->kind == KIND_NEW) {
        on_start_up(p, fd, p->chunk, (size_t)n);
    } else if (e->have > 0) {
        keep(e, p->chunk, (size_t)n);
        on_request(p, fd, e->data, e->have);
    } else {
        on_request(p, fd, p->chunk, (size_t)n);
    }
}

int main(int argc, char **argv)
{
    static struct pooler p;
    if (argc != 6) {
        fprintf(stderr, "usage: bare_pooler LISTEN_PORT SERVER_PORT SERVERS USER DATABASE\n");
        return 2;
    }
    struct sockaddr_in here = loopback(argv[1]);
    struct sockaddr_in server = loopback(argv[2]);
    size_t servers = strtoul(argv[3], NULL, 10);
    p.epoll = epoll_create1(EPOLL_CLOEXEC);
    for (size_t i = 0; i < servers && i < MAX_SERVERS; i++) {
        open_server(&p, &server, argv[4], argv[5]);
    }
    p.listener = tcp_socket();
    if (bind(p.listener, (struct sockaddr *)&here, sizeof here) != 0 ||
        listen(p.listener, 4096) != 0) {
        die("listen");
    }
    watch(&p, p.listener, KIND_NONE);
    for (;;) {
        struct epoll_event events[MAX_EVENTS];
        int n = epoll_wait(p.epoll, events, MAX_EVENTS, -1);
        for (int i = 0; i < n; i++) {
            if (events[i].data.fd == p.listener) {
                on_client(&p);
            } else {
                on_bytes(&p, events[i].data.fd);
            }
        }
    }
}
