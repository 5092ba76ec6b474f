/* pg_key.c - the cancel keys that Penstock gives out; see pg_key.h. */
#include "protocol/pg/pg_key.h"

#include "protocol/pg/pg_frame.h"

#define PID_BASE 4194305u /* above every process id of a Linux server */
#define PID_PEERED (1u << 24)
#define SECRET_SHORT 4 /* bytes of secret that protocol 3.0 has room for */
#define SECRET_LONG 32
#define SHARED_TOP 127u /* byte 0 of pids that several clients may have */
#define OWN_NUMBERS ((SHARED_TOP - 1) * 256)
#define HOPS_AT 7 /* byte with the count of hops */
#define HOPS 3u

static uint32_t peered_pid(const struct wire_identity *who)
{
    uint32_t top = who->id < OWN_NUMBERS ? who->id / 256 + 1 : SHARED_TOP;
    uint32_t peer = (who->peer & 0xffu) << 8 | who->peer >> 8;
    return top << 24 | peer << 8 | who->id % 256;
}

void pg_key_make(const struct wire_identity *who, int minor, struct wire_key *key)
{
    uint32_t pid = htobe32(who->peer != 0 ? peered_pid(who) : PID_BASE + who->id);
    size_t n = minor >= 2 ? SECRET_LONG : SECRET_SHORT;
    key->n = (uint16_t)(4 + n);
    memcpy(key->b, &pid, 4);
    memcpy(key->b + 4, who->secret, n);
    if (who->peer != 0)
        key->b[HOPS_AT] |= HOPS;
}

static bool read_pid(uint32_t pid, struct wire_identity *who)
{
    uint32_t top = pid >> 24;
    who->step = 0;
    who->peer = 0;
    if (pid < PID_PEERED) {
        who->id = pid - PID_BASE;
        return pid >= PID_BASE;
    }
    who->peer = (uint16_t)((pid >> 16 & 0xff) | (pid & 0xff00));
    who->id = (top - 1) * 256 + (pid & 0xff);
    who->step = top == SHARED_TOP ? 256 : 0;
    return top <= SHARED_TOP && who->peer != 0;
}

enum status pg_key_read(const struct wire_key *key, struct wire_identity *who)
{
    memset(who, 0, sizeof(*who));
    if (key->n < 4 + SECRET_SHORT || key->n > 4 + SECRET_LONG ||
        !read_pid(pg_frame_u32((const char *)key->b), who))
        return ST_INVALID;
    who->nsecret = (uint8_t)(key->n - 4);
    memcpy(who->secret, key->b + 4, who->nsecret);
    if (who->peer != 0)
        who->secret[HOPS_AT - 4] |= HOPS;
    return ST_OK;
}

uint16_t pg_key_peer(const struct wire_key *key)
{
    return key->n < 4 + SECRET_SHORT ? 0 : (uint16_t)(key->b[1] | key->b[2] << 8);
}

bool pg_key_pass_on(struct wire_key *key)
{
    if (key->n <= HOPS_AT || (key->b[HOPS_AT] & HOPS) == 0)
        return false;
    key->b[HOPS_AT]--;
    return true;
}

uint32_t pg_key_pid(const struct wire_key *key)
{
    return key->n >= 4 ? pg_frame_u32((const char *)key->b) : 0;
}

bool pg_key_client(uint32_t pid, uint16_t peer, uint32_t *id)
{
    struct wire_identity who;
    bool ours = read_pid(pid, &who) && who.step == 0 && (who.peer == 0 || who.peer == peer);
    *id = who.id;
    return ours;
}
