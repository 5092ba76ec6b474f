/* sql_json.c - see sql_json.h.
 *
 * A loop over the text with the innermost open object or array as its only state; the way back out
 * is the parent index.  While a container is open its `next` field holds its last child: its own
 * sibling is not known before it closes.
 */
#include "base/base.h"
#include "base/mem.h"
#include "protocol/sql/sql_json.h"

struct reader {
    struct sql_json *j;
    char *p, *end;
    uint32_t open;  /* innermost container */
    struct str key; /* waits for its value */
    bool have_key;
};

/* A new entry linked behind its siblings, or SQL_JSON_NONE; the first entry of all is 0 as well. */
static bool add(struct reader *r, enum sql_json_type type, struct str text)
{
    struct sql_json *j = r->j;

    if (j->n == j->cap) {
        uint32_t cap = j->cap == 0 ? 256 : j->cap * 2;
        struct sql_json_value *v = NULL;
        if (cap <= 2 * SQL_JSON_MAX) {
            v = mem_try_resize(j->v, cap * sizeof(*v));
        }
        if (v == NULL) {
            return false;
        }
        j->v = v;
        j->cap = cap;
    }
    uint32_t at = j->n++;
    j->v[at] = (struct sql_json_value){
        .key = r->key, .text = text, .parent = r->open, .type = type};
    r->key = STR_NONE;
    r->have_key = false;
    if (at == 0) {
        return true;
    }
    struct sql_json_value *box = &j->v[r->open];
    if (box->child == SQL_JSON_NONE) {
        box->child = at;
    } else {
        j->v[box->next].next = at; /* while it is open, next is the last child */
    }
    box->next = at;
    return true;
}

static bool hex4(const char *p, uint32_t *out)
{
    uint32_t v = 0;

    for (int i = 0; i < 4; i++) {
        char c = p[i];
        uint32_t d = c >= '0' && c <= '9'   ? (uint32_t)(c - '0')
                     : c >= 'a' && c <= 'f' ? (uint32_t)(c - 'a' + 10)
                     : c >= 'A' && c <= 'F' ? (uint32_t)(c - 'A' + 10)
                                            : 16;
        if (d > 15) {
            return false;
        }
        v = v * 16 + d;
    }
    *out = v;
    return true;
}

/* p stands behind the backslash. Only bytes below 128 are ever escaped by the writer. */
static bool unescape(struct reader *r, char **to)
{
    static const char from[] = "bfnrt\"\\/";
    static const char into[] = "\b\f\n\r\t\"\\/";
    uint32_t v = 0;

    if (r->end - r->p < 1) {
        return false;
    }
    char c = *r->p++;
    if (c == 'u') {
        if (r->end - r->p < 4 || !hex4(r->p, &v) || v > 127) {
            return false;
        }
        r->p += 4;
        *(*to)++ = (char)v;
        return true;
    }
    const char *hit = c == '\0' ? NULL : strchr(from, c);
    if (hit == NULL) {
        return false;
    }
    *(*to)++ = into[hit - from];
    return true;
}

/* p stands behind the opening quote. */
static bool read_string(struct reader *r, struct str *out)
{
    char *start = r->p;
    char *to = r->p;

    while (r->p < r->end) {
        char c = *r->p++;
        if (c == '"') {
            *out = (struct str){start, (size_t)(to - start)};
            return true;
        }
        if (c != '\\') {
            *to++ = c;
        } else if (!unescape(r, &to)) {
            return false;
        }
    }
    return false;
}

/* A string is a key when its container is an object that has none yet. */
static bool on_string(struct reader *r)
{
    struct str s;
    const struct sql_json *j = r->j;

    r->p++;
    if (!read_string(r, &s)) {
        return false;
    }
    if (j->n > 0 && j->v[r->open].type == SQL_JSON_OBJECT && !r->have_key) {
        r->key = s;
        r->have_key = true;
        if (r->p >= r->end || *r->p != ':') {
            return false;
        }
        r->p++;
        return true;
    }
    return add(r, SQL_JSON_STRING, s);
}

static bool on_plain(struct reader *r)
{
    char *start = r->p;

    while (r->p < r->end && strchr(",]}", *r->p) == NULL) {
        r->p++;
    }
    return r->p > start && add(r, SQL_JSON_PLAIN, (struct str){start, (size_t)(r->p - start)});
}

static bool on_close(struct reader *r, char c, bool *done)
{
    if (r->j->n == 0 || r->have_key) {
        return false;
    }
    struct sql_json_value *box = &r->j->v[r->open];
    if ((box->type == SQL_JSON_OBJECT) != (c == '}')) {
        return false;
    }
    r->p++;
    box->next = SQL_JSON_NONE;
    *done = r->open == 0;
    r->open = box->parent;
    return true;
}

static bool on_open(struct reader *r, char c)
{
    r->p++;
    if (!add(r, c == '{' ? SQL_JSON_OBJECT : SQL_JSON_ARRAY, STR_NONE)) {
        return false;
    }
    r->open = r->j->n - 1;
    return true;
}

static bool step(struct reader *r, bool *done)
{
    switch (*r->p) {
    case '{':
    case '[':
        return on_open(r, *r->p);
    case '}':
    case ']':
        return on_close(r, *r->p, done);
    case ',':
    case ' ':
        r->p++;
        return true;
    case '"':
        return on_string(r);
    default:
        return r->j->n > 0 && on_plain(r);
    }
}

bool sql_json_parse(struct sql_json *j, char *text, size_t n)
{
    struct reader r = {.j = j, .p = text, .end = text + n};
    bool done = false;

    *j = (struct sql_json){0};
    while (!done) {
        if (r.p >= r.end || j->n > SQL_JSON_MAX || !step(&r, &done)) {
            return false;
        }
        if (j->n == 1 && j->v[0].type == SQL_JSON_STRING) {
            return false;
        }
    }
    return true;
}

void sql_json_fini(struct sql_json *j)
{
    mem_free(j->v);
    *j = (struct sql_json){0};
}

uint32_t sql_json_get(const struct sql_json *j, uint32_t object, struct str key)
{
    for (uint32_t i = j->v[object].child; i != SQL_JSON_NONE; i = j->v[i].next) {
        if (str_eq(j->v[i].key, key)) {
            return i;
        }
    }
    return SQL_JSON_NONE;
}

struct str sql_json_text(const struct sql_json *j, uint32_t object, struct str key)
{
    uint32_t i = sql_json_get(j, object, key);

    return i == SQL_JSON_NONE ? STR_NONE : j->v[i].text;
}
