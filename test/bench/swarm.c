/* swarm.c - many PostgreSQL logins for little: the login storm and the idle crowd of `make bench`.
 *
 * usage: swarm storm|logins|hold PORT USER PASSWORD DATABASE AT_ONCE SECONDS|COUNT [tls]
 *
 * Run by test/bench/bench.py only.  `storm` keeps AT_ONCE logins under way for SECONDS, each from
 * connect() to ReadyForQuery followed by a Terminate, and prints one line of JSON; `logins` is the
 * same for COUNT logins.  `hold` opens COUNT connections, AT_ONCE at a time, prints "ready", and
 * then obeys its standard input: a line "query" lets every connection run one SELECT and prints
 * "queried", the end of input ends the program.
 *
 * It must cost less than what it measures: the salted password is computed once per salt, all else
 * that a SCRAM client has to do is done, the server's signature included.  TLS handshakes are full
 * ones and certificates are not verified.
 *
 * Invariants: one thread; a connection is on the loop from connect() to close; a message is read
 * whole because none that is expected is longer than the buffer.  A refusal is counted and its
 * first text kept.
 */
#include "base/base.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MAX_EVENTS = 256, IN_SIZE = 4096, TEXT = 512, KEY = 32, SAMPLES = 4000000 };
enum { COUNTED_LIMIT = 240 /* seconds */ };
enum { SSL_REQUEST = 80877103, PROTOCOL_3 = 196608 };

enum state {
    STATE_CONNECT,
    STATE_SSL_ANSWER,
    STATE_HANDSHAKE,
    STATE_LOGIN,
    STATE_READY,
    STATE_QUERY
};

struct link {
    int fd;
    SSL *ssl; /* owned; NULL on a plain connection */
    enum state state;
    double began;
    size_t have;
    char *in;         /* owned; only while it logs in or asks */
    char *first_bare; /* owned: client-first-message-bare */
    unsigned char server_signature[KEY];
};

struct swarm {
    int epoll;
    bool storm;   /* a login is followed by its end */
    bool counted; /* `wanted` connections, not seconds */
    struct sockaddr_in to;
    const char *user, *password, *db;
    SSL_CTX *tls; /* NULL: plain */
    size_t at_once, wanted, opened, under_way, errors;
    double until, began;
    struct link **links; /* hold: all of them */
    float *samples;      /* storm: milliseconds per login */
    size_t done;
    char first_error[TEXT];
    unsigned char salt[TEXT]; /* the salt that salted belongs to */
    int salt_size, rounds;
    unsigned char salted[KEY];
};

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

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

static void put_be32(char *p, uint32_t n)
{
    n = htonl(n);
    memcpy(p, &n, sizeof n);
}

/* ---- bytes ----------------------------------------------------------------------------------- */

static void link_send(struct link *l, const char *p, size_t n)
{
    ssize_t w = l->ssl ? SSL_write(l->ssl, p, (int)n) : send(l->fd, p, n, MSG_NOSIGNAL);
    (void)w; /* a failed write shows on the reading side */
}

/* Bytes read, 0 at the end, -1 when there is nothing yet. */
static ssize_t link_read(struct link *l)
{
    size_t room = IN_SIZE - l->have;
    if (l->ssl == NULL) {
        ssize_t n = recv(l->fd, l->in + l->have, room, MSG_DONTWAIT);
        return n < 0 && errno != EAGAIN ? 0 : n;
    }
    int n = SSL_read(l->ssl, l->in + l->have, (int)room);
    if (n > 0) {
        return n;
    }
    int why = SSL_get_error(l->ssl, n);
    return why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE ? -1 : 0;
}

static void watch(struct swarm *s, struct link *l, uint32_t what, int op)
{
    struct epoll_event e = {.events = what, .data.ptr = l};
    if (epoll_ctl(s->epoll, op, l->fd, &e) != 0) {
        die("epoll_ctl");
    }
}

/* ---- the life of a connection ---------------------------------------------------------------- */

static void link_close(struct link *l)
{
    if (l->ssl) {
        SSL_free(l->ssl);
    }
    close(l->fd);
    free(l->in);
    free(l->first_bare);
    free(l);
}

static void link_open(struct swarm *s)
{
    int on = 1;
    struct link *l = calloc(1, sizeof *l);
    if (l == NULL || (l->in = malloc(IN_SIZE)) == NULL) {
        die("malloc");
    }
    l->began = now();
    l->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (l->fd < 0) {
        die("socket");
    }
    setsockopt(l->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (connect(l->fd, (struct sockaddr *)&s->to, sizeof s->to) != 0 && errno != EINPROGRESS) {
        die("connect");
    }
    watch(s, l, EPOLLOUT, EPOLL_CTL_ADD);
    s->opened++;
    s->under_way++;
}

static void open_more(struct swarm *s)
{
    while (s->under_way < s->at_once && (s->counted ? s->opened < s->wanted : now() < s->until)) {
        link_open(s);
    }
}

static void failed(struct swarm *s, struct link *l, const char *text)
{
    if (s->errors++ == 0) {
        snprintf(s->first_error, sizeof s->first_error, "%s", text);
    }
    if (!s->storm) {
        fprintf(stderr, "swarm: connection %zu: %s\n", s->done, text);
        exit(1);
    }
    s->under_way--;
    link_close(l);
    open_more(s);
}

static void logged_in(struct swarm *s, struct link *l)
{
    static const char terminate[] = {'X', 0, 0, 0, 4};
    s->under_way--;
    if (s->storm) {
        if (s->done < SAMPLES) {
            s->samples[s->done++] = (float)((now() - l->began) * 1000);
        }
        link_send(l, terminate, sizeof terminate);
        link_close(l);
    } else {
        l->state = STATE_READY;
        free(l->in);
        free(l->first_bare);
        l->in = l->first_bare = NULL;
        l->have = 0;
        s->links[s->done++] = l;
    }
    open_more(s);
}

static void send_start_up(struct swarm *s, struct link *l)
{
    char m[TEXT];
    int n = snprintf(m + 8, sizeof m - 9, "user%c%s%cdatabase%c%s%c", 0, s->user, 0, 0, s->db, 0);
    m[8 + n] = 0;
    put_be32(m, (uint32_t)(n + 9));
    put_be32(m + 4, PROTOCOL_3);
    l->state = STATE_LOGIN;
    link_send(l, m, (size_t)n + 9);
}

/* ---- SCRAM ----------------------------------------------------------------------------------- */

static void mac(const unsigned char *key, const char *text, size_t n, unsigned char *out)
{
    unsigned int size = KEY;
    if (HMAC(EVP_sha256(), key, KEY, (const unsigned char *)text, n, out, &size) == NULL) {
        die("HMAC");
    }
}

static void salt_password(struct swarm *s, const unsigned char *salt, int n, int rounds)
{
    if (n == s->salt_size && rounds == s->rounds && memcmp(salt, s->salt, (size_t)n) == 0) {
        return;
    }
    if (PKCS5_PBKDF2_HMAC(s->password, -1, salt, n, rounds, EVP_sha256(), KEY, s->salted) != 1) {
        die("PBKDF2");
    }
    memcpy(s->salt, salt, (size_t)n);
    s->salt_size = n;
    s->rounds = rounds;
}

static void send_first(struct link *l)
{
    static const char mechanism[] = "SCRAM-SHA-256";
    unsigned char raw[18];
    char nonce[32], m[TEXT], bare[64];
    RAND_bytes(raw, sizeof raw);
    EVP_EncodeBlock((unsigned char *)nonce, raw, sizeof raw);
    int n = snprintf(bare, sizeof bare, "n=,r=%s", nonce);
    l->first_bare = strdup(bare);
    size_t at = 5;
    memcpy(m + at, mechanism, sizeof mechanism);
    at += sizeof mechanism;
    put_be32(m + at, (uint32_t)n + 3);
    at += 4;
    at += (size_t)snprintf(m + at, sizeof m - at, "n,,%s", bare);
    m[0] = 'p';
    put_be32(m + 1, (uint32_t)at - 1);
    link_send(l, m, at);
}

/* Splits r=..,s=..,i=.. in place; false when it is something else. */
static bool read_challenge(char *text, char **nonce, char **salt, int *rounds)
{
    char *s = strstr(text, ",s=");
    char *i = s ? strstr(s, ",i=") : NULL;
    if (strncmp(text, "r=", 2) != 0 || i == NULL) {
        return false;
    }
    *s = *i = 0;
    *nonce = text + 2;
    *salt = s + 3;
    *rounds = (int)strtol(i + 3, NULL, 10);
    return *rounds > 0;
}

static bool answer_challenge(struct swarm *s, struct link *l, const char *challenge)
{
    char copy[TEXT], auth[4 * TEXT], last[TEXT + 16], m[2 * TEXT], proof64[64];
    unsigned char salt[TEXT], client[KEY], stored[KEY], sign[KEY], server[KEY];
    char *nonce, *salt64;
    int rounds;
    snprintf(copy, sizeof copy, "%s", challenge);
    if (l->first_bare == NULL || !read_challenge(copy, &nonce, &salt64, &rounds)) {
        return false;
    }
    int size = EVP_DecodeBlock(salt, (unsigned char *)salt64, (int)strlen(salt64));
    if (size <= 0) {
        return false;
    }
    for (size_t n = strlen(salt64); n > 0 && salt64[n - 1] == '='; n--) {
        size--;
    }
    salt_password(s, salt, size, rounds);
    snprintf(last, sizeof last, "c=biws,r=%s", nonce);
    int n = snprintf(auth, sizeof auth, "%s,%s,%s", l->first_bare, challenge, last);
    mac(s->salted, "Client Key", 10, client);
    EVP_Digest(client, KEY, stored, NULL, EVP_sha256(), NULL);
    mac(stored, auth, (size_t)n, sign);
    mac(s->salted, "Server Key", 10, server);
    mac(server, auth, (size_t)n, l->server_signature);
    for (size_t i = 0; i < KEY; i++) {
        client[i] ^= sign[i];
    }
    EVP_EncodeBlock((unsigned char *)proof64, client, KEY);
    n = snprintf(m + 5, sizeof m - 5, "%s,p=%s", last, proof64);
    m[0] = 'p';
    put_be32(m + 1, (uint32_t)n + 4);
    link_send(l, m, (size_t)n + 5);
    return true;
}

static bool verify_server(struct link *l, const char *final)
{
    char want[64];
    EVP_EncodeBlock((unsigned char *)want, l->server_signature, KEY);
    return strncmp(final, "v=", 2) == 0 && strcmp(final + 2, want) == 0;
}

/* ---- messages -------------------------------------------------------------------------------- */

static bool on_auth(struct swarm *s, struct link *l, const char *body, size_t n)
{
    char text[TEXT];
    if (n < 4 || n - 4 >= sizeof text) {
        return false;
    }
    memcpy(text, body + 4, n - 4);
    text[n - 4] = 0;
    switch (be32(body)) {
    case 0:
        return true;
    case 10:
        send_first(l);
        return true;
    case 11:
        return answer_challenge(s, l, text);
    case 12:
        return verify_server(l, text);
    }
    return false;
}

static void error_text(const char *body, size_t n, char *to, size_t max)
{
    for (size_t at = 0; at < n && body[at];) {
        if (body[at] == 'M') {
            snprintf(to, max, "%.*s", (int)(n - at - 1), body + at + 1);
            return;
        }
        at += strnlen(body + at, n - at) + 1;
    }
    snprintf(to, max, "an error without text");
}

static void queried(struct swarm *s, struct link *l)
{
    l->state = STATE_READY;
    free(l->in);
    l->in = NULL;
    l->have = 0;
    s->under_way--;
}

/* One message; false when the connection is gone (or was given back). */
static bool on_message(struct swarm *s, struct link *l, const char *m, size_t n)
{
    char text[TEXT];
    if (m[0] == 'E') {
        error_text(m + 5, n - 5, text, sizeof text);
        failed(s, l, text);
        return false;
    }
    if (m[0] == 'R' && !on_auth(s, l, m + 5, n - 5)) {
        failed(s, l, "a login step that was not expected");
        return false;
    }
    if (m[0] != 'Z') {
        return true;
    }
    if (l->state == STATE_QUERY) {
        queried(s, l);
    } else {
        logged_in(s, l);
    }
    return false;
}

static void on_data(struct swarm *s, struct link *l)
{
    for (;;) {
        ssize_t r = link_read(l);
        if (r == 0) {
            failed(s, l, "closed by the peer");
            return;
        }
        if (r < 0) {
            return;
        }
        l->have += (size_t)r;
        size_t at = 0;
        while (l->have - at >= 5 && l->have - at >= 1 + (size_t)be32(l->in + at + 1)) {
            size_t n = 1 + (size_t)be32(l->in + at + 1);
            if (!on_message(s, l, l->in + at, n)) {
                return;
            }
            at += n;
        }
        memmove(l->in, l->in + at, l->have - at);
        l->have -= at;
        if (l->ssl == NULL) {
            return;
        }
    }
}

static void handshake(struct swarm *s, struct link *l)
{
    int r = SSL_connect(l->ssl);
    if (r == 1) {
        send_start_up(s, l);
        return;
    }
    int why = SSL_get_error(l->ssl, r);
    if (why != SSL_ERROR_WANT_READ && why != SSL_ERROR_WANT_WRITE) {
        failed(s, l, "the TLS handshake failed");
    }
}

static void on_connected(struct swarm *s, struct link *l)
{
    int error = 0;
    socklen_t n = sizeof error;
    getsockopt(l->fd, SOL_SOCKET, SO_ERROR, &error, &n);
    if (error != 0) {
        failed(s, l, strerror(error));
        return;
    }
    watch(s, l, EPOLLIN, EPOLL_CTL_MOD);
    if (s->tls == NULL) {
        send_start_up(s, l);
        return;
    }
    char m[8];
    put_be32(m, sizeof m);
    put_be32(m + 4, SSL_REQUEST);
    l->state = STATE_SSL_ANSWER;
    link_send(l, m, sizeof m);
}

static void on_ssl_answer(struct swarm *s, struct link *l)
{
    char answer = 0;
    if (recv(l->fd, &answer, 1, 0) != 1 || answer != 'S') {
        failed(s, l, "no TLS");
        return;
    }
    l->ssl = SSL_new(s->tls);
    SSL_set_fd(l->ssl, l->fd);
    l->state = STATE_HANDSHAKE;
    handshake(s, l);
}

static void on_event(struct swarm *s, struct link *l)
{
    switch (l->state) {
    case STATE_CONNECT:
        on_connected(s, l);
        return;
    case STATE_SSL_ANSWER:
        on_ssl_answer(s, l);
        return;
    case STATE_HANDSHAKE:
        handshake(s, l);
        return;
    case STATE_READY:
        fprintf(stderr, "swarm: an idle connection heard something\n");
        exit(1);
    case STATE_LOGIN:
    case STATE_QUERY:
        on_data(s, l);
        return;
    }
}

static void turn(struct swarm *s)
{
    struct epoll_event events[MAX_EVENTS];
    int n = epoll_wait(s->epoll, events, MAX_EVENTS, 1000);
    for (int i = 0; i < n; i++) {
        on_event(s, events[i].data.ptr);
    }
}

/* ---- what is asked for ----------------------------------------------------------------------- */

static int by_size(const void *a, const void *b)
{
    float x = *(const float *)a;
    float y = *(const float *)b;
    return (x > y) - (x < y);
}

static void storm(struct swarm *s)
{
    s->began = now();
    s->until = s->began + (s->counted ? (double)COUNTED_LIMIT : (double)s->wanted);
    open_more(s);
    while (s->under_way > 0 && now() < s->until + 10) {
        turn(s);
    }
    double took = now() - s->began;
    struct rusage own;
    getrusage(RUSAGE_SELF, &own);
    double cpu = (double)(own.ru_utime.tv_sec + own.ru_stime.tv_sec) +
                 (double)(own.ru_utime.tv_usec + own.ru_stime.tv_usec) / 1e6;
    qsort(s->samples, s->done, sizeof *s->samples, by_size);
    double p50 = s->done ? (double)s->samples[s->done / 2] : 0;
    double p99 = s->done ? (double)s->samples[s->done * 99 / 100] : 0;
    for (char *c = s->first_error; *c; c++) {
        *c = *c == '"' || *c == '\\' || *c < ' ' ? '\'' : *c;
    }
    printf("{\"logins\": %zu, \"seconds\": %.4f, \"p50_ms\": %.3f, \"p99_ms\": %.3f, "
           "\"errors\": %zu, \"stuck\": %zu, \"cpu\": %.4f, \"error\": \"%s\"}\n",
           s->done, took, p50, p99, s->errors, s->under_way, cpu, s->first_error);
}

static void query_all(struct swarm *s)
{
    static const char select[] = {'Q', 0, 0, 0, 13, 'S', 'E', 'L', 'E', 'C', 'T', ' ', '1', 0};
    size_t next = 0;
    while (next < s->done || s->under_way > 0) {
        for (; next < s->done && s->under_way < s->at_once; next++, s->under_way++) {
            struct link *l = s->links[next];
            if ((l->in = malloc(IN_SIZE)) == NULL) {
                die("malloc");
            }
            l->state = STATE_QUERY;
            link_send(l, select, sizeof select);
        }
        turn(s);
    }
}

static void hold(struct swarm *s)
{
    char line[64];
    open_more(s);
    while (s->done < s->wanted) {
        turn(s);
    }
    printf("ready\n");
    fflush(stdout);
    while (fgets(line, sizeof line, stdin) != NULL) {
        if (strcmp(line, "query\n") == 0) {
            query_all(s);
            printf("queried\n");
            fflush(stdout);
        }
    }
}

static void usage(void)
{
    fprintf(
        stderr,
        "usage: swarm storm|logins|hold PORT USER PASSWORD DATABASE AT_ONCE SECONDS|COUNT [tls]\n");
    exit(2);
}

int main(int argc, char **argv)
{
    static struct swarm s;
    if (argc < 8 || argc > 9) {
        usage();
    }
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    s.storm = strcmp(argv[1], "hold") != 0;
    s.counted = strcmp(argv[1], "storm") != 0;
    s.to.sin_family = AF_INET;
    s.to.sin_port = htons((uint16_t)strtoul(argv[2], NULL, 10));
    s.to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    s.user = argv[3];
    s.password = argv[4];
    s.db = argv[5];
    s.at_once = strtoul(argv[6], NULL, 10);
    s.wanted = strtoul(argv[7], NULL, 10);
    s.epoll = epoll_create1(EPOLL_CLOEXEC);
    s.links = calloc(s.wanted + 1, sizeof(struct link *));
    s.samples = calloc(SAMPLES, sizeof *s.samples);
    if (s.links == NULL || s.samples == NULL || s.at_once == 0) {
        usage();
    }
    if (argc == 9) {
        s.tls = SSL_CTX_new(TLS_client_method());
        SSL_CTX_set_session_cache_mode(s.tls, SSL_SESS_CACHE_OFF);
        SSL_CTX_set_mode(s.tls, SSL_MODE_RELEASE_BUFFERS);
    }
    if (s.storm) {
        storm(&s);
    } else {
        hold(&s);
    }
    return 0;
}
