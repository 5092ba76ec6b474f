/* varset.c - interned sets of settings; see varset.h.  Worker thread. */
#include "proxy/varset.h"

#include "base/check.h"
#include "base/hash.h"
#include "base/mem.h"

#include <stdlib.h>

static int ci_cmp(struct str a, struct str b)
{
    size_t n = MIN(a.n, b.n);
    for (size_t i = 0; i < n; i++) {
        int x = (unsigned char)a.p[i], y = (unsigned char)b.p[i];
        if (x >= 'A' && x <= 'Z')
            x += 'a' - 'A';
        if (y >= 'A' && y <= 'Z')
            y += 'a' - 'A';
        if (x != y)
            return x < y ? -1 : 1;
    }
    return a.n == b.n ? 0 : a.n < b.n ? -1 : 1;
}

static uint64_t pair_hash(const struct wire_var *v)
{
    uint64_t h = v->name.n;
    for (size_t i = 0; i < v->name.n; i++) {
        unsigned char ch = (unsigned char)v->name.p[i];
        if (ch >= 'A' && ch <= 'Z')
            ch = (unsigned char)(ch + ('a' - 'A'));
        h = (h ^ ch) * 0x100000001b3u;
    }
    return hash_bytes(v->value.p, v->value.n, h);
}

void varset_table_init(struct varset_table *t, const struct wire *wire)
{
    t->nchains = 256;
    t->chains = mem_new(t->nchains * sizeof(*t->chains));
    t->count = 0;
    t->wire = wire;
    t->empty = NULL;
    t->empty = varset_make(t, NULL, 0);
}

void varset_table_fini(struct varset_table *t)
{
    varset_put(&t->empty);
    CHECK(t->count == 0);
    mem_free(t->chains);
}

/* vars: sorted, without duplicates. */
static struct varset *allocate(const struct wire_var *vars, int n)
{
    size_t text = 0;
    for (int i = 0; i < n; i++)
        text += vars[i].name.n + vars[i].value.n;
    struct varset *v = mem_new(sizeof(*v) + (size_t)n * sizeof(v->vars[0]) + text);
    char *p = (char *)&v->vars[n];
    v->n = (uint16_t)n;
    v->refs = 1;
    for (int i = 0; i < n; i++) {
        memcpy(p, vars[i].name.p, vars[i].name.n);
        v->vars[i].name = (struct str){p, vars[i].name.n};
        p += vars[i].name.n;
        if (vars[i].value.n > 0)
            memcpy(p, vars[i].value.p, vars[i].value.n);
        v->vars[i].value = (struct str){p, vars[i].value.n};
        p += vars[i].value.n;
    }
    return v;
}

static bool same(const struct varset *v, const struct wire_var *vars, int n)
{
    if (v->n != n)
        return false;
    for (int i = 0; i < n; i++)
        if (ci_cmp(v->vars[i].name, vars[i].name) != 0 || !str_eq(v->vars[i].value, vars[i].value))
            return false;
    return true;
}

static struct varset *intern(struct varset_table *t, const struct wire_var *vars, int n)
{
    uint64_t h = 0, ah = 0;
    bool hurries = false;
    for (int i = 0; i < n; i++) {
        uint64_t p = pair_hash(&vars[i]);
        h += p;
        if (t->wire->var_analysis(vars[i].name))
            ah += p;
        hurries = hurries || (t->wire->var_hurries != NULL && t->wire->var_hurries(&vars[i]));
    }
    struct varset **chain = &t->chains[h % t->nchains];
    for (struct varset *v = *chain; v != NULL; v = v->next)
        if (v->hash == h && same(v, vars, n))
            return varset_get(v);
    struct varset *v = allocate(vars, n);
    v->hash = h;
    v->analysis = ah != 0;
    v->analysis_hash = ah;
    v->hurries = hurries;
    v->table = t;
    v->next = *chain;
    *chain = v;
    t->count++;
    return v;
}

static int var_order(const void *a, const void *b)
{
    const struct wire_var *x = a, *y = b;
    return ci_cmp(x->name, y->name);
}

struct varset *varset_make(struct varset_table *t, const struct wire_var *vars, int n)
{
    struct wire_var sorted[VARSET_MAX];
    int m = 0;
    /* The last of equal names wins, so they are taken from the end and repeats left out. */
    for (int i = n - 1; i >= 0 && m < VARSET_MAX; i--) {
        bool seen = false;
        for (int k = 0; k < m && !seen; k++)
            seen = ci_cmp(sorted[k].name, vars[i].name) == 0;
        if (!seen)
            sorted[m++] = vars[i];
    }
    qsort(sorted, (size_t)m, sizeof(sorted[0]), var_order);
    return intern(t, sorted, m);
}

struct varset *varset_empty(struct varset_table *t)
{
    return varset_get(t->empty);
}

struct varset *varset_get(struct varset *v)
{
    v->refs++;
    return v;
}

void varset_put(struct varset **vp)
{
    struct varset *v = *vp;
    *vp = NULL;
    if (v == NULL || --v->refs > 0)
        return;
    struct varset **chain = &v->table->chains[v->hash % v->table->nchains];
    while (*chain != v)
        chain = &(*chain)->next;
    *chain = v->next;
    v->table->count--;
    mem_free(v);
}

void varset_change(struct varset **vp, struct str name, struct str value)
{
    const struct varset *old = *vp;
    struct wire_var vars[VARSET_MAX];
    int n = 0;
    bool placed = value.p == NULL;
    for (int i = 0; i < old->n && n < VARSET_MAX - 1; i++) {
        int cmp = ci_cmp(old->vars[i].name, name);
        if (cmp >= 0 && !placed) {
            vars[n++] = (struct wire_var){cmp == 0 ? old->vars[i].name : name, value};
            placed = true;
        }
        if (cmp != 0)
            vars[n++] = old->vars[i];
    }
    if (!placed)
        vars[n++] = (struct wire_var){name, value};
    struct varset *made = intern(old->table, vars, n);
    varset_put(vp);
    *vp = made;
}

struct str varset_find(const struct varset *v, struct str name)
{
    for (int i = 0; i < v->n; i++)
        if (ci_cmp(v->vars[i].name, name) == 0)
            return v->vars[i].value;
    return STR_NONE;
}

int varset_diff(const struct varset *have, const struct varset *want, struct wire_var *out, int max)
{
    int n = 0, i = 0, k = 0;
    while (i < have->n || k < want->n) {
        int cmp = i == have->n   ? 1
                  : k == want->n ? -1
                                 : ci_cmp(have->vars[i].name, want->vars[k].name);
        struct wire_var v = {STR_NONE, STR_NONE};
        if (cmp < 0)
            v.name = have->vars[i].name;
        else if (cmp > 0 || !str_eq(have->vars[i].value, want->vars[k].value))
            v = want->vars[k];
        if (v.name.p != NULL) {
            if (n < max)
                out[n] = v;
            n++;
        }
        i += cmp <= 0;
        k += cmp >= 0;
    }
    return n;
}

struct varset *varset_export(const struct varset *v)
{
    return allocate(v->vars, v->n);
}

struct varset *varset_import(struct varset_table *t, const struct varset *exported)
{
    return intern(t, exported->vars, exported->n);
}
