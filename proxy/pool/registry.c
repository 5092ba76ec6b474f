/* registry.c - pools, databases and users as all workers see them; see registry.h.
 *
 * One mutex guards the maps, the profiles' publication, and cached secrets; the counters inside the
 * entries are atomics and need none.  Any thread.
 */
#include "proxy/pool/registry.h"

#include "base/buf.h"
#include "base/check.h"
#include "base/map.h"
#include "base/mem.h"

#include <stdatomic.h>

#define HOST_NAME_BYTES 1024 /* a longer one is shown as nothing */

struct known_secret {
    usec_t at;
    size_t n;
    char text[];
};

struct registry {
    pthread_mutex_t lock;
    struct map dbs, users, pools; /* values owned */
    struct map keys;              /* user -> struct scram_keys */
    struct map secrets;           /* "db\0user" -> struct known_secret */
    struct map hosts;             /* "host:port" -> the same, owned */
};

struct registry *registry_new(void)
{
    struct registry *r = mem_new(sizeof(*r));
    CHECK(pthread_mutex_init(&r->lock, NULL) == 0);
    map_init(&r->dbs);
    map_init(&r->users);
    map_init(&r->pools);
    map_init(&r->keys);
    map_init(&r->secrets);
    map_init(&r->hosts);
    return r;
}

static void free_values(struct map *m, void (*fini)(void *))
{
    struct str key;
    void *v;
    for (size_t i = 0; map_next(m, &i, &key, &v);) {
        fini(v);
        mem_free(v);
    }
    map_fini(m);
}

static void db_fini(void *v)
{
    struct db_shared *d = v;
    struct catalog *c = atomic_load(&d->shared.catalog);
    catalog_put(&c);
    mem_free(d->name);
}

static void user_fini(void *v)
{
    mem_free(((struct user_shared *)v)->name);
}

static void pool_fini(void *v)
{
    struct pool_shared *p = v;
    mem_free((void *)(uintptr_t)atomic_load(&p->shared.profile));
    mem_free(p->key);
}

static void host_fini(void *v)
{
    (void)v;
}

static void keys_fini(void *v)
{
    mem_wipe(v, sizeof(struct scram_keys));
}

static void secret_wipe(void *v)
{
    struct known_secret *k = v;
    mem_wipe(k->text, k->n);
}

void registry_free(struct registry **rp)
{
    struct registry *r = *rp;
    *rp = NULL;
    free_values(&r->pools, pool_fini);
    free_values(&r->dbs, db_fini);
    free_values(&r->users, user_fini);
    free_values(&r->keys, keys_fini);
    free_values(&r->secrets, secret_wipe);
    free_values(&r->hosts, host_fini);
    pthread_mutex_destroy(&r->lock);
    mem_free(r);
}

static struct db_shared *db_locked(struct registry *r, struct str name)
{
    struct db_shared *d = map_get(&r->dbs, name);
    if (d == NULL) {
        d = mem_new(sizeof(*d));
        d->name = str_dup(name);
        map_put(&r->dbs, name, d);
    }
    return d;
}

static struct user_shared *user_locked(struct registry *r, struct str name)
{
    struct user_shared *u = map_get(&r->users, name);
    if (u == NULL) {
        u = mem_new(sizeof(*u));
        u->name = str_dup(name);
        map_put(&r->users, name, u);
    }
    return u;
}

struct db_shared *registry_db(struct registry *r, struct str name)
{
    pthread_mutex_lock(&r->lock);
    struct db_shared *d = db_locked(r, name);
    pthread_mutex_unlock(&r->lock);
    return d;
}

struct user_shared *registry_user(struct registry *r, struct str name)
{
    pthread_mutex_lock(&r->lock);
    struct user_shared *u = user_locked(r, name);
    pthread_mutex_unlock(&r->lock);
    return u;
}

/* What is behind the second of the words that a zero separates. */
static const char *node_in(const char *key, size_t n)
{
    const char *end = key + n;
    for (int i = 0; i < 2; i++) {
        key = memchr(key, 0, (size_t)(end - key));
        if (key == NULL)
            return "";
        key++;
    }
    return key;
}

struct pool_shared *registry_pool(struct registry *r, struct str db, struct str user,
                                  struct str key)
{
    pthread_mutex_lock(&r->lock);
    struct pool_shared *p = map_get(&r->pools, key);
    if (p == NULL) {
        p = mem_new(sizeof(*p));
        p->key = str_dup(key);
        p->node = node_in(p->key, key.n);
        p->db = db_locked(r, db);
        p->user = user_locked(r, user);
        map_put(&r->pools, key, p);
    }
    pthread_mutex_unlock(&r->lock);
    return p;
}

const char *registry_host(struct registry *r, const char *host, int port)
{
    struct buf name;
    buf_init(&name, HOST_NAME_BYTES);
    buf_printf(&name, strchr(host, ':') != NULL ? "[%s]:%d" : "%s:%d", host, port);
    pthread_mutex_lock(&r->lock);
    char *h = map_get(&r->hosts, buf_str(&name));
    if (h == NULL) {
        h = str_dup(buf_str(&name));
        map_put(&r->hosts, buf_str(&name), h);
    }
    pthread_mutex_unlock(&r->lock);
    buf_fini(&name);
    return h;
}

void registry_each_db(struct registry *r, void (*fn)(void *arg, struct db_shared *d), void *arg)
{
    struct str key;
    void *v;
    pthread_mutex_lock(&r->lock);
    for (size_t i = 0; map_next(&r->dbs, &i, &key, &v);)
        fn(arg, v);
    pthread_mutex_unlock(&r->lock);
}

void registry_each_user(struct registry *r, void (*fn)(void *arg, struct user_shared *u), void *arg)
{
    struct str key;
    void *v;
    pthread_mutex_lock(&r->lock);
    for (size_t i = 0; map_next(&r->users, &i, &key, &v);)
        fn(arg, v);
    pthread_mutex_unlock(&r->lock);
}

void registry_each_pool(struct registry *r, void (*fn)(void *arg, struct pool_shared *p), void *arg)
{
    struct str key;
    void *v;
    pthread_mutex_lock(&r->lock);
    for (size_t i = 0; map_next(&r->pools, &i, &key, &v);)
        fn(arg, v);
    pthread_mutex_unlock(&r->lock);
}

void registry_leave(struct registry *r, struct pool_shared *p, const struct stats *s,
                    const struct measured *m)
{
    pthread_mutex_lock(&r->lock);
    stats_add(&p->shared.left, s);
    measure_add(&p->shared.left_measured, m);
    pthread_mutex_unlock(&r->lock);
}

void registry_set_profile(struct registry *r, struct pool_shared *p, const struct wire_var *vars,
                          int n)
{
    if (atomic_load_explicit(&p->shared.profile, memory_order_acquire) != NULL)
        return;
    size_t text = 0;
    for (int i = 0; i < n; i++)
        text += vars[i].name.n + vars[i].value.n;
    struct profile *pr = mem_new(sizeof(*pr) + (size_t)n * sizeof(pr->vars[0]) + text);
    char *at = (char *)&pr->vars[n];
    pr->n = n;
    for (int i = 0; i < n; i++) {
        memcpy(at, vars[i].name.p, vars[i].name.n);
        pr->vars[i].name = (struct str){at, vars[i].name.n};
        at += vars[i].name.n;
        memcpy(at, vars[i].value.p, vars[i].value.n);
        pr->vars[i].value = (struct str){at, vars[i].value.n};
        at += vars[i].value.n;
    }
    pthread_mutex_lock(&r->lock);
    if (atomic_load(&p->shared.profile) == NULL) {
        atomic_store_explicit(&p->shared.profile, pr, memory_order_release);
        pr = NULL;
    }
    pthread_mutex_unlock(&r->lock);
    mem_free(pr);
}

struct catalog *registry_catalog(struct registry *r, struct db_shared *d)
{
    pthread_mutex_lock(&r->lock);
    struct catalog *c = atomic_load(&d->shared.catalog);
    if (c != NULL)
        c = catalog_get(c);
    pthread_mutex_unlock(&r->lock);
    return c;
}

void registry_set_catalog(struct registry *r, struct db_shared *d, struct catalog *c,
                          uint32_t definitions)
{
    struct catalog *old = c;
    pthread_mutex_lock(&r->lock);
    uint32_t known = atomic_load_explicit(&d->shared.catalog_definitions, memory_order_relaxed);
    if ((int32_t)(definitions - known) >= 0) {
        old = atomic_exchange(&d->shared.catalog, c);
        atomic_store_explicit(&d->shared.catalog_definitions, definitions, memory_order_release);
    }
    pthread_mutex_unlock(&r->lock);
    catalog_put(&old);
}

void registry_reshaped(struct registry *r)
{
    struct str key;
    void *v;
    pthread_mutex_lock(&r->lock);
    for (size_t i = 0; map_next(&r->dbs, &i, &key, &v);) {
        struct db_shared *d = v;
        uint32_t now = 1 +
                       atomic_fetch_add_explicit(&d->shared.definitions, 1, memory_order_relaxed);
        atomic_store_explicit(&d->shared.reshaped, now, memory_order_release);
        atomic_store_explicit(&d->shared.catalog_stale, true, memory_order_relaxed);
    }
    pthread_mutex_unlock(&r->lock);
}

bool registry_keys(struct registry *r, struct str user, struct scram_keys *out)
{
    pthread_mutex_lock(&r->lock);
    const struct scram_keys *k = map_get(&r->keys, user);
    if (k != NULL)
        *out = *k;
    pthread_mutex_unlock(&r->lock);
    return k != NULL;
}

void registry_set_keys(struct registry *r, struct str user, const struct scram_keys *keys)
{
    pthread_mutex_lock(&r->lock);
    struct scram_keys *k = map_get(&r->keys, user);
    if (k == NULL) {
        k = mem_new(sizeof(*k));
        map_put(&r->keys, user, k);
    }
    *k = *keys;
    pthread_mutex_unlock(&r->lock);
}

static bool secret_key(struct str db, struct str user, char *dst, size_t cap, struct str *key)
{
    if (db.n + 1 + user.n > cap)
        return false;
    memcpy(dst, db.p, db.n);
    dst[db.n] = '\0';
    memcpy(dst + db.n + 1, user.p, user.n);
    *key = (struct str){dst, db.n + 1 + user.n};
    return true;
}

bool registry_secret(struct registry *r, struct str db, struct str user, usec_t since, char *dst,
                     size_t cap)
{
    char mem[512];
    struct str key;
    if (!secret_key(db, user, mem, sizeof(mem), &key))
        return false;
    pthread_mutex_lock(&r->lock);
    const struct known_secret *k = map_get(&r->secrets, key);
    bool found = k != NULL && k->at >= since && k->n < cap;
    if (found)
        str_copy(dst, cap, (struct str){k->text, k->n});
    pthread_mutex_unlock(&r->lock);
    return found;
}

void registry_set_secret(struct registry *r, struct str db, struct str user, usec_t now,
                         struct str secret)
{
    char mem[512];
    struct str key;
    if (!secret_key(db, user, mem, sizeof(mem), &key))
        return;
    struct known_secret *k = mem_new(sizeof(*k) + secret.n + 1);
    k->at = now;
    k->n = secret.n;
    if (secret.n > 0)
        memcpy(k->text, secret.p, secret.n);
    pthread_mutex_lock(&r->lock);
    struct known_secret *old = map_put(&r->secrets, key, k);
    if (old != NULL)
        mem_wipe(old->text, old->n);
    pthread_mutex_unlock(&r->lock);
    mem_free(old);
}
