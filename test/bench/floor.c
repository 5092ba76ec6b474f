/* floor.c - the cheapest forwarder there can be: the physical reference of `make bench`.
 *
 * usage: floor LISTEN_PORT SERVER_PORT
 *
 * Run by test/bench/bench.py only.  Every client gets a server connection of its own, bytes are
 * looked at by nobody, each readiness event costs one recv and one send, and no descriptor is ever
 * registered for writability.  What it spends per transaction is the kernel's price of passing
 * bytes through a process, so no proxy can be below it with the same number of sockets.  It is a
 * fair reference while clients and servers are about as many (64 clients); beyond that the servers'
 * own scheduling differs too much from a pool's.
 *
 * Invariants: other_end[fd] is the opposite descriptor, or -1.  One thread, blocking sends.  Not a
 * product: it trusts its peers, and a peer that does not read stops everybody.
 */
#include "base/base.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MAX_FD = 32768, MAX_EVENTS = 256, CHUNK = 65536 };

struct forwarder {
    int epoll;
    int listener;
    struct sockaddr_in server;
    int other_end[MAX_FD];
    char chunk[CHUNK];
};

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static struct sockaddr_in loopback(const char *port)
{
    struct sockaddr_in a = {.sin_family = AF_INET};
    a.sin_port = htons((uint16_t)strtoul(port, NULL, 10));
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return a;
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

static void watch(struct forwarder *f, int fd)
{
    struct epoll_event e = {.events = EPOLLIN, .data.fd = fd};
    if (epoll_ctl(f->epoll, EPOLL_CTL_ADD, fd, &e) != 0) {
        die("epoll_ctl");
    }
}

static void on_client(struct forwarder *f)
{
    int on = 1;
    int client = accept4(f->listener, NULL, NULL, SOCK_CLOEXEC);
    if (client < 0) {
        return;
    }
    int server = tcp_socket();
    if (client >= MAX_FD || connect(server, (struct sockaddr *)&f->server, sizeof f->server) != 0) {
        close(client);
        close(server);
        return;
    }
    setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    f->other_end[client] = server;
    f->other_end[server] = client;
    watch(f, client);
    watch(f, server);
}

static void hang_up(struct forwarder *f, int fd)
{
    int other = f->other_end[fd];
    f->other_end[fd] = -1;
    f->other_end[other] = -1;
    close(fd);
    close(other);
}

static void on_bytes(struct forwarder *f, int fd)
{
    int other = f->other_end[fd];
    if (other < 0) {
        return; /* closed earlier in this turn */
    }
    ssize_t n = recv(fd, f->chunk, sizeof f->chunk, MSG_DONTWAIT);
    if (n <= 0) {
        hang_up(f, fd);
        return;
    }
    for (ssize_t sent = 0; sent < n;) {
        ssize_t w = send(other, f->chunk + sent, (size_t)(n - sent), MSG_NOSIGNAL);
        if (w <= 0) {
            hang_up(f, fd);
            return;
        }
        sent += w;
    }
}

int main(int argc, char **argv)
{
    static struct forwarder f;
    if (argc != 3) {
        fprintf(stderr, "usage: floor LISTEN_PORT SERVER_PORT\n");
        return 2;
    }
    for (int i = 0; i < MAX_FD; i++) {
        f.other_end[i] = -1;
    }
    struct sockaddr_in here = loopback(argv[1]);
    f.server = loopback(argv[2]);
    f.epoll = epoll_create1(EPOLL_CLOEXEC);
    f.listener = tcp_socket();
    if (bind(f.listener, (struct sockaddr *)&here, sizeof here) != 0 ||
        listen(f.listener, 4096) != 0) {
        die("listen");
    }
    watch(&f, f.listener);
    for (;;) {
        struct epoll_event events[MAX_EVENTS];
        int n = epoll_wait(f.epoll, events, MAX_EVENTS, -1);
        for (int i = 0; i < n; i++) {
            if (events[i].data.fd == f.listener) {
                on_client(&f);
            } else {
                on_bytes(&f, events[i].data.fd);
            }
        }
    }
}
