/* pg_track.c - see pg_track.h.  Owner thread only. */
#include "protocol/pg/pg_track.h"

#include "base/mem.h"

void pg_track_init(struct pg_track *t)
{
    memset(t, 0, sizeof *t);
}

void pg_track_fini(struct pg_track *t)
{
    mem_free(t->ring);
    memset(t, 0, sizeof *t);
}

static uint8_t *slot(struct pg_track *t, uint32_t i)
{
    if (t->ring)
        return &t->ring[(t->head + i) & (t->cap - 1)];
    return &t->few[(t->head + i) & (PG_TRACK_INLINE - 1)];
}

static unsigned at(const struct pg_track *t, uint32_t i)
{
    if (t->ring)
        return t->ring[(t->head + i) & (t->cap - 1)];
    return t->few[(t->head + i) & (PG_TRACK_INLINE - 1)];
}

static bool grow(struct pg_track *t)
{
    uint32_t cap = t->ring ? t->cap * 2 : 64;
    uint8_t *ring = cap > PG_TRACK_MAX ? NULL : mem_try(cap);
    if (!ring)
        return false;
    for (uint32_t i = 0; i < t->count; i++)
        ring[i] = (uint8_t)at(t, i);
    mem_free(t->ring);
    t->ring = ring;
    t->cap = cap;
    t->head = 0;
    return true;
}

static bool ends_request(unsigned entry)
{
    unsigned kind = entry & PX_KIND;
    return kind == PX_SYNC || kind == PX_QUERY || kind == PX_CALL;
}

void pg_track_push(struct pg_track *t, unsigned entry)
{
    if (t->skipping) {
        unsigned kind = entry & PX_KIND;
        /* the server skips a Query too, but whoever sent it waits for an answer */
        if (kind == PX_QUERY || kind == PX_CALL)
            t->broken = true;
        if (kind != PX_SYNC)
            return;
        t->skipping = false;
    }
    uint32_t cap = t->ring ? t->cap : PG_TRACK_INLINE;
    if (t->count == cap && !grow(t)) {
        t->broken = true;
        return;
    }
    *slot(t, t->count) = (uint8_t)entry;
    t->count++;
    if (ends_request(entry))
        t->requests++;
}

unsigned pg_track_head(const struct pg_track *t)
{
    return at(t, 0);
}

void pg_track_set_head(struct pg_track *t, unsigned entry)
{
    *slot(t, 0) = (uint8_t)entry;
}

void pg_track_pop(struct pg_track *t)
{
    if (ends_request(at(t, 0)))
        t->requests--;
    t->count--;
    if (t->ring) {
        t->head = (t->head + 1) & (t->cap - 1);
        /* an idle server keeps no memory for the longest pipeline it ever had */
        if (t->count == 0) {
            mem_free(t->ring);
            t->ring = NULL;
            t->cap = 0;
            t->head = 0;
        }
    } else {
        t->head = (t->head + 1) & (PG_TRACK_INLINE - 1);
    }
}

void pg_track_error(struct pg_track *t)
{
    if (t->count == 0)
        return;
    if (ends_request(at(t, 0)))
        return;
    while (t->count > 0) {
        unsigned kind = at(t, 0) & PX_KIND;
        if (kind == PX_SYNC)
            return;
        if (kind == PX_QUERY || kind == PX_CALL) { /* skipped by the server, never answered */
            t->broken = true;
            return;
        }
        pg_track_pop(t);
    }
    t->skipping = true;
}

bool pg_track_own(const struct pg_track *t)
{
    for (uint32_t i = 0; i < t->count; i++)
        if (ends_request(at(t, i)))
            return (at(t, i) & PX_OWN) != 0;
    return false;
}

enum pg_upload pg_track_upload(const struct pg_track *t)
{
    enum pg_upload u = PG_UPLOAD_OPEN;
    for (uint32_t i = 1; i < t->count; i++) {
        unsigned e = at(t, i);
        if (e & PX_FAKE)
            continue; /* the server never sees it */
        if (u == PG_UPLOAD_VOID)
            return PG_UPLOAD_LOST;
        bool sync = (e & PX_KIND) == PX_SYNC;
        if (u == PG_UPLOAD_DOOMED && sync)
            return PG_UPLOAD_DOOMED; /* this end marker is answered */
        if (!sync && ends_request(e))
            return PG_UPLOAD_LOST;
        u = sync ? PG_UPLOAD_VOID : PG_UPLOAD_DOOMED;
    }
    return u;
}
