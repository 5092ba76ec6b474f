/* toy_language.c - what the toy codec does without a connection: keys, handles, settings, state
 * rows.
 *
 * Called through the table in toy_wire.c.
 */
#include "test/unit/support/toy_language.h"

static void put_hex(uint64_t v, uint8_t *dst) /* 16 digits */
{
    for (int i = 0; i < 16; i++)
        dst[i] = (uint8_t) "0123456789abcdef"[(v >> (60 - 4 * i)) & 15];
}

void toy_language_handle_make(uint64_t salt, uint64_t n, struct wire_handle *h)
{
    memset(h, 0, sizeof(*h));
    h->b[0] = 'h';
    put_hex(salt + n, h->b + 1);
}

bool toy_language_handle_named(struct str name, struct wire_handle *h)
{
    memset(h, 0, sizeof(*h));
    if (name.n > sizeof(h->b))
        return false;
    memcpy(h->b, name.p, name.n);
    return true;
}

void toy_language_cancel_bytes(const struct wire_key *key, struct outq *out)
{
    outq_put_str(out, STR("cancel "));
    outq_put(out, key->b, key->n);
    outq_put_u8(out, '\n');
}

/* The secret comes first and both are text: a key of this shape is never PostgreSQL's. */
void toy_language_key_make(const struct wire_identity *who, int minor, struct wire_key *key)
{
    uint64_t number = 0;
    (void)minor;
    for (int i = 0; i < 8; i++)
        number = number << 8 | who->secret[i];
    put_hex(number, key->b);
    put_hex(who->id, key->b + 16);
    key->n = 32;
}

static uint64_t get_hex(const uint8_t *p)
{
    uint64_t v = 0;
    for (int i = 0; i < 16; i++) {
        unsigned digit = p[i] <= '9' ? p[i] - (unsigned)'0' : p[i] - (unsigned)'a' + 10;
        v = v << 4 | (digit & 15);
    }
    return v;
}

enum status toy_language_key_read(const struct wire_key *key, struct wire_identity *who)
{
    memset(who, 0, sizeof(*who));
    if (key->n != 32 || get_hex(key->b + 16) > UINT32_MAX)
        return ST_INVALID;
    uint64_t number = get_hex(key->b);
    who->id = (uint32_t)get_hex(key->b + 16);
    for (int i = 0; i < 8; i++)
        who->secret[i] = (uint8_t)(number >> (56 - 8 * i));
    who->nsecret = 8;
    return ST_OK;
}

/* Its keys have no room for peers. */
uint16_t toy_language_key_peer(const struct wire_key *key)
{
    (void)key;
    return 0;
}

bool toy_language_key_pass_on(struct wire_key *key)
{
    (void)key;
    return false;
}

uint32_t toy_language_dialect(struct str var, struct str value, uint32_t old)
{
    (void)var;
    (void)value;
    return old;
}

int toy_language_var_rank(struct str name)
{
    return str_ieq(name, STR("role")) ? 1 : 0;
}

bool toy_language_var_analysis(struct str name)
{
    return str_ieq(name, STR("role")) || str_ieq(name, STR("search_path"));
}

bool toy_language_var_hurries(const struct wire_var *v)
{
    return str_ieq(v->name, STR("pace"));
}

bool toy_language_var_of_node(struct str name)
{
    return str_ieq(name, STR("role_of_node"));
}

void toy_language_var_wishes(const struct wire_var *v, struct wire_wishes *out)
{
    if (str_ieq(v->name, STR("route")))
        out->route = v->value;
}

bool toy_language_startup_wishes(const struct wire_var *v, struct wire_wishes *out)
{
    if (!str_ieq(v->name, STR("kind")))
        return false;
    out->route = v->value;
    return true;
}

void toy_language_quote_literal(struct str value, struct buf *out)
{
    buf_put_text(out, "<");
    buf_put_str(out, value);
    buf_put_text(out, ">");
}

enum status toy_language_ask_row(const struct str *cols, int ncols, struct wire_answer *out)
{
    memset(out, 0, sizeof(*out));
    if (ncols < 2)
        return ST_INVALID;
    if (str_eq(cols[0], STR("var")) && ncols >= 3) {
        out->about = ASK_VARS;
        out->var = (struct wire_var){cols[1], cols[2]};
        out->was_set = ncols == 4; /* to what a reset returns to */
        out->is_default = cols[2].p == NULL || out->was_set;
    } else if (str_eq(cols[0], STR("locks")) || str_eq(cols[0], STR("temp")) ||
               str_eq(cols[0], STR("cursors"))) {
        out->about = cols[0].p[0] == 'l' ? ASK_LOCKS : cols[0].p[0] == 't' ? ASK_TEMP : ASK_CURSORS;
        out->held = str_eq(cols[1], STR("yes"));
    } else if (str_eq(cols[0], STR("prepared")) || str_eq(cols[0], STR("listen"))) {
        out->about = cols[0].p[0] == 'p' ? ASK_PREPARED : ASK_LISTEN;
        out->var.name = cols[1];
    } else {
        return ST_INVALID;
    }
    return ST_OK;
}
