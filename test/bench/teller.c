/* teller.c - clients that ask for balances and now and then change one: the load of the cache's
 * bench.
 *
 * usage: teller PORT USER DATABASE CLIENTS WARM SECONDS KEYS SKEW WRITES MODE READ WRITE
 *
 * Run by test/bench/caching.py only.  CLIENTS connections with one request under way each, from one
 * thread that looks at nothing of an answer but its frames, so that it costs less than what it
 * measures.  The key of a request is 1 to KEYS: the n-th is asked for n^SKEW times less often than
 * the first (0: all alike); SKEW "sweep:N" reads N times, the keys in their order over and over,
 * and ends.  WRITES of 100 requests are WRITE.  Both texts have $1 where the key belongs.  MODE is
 * simple, extended (Parse, Bind, Execute, Sync) or prepared (named once).  Logins must be trusted.
 *
 * Prints "begin" when WARM seconds after the last login are over, then what happened in SECONDS:
 * {"reads": n, "writes": n, "errors": n, "seconds": s, "cpu": s, "p50": ms, "p95": ms, "p99": ms,
 * "p999": ms, "max": ms} with times of reads.
 */
#include "base/base.h"

#include <arpa/inet.h>
#include <errno.h>
#include <math.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MAX_EVENTS = 256, CHUNK = 65536, TEXT = 1024, LATENCIES = 2000000 };
enum mode { MODE_SIMPLE, MODE_EXTENDED, MODE_PREPARED };
enum state { STATE_LOGIN, STATE_PREPARE, STATE_READY };

struct link {
    int fd;
    enum state state;
    unsigned char head[5];
    int nhead;
    size_t skip; /* of the present message's body */
    bool write;
    double sent;
};

struct teller {
    int epoll;
    enum mode mode;
    bool sweep, counting;
    unsigned keys, total, next, idle;
    unsigned clients, here;
    double writes, warm, seconds, began, until;
    const char *read, *write;
    double *sum; /* of the weights of keys 1 to i + 1 */
    uint64_t random;
    uint64_t reads, written, errors;
    uint32_t *latency; /* by microseconds */
    char chunk[CHUNK];
};

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double cpu(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

/* ---- what is asked --------------------------------------------------------------------------- */

static double fraction(struct teller *t)
{
    t->random ^= t->random << 13;
    t->random ^= t->random >> 7;
    t->random ^= t->random << 17;
    return (double)(t->random >> 11) / 9007199254740992.0;
}

static unsigned pick(struct teller *t)
{
    if (t->sweep) {
        return t->next++ % t->keys + 1;
    }
    double at = fraction(t) * t->sum[t->keys - 1];
    unsigned low = 0;
    unsigned high = t->keys - 1;
    while (low < high) {
        unsigned mid = low + (high - low) / 2;
        if (t->sum[mid] < at) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    return low + 1;
}

static void weigh(struct teller *t, double skew)
{
    t->sum = malloc(t->keys * sizeof *t->sum);
    if (t->sum == NULL) {
        die("malloc");
    }
    for (unsigned i = 0; i < t->keys; i++) {
        t->sum[i] = (i == 0 ? 0 : t->sum[i - 1]) + pow(i + 1, -skew);
    }
}

/* ---- messages -------------------------------------------------------------------------------- */

static void put32(char *to, size_t v)
{
    uint32_t n = htonl((uint32_t)v);
    memcpy(to, &n, 4);
}

/* Appends a message of that type; returns what follows it. */
static char *put(char *to, char kind, const char *body, size_t n)
{
    to[0] = kind;
    put32(to + 1, n + 4);
    memcpy(to + 5, body, n);
    return to + 5 + n;
}

static char *put_parse(char *to, const char *name, const char *text)
{
    char body[TEXT + 32];
    size_t n = (size_t)snprintf(body, sizeof body, "%s%c%s", name, 0, text) + 1;
    memset(body + n, 0, 2);
    return put(to, 'P', body, n + 2);
}

static char *put_bind(char *to, const char *name, unsigned key)
{
    char body[128];
    char value[16];
    size_t v = (size_t)snprintf(value, sizeof value, "%u", key);
    size_t n = (size_t)snprintf(body, sizeof body, "%c%s", 0, name) + 1;
    static const char counts[] = {0, 0, 0, 1};
    memcpy(body + n, counts, 4);
    put32(body + n + 4, v);
    memcpy(body + n + 8, value, v);
    memset(body + n + 8 + v, 0, 2);
    return put(to, 'B', body, n + 10 + v);
}

static char *put_query(char *to, const char *text, unsigned key)
{
    char body[TEXT + 16];
    const char *at = strstr(text, "$1");
    int n = snprintf(body, sizeof body, "%.*s%u%s", (int)(at - text), text, key, at + 2);
    return put(to, 'Q', body, (size_t)n + 1);
}

static void send_all(const struct link *l, const char *from, const char *end)
{
    if (send(l->fd, from, (size_t)(end - from), MSG_NOSIGNAL) != end - from) {
        die("send");
    }
}

static void ask(struct teller *t, struct link *l)
{
    static const char portal[] = {0, 0, 0, 0, 0};
    char out[TEXT * 2];
    char *to = out;
    l->write = !t->sweep && fraction(t) * 100 < t->writes;
    const char *text = l->write ? t->write : t->read;
    const char *name = t->mode == MODE_PREPARED ? (l->write ? "w" : "r") : "";
    unsigned key = pick(t);
    if (t->mode == MODE_SIMPLE) {
        to = put_query(to, text, key);
    } else {
        if (t->mode == MODE_EXTENDED) {
            to = put_parse(to, "", text);
        }
        to = put_bind(to, name, key);
        to = put(to, 'E', portal, sizeof portal);
        to = put(to, 'S', "", 0);
    }
    l->sent = now();
    send_all(l, out, to);
}

static void prepare(struct teller *t, struct link *l)
{
    char out[TEXT * 3];
    char *to = put_parse(out, "r", t->read);
    to = put_parse(to, "w", t->write);
    to = put(to, 'S', "", 0);
    l->state = STATE_PREPARE;
    send_all(l, out, to);
}

static void count(struct teller *t, const struct link *l)
{
    double took = (now() - l->sent) * 1e6;
    if (!t->counting) {
        return;
    }
    if (l->write) {
        t->written++;
        return;
    }
    t->reads++;
    t->latency[took < LATENCIES - 1 ? (unsigned)took : LATENCIES - 1]++;
}

/* The answer is complete. */
static void on_ready(struct teller *t, struct link *l)
{
    switch (l->state) {
    case STATE_LOGIN:
        if (t->mode == MODE_PREPARED) {
            prepare(t, l);
            return;
        }
        t->here++;
        break;
    case STATE_PREPARE:
        t->here++;
        break;
    case STATE_READY:
        count(t, l);
        break;
    }
    l->state = STATE_READY;
    if (t->sweep && t->next >= t->total) {
        t->idle++;
        return;
    }
    ask(t, l);
}

static void on_message(struct teller *t, struct link *l, char kind)
{
    if (kind == 'E' && l->state != STATE_READY) {
        fprintf(stderr, "teller: a login was refused\n");
        exit(1);
    }
    t->errors += kind == 'E';
    if (kind == 'Z') {
        on_ready(t, l);
    }
}

static void on_bytes(struct teller *t, struct link *l)
{
    ssize_t n = recv(l->fd, t->chunk, sizeof t->chunk, MSG_DONTWAIT);
    if (n <= 0) {
        if (n < 0 && errno == EAGAIN) {
            return;
        }
        fprintf(stderr, "teller: a connection was closed\n");
        exit(1);
    }
    for (ssize_t at = 0; at < n;) {
        if (l->nhead < 5) {
            l->head[l->nhead++] = (unsigned char)t->chunk[at++];
            if (l->nhead < 5) {
                continue;
            }
            uint32_t size;
            memcpy(&size, l->head + 1, 4);
            l->skip = ntohl(size) - 4;
        }
        size_t step = MIN(l->skip, (size_t)(n - at));
        l->skip -= step;
        at += (ssize_t)step;
        if (l->skip == 0) {
            l->nhead = 0;
            on_message(t, l, (char)l->head[0]);
        }
    }
}

/* ---- the run --------------------------------------------------------------------------------- */

static void open_link(struct teller *t, const char *port, const char *user, const char *db)
{
    struct sockaddr_in to = {.sin_family = AF_INET};
    char m[256];
    int on = 1;
    struct link *l = calloc(1, sizeof *l);
    to.sin_port = htons((uint16_t)strtoul(port, NULL, 10));
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (l == NULL || (l->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) < 0 ||
        connect(l->fd, (struct sockaddr *)&to, sizeof to) != 0) {
        die("connect");
    }
    setsockopt(l->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = l};
    if (epoll_ctl(t->epoll, EPOLL_CTL_ADD, l->fd, &e) != 0) {
        die("epoll_ctl");
    }
    int n = snprintf(m + 8, sizeof m - 9, "user%c%s%cdatabase%c%s%c", 0, user, 0, 0, db, 0);
    put32(m, (size_t)n + 9);
    put32(m + 4, 3u << 16);
    m[8 + n] = 0;
    send_all(l, m, m + n + 9);
}

static double quantile(const struct teller *t, double part)
{
    uint64_t left = (uint64_t)((double)t->reads * part);
    for (unsigned us = 0; us < LATENCIES; us++) {
        if (t->latency[us] > left) {
            return us / 1000.0;
        }
        left -= t->latency[us];
    }
    return 0;
}

static double longest(const struct teller *t)
{
    unsigned us = LATENCIES;
    while (us > 0 && t->latency[us - 1] == 0) {
        us--;
    }
    return us / 1000.0;
}

static void run(struct teller *t)
{
    struct epoll_event events[MAX_EVENTS];
    double used = cpu();
    while (t->sweep ? t->idle < t->clients : t->until == 0 || now() < t->until) {
        int n = epoll_wait(t->epoll, events, MAX_EVENTS, 100);
        for (int i = 0; i < n; i++) {
            on_bytes(t, events[i].data.ptr);
        }
        if (t->began == 0 && t->here == t->clients) {
            t->began = now() + (t->sweep ? 0 : t->warm);
        }
        if (t->began != 0 && !t->counting && now() >= t->began) {
            t->counting = true;
            t->began = now();
            t->until = t->began + t->seconds;
            t->errors = 0;
            used = cpu();
            printf("begin\n");
            fflush(stdout);
        }
    }
    printf(
        "{\"reads\": %llu, \"writes\": %llu, \"errors\": %llu, \"seconds\": %.4f, \"cpu\": %.4f, "
        "\"p50\": %.3f, \"p95\": %.3f, \"p99\": %.3f, \"p999\": %.3f, \"max\": %.3f}\n",
        (unsigned long long)t->reads, (unsigned long long)t->written, (unsigned long long)t->errors,
        now() - t->began, cpu() - used, quantile(t, 0.5), quantile(t, 0.95), quantile(t, 0.99),
        quantile(t, 0.999), longest(t));
}

static enum mode mode_of(const char *word)
{
    if (strcmp(word, "simple") == 0) {
        return MODE_SIMPLE;
    }
    return strcmp(word, "prepared") == 0 ? MODE_PREPARED : MODE_EXTENDED;
}

int main(int argc, char **argv)
{
    static struct teller t;
    if (argc != 13 || strstr(argv[11], "$1") == NULL || strstr(argv[12], "$1") == NULL ||
        strlen(argv[11]) >= TEXT / 2 || strlen(argv[12]) >= TEXT / 2) {
        fprintf(stderr, "usage: teller PORT USER DATABASE CLIENTS WARM SECONDS KEYS SKEW WRITES "
                        "MODE READ WRITE\n");
        return 2;
    }
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    t.clients = (unsigned)strtoul(argv[4], NULL, 10);
    t.warm = strtod(argv[5], NULL);
    t.seconds = strtod(argv[6], NULL);
    t.keys = (unsigned)strtoul(argv[7], NULL, 10);
    t.sweep = strncmp(argv[8], "sweep:", 6) == 0;
    t.total = t.sweep ? (unsigned)strtoul(argv[8] + 6, NULL, 10) : 0;
    t.writes = strtod(argv[9], NULL);
    t.mode = mode_of(argv[10]);
    t.read = argv[11];
    t.write = argv[12];
    t.random = 88172645463325252u ^ (uint64_t)getpid();
    t.epoll = epoll_create1(EPOLL_CLOEXEC);
    t.latency = calloc(LATENCIES, sizeof *t.latency);
    if (t.latency == NULL || t.keys == 0 || t.clients == 0) {
        return 2;
    }
    weigh(&t, t.sweep ? 0 : strtod(argv[8], NULL));
    for (unsigned i = 0; i < t.clients; i++) {
        open_link(&t, argv[1], argv[2], argv[3]);
    }
    run(&t);
    return 0;
}
