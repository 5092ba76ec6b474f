/* responder.c - the cheapest answer there can be: the physical reference of a hit in the cache.
 *
 * usage: responder LISTEN_PORT
 *
 * Run by test/bench/caching.py only.  It uses the same event loop as the product (libev), lets
 * everybody in, and answers each request with the same one row, whatever was asked: one recv and
 * one send for each readiness event, a look at the type and length of each message and nothing
 * else.  What it spends per request is the kernel's and the loop's price of an answer, so no cache
 * in a process can be below it with the same number of sockets.
 *
 * One thread.  Not a product: it trusts its peers, and a message longer than its buffer ends the
 * connection.
 */
#include "base/base.h"

#include <arpa/inet.h>
#include <ev.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CHUNK = 16384, OUT = 65536 };

struct link {
    ev_io io; /* first */
    bool welcome;
    size_t have;
    char in[CHUNK];
};

/* An answer's messages: lengths count themselves. */
static const char login[] = "R\0\0\0\10\0\0\0\0"
                            "S\0\0\0\31client_encoding\0UTF8\0"
                            "K\0\0\0\14\0\0\0\1\0\0\0\1"
                            "Z\0\0\0\5I";
static const char columns[] = "T\0\0\0\40\0\1balance\0\0\0\0\0\0\0\0\0\0\24\0\10\377\377\377\377\0";
static const char row[] = "D\0\0\0\16\0\1\0\0\0\4"
                          "4200";
static const char complete[] = "C\0\0\0\15SELECT 1";
static const char idle[] = "Z\0\0\0\5I";
static const char parsed[] = "1\0\0\0\4";
static const char bound[] = "2\0\0\0\4";

#define PUT(to, m, n) (memcpy(to, m, n), (to) + (n))
/* The terminating zero of the literal belongs to the message, or not. */
#define PUT_ALL(to, m) PUT(to, m, sizeof(m))
#define PUT_BARE(to, m) PUT(to, m, sizeof(m) - 1)

static void hang_up(struct ev_loop *loop, struct link *l)
{
    ev_io_stop(loop, &l->io);
    close(l->io.fd);
    free(l);
}

static char *answer(char *to, char kind)
{
    switch (kind) {
    case 'Q':
        to = PUT_ALL(to, columns);
        to = PUT_BARE(to, row);
        to = PUT_ALL(to, complete);
        return PUT_BARE(to, idle);
    case 'P':
        return PUT_BARE(to, parsed);
    case 'B':
        return PUT_BARE(to, bound);
    case 'D':
        return PUT_ALL(to, columns);
    case 'E':
        to = PUT_BARE(to, row);
        return PUT_ALL(to, complete);
    case 'S':
        return PUT_BARE(to, idle);
    default:
        return to;
    }
}

static void on_bytes(struct ev_loop *loop, ev_io *io, int revents)
{
    struct link *l = (struct link *)io;
    char out[OUT];
    char *to = out;
    size_t at = 0;
    (void)revents;
    ssize_t n = recv(io->fd, l->in + l->have, sizeof l->in - l->have, MSG_DONTWAIT);
    if (n <= 0) {
        hang_up(loop, l);
        return;
    }
    l->have += (size_t)n;
    for (;;) {
        size_t head = l->welcome ? 1 : 0; /* the first message has no type */
        uint32_t size;
        if (l->have - at < head + 4) {
            break;
        }
        memcpy(&size, l->in + at + head, 4);
        size = ntohl(size);
        if (l->have - at < head + size || to > out + OUT - 256) {
            break;
        }
        to = l->welcome ? answer(to, l->in[at]) : PUT_BARE(to, login);
        l->welcome = true;
        at += head + size;
    }
    l->have -= at;
    memmove(l->in, l->in + at, l->have);
    if ((to > out && send(io->fd, out, (size_t)(to - out), MSG_NOSIGNAL) != to - out) ||
        l->have == sizeof l->in) {
        hang_up(loop, l);
    }
}

static void on_client(struct ev_loop *loop, ev_io *io, int revents)
{
    int on = 1;
    (void)revents;
    int fd = accept4(io->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) {
        return;
    }
    struct link *l = calloc(1, sizeof *l);
    if (l == NULL) {
        close(fd);
        return;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    ev_io_init(&l->io, on_bytes, fd, EV_READ);
    ev_io_start(loop, &l->io);
}

int main(int argc, char **argv)
{
    struct sockaddr_in here = {.sin_family = AF_INET};
    struct ev_loop *loop = ev_default_loop(0);
    ev_io listener;
    int on = 1;
    if (argc != 2) {
        fprintf(stderr, "usage: responder LISTEN_PORT\n");
        return 2;
    }
    here.sin_port = htons((uint16_t)strtoul(argv[1], NULL, 10));
    here.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (fd < 0 || bind(fd, (struct sockaddr *)&here, sizeof here) != 0 || listen(fd, 4096) != 0) {
        perror("listen");
        return 1;
    }
    ev_io_init(&listener, on_client, fd, EV_READ);
    ev_io_start(loop, &listener);
    ev_run(loop, 0);
    return 0;
}
