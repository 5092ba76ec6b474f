/* http_server.c - HTTP through libmicrohttpd, whose types stay in this file; see http_server.h. */
#include "proxy/http/http_server.h"

#include "base/check.h"
#include "base/list.h"
#include "base/log.h"
#include "base/mem.h"

#include <microhttpd.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

struct http_server {
    struct MHD_Daemon *daemon;
    struct http_handler handler;
    struct
    { /* whoever writes a byte now and then is never silent, and would hold a place for good */
        pthread_mutex_t lock;
        struct list connections; /* struct visit */
        unsigned open;           /* of these, without those that have been ended */
    } shared;
};

struct visit { /* a connection, from accept to close; under the lock */
    struct list link;
    int fd;
    uint64_t peer; /* whom it counts for */
    usec_t since;  /* it is in this state */
    enum visit_state { VISIT_FRESH, VISIT_KEPT, VISIT_ASKED, VISIT_ENDED } state;
};

struct exchange {
    struct http_request request; /* first */
    struct MHD_Connection *connection;
    bool begun, waited;
};

/* ---- answers --------------------------------------------------------------------------------- */

static void add_headers(struct MHD_Response *m, const struct http_request *r)
{
    const char *policy = r->answer.policy != NULL ? r->answer.policy
                                                  : "default-src 'none'; frame-ancestors 'none'";
    const char *const headers[][2] = {{"Content-Type", r->answer.type},
                                      {"Content-Security-Policy", policy},
                                      {"X-Content-Type-Options", "nosniff"},
                                      {"Referrer-Policy", "no-referrer"},
                                      {"Cache-Control", "no-store"}};
    for (size_t i = 0; i < ARRAY_LEN(headers); i++)
        (void)MHD_add_response_header(m, headers[i][0], headers[i][1]);
    if (r->answer.status == MHD_HTTP_METHOD_NOT_ALLOWED)
        (void)MHD_add_response_header(m, "Allow", "GET, HEAD");
    if (r->answer.ask_user)
        (void)MHD_add_response_header(m, "WWW-Authenticate",
                                      "Basic realm=\"penstock\", charset=\"UTF-8\"");
}

/* The body's memory goes with the response; what is constant is only pointed at. */
static struct MHD_Response *make_response(struct http_request *r)
{
    struct buf *b = &r->answer.body;
    if (buf_len(b) == 0)
        return MHD_create_response_from_buffer(
            r->answer.text.n, (void *)(uintptr_t)r->answer.text.p, MHD_RESPMEM_PERSISTENT);
    CHECK(b->start == 0); /* nothing was consumed: the memory begins there */
    struct MHD_Response *m = MHD_create_response_from_buffer_with_free_callback(buf_len(b), b->mem,
                                                                                mem_free);
    if (m != NULL)
        buf_init(b, b->max);
    return m;
}

static enum MHD_Result answer(struct exchange *x)
{
    struct http_request *r = &x->request;
    struct MHD_Response *m = make_response(r);
    if (m == NULL)
        return MHD_NO;
    add_headers(m, r);
    enum MHD_Result rc = MHD_queue_response(x->connection, (unsigned)r->answer.status, m);
    MHD_destroy_response(m);
    return rc;
}

static enum MHD_Result refuse(struct exchange *x, int status, struct str text)
{
    x->request.answer.status = status;
    x->request.answer.text = text;
    return answer(x);
}

/* ---- connections ----------------------------------------------------------------------------- */

/* An IPv4 address, also one mapped into IPv6, or the network of an IPv6 address: of those, one
 * machine has as many as it likes. */
static uint64_t peer_of(const struct sockaddr *sa)
{
    uint8_t b[16] = {[10] = 0xff, [11] = 0xff};
    uint64_t peer;
    if (sa != NULL && sa->sa_family == AF_INET)
        memcpy(b + 12, &((const struct sockaddr_in *)(const void *)sa)->sin_addr, 4);
    if (sa != NULL && sa->sa_family == AF_INET6)
        memcpy(b, &((const struct sockaddr_in6 *)(const void *)sa)->sin6_addr, 16);
    bool mapped = memcmp(b, (const uint8_t[12]){[10] = 0xff, [11] = 0xff}, 12) == 0;
    memcpy(&peer, mapped ? b + 8 : b, sizeof(peer));
    return peer;
}

static void enter_state(struct visit *v, enum visit_state state)
{
    if (v->state != VISIT_ENDED)
        v->state = state;
    v->since = clock_mono_us();
}

/* The library notices that the other side is gone, as it does with any. */
static void end_visit(struct http_server *s, struct visit *v)
{
    v->state = VISIT_ENDED;
    s->shared.open--;
    (void)shutdown(v->fd, SHUT_RDWR);
}

static unsigned visits_of(const struct http_server *s, uint64_t peer)
{
    struct list *it, *tmp;
    unsigned n = 0;
    LIST_EACH(it, tmp, &s->shared.connections) {
        const struct visit *v = container_of(it, struct visit, link);
        n += v->state != VISIT_ENDED && v->peer == peer;
    }
    return n;
}

/* The same peer's: one without a request goes first, then the one that waits longest. */
static bool goes_before(const struct visit *a, const struct visit *b)
{
    bool asked = a->state == VISIT_ASKED;
    return asked != (b->state == VISIT_ASKED) ? !asked : a->since < b->since;
}

/* One connection too many: whose it is that has to go. */
static struct visit *one_too_many(const struct http_server *s)
{
    struct list *it, *tmp;
    struct visit *found = NULL;
    unsigned most = 0;
    LIST_EACH(it, tmp, &s->shared.connections) {
        struct visit *v = container_of(it, struct visit, link);
        unsigned n = v->state == VISIT_ENDED ? 0 : visits_of(s, v->peer);
        if (n > most || (n == most && n > 0 && goes_before(v, found))) {
            found = v;
            most = n;
        }
    }
    return found;
}

static void begin_visit(struct http_server *s, struct MHD_Connection *c, void **context)
{
    const union MHD_ConnectionInfo *fd = MHD_get_connection_info(c,
                                                                 MHD_CONNECTION_INFO_CONNECTION_FD);
    if (fd == NULL)
        return;
    struct visit *v = mem_new(sizeof(*v));
    v->fd = fd->connect_fd;
    const union MHD_ConnectionInfo *from = MHD_get_connection_info(
        c, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    v->peer = peer_of(from != NULL ? from->client_addr : NULL);
    enter_state(v, VISIT_FRESH);
    list_init(&v->link);
    list_push_back(&s->shared.connections, &v->link);
    s->shared.open++;
    *context = v;
    if (s->shared.open <= HTTP_SERVER_CONNECTIONS)
        return;
    LOG_LIMITED(LL_WARNING, "http: more than %d connections; closing one of who has most",
                HTTP_SERVER_CONNECTIONS);
    end_visit(s, one_too_many(s));
}

/* A connection is there, or is about to be closed. */
static void on_connection(void *arg, struct MHD_Connection *c, void **context,
                          enum MHD_ConnectionNotificationCode what)
{
    struct http_server *s = arg;
    pthread_mutex_lock(&s->shared.lock);
    if (what == MHD_CONNECTION_NOTIFY_STARTED) {
        begin_visit(s, c, context);
    } else if (*context != NULL) {
        struct visit *v = *context;
        list_remove(&v->link);
        s->shared.open -= v->state != VISIT_ENDED;
        mem_free(v);
        *context = NULL;
    }
    pthread_mutex_unlock(&s->shared.lock);
}

static void visit_is(struct http_server *s, struct MHD_Connection *c, enum visit_state state)
{
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(
        c, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    pthread_mutex_lock(&s->shared.lock);
    if (info != NULL && info->socket_context != NULL)
        enter_state(info->socket_context, state);
    pthread_mutex_unlock(&s->shared.lock);
}

void http_server_expire(struct http_server *s, usec_t now)
{
    static const int limit_s[] = {
        [VISIT_FRESH] = HTTP_SERVER_HEAD_S,
        [VISIT_KEPT] = HTTP_SERVER_IDLE_S + HTTP_SERVER_HEAD_S,
        [VISIT_ASKED] = HTTP_SERVER_REQUEST_S,
    };
    struct list *it, *tmp;
    pthread_mutex_lock(&s->shared.lock);
    LIST_EACH(it, tmp, &s->shared.connections) {
        struct visit *v = container_of(it, struct visit, link);
        if (v->state != VISIT_ENDED && now - v->since > limit_s[v->state] * (usec_t)USEC_PER_SEC)
            end_visit(s, v);
    }
    pthread_mutex_unlock(&s->shared.lock);
}

/* ---- requests -------------------------------------------------------------------------------- */

static const char *header(struct exchange *x, const char *name)
{
    return MHD_lookup_connection_value(x->connection, MHD_HEADER_KIND, name);
}

static enum MHD_Result first_look(struct exchange *x, const char *method)
{
    bool get = strcmp(method, MHD_HTTP_METHOD_GET) == 0 ||
               strcmp(method, MHD_HTTP_METHOD_HEAD) == 0;
    if (!get)
        return refuse(x, MHD_HTTP_METHOD_NOT_ALLOWED, STR("only GET and HEAD\n"));
    if (header(x, MHD_HTTP_HEADER_CONTENT_LENGTH) != NULL ||
        header(x, MHD_HTTP_HEADER_TRANSFER_ENCODING) != NULL)
        return refuse(x, MHD_HTTP_BAD_REQUEST, STR("a request has no body here\n"));
    return MHD_YES;
}

static enum MHD_Result begin(struct http_server *s, struct exchange *x, const char *url)
{
    struct http_request *r = &x->request;
    r->path = url;
    r->host = header(x, MHD_HTTP_HEADER_HOST);
    r->authorization = header(x, MHD_HTTP_HEADER_AUTHORIZATION);
    x->waited = !s->handler.begin(s->handler.arg, r);
    r->path = r->host = r->authorization = NULL;
    if (!x->waited)
        return answer(x);
    MHD_suspend_connection(x->connection); /* before anybody may wake it */
    s->handler.waits(s->handler.arg, r);
    return MHD_YES;
}

static enum MHD_Result on_request(void *arg, struct MHD_Connection *c, const char *url,
                                  const char *method, const char *version, const char *data,
                                  size_t *size, void **state)
{
    struct http_server *s = arg;
    struct exchange *x = *state;
    (void)version;
    (void)data;
    *size = 0;
    if (x == NULL) {
        x = mem_new(sizeof(*x));
        x->connection = c;
        x->request.answer.type = "text/plain; charset=utf-8";
        buf_init(&x->request.answer.body, SIZE_MAX / 2);
        *state = x;
        visit_is(s, c, VISIT_ASKED);
        return first_look(x, method);
    }
    if (!x->begun) {
        x->begun = true;
        return begin(s, x, url);
    }
    s->handler.finish(s->handler.arg, &x->request);
    return answer(x);
}

/* Paths are compared as they came: an escaped zero byte must not end one. */
static size_t keep_escapes(void *arg, struct MHD_Connection *c, char *text)
{
    (void)arg;
    (void)c;
    return strlen(text);
}

static void on_completed(void *arg, struct MHD_Connection *c, void **state,
                         enum MHD_RequestTerminationCode why)
{
    struct http_server *s = arg;
    struct exchange *x = *state;
    (void)why;
    visit_is(s, c, VISIT_KEPT);
    if (x == NULL)
        return;
    *state = NULL;
    if (x->begun)
        s->handler.end(s->handler.arg, &x->request);
    buf_fini(&x->request.answer.body);
    mem_free(x);
}

void http_server_wake(struct http_request *r)
{
    MHD_resume_connection(container_of(r, struct exchange, request)->connection);
}

/* ---- life ------------------------------------------------------------------------------------ */

enum status http_server_new(int fd, const struct http_handler *h, struct http_server **out,
                            struct error *err)
{
    struct http_server *s = mem_new(sizeof(*s));
    sigset_t all, old;
    s->handler = *h;
    list_init(&s->shared.connections);
    CHECK(pthread_mutex_init(&s->shared.lock, NULL) == 0);
    sigfillset(&all); /* signals belong to the main thread */
    pthread_sigmask(SIG_SETMASK, &all, &old);
    s->daemon = MHD_start_daemon(
        MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME, 0, NULL, NULL,
        on_request, s, MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_NOTIFY_COMPLETED, on_completed, s,
        MHD_OPTION_NOTIFY_CONNECTION, on_connection, s, MHD_OPTION_CONNECTION_LIMIT,
        (unsigned)(HTTP_SERVER_CONNECTIONS + HTTP_SERVER_SPARE), MHD_OPTION_CONNECTION_TIMEOUT,
        (unsigned)HTTP_SERVER_IDLE_S, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
        (size_t)HTTP_SERVER_HEAD_MAX, MHD_OPTION_UNESCAPE_CALLBACK, keep_escapes, NULL,
        MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_END);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (s->daemon == NULL) {
        close(fd);
        pthread_mutex_destroy(&s->shared.lock);
        mem_free(s);
        return error_set(err, ST_IO, "cannot start the HTTP server");
    }
    *out = s;
    return ST_OK;
}

void http_server_free(struct http_server **sp)
{
    struct http_server *s = *sp;
    *sp = NULL;
    if (s == NULL)
        return;
    MHD_stop_daemon(s->daemon); /* closes the socket */
    pthread_mutex_destroy(&s->shared.lock);
    mem_free(s);
}
