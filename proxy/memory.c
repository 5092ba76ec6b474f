/* memory.c - the limit of all connection buffers together; see memory.h. */
#include "proxy/memory.h"

#include "base/log.h"
#include "proxy/client.h"
#include "proxy/server.h"

#include <stdatomic.h>

#define PATIENCE_US (5 * USEC_PER_SEC) /* over the limit, before somebody is closed */
#define LOOK_US 10000                  /* between two walks over the clients while over it */
#define SMALL (4u * OUTQ_BLOCK)        /* who holds less is never paused or closed */

static size_t conn_bytes(const struct conn *c)
{
    return c->in_cap + c->out.len;
}

/* What is held because of c: by itself and by the server that works for it. */
/* A server that several use is nobody's. */
static size_t held_for(const struct client *c)
{
    size_t n = conn_bytes(&c->conn);
    return c->server != NULL && c->state != CL_SHARED ? n + conn_bytes(&c->server->conn) : n;
}

static struct client *largest(struct worker *w)
{
    struct list *it, *tmp;
    struct client *best = NULL;
    size_t most = SMALL;
    LIST_EACH(it, tmp, &w->clients) {
        struct client *c = container_of(it, struct client, all);
        size_t n = held_for(c);
        if (n <= most)
            continue;
        most = n;
        best = c;
    }
    return best;
}

static void pause_largest(struct worker *w)
{
    const struct client *top = largest(w);
    struct list *it, *tmp;
    if (top == NULL)
        return;
    size_t from = MAX(held_for(top) / 4, (size_t)SMALL);
    LIST_EACH(it, tmp, &w->clients) {
        struct client *c = container_of(it, struct client, all);
        if (held_for(c) < from || c->state == CL_ENDING)
            continue;
        conn_pause(&c->conn, PAUSE_MEMORY);
        if (c->server != NULL && c->state != CL_SHARED)
            conn_pause(&c->server->conn, PAUSE_MEMORY);
    }
    w->memory.paused = true;
}

static void resume_all(struct worker *w)
{
    struct list *it, *tmp;
    LIST_EACH(it, tmp, &w->clients)
        conn_resume(&container_of(it, struct client, all)->conn, PAUSE_MEMORY);
    LIST_EACH(it, tmp, &w->servers)
        conn_resume(&container_of(it, struct server, all)->conn, PAUSE_MEMORY);
    w->memory.paused = false;
}

static void publish(struct worker *w)
{
    size_t now = w->blocks.in_use * OUTQ_BLOCK + w->memory.in_bytes;
    if (now == w->memory.published)
        return;
    /* Unsigned: a decrease wraps around to the right sum. */
    atomic_fetch_add_explicit(&w->process->shared.buffer_bytes, now - w->memory.published,
                              memory_order_relaxed);
    w->memory.published = now;
}

static bool is_over(const struct worker *w, size_t limit)
{
    return limit > 0 &&
           atomic_load_explicit(&w->process->shared.buffer_bytes, memory_order_relaxed) > limit;
}

void memory_turn(struct worker *w)
{
    size_t limit = (size_t)worker_options(w)->max_buffer_memory;
    publish(w);
    if (LIKELY(!is_over(w, limit))) {
        w->memory.over_since = 0;
        if (w->memory.paused && !is_over(w, limit - limit / 8))
            resume_all(w);
        return;
    }
    if (w->memory.over_since == 0)
        w->memory.over_since = w->now;
    if (w->now - w->memory.looked_at < LOOK_US)
        return;
    w->memory.looked_at = w->now;
    pause_largest(w);
}

static void close_largest(struct worker *w)
{
    struct client *c = largest(w);
    if (c == NULL)
        return;
    LOG_LIMITED(LL_WARNING, "max_buffer_memory: client %llu holds %zu bytes and is closed",
                (unsigned long long)c->id, held_for(c));
    if (c->conn.out.len == 0)
        client_fatal(c, C_OVERLOAD, STR("max_buffer_memory"));
    else
        /* last words would queue behind what it does not read */
        client_close(c, "max_buffer_memory");
}

void memory_housekeeping(struct worker *w)
{
    size_t limit = (size_t)worker_options(w)->max_buffer_memory;
    memory_turn(w);
    if (!is_over(w, limit) || w->now - w->memory.over_since < PATIENCE_US)
        return;
    /* Not all workers at once: only who has its share of it. */
    if (w->memory.published >= limit / w->process->nworkers)
        close_largest(w);
}
