/* config_arena.c - see config_arena.h.
 *
 * Chunks are never resized, so pointers stay; a piece larger than a chunk gets a chunk of its own.
 */
#include "base/base.h"

#include "proxy/config/config_arena.h"

#include "base/mem.h"

/* Under the address sanitizer each piece is a chunk of its own, so that it sees who reads too far.
 * */
#if defined(__SANITIZE_ADDRESS__)
#define CHUNK_BYTES 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define CHUNK_BYTES 0
#endif
#endif
#ifndef CHUNK_BYTES
#define CHUNK_BYTES 4096
#endif

struct config_chunk {
    struct config_chunk *next;
    size_t used, cap;
    alignas(max_align_t) char bytes[];
};

void config_arena_init(struct config_arena *a)
{
    a->chunks = NULL;
}

void config_arena_fini(struct config_arena *a)
{
    struct config_chunk *c = a->chunks;
    while (c != NULL) {
        struct config_chunk *next = c->next;
        mem_wipe(c->bytes, c->cap);
        mem_free(c);
        c = next;
    }
    a->chunks = NULL;
}

void *config_arena_new(struct config_arena *a, size_t n)
{
    size_t want = n;
    if (CHUNK_BYTES > 0)
        want = (n + alignof(max_align_t) - 1) / alignof(max_align_t) * alignof(max_align_t);
    struct config_chunk *c = a->chunks;
    if (c == NULL || want > c->cap - c->used) {
        size_t cap = MAX(want, (size_t)CHUNK_BYTES);
        c = mem_new(sizeof(*c) + cap);
        c->cap = cap;
        c->next = a->chunks;
        a->chunks = c;
    }
    void *p = c->bytes + c->used;
    c->used += want;
    return p;
}

const char *config_arena_dup(struct config_arena *a, struct str s)
{
    char *p = config_arena_new(a, s.n + 1);
    if (s.n > 0)
        memcpy(p, s.p, s.n);
    return p;
}
