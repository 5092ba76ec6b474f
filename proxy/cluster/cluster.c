/* cluster.c - clusters as all threads see them; see cluster.h. */
#include "proxy/cluster/cluster.h"

#include "base/check.h"
#include "base/map.h"
#include "base/mem.h"
#include "proxy/pool/pool_cluster.h"
#include "proxy/process.h"
#include "proxy/worker.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

struct cluster_set {
    pthread_mutex_t lock;
    struct map clusters; /* name -> struct cluster, owned */
    struct map writes;   /* "cluster\0database" -> struct freshness_db, owned */
};

struct cluster_set *cluster_set_new(void)
{
    struct cluster_set *s = mem_new(sizeof(*s));
    CHECK(pthread_mutex_init(&s->lock, NULL) == 0);
    map_init(&s->clusters);
    map_init(&s->writes);
    return s;
}

void cluster_set_free(struct cluster_set **sp)
{
    struct cluster_set *s = *sp;
    struct str key;
    void *v;
    *sp = NULL;
    for (size_t i = 0; map_next(&s->clusters, &i, &key, &v);) {
        struct cluster *c = v;
        struct topology *t = atomic_load(&c->shared.current);
        topology_put(&t);
        mem_free(c->name);
        mem_free(c);
    }
    for (size_t i = 0; map_next(&s->writes, &i, &key, &v);)
        mem_free(v);
    map_fini(&s->clusters);
    map_fini(&s->writes);
    pthread_mutex_destroy(&s->lock);
    mem_free(s);
}

struct cluster *cluster_of(struct cluster_set *s, struct str name)
{
    pthread_mutex_lock(&s->lock);
    struct cluster *c = map_get(&s->clusters, name);
    if (c == NULL) {
        c = mem_new(sizeof(*c));
        c->name = str_dup(name);
        c->set = s;
        map_put(&s->clusters, name, c);
    }
    pthread_mutex_unlock(&s->lock);
    return c;
}

void cluster_each(struct cluster_set *s, void (*fn)(void *arg, struct cluster *c), void *arg)
{
    struct str key;
    void *v;
    pthread_mutex_lock(&s->lock);
    for (size_t i = 0; map_next(&s->clusters, &i, &key, &v);)
        fn(arg, v);
    pthread_mutex_unlock(&s->lock);
}

struct topology *cluster_topology(struct cluster *c)
{
    pthread_mutex_lock(&c->set->lock);
    struct topology *t = atomic_load(&c->shared.current);
    if (t != NULL)
        t = topology_get(t);
    pthread_mutex_unlock(&c->set->lock);
    return t;
}

static void on_new_topology(struct worker *w, void *arg)
{
    pool_cluster_arrived(w, arg);
}

void cluster_publish(struct cluster *c, struct process *p, struct topology *t)
{
    pthread_mutex_lock(&c->set->lock);
    struct topology *old = atomic_exchange(&c->shared.current, t);
    pthread_mutex_unlock(&c->set->lock);
    topology_put(&old);
    for (unsigned i = 0; i < p->nworkers; i++)
        if (p->workers[i] != NULL)
            worker_post_call(p->workers[i], on_new_topology, c);
}

static void on_moved(struct worker *w, void *arg)
{
    pool_cluster_retry(w, arg);
}

void cluster_moved(struct cluster *c, struct process *p)
{
    if (atomic_load_explicit(&c->shared.waiting, memory_order_relaxed) == 0)
        return;
    for (unsigned i = 0; i < p->nworkers; i++)
        worker_post_call(p->workers[i], on_moved, c);
}

struct freshness_db *cluster_writes(struct cluster *c, struct str dbname)
{
    size_t n = strlen(c->name) + 1 + dbname.n;
    char *key = mem_new(n + 1);
    memcpy(key, c->name, strlen(c->name) + 1);
    memcpy(key + strlen(c->name) + 1, dbname.p, dbname.n);
    struct str k = {key, n};
    pthread_mutex_lock(&c->set->lock);
    struct freshness_db *db = map_get(&c->set->writes, k);
    if (db == NULL) {
        db = mem_new(sizeof(*db));
        map_put(&c->set->writes, k, db);
    }
    pthread_mutex_unlock(&c->set->lock);
    mem_free(key);
    return db;
}
