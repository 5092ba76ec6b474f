/* handover.c - datagrams between a process and its successor; see handover.h. */
#include "proxy/handover.h"

#include <endian.h>
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#define HEAD 5 /* kind and number */

enum status handover_pair(int fds[2], struct error *err)
{
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) == 0)
        return ST_OK;
    return error_set(err, ST_IO, "socketpair: %s", strerrordesc_np(errno));
}

enum status handover_send(int fd, const struct handover_message *m)
{
    uint8_t bytes[HEAD + WIRE_KEY_MAX];
    uint32_t number = htobe32(m->number);
    size_t n = m->kind == HANDOVER_CANCEL ? m->key.n : 0;
    bytes[0] = m->kind;
    memcpy(bytes + 1, &number, sizeof(number));
    memcpy(bytes + HEAD, m->key.b, n);
    return send(fd, bytes, HEAD + n, MSG_NOSIGNAL) == (ssize_t)(HEAD + n) ? ST_OK : ST_IO;
}

enum status handover_receive(int fd, struct handover_message *m)
{
    uint8_t bytes[HEAD + WIRE_KEY_MAX];
    uint32_t number;
    ssize_t n;
    memset(m, 0, sizeof(*m));
    do {
        n = recv(fd, bytes, sizeof(bytes), 0);
    } while (n < 0 && errno == EINTR);
    if (n < 0)
        return errno == EAGAIN ? ST_AGAIN : ST_IO;
    if (n == 0)
        return ST_IO;
    if (n < HEAD)
        return ST_OK; /* of no known kind */
    m->kind = bytes[0];
    memcpy(&number, bytes + 1, sizeof(number));
    m->number = be32toh(number);
    if (m->kind == HANDOVER_CANCEL) {
        m->key.n = (uint16_t)(n - HEAD);
        memcpy(m->key.b, bytes + HEAD, m->key.n);
    }
    return ST_OK;
}
