/* http_server.c - HTTP through libmicrohttpd, whose types stay in this file; see http_server.h. */
#include "proxy/http/http_server.h"

#include "base/check.h"
#include "base/list.h"
#include "base/mem.h"

#include <microhttpd.h>
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
    } shared;
};

struct visit { /* a connection, from accept to close; under the lock */
    struct list link;
    int fd;
    usec_t since; /* it is open, or its last request was over */
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

static void begin_visit(struct http_server *s, struct MHD_Connection *c, void **context)
{
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(
        c, MHD_CONNECTION_INFO_CONNECTION_FD);
    if (info == NULL)
        return;
    struct visit *v = mem_new(sizeof(*v));
    v->fd = info->connect_fd;
    v->since = clock_mono_us();
    list_init(&v->link);
    list_push_back(&s->shared.connections, &v->link);
    *context = v;
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
        mem_free(v);
        *context = NULL;
    }
    pthread_mutex_unlock(&s->shared.lock);
}

static void request_is_over(struct http_server *s, struct MHD_Connection *c)
{
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(
        c, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    pthread_mutex_lock(&s->shared.lock);
    if (info != NULL && info->socket_context != NULL)
        ((struct visit *)info->socket_context)->since = clock_mono_us();
    pthread_mutex_unlock(&s->shared.lock);
}

/* The library notices that the other side is gone, as it does with any. */
void http_server_expire(struct http_server *s, usec_t now)
{
    struct list *it, *tmp;
    pthread_mutex_lock(&s->shared.lock);
    LIST_EACH(it, tmp, &s->shared.connections) {
        const struct visit *v = container_of(it, struct visit, link);
        if (now - v->since > HTTP_SERVER_REQUEST_S * (usec_t)USEC_PER_SEC)
            (void)shutdown(v->fd, SHUT_RDWR);
    }
    pthread_mutex_unlock(&s->shared.lock);
}

static void on_completed(void *arg, struct MHD_Connection *c, void **state,
                         enum MHD_RequestTerminationCode why)
{
    struct http_server *s = arg;
    struct exchange *x = *state;
    (void)why;
    request_is_over(s, c);
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
        (unsigned)HTTP_SERVER_CONNECTIONS, MHD_OPTION_CONNECTION_TIMEOUT,
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
