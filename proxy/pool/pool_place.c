/* pool_place.c - pools with the address of one node in place of the hosts of their entry; see
 * pool.h and pool_cluster.h.  Worker thread. */
#include "proxy/pool/pool.h"

#include "base/buf.h"
#include "base/mem.h"
#include "proxy/session_cache.h"
#include "router/topology.h"

/* The entry with one node's address. */
struct pool_place {
    struct config_database db;
    struct config_host host;
    char tls_name[256]; /* empty: the host's own */
    char address[256];
};

/* What is before the port in "host:port" and "host:port@address". */
static struct str host_in(struct str name)
{
    if (name.n > 0 && name.p[0] == '[') {
        ptrdiff_t close = str_find(name, ']');
        return close > 0 ? (struct str){name.p + 1, (size_t)close - 1} : name;
    }
    return str_cut(&name, ':');
}

void pool_renew_place(struct pool *p)
{
    if (p->place == NULL)
        return;
    p->place->db = *p->entry;
    p->place->db.hosts = &p->place->host;
    p->place->db.nhosts = 1;
    p->db = &p->place->db;
}

void pool_set_place(struct pool *p, const struct topology_node *n)
{
    struct pool_place *x = p->place = mem_new(sizeof(*x));
    str_copy(x->address, sizeof(x->address), n->host);
    str_copy(x->tls_name, sizeof(x->tls_name), host_in(n->name));
    x->host = (struct config_host){x->address, n->port};
    pool_renew_place(p);
}

const char *pool_tls_name(const struct pool *p, int host)
{
    return p->place != NULL ? p->place->tls_name : p->db->hosts[host].host;
}

/* The key ends with it. */
bool pool_is_for_node(const struct pool *p, const struct topology_node *n)
{
    return p->key_len > n->name.n && p->key[p->key_len - n->name.n - 1] == '\0' &&
           memcmp(p->key + p->key_len - n->name.n, n->name.p, n->name.n) == 0;
}

struct pool *pool_for_node(struct pool *home, const struct topology_node *n)
{
    struct worker *w = home->worker;
    struct buf key;
    buf_init(&key, 2048);
    buf_put(&key, home->key, home->key_len);
    buf_put_u8(&key, 0);
    buf_put_str(&key, n->name);
    struct pool *p = map_get(&w->pools, buf_str(&key));
    if (p == NULL) {
        struct pool_shared *sh = registry_pool(w->process->registry, str_of(home->shared->db->name),
                                               str_of(home->shared->user->name), buf_str(&key));
        p = pool_make(w, home->entry, sh, buf_str(&key));
        pool_set_place(p, n);
        session_cache_bind(p);
    }
    buf_fini(&key);
    p->home = home;
    p->gone = false;
    return p;
}

struct pool *pool_for_probes(struct worker *w, const struct config_database *db, struct str name,
                             struct str key)
{
    struct pool_shared *sh = registry_pool(w->process->registry, name, name, key);
    struct pool *p = pool_make(w, db, sh, key);
    p->probes = true;
    return p;
}
