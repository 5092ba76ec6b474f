/* sockopt.h - options, addresses and peer credentials of sockets.
 *
 * Called by listener.c (accepted sockets), by the server machine (connecting) and by whoever prints
 * an address.  Keeps no state; any thread.  It opens no socket and never blocks, except
 * sockopt_user_name, which asks the system's user database.
 */
#ifndef PENSTOCK_PROXY_SOCKOPT_H
#define PENSTOCK_PROXY_SOCKOPT_H

#include "base/base.h"
#include "base/status.h"
#include "base/str.h"

#include <sys/socket.h>

#define SOCKOPT_TEXT_MAX 64 /* longest text of sockopt_format with its zero byte */

struct sockopt_tcp { /* the tcp_* keys; zero: the kernel's default */
    bool keepalive;
    int keepcnt;
    int keepidle_s, keepintvl_s;
    int user_timeout_ms;
    int buffer; /* SO_SNDBUF and SO_RCVBUF, bytes */
};

/* TCP_NODELAY always, the rest as o says. Does nothing on a Unix socket. Every option is tried; the
 * first that the kernel refuses is reported (ST_IO), and the socket is usable all the same. */
enum status sockopt_tune(int fd, const struct sockopt_tcp *o, struct error *err) ATTR_NODISCARD;
/* The same for a socket that is known to be a TCP socket. */
enum status sockopt_tune_tcp(int fd, const struct sockopt_tcp *o, struct error *err) ATTR_NODISCARD;

struct sockopt_cred { /* who was at the other end of a Unix socket when it connected */
    uint32_t uid, gid;
    int pid;
};
enum status sockopt_peer_cred(int fd, struct sockopt_cred *out, struct error *err) ATTR_NODISCARD;
/* The login name of uid. May block on a networked user database: then call it through
 * resolver_run. */
enum status sockopt_user_name(uint32_t uid, char *dst, size_t cap,
                              struct error *err) ATTR_NODISCARD;

/* "1.2.3.4", "2001:db8::1" or, for a Unix socket, "unix(pid)". Returns the port, 0 where there is
 * none. cap >= SOCKOPT_TEXT_MAX. */
uint16_t sockopt_format(const struct sockaddr *sa, int unix_pid, char *dst, size_t cap);

/* A numeric IPv4 or IPv6 address, the latter also in brackets and with a %scope. false: it is none
 * (a name, perhaps). */
bool sockopt_parse(struct str text, uint16_t port, struct sockaddr_storage *out, uint32_t *len);
/* DIR/.s.PGSQL.PORT; a DIR that begins with @ is in the abstract name space. */
enum status sockopt_unix_addr(const char *dir, uint16_t port, struct sockaddr_storage *out,
                              uint32_t *len, struct error *err) ATTR_NODISCARD;
/* Bytes of sa that count, by its family; 0 for an unknown one. */
uint32_t sockopt_len(const struct sockaddr *sa);
/* Sets the port of an IPv4 or IPv6 address; leaves others as they are. */
void sockopt_set_port(struct sockaddr_storage *ss, uint16_t port);

#endif
