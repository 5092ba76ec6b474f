/* catalog.c - the snapshot of what a database's catalogs prove, as a set of names.
 *
 * Built by whoever runs the codec's catalog question, one row at a time, on one thread; then shared
 * read-only.  Only the reference count changes after that, atomically; the last catalog_put frees.
 * The rows are four text columns (kind, schema, name, flags); what the letters stand for is said
 * where the codec makes them, and here only how they are looked up.  No SQL and no database is
 * known here.
 *
 * A name is kept twice: with its schema, and bare.  The bare entry holds only what is proved in
 * every schema that has the name, for the snapshot does not know the search path of those who ask.
 * A name that was never added is not proved.
 * Memory: at most NAMES_MAX rows of names of at most NAME_MAX_BYTES each.
 */
#include "protocol/catalog.h"

#include "base/check.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/refs.h"

#define NAMES_MAX 1000000u
#define NAME_MAX_BYTES 255u
#define COLUMNS 4
#define DETAILS_BYTES_MAX ((size_t)256 << 20)

enum proof {
    PROOF_KNOWN = 1u << 0,      /* always set, so that no entry is a null pointer */
    PROOF_READ = 1u << 1,       /* relations: flag r */
    PROOF_WRITE = 1u << 2,      /* relations: flag w */
    PROOF_BARE = 1u << 3,       /* functions: flag b */
    PROOF_FULL = 1u << 4,       /* functions: flag q */
    PROOF_REPEATABLE = 1u << 5, /* both: flag s */
    PROOF_STANDBY = 1u << 6,    /* both: flag t */
    PROOF_SHOWS = 1u << 7,      /* both: flag y; this one and those below say only why not t */
    PROOF_UNLOGGED = 1u << 8,   /* relations: flag u */
    PROOF_SEQUENCE = 1u << 9,   /* relations: flag z */
    PROOF_FOREIGN = 1u << 10,   /* relations: flag x */
    PROOF_PLAIN = 1u << 11,     /* relations: flag p */
};

struct catalog {
    struct refs refs;
    uint64_t generation;
    size_t names;
    bool custom_code, volatile_code, has_details;
    char *details; /* owned; records as add_detail writes them */
    size_t details_len, details_cap;
    struct map proofs; /* key -> enum proof bits, kept in the pointer itself */
};

struct key {
    char bytes[2 * NAME_MAX_BYTES + 2];
    size_t n;
};

struct catalog *catalog_new(uint64_t generation)
{
    struct catalog *c = mem_new(sizeof(*c));
    refs_init(&c->refs);
    c->generation = generation;
    map_init(&c->proofs);
    return c;
}

struct catalog *catalog_get(struct catalog *c)
{
    refs_get(&c->refs);
    return c;
}

void catalog_put(struct catalog **c)
{
    struct catalog *was = *c;
    *c = NULL;
    if (was == NULL || !refs_put(&was->refs))
        return;
    map_fini(&was->proofs);
    mem_free(was->details);
    mem_free(was);
}

uint64_t catalog_generation(const struct catalog *c)
{
    return c->generation;
}

static bool usable(struct str part)
{
    return part.n == 0 || (part.n <= NAME_MAX_BYTES && memchr(part.p, '\0', part.n) == NULL);
}

/* false: no row has such a name. A zero byte parts schema and name, so neither may contain one. */
static bool make_key(struct key *key, char kind, struct str schema, struct str name)
{
    if (name.n == 0 || !usable(schema) || !usable(name))
        return false;
    key->n = 0;
    key->bytes[key->n++] = kind;
    if (schema.n > 0)
        memcpy(key->bytes + key->n, schema.p, schema.n);
    key->n += schema.n;
    key->bytes[key->n++] = '\0';
    memcpy(key->bytes + key->n, name.p, name.n);
    key->n += name.n;
    return true;
}

static struct str key_str(const struct key *key)
{
    return (struct str){key->bytes, key->n};
}

static unsigned lookup(const struct catalog *c, char kind, struct str schema, struct str name)
{
    struct key key;
    if (!make_key(&key, kind, schema, name))
        return 0;
    return (unsigned)(uintptr_t)map_get(&c->proofs, key_str(&key));
}

/* What was proved before and is not proved now is lost, for good. */
static void narrow(struct catalog *c, const struct key *key, unsigned proof)
{
    void *was = map_get(&c->proofs, key_str(key));
    if (was != NULL)
        proof &= (unsigned)(uintptr_t)was;
    (void)map_put(&c->proofs, key_str(key), (void *)(uintptr_t)(proof | PROOF_KNOWN));
}

static unsigned flag_bit(char kind, char flag)
{
    static const struct {
        char kind, flag;
        unsigned bit;
    } flags[] = {
        {'r', 'r', PROOF_READ},     {'r', 'w', PROOF_WRITE},   {'r', 's', PROOF_REPEATABLE},
        {'r', 't', PROOF_STANDBY},  {'r', 'y', PROOF_SHOWS},   {'r', 'u', PROOF_UNLOGGED},
        {'r', 'z', PROOF_SEQUENCE}, {'r', 'x', PROOF_FOREIGN}, {'r', 'p', PROOF_PLAIN},
        {'f', 'b', PROOF_BARE},     {'f', 'q', PROOF_FULL},    {'f', 's', PROOF_REPEATABLE},
        {'f', 't', PROOF_STANDBY},  {'f', 'y', PROOF_SHOWS},
    };
    for (size_t i = 0; i < ARRAY_LEN(flags); i++) {
        if (flags[i].kind == kind && flags[i].flag == flag)
            return flags[i].bit;
    }
    return 0;
}

static bool parse_flags(char kind, struct str flags, unsigned *proof)
{
    unsigned bits = PROOF_KNOWN;
    for (size_t i = 0; i < flags.n; i++) {
        unsigned bit = flag_bit(kind, flags.p[i]);
        if (bit == 0 || (bits & bit) != 0)
            return false;
        bits |= bit;
    }
    *proof = bits;
    return true;
}

static enum status add_name(struct catalog *c, const struct str *cols, struct error *err)
{
    char kind = cols[0].p[0];
    unsigned proof = 0;
    struct key bare, full;
    if (cols[1].n == 0 || !make_key(&full, kind, cols[1], cols[2]) ||
        !make_key(&bare, kind, STR(""), cols[2]))
        return error_set(err, ST_INVALID, "catalog row without a usable name");
    if (!parse_flags(kind, cols[3], &proof))
        return error_set(err, ST_INVALID, "catalog row with unknown flags");
    if (c->names >= NAMES_MAX)
        return error_set(err, ST_LIMIT, "more than %u names in the catalog", NAMES_MAX);
    c->names++;
    narrow(c, &full, proof);
    narrow(c, &bare, proof);
    return ST_OK;
}

static bool read_id(struct str s, uint32_t *out)
{
    int64_t v;
    if (!str_to_i64(s, 1, UINT32_MAX, &v))
        return false;
    *out = (uint32_t)v;
    return true;
}

/* "ID WHAT FLAGS" of a relation. */
static bool read_relation(struct str *rest, struct catalog_detail *d)
{
    bool ok = read_id(str_cut(rest, ' '), &d->id);
    struct str what = str_cut(rest, ' ');
    if (!ok || what.n != 1)
        return false;
    d->what = what.p[0] == 'v' ? CATALOG_IS_VIEW : CATALOG_OTHER;
    if (what.p[0] == 'r' || what.p[0] == 'p' || what.p[0] == 'm')
        d->what = CATALOG_TABLE;
    d->flags = str_find(*rest, 'p') >= 0 ? (uint32_t)CATALOG_POLICIES : 0;
    return true;
}

static bool read_type(struct str s, enum catalog_type *out)
{
    static const struct str names[] = {STR_INIT("int2"), STR_INIT("int4"), STR_INIT("int8"),
                                       STR_INIT("uuid"), STR_INIT("text")};
    for (unsigned i = 0; i < ARRAY_LEN(names); i++) {
        if (str_eq(s, names[i])) {
            *out = (enum catalog_type)i;
            return true;
        }
    }
    return false;
}

/* One row of details taken apart; schema and name borrow from it. */
static bool read_detail(const struct str *cols, struct catalog_detail *d)
{
    static const struct {
        struct str word;
        enum catalog_detail_kind kind;
    } kinds[] = {
        {STR_INIT("relation"), CATALOG_RELATION},   {STR_INIT("column"), CATALOG_COLUMN},
        {STR_INIT("view"), CATALOG_VIEW},           {STR_INIT("child"), CATALOG_CHILD},
        {STR_INIT("key"), CATALOG_REFERENCE},       {STR_INIT("code"), CATALOG_CODE},
        {STR_INIT("rule"), CATALOG_RULE},           {STR_INIT("unsteady"), CATALOG_UNSTEADY},
        {STR_INIT("immutable"), CATALOG_IMMUTABLE},
    };
    size_t i = 0;
    while (i < ARRAY_LEN(kinds) && !str_eq(kinds[i].word, cols[0]))
        i++;
    if (i == ARRAY_LEN(kinds))
        return false;
    *d = (struct catalog_detail){.kind = kinds[i].kind, .schema = cols[1], .name = cols[2]};
    struct str rest = cols[3];
    switch (d->kind) {
    case CATALOG_RELATION:
        return d->name.n > 0 && read_relation(&rest, d);
    case CATALOG_COLUMN:
        d->schema = STR_NONE;
        return read_id(cols[1], &d->id) && d->name.n > 0 && read_type(rest, &d->type);
    case CATALOG_VIEW:
    case CATALOG_CHILD:
    case CATALOG_REFERENCE:
        d->schema = d->name = STR_NONE;
        d->flags = str_find(rest, 'd') >= 0 ? (uint32_t)CATALOG_ON_DELETE : 0;
        d->flags |= str_find(rest, 'u') >= 0 ? (uint32_t)CATALOG_ON_UPDATE : 0;
        return read_id(cols[1], &d->id) && read_id(cols[2], &d->id2);
    case CATALOG_CODE:
    case CATALOG_RULE:
    case CATALOG_UNSTEADY:
        return read_id(rest, &d->id) && d->name.n > 0;
    case CATALOG_IMMUTABLE:
        return d->name.n > 0;
    }
    return false;
}

/* The record, then its texts; their pointers are made anew when it is read. */
static enum status add_detail(struct catalog *c, const struct str *cols, struct error *err)
{
    struct catalog_detail d;
    if (str_eq(cols[0], STR("end"))) {
        c->has_details = true;
        return ST_OK;
    }
    if (!read_detail(cols, &d))
        return error_set(err, ST_INVALID, "catalog row of details that makes no sense");
    size_t n = sizeof(d) + d.schema.n + d.name.n;
    n += -n % alignof(struct catalog_detail);
    if (c->names >= NAMES_MAX || c->details_len + n > DETAILS_BYTES_MAX)
        return error_set(err, ST_LIMIT, "more than %u names in the catalog", NAMES_MAX);
    c->names++;
    if (c->details_cap - c->details_len < n) {
        c->details_cap = 2 * c->details_cap + n + 4096;
        c->details = mem_resize(c->details, c->details_cap);
    }
    char *at = c->details + c->details_len;
    memcpy(at, &d, sizeof(d));
    if (d.schema.n > 0)
        memcpy(at + sizeof(d), d.schema.p, d.schema.n);
    if (d.name.n > 0)
        memcpy(at + sizeof(d) + d.schema.n, d.name.p, d.name.n);
    c->details_len += n;
    return ST_OK;
}

enum status catalog_add_row(struct catalog *c, const struct str *cols, int ncols, struct error *err)
{
    if (ncols != COLUMNS)
        return error_set(err, ST_INVALID, "catalog row of %d columns, not %d", ncols, COLUMNS);
    for (int i = 0; i < COLUMNS; i++) {
        if (cols[i].p == NULL)
            return error_set(err, ST_INVALID, "catalog row with a NULL");
    }
    if (str_eq(cols[0], STR("r")) || str_eq(cols[0], STR("f")))
        return add_name(c, cols, err);
    if (cols[0].n > 1)
        return add_detail(c, cols, err);
    bool custom = str_eq(cols[0], STR("c"));
    if (!custom && !str_eq(cols[0], STR("v")))
        return error_set(err, ST_INVALID, "catalog row of an unknown kind");
    c->custom_code |= custom;
    c->volatile_code |= !custom;
    return ST_OK;
}

static bool has_all(unsigned proof, unsigned need)
{
    return (proof & need) == need;
}

bool catalog_relation_proved(const struct catalog *c, struct str schema, struct str name)
{
    return has_all(lookup(c, 'r', schema, name), PROOF_READ);
}

bool catalog_relation_write_proved(const struct catalog *c, struct str schema, struct str name)
{
    return has_all(lookup(c, 'r', schema, name), PROOF_READ | PROOF_WRITE);
}

bool catalog_relation_repeatable(const struct catalog *c, struct str schema, struct str name)
{
    return has_all(lookup(c, 'r', schema, name), PROOF_READ | PROOF_REPEATABLE);
}

static unsigned callable(struct str schema)
{
    return schema.n == 0 ? PROOF_BARE : PROOF_FULL;
}

bool catalog_function_proved(const struct catalog *c, struct str schema, struct str name)
{
    return has_all(lookup(c, 'f', schema, name), callable(schema));
}

bool catalog_function_repeatable(const struct catalog *c, struct str schema, struct str name)
{
    return has_all(lookup(c, 'f', schema, name), callable(schema) | PROOF_REPEATABLE);
}

static enum catalog_use use_of(unsigned proof)
{
    static const struct {
        unsigned bit;
        enum catalog_use use;
    } uses[] = {
        {PROOF_STANDBY, CATALOG_STANDBY},   {PROOF_UNLOGGED, CATALOG_UNLOGGED},
        {PROOF_SEQUENCE, CATALOG_SEQUENCE}, {PROOF_FOREIGN, CATALOG_FOREIGN},
        {PROOF_SHOWS, CATALOG_SHOWS},       {PROOF_KNOWN, CATALOG_VOLATILE},
    };
    for (size_t i = 0; i < ARRAY_LEN(uses); i++) {
        if ((proof & uses[i].bit) != 0)
            return uses[i].use;
    }
    return CATALOG_UNKNOWN;
}

enum catalog_use catalog_relation_use(const struct catalog *c, struct str schema, struct str name)
{
    return use_of(lookup(c, 'r', schema, name));
}

enum catalog_use catalog_function_use(const struct catalog *c, struct str schema, struct str name)
{
    return use_of(lookup(c, 'f', schema, name));
}

bool catalog_relation_plain(const struct catalog *c, struct str schema, struct str name)
{
    return has_all(lookup(c, 'r', schema, name), PROOF_PLAIN);
}

bool catalog_has_custom_code(const struct catalog *c)
{
    return c->custom_code;
}

bool catalog_has_volatile_code(const struct catalog *c)
{
    return c->volatile_code;
}

bool catalog_has_details(const struct catalog *c)
{
    return c->has_details;
}

bool catalog_next_detail(const struct catalog *c, size_t *iter, struct catalog_detail *out)
{
    if (*iter >= c->details_len)
        return false;
    const char *at = c->details + *iter;
    memcpy(out, at, sizeof(*out));
    out->schema.p = at + sizeof(*out);
    out->name.p = out->schema.p + out->schema.n;
    size_t n = sizeof(*out) + out->schema.n + out->name.n;
    *iter += n + -n % alignof(struct catalog_detail);
    return true;
}
