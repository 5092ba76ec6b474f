/* stmt.c - prepared statements, their identity and who has them; see stmt.h.  Worker thread. */
#include "proxy/stmt.h"

#include "base/check.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/refs.h"

#define UNUSED_MAX 4096 /* statements nobody refers to that are kept for the next */
#define UNUSED_BYTES (8 * 1024 * 1024)

/* ---- texts ----------------------------------------------------------------------------------- */

static struct stmt_text *text_new(const struct stmt_key *k, uint64_t hash)
{
    struct stmt_text *t = mem_try(sizeof(*t) + k->text.n + k->types.n);
    if (t == NULL)
        return NULL;
    char *p = (char *)(t + 1);
    refs_init(&t->refs);
    t->hash = hash;
    t->analysis = k->analysis;
    t->by_text = k->by_text;
    if (k->text.n > 0)
        memcpy(p, k->text.p, k->text.n);
    t->text = (struct str){p, k->text.n};
    p += k->text.n;
    if (k->types.n > 0)
        memcpy(p, k->types.p, k->types.n);
    t->types = (struct str){p, k->types.n};
    return t;
}

static void text_put(struct stmt_text *t)
{
    if (refs_put(&t->refs))
        mem_free(t);
}

static struct stmt_text *text_get(struct stmt_text *t)
{
    refs_get(&t->refs);
    return t;
}

/* ---- registry -------------------------------------------------------------------------------- */

void stmt_registry_init(struct stmt_registry *r, unsigned worker, uint64_t salt)
{
    memset(r, 0, sizeof(*r));
    r->nchains = 1024;
    r->chains = mem_new(r->nchains * sizeof(struct stmt *));
    list_init(&r->unused);
    r->next_number = (uint64_t)worker << 48;
    r->salt = salt;
}

static void stmt_free(struct stmt *s)
{
    struct stmt_registry *r = s->registry;
    struct stmt **chain = &r->chains[s->text->hash % r->nchains];
    while (*chain != s)
        chain = &(*chain)->next;
    *chain = s->next;
    r->count--;
    list_remove(&s->unused);
    facts_put(&s->facts);
    text_put(s->text);
    mem_free(s);
}

static void trim(struct stmt_registry *r, size_t max, size_t max_bytes)
{
    while (r->nunused > max || r->unused_bytes > max_bytes) {
        struct stmt *s = container_of(list_first(&r->unused), struct stmt, unused);
        r->nunused--;
        r->unused_bytes -= s->text->text.n;
        stmt_free(s);
    }
}

void stmt_registry_fini(struct stmt_registry *r)
{
    trim(r, 0, SIZE_MAX);
    CHECK(r->count == 0);
    mem_free(r->chains);
}

static void grow(struct stmt_registry *r)
{
    size_t n = r->nchains * 4;
    struct stmt **chains = mem_new(n * sizeof(struct stmt *));
    for (size_t i = 0; i < r->nchains; i++) {
        struct stmt *s = r->chains[i];
        while (s != NULL) {
            struct stmt *next = s->next;
            s->next = chains[s->text->hash % n];
            chains[s->text->hash % n] = s;
            s = next;
        }
    }
    mem_free(r->chains);
    r->chains = chains;
    r->nchains = n;
}

static uint64_t key_hash(const struct stmt_key *k)
{
    uint64_t h = hash_bytes(k->text.p, k->text.n, k->analysis + k->by_text);
    return k->types.n > 0 ? hash_bytes(k->types.p, k->types.n, h) : h;
}

static bool key_matches(const struct stmt_text *t, const struct stmt_key *k, uint64_t hash)
{
    return t->hash == hash && t->analysis == k->analysis && t->by_text == k->by_text &&
           str_eq(t->text, k->text) && str_eq(t->types, k->types);
}

static struct stmt *look_up(struct stmt_registry *r, const struct stmt_key *k, uint64_t hash)
{
    for (struct stmt *s = r->chains[hash % r->nchains]; s != NULL; s = s->next)
        if (key_matches(s->text, k, hash))
            return stmt_get(s);
    return NULL;
}

static struct stmt *insert(struct stmt_registry *r, struct stmt_text *t)
{
    if (r->count >= r->nchains * 2)
        grow(r);
    struct stmt *s = mem_new(sizeof(*s));
    s->refs = 1;
    s->text = t;
    s->registry = r;
    list_init(&s->unused);
    struct stmt **chain = &r->chains[t->hash % r->nchains];
    s->next = *chain;
    *chain = s;
    r->count++;
    return s;
}

struct stmt *stmt_find(struct stmt_registry *r, const struct stmt_key *k)
{
    uint64_t hash = key_hash(k);
    struct stmt *s = look_up(r, k, hash);
    if (s != NULL)
        return s;
    struct stmt_text *t = text_new(k, hash);
    return t == NULL ? NULL : insert(r, t);
}

struct stmt *stmt_get(struct stmt *s)
{
    if (s->refs++ == 0) {
        list_remove(&s->unused);
        s->registry->nunused--;
        s->registry->unused_bytes -= s->text->text.n;
    }
    return s;
}

void stmt_put(struct stmt **sp)
{
    struct stmt *s = *sp;
    *sp = NULL;
    if (s == NULL || --s->refs > 0)
        return;
    struct stmt_registry *r = s->registry;
    list_push_back(&r->unused, &s->unused);
    r->nunused++;
    r->unused_bytes += s->text->text.n;
    trim(r, UNUSED_MAX, UNUSED_BYTES);
}

/* ---- a client's names ------------------------------------------------------------------------ */

void stmt_names_init(struct stmt_names *n)
{
    map_init(&n->by_name);
    map_init(&n->described);
    n->unnamed = NULL;
}

void stmt_names_described(struct stmt_names *n, struct str name, uint32_t definitions)
{
    map_put(&n->described, name, (void *)((uintptr_t)definitions + 1));
}

bool stmt_names_description(const struct stmt_names *n, struct str name, uint32_t *definitions)
{
    const void *v = map_get(&n->described, name);
    *definitions = v == NULL ? 0 : (uint32_t)((uintptr_t)v - 1);
    return v != NULL;
}

void stmt_names_clear(struct stmt_names *n)
{
    struct str name;
    void *v;
    for (size_t i = 0; map_next(&n->by_name, &i, &name, &v);) {
        struct stmt *s = v;
        stmt_put(&s);
    }
    map_fini(&n->by_name);
    map_init(&n->by_name);
    map_fini(&n->described);
    map_init(&n->described);
    stmt_put(&n->unnamed);
}

void stmt_names_fini(struct stmt_names *n)
{
    stmt_names_clear(n);
    map_fini(&n->by_name);
    map_fini(&n->described);
}

struct stmt *stmt_names_find(const struct stmt_names *n, struct str name)
{
    return name.n == 0 ? n->unnamed : map_get(&n->by_name, name);
}

struct stmt *stmt_names_set(struct stmt_names *n, struct str name, struct stmt *s)
{
    if (name.n == 0) {
        struct stmt *old = n->unnamed;
        n->unnamed = s;
        return old;
    }
    map_remove(&n->described, name);
    return s == NULL ? map_remove(&n->by_name, name) : map_put(&n->by_name, name, s);
}

size_t stmt_names_count(const struct stmt_names *n)
{
    return map_count(&n->by_name);
}

/* ---- a server's set -------------------------------------------------------------------------- */

static struct str pointer_key(const struct stmt *const *stmt)
{
    return (struct str){(const char *)(const void *)stmt, sizeof(*stmt)};
}

void stmt_set_init(struct stmt_set *s)
{
    map_init(&s->by_stmt);
    map_init(&s->by_name);
    list_init(&s->lru);
    s->count = 0;
}

void stmt_set_remove(struct stmt_set *s, struct stmt_entry *e)
{
    const struct stmt *key = e->stmt;
    if (e->named) {
        map_remove(&s->by_name, e->name);
    } else {
        map_remove(&s->by_stmt, pointer_key(&key));
        list_remove(&e->lru);
        s->count--;
    }
    stmt_put(&e->stmt);
    mem_free(e);
}

void stmt_set_clear(struct stmt_set *s)
{
    struct list *l;
    while ((l = list_first(&s->lru)) != NULL)
        stmt_set_remove(s, container_of(l, struct stmt_entry, lru));
    struct str name;
    void *v;
    for (size_t i = 0; map_next(&s->by_name, &i, &name, &v);)
        stmt_set_remove(s, v);
}

void stmt_set_fini(struct stmt_set *s)
{
    stmt_set_clear(s);
    map_fini(&s->by_stmt);
    map_fini(&s->by_name);
}

struct stmt_entry *stmt_set_find(struct stmt_set *s, const struct stmt *stmt)
{
    struct stmt_entry *e = map_get(&s->by_stmt, pointer_key(&stmt));
    if (e != NULL && s->lru.prev != &e->lru) {
        list_remove(&e->lru);
        list_push_back(&s->lru, &e->lru);
    }
    return e;
}

static struct stmt_entry *add(struct stmt_set *s, struct stmt *stmt, const struct wire_handle *h)
{
    struct stmt_entry *e = mem_new(sizeof(*e));
    e->stmt = stmt_get(stmt);
    e->handle = *h;
    list_init(&e->lru);
    list_push_back(&s->lru, &e->lru);
    s->count++;
    const struct stmt *key = stmt;
    map_put(&s->by_stmt, pointer_key(&key), e);
    return e;
}

struct stmt_entry *stmt_set_add(struct stmt_set *s, struct stmt *stmt, const struct wire *wire)
{
    struct wire_handle h;
    wire->handle_make(stmt->registry->salt, stmt->registry->next_number++, &h);
    return add(s, stmt, &h);
}

struct stmt_entry *stmt_set_find_named(struct stmt_set *s, struct str name)
{
    return map_get(&s->by_name, name);
}

struct stmt_entry *stmt_set_add_named(struct stmt_set *s, struct stmt *stmt, struct str name)
{
    struct stmt_entry *e = mem_new(sizeof(*e) + name.n);
    memcpy(e + 1, name.p, name.n);
    e->name = (struct str){(const char *)(e + 1), name.n};
    e->named = true;
    e->stmt = stmt_get(stmt);
    list_init(&e->lru);
    map_put(&s->by_name, name, e);
    return e;
}

struct stmt_entry *stmt_set_oldest(struct stmt_set *s)
{
    struct list *l = list_first(&s->lru);
    return l == NULL ? NULL : container_of(l, struct stmt_entry, lru);
}

/* ---- hand-over ------------------------------------------------------------------------------- */

struct stmt_parcel {
    size_t n;
    struct stmt_item {
        struct stmt_text *text;
        struct wire_handle handle;
        uint32_t definitions;
    } item[];
};

struct stmt_parcel *stmt_set_export(struct stmt_set *s)
{
    struct stmt_parcel *p = mem_new(sizeof(*p) + s->count * sizeof(p->item[0]));
    struct list *it, *tmp;
    LIST_EACH(it, tmp, &s->lru) {
        struct stmt_entry *e = container_of(it, struct stmt_entry, lru);
        p->item[p->n].text = text_get(e->stmt->text);
        p->item[p->n].definitions = e->definitions;
        p->item[p->n++].handle = e->handle;
    }
    stmt_set_clear(s);
    return p;
}

void stmt_set_import(struct stmt_set *s, struct stmt_registry *r, struct stmt_parcel *p)
{
    for (size_t i = 0; i < p->n; i++) {
        struct stmt_text *t = p->item[i].text;
        struct stmt_key k = {t->text, t->types, t->analysis, t->by_text};
        struct stmt *stmt = look_up(r, &k, t->hash);
        if (stmt == NULL)
            stmt = insert(r, text_get(t));
        add(s, stmt, &p->item[i].handle)->definitions = p->item[i].definitions;
        stmt_put(&stmt);
    }
    stmt_parcel_free(p);
}

void stmt_parcel_free(struct stmt_parcel *p)
{
    if (p == NULL)
        return;
    for (size_t i = 0; i < p->n; i++)
        text_put(p->item[i].text);
    mem_free(p);
}
