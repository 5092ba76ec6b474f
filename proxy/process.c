/* process.c - the runtime snapshot: configuration and what is made from it; see process.h. */
#include "proxy/process.h"

#include "base/check.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/refs.h"
#include "proxy/pool/registry.h"

#include <stdatomic.h>
#include <sys/resource.h>
#include <unistd.h>

struct runtime *runtime_get(struct runtime *r)
{
    refs_get(&r->refs);
    return r;
}

void runtime_put(struct runtime **rp)
{
    struct runtime *r = *rp;
    *rp = NULL;
    if (r == NULL || !refs_put(&r->refs))
        return;
    tls_ctx_put(&r->client_tls);
    tls_ctx_put(&r->server_tls);
    tls_ctx_put(&r->redis_tls);
    config_put(&r->config);
    mem_free(r);
}

static enum status make_redis_tls(struct runtime *r, struct error *err)
{
    const struct config_cache *c = r->config->cache;
    const struct tls_settings s = {.mode = c->opt.redis_tls_sslmode,
                                   .cert_file = c->opt.redis_tls_cert_file,
                                   .key_file = c->opt.redis_tls_key_file,
                                   .ca_file = c->opt.redis_tls_ca_file};
    return c->redis.tls ? tls_ctx_new(&s, false, NULL, &r->redis_tls, err) : ST_OK;
}

static enum status make_tls(struct runtime *r, struct tls_ticket_keys *tickets, struct error *err)
{
    const struct config_options *o = &r->config->opt;
    struct tls_settings client = {.mode = o->client_tls_sslmode,
                                  .cert_file = o->client_tls_cert_file,
                                  .key_file = o->client_tls_key_file,
                                  .ca_file = o->client_tls_ca_file,
                                  .protocols = o->client_tls_protocols,
                                  .ciphers = o->client_tls_ciphers,
                                  .tls13_ciphers = o->client_tls13_ciphers,
                                  .ecdhcurve = o->client_tls_ecdhcurve,
                                  .dheparams = o->client_tls_dheparams};
    struct tls_settings server = {.mode = o->server_tls_sslmode,
                                  .cert_file = o->server_tls_cert_file,
                                  .key_file = o->server_tls_key_file,
                                  .ca_file = o->server_tls_ca_file,
                                  .protocols = o->server_tls_protocols,
                                  .ciphers = o->server_tls_ciphers,
                                  .tls13_ciphers = o->server_tls13_ciphers};
    if (client.mode != TLS_DISABLE) {
        enum status st = tls_ctx_new(&client, true, tickets, &r->client_tls, err);
        if (st != ST_OK)
            return st;
    }
    if (server.mode != TLS_DISABLE) {
        enum status st = tls_ctx_new(&server, false, NULL, &r->server_tls, err);
        if (st != ST_OK)
            return st;
    }
    return make_redis_tls(r, err);
}

enum status runtime_new(struct config *cfg, struct tls_ticket_keys *tickets, struct runtime **out,
                        struct error *err)
{
    struct runtime *r = mem_new(sizeof(*r));
    refs_init(&r->refs);
    r->config = cfg;
    enum status st = make_tls(r, tickets, err);
    if (st != ST_OK) {
        runtime_put(&r);
        return st;
    }
    *out = r;
    return ST_OK;
}

enum process_phase process_phase(const struct process *p)
{
    return (enum process_phase)atomic_load_explicit(&p->shared.phase, memory_order_relaxed);
}

void process_raise_fd_limit(const struct config_options *o)
{
    struct rlimit l;
    if (getrlimit(RLIMIT_NOFILE, &l) != 0)
        return;
    l.rlim_cur = l.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &l) == 0 && l.rlim_max != RLIM_INFINITY &&
        l.rlim_max < (rlim_t)o->max_client_conn + 100)
        log_line(LL_WARNING,
                 "max_client_conn = %d is more than the %llu descriptors this process may open",
                 o->max_client_conn, (unsigned long long)l.rlim_max);
}

unsigned process_worker_count(const struct config_options *o)
{
    long n = o->workers > 0 ? o->workers : sysconf(_SC_NPROCESSORS_ONLN);
    return (unsigned)MAX(1, MIN(n, WORKERS_MAX));
}
