/* cache_key.c - see cache_key.h.
 *
 * An identity is: hash of the rule (8), digest of the session (32), user (length, bytes; a length
 * of all ones: the rule shares its entries), formats (length, bytes), then each value (length,
 * bytes). Lengths are two bytes, so that no two lists of fields give the same bytes.
 */
#include "cache/cache_key.h"

#include "base/buf.h"
#include "base/hash.h"
#include "protocol/auth/digest.h"

#include <ctype.h>
#include <endian.h>

#define SHARED_USER 0xffffu

void cache_key_session(struct str database, const struct wire_var *settings, int n,
                       uint8_t digest[CACHE_DIGEST_BYTES])
{
    struct buf b;
    buf_init(&b, SIZE_MAX);
    buf_put_be32(&b, (uint32_t)database.n);
    buf_put_str(&b, database);
    for (int i = 0; i < n; i++) {
        buf_put_be32(&b, (uint32_t)settings[i].name.n);
        for (size_t k = 0; k < settings[i].name.n; k++)
            buf_put_u8(&b, (uint8_t)tolower((unsigned char)settings[i].name.p[k]));
        buf_put_be32(&b, (uint32_t)settings[i].value.n);
        buf_put_str(&b, settings[i].value);
    }
    digest_sha256(buf_data(&b), buf_len(&b), digest);
    buf_fini(&b);
}

/* ---- values ---------------------------------------------------------------------------------- */

static enum cache_key_result put_int(enum cache_type type, int64_t v, char *dst, struct str *out)
{
    int64_t max = INT64_MAX;
    if (type == CACHE_TYPE_INT2)
        max = INT16_MAX;
    else if (type == CACHE_TYPE_INT4)
        max = INT32_MAX;
    if (v > max || v < -max - 1)
        return CACHE_KEY_VALUE; /* the server may refuse it */
    char digits[20];
    size_t at = sizeof(digits), n = 0;
    uint64_t left = v < 0 ? -(uint64_t)v : (uint64_t)v;
    do {
        digits[--at] = (char)('0' + left % 10);
        left /= 10;
    } while (left > 0);
    if (v < 0)
        dst[n++] = '-';
    memcpy(dst + n, digits + at, sizeof(digits) - at);
    *out = (struct str){dst, n + sizeof(digits) - at};
    return CACHE_KEY_OK;
}

/* As the server reads an integer: blanks around, a sign, decimal digits. Its newer spellings (0x,
 * underscores) are left to it. */
static enum cache_key_result text_int(enum cache_type type, struct str s, char *dst,
                                      struct str *out)
{
    int64_t v;
    s = str_trim(s);
    if (s.n > 1 && s.p[0] == '+' && isdigit((unsigned char)s.p[1]))
        s = (struct str){s.p + 1, s.n - 1};
    if (!str_to_i64(s, INT64_MIN, INT64_MAX, &v))
        return CACHE_KEY_VALUE;
    return put_int(type, v, dst, out);
}

static enum cache_key_result binary_int(enum cache_type type, struct str s, char *dst,
                                        struct str *out)
{
    if (s.n != 2 && s.n != 4 && s.n != 8)
        return CACHE_KEY_VALUE;
    uint64_t bits = ((uint8_t)s.p[0] & 0x80) != 0 ? UINT64_MAX
                                                  : 0; /* the sign goes on to the left */
    for (size_t i = 0; i < s.n; i++)
        bits = bits << 8 | (uint8_t)s.p[i];
    return put_int(type, (int64_t)bits, dst, out);
}

/* 36 characters of lower case, hyphens in their places. */
static enum cache_key_result text_uuid(struct str s, char *dst, struct str *out)
{
    size_t digits = 0, n = 0;
    for (size_t i = 0; i < s.n; i++) {
        bool group = digits == 8 || digits == 12 || digits == 16 || digits == 20;
        if (s.n == 36 && s.p[i] == '-' && group && dst[n - 1] != '-') {
            dst[n++] = '-';
            continue;
        }
        if (!isxdigit((unsigned char)s.p[i]) || digits == 32)
            return CACHE_KEY_VALUE;
        if (group && dst[n - 1] != '-')
            dst[n++] = '-';
        dst[n++] = (char)tolower((unsigned char)s.p[i]);
        digits++;
    }
    *out = (struct str){dst, n};
    return digits == 32 ? CACHE_KEY_OK : CACHE_KEY_VALUE;
}

static enum cache_key_result binary_uuid(struct str s, char *dst, struct str *out)
{
    static const char hex[] = "0123456789abcdef";
    char digits[32];
    if (s.n != 16)
        return CACHE_KEY_VALUE;
    for (size_t i = 0; i < 16; i++) {
        digits[2 * i] = hex[(uint8_t)s.p[i] >> 4];
        digits[2 * i + 1] = hex[(uint8_t)s.p[i] & 15];
    }
    return text_uuid((struct str){digits, sizeof(digits)}, dst, out);
}

static enum cache_key_result put_text(struct str s, char *dst, struct str *out)
{
    if (s.n > CACHE_VALUE_MAX)
        return CACHE_KEY_LENGTH;
    if (s.n > 0 && memchr(s.p, '\0', s.n) != NULL)
        return CACHE_KEY_VALUE;
    if (s.n > 0)
        memmove(dst, s.p, s.n);
    *out = (struct str){dst, s.n};
    return CACHE_KEY_OK;
}

static enum cache_key_result of_text(enum cache_type type, struct str s, char *dst, struct str *out)
{
    switch (type) {
    case CACHE_TYPE_INT2:
    case CACHE_TYPE_INT4:
    case CACHE_TYPE_INT8:
        return text_int(type, s, dst, out);
    case CACHE_TYPE_UUID:
        return text_uuid(s, dst, out);
    case CACHE_TYPE_TEXT:
        return put_text(s, dst, out);
    case CACHE_TYPE_NONE:
        break;
    }
    return CACHE_KEY_VALUE;
}

static bool fits(enum cache_type type, enum wire_type declared)
{
    switch (declared) {
    case WIRE_TYPE_OPEN:
        return true;
    case WIRE_TYPE_INT:
        return type >= CACHE_TYPE_INT2 && type <= CACHE_TYPE_INT8;
    case WIRE_TYPE_UUID:
        return type == CACHE_TYPE_UUID;
    case WIRE_TYPE_TEXT:
        return type == CACHE_TYPE_TEXT;
    case WIRE_TYPE_OTHER:
        break;
    }
    return false;
}

static enum cache_key_result of_bound(enum cache_type type, const struct wire_value *v, char *dst,
                                      struct str *out)
{
    if (v->null || !fits(type, v->type))
        return CACHE_KEY_VALUE;
    if (!v->binary || type == CACHE_TYPE_TEXT)
        return of_text(type, v->bytes, dst, out);
    if (type == CACHE_TYPE_UUID)
        return binary_uuid(v->bytes, dst, out);
    return type == CACHE_TYPE_NONE ? CACHE_KEY_VALUE : binary_int(type, v->bytes, dst, out);
}

enum cache_key_result cache_key_value(enum cache_type type, const struct sql_slot *slot,
                                      const struct cache_request *q, char *dst, struct str *out)
{
    char decoded[CACHE_VALUE_MAX];
    struct str s;
    switch (slot->kind) {
    case SQL_SLOT_PARAM:
        if (q->values == NULL || slot->param > (uint32_t)q->nvalues)
            return CACHE_KEY_VALUE;
        return of_bound(type, &q->values[slot->param - 1], dst, out);
    case SQL_SLOT_NUMBER:
        if (type < CACHE_TYPE_INT2 || type > CACHE_TYPE_INT8)
            return CACHE_KEY_VALUE;
        return text_int(type, slot->text, dst, out);
    case SQL_SLOT_STRING:
        if (!sql_slots_string(slot, decoded, sizeof(decoded), &s))
            return CACHE_KEY_LENGTH;
        return of_text(type, s, dst, out);
    case SQL_SLOT_OTHER:
        break;
    }
    return CACHE_KEY_VALUE;
}

/* ---- the key --------------------------------------------------------------------------------- */

struct writer {
    char *p, *end;
    bool full;
};

static void put(struct writer *w, struct str s)
{
    if ((size_t)(w->end - w->p) < s.n) {
        w->full = true;
        return;
    }
    if (s.n > 0)
        memcpy(w->p, s.p, s.n);
    w->p += s.n;
}

static void put_length(struct writer *w, size_t n)
{
    uint16_t v = htobe16((uint16_t)n);
    w->full |= n > UINT16_MAX;
    put(w, (struct str){(const char *)&v, sizeof(v)});
}

bool cache_key_name(const struct cache_rule *r, const struct str *values, struct cache_key *out)
{
    struct writer w = {.p = out->bytes, .end = out->bytes + CACHE_KEY_TEXT};
    for (int i = 0; i < r->nparts; i++) {
        put(&w, r->parts[i].text);
        if (r->parts[i].param > 0)
            put(&w, values[r->parts[i].param - 1]);
    }
    out->name = (struct str){out->bytes, (size_t)(w.p - out->bytes)};
    out->identity = STR_NONE;
    out->hash = hash_seeded(out->name.p, out->name.n) ^ r->text_hash;
    return !w.full;
}

bool cache_key_of_name(const struct cache_rule *r, struct str name, struct cache_key *out)
{
    if (name.n > CACHE_KEY_TEXT)
        return false;
    memcpy(out->bytes, name.p, name.n);
    out->name = (struct str){out->bytes, name.n};
    out->identity = STR_NONE;
    out->hash = hash_seeded(out->name.p, out->name.n) ^ r->text_hash;
    return true;
}

static bool write_identity(const struct cache_rule *r, const struct cache_session *s,
                           struct str formats, const struct str *values, struct cache_key *out)
{
    char *start = out->bytes + CACHE_KEY_TEXT;
    struct writer w = {.p = start, .end = out->bytes + sizeof(out->bytes)};
    put(&w, (struct str){(const char *)&r->entry_hash, sizeof(r->entry_hash)});
    put(&w, (struct str){(const char *)s->digest, CACHE_DIGEST_BYTES});
    if (r->nusers > 0) {
        put_length(&w, SHARED_USER);
    } else {
        w.full |= s->user.n >= SHARED_USER;
        put_length(&w, s->user.n);
        put(&w, s->user);
    }
    put_length(&w, formats.n);
    put(&w, formats);
    for (int i = 0; i < r->nparams; i++) {
        put_length(&w, values[i].n);
        put(&w, values[i]);
    }
    out->identity = (struct str){start, (size_t)(w.p - start)};
    return !w.full;
}

static bool constant_fits(const struct sql_slot *want, const struct sql_slot *have,
                          uint32_t dialect)
{
    return have->kind == want->kind && str_eq(have->text, want->text) &&
           (want->kind != SQL_SLOT_OTHER || dialect == 0);
}

static bool constants_fit(const struct cache_rule *r, const struct sql_slot *have, uint32_t dialect)
{
    for (int i = 0; i < r->nslots; i++)
        if (r->slots[i].kind != SQL_SLOT_PARAM && !constant_fits(&r->slots[i], &have[i], dialect))
            return false;
    return true;
}

const struct cache_rule *cache_key_rule(const struct cache_rule *r, const struct cache_request *q)
{
    struct sql_slot slots[SQL_SLOTS_MAX];
    if (LIKELY(r->same == NULL) ||
        sql_slots_read(q->text, q->dialect, slots, SQL_SLOTS_MAX) != r->nslots)
        return r;
    for (const struct cache_rule *at = r; at != NULL; at = at->same)
        if (constants_fit(at, slots, q->dialect))
            return at;
    return r;
}

/* Place by place: a constant is the rule's, a parameter's value is taken. */
static enum cache_key_result read_values(const struct cache_rule *r, const enum cache_type *types,
                                         const struct cache_request *q, struct str *values,
                                         char (*bytes)[CACHE_VALUE_MAX])
{
    struct sql_slot slots[SQL_SLOTS_MAX];
    int highest = 0;
    if (sql_slots_read(q->text, q->dialect, slots, SQL_SLOTS_MAX) != r->nslots)
        return CACHE_KEY_CONSTANT;
    for (int i = 0; i < r->nslots; i++) {
        const struct sql_slot *want = &r->slots[i], *have = &slots[i];
        highest = have->kind == SQL_SLOT_PARAM ? MAX(highest, (int)have->param) : highest;
        if (want->kind != SQL_SLOT_PARAM) {
            if (!constant_fits(want, have, q->dialect))
                return CACHE_KEY_CONSTANT;
            continue;
        }
        char again[CACHE_VALUE_MAX];
        struct str *value = &values[want->param - 1], repeated;
        bool first = value->p == NULL;
        enum cache_key_result res = cache_key_value(types[want->param - 1], have, q,
                                                    first ? bytes[want->param - 1] : again,
                                                    first ? value : &repeated);
        if (res != CACHE_KEY_OK)
            return res;
        if (!first && !str_eq(*value, repeated))
            return CACHE_KEY_CONSTANT;
    }
    /* With another number of values the server answers with an error. */
    return q->values != NULL && q->nvalues != highest ? CACHE_KEY_VALUE : CACHE_KEY_OK;
}

enum cache_key_result cache_key_make(const struct cache_rule *r, const enum cache_type *types,
                                     const struct cache_session *s, const struct cache_request *q,
                                     struct cache_key *out)
{
    char bytes[CACHE_RULE_PARAMS][CACHE_VALUE_MAX];
    struct str values[CACHE_RULE_PARAMS] = {{NULL, 0}};
    enum cache_key_result res = read_values(r, types, q, values, bytes);
    if (res != CACHE_KEY_OK)
        return res;
    if (!cache_key_name(r, values, out) || !write_identity(r, s, q->formats, values, out))
        return CACHE_KEY_LENGTH;
    return CACHE_KEY_OK;
}

void cache_key_copy(struct cache_key *dst, const struct cache_key *src)
{
    memcpy(dst->bytes, src->bytes, src->name.n);
    char *identity = dst->bytes + CACHE_KEY_TEXT;
    if (src->identity.n > 0)
        memcpy(identity, src->identity.p, src->identity.n);
    dst->name = (struct str){dst->bytes, src->name.n};
    dst->identity = (struct str){identity, src->identity.n};
    dst->hash = src->hash;
}

void cache_key_digest(const struct cache_key *k, uint8_t out[CACHE_DIGEST_BYTES])
{
    digest_sha256(k->identity.p, k->identity.n, out);
}

void cache_key_field(const uint8_t digest[CACHE_DIGEST_BYTES], char out[CACHE_FIELD_BYTES + 1])
{
    static const char hex[] = "0123456789abcdef";
    for (size_t i = 0; i < CACHE_FIELD_BYTES / 2; i++) {
        out[2 * i] = hex[digest[i] >> 4];
        out[2 * i + 1] = hex[digest[i] & 15];
    }
    out[CACHE_FIELD_BYTES] = '\0';
}
