/* scram_message.c - attributes and nonces for both SCRAM roles, see scram_message.h.
 *
 * Called by: scram.c, scram_server.c, scram_client.c.  No state, any thread.
 * Invariant: input is a slice with a length; nothing relies on a terminator.
 */
#include "base/base.h"

#include "protocol/auth/scram_message.h"

#include "base/mem.h"
#include "base/random.h"
#include "protocol/auth/b64.h"

bool scram_message_attr(struct str *rest, char *name, struct str *value)
{
    if (rest->n < 2 || rest->p[1] != '=')
        return false;
    char c = rest->p[0];
    if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')))
        return false;
    ptrdiff_t comma = str_find(*rest, ',');
    size_t end = comma < 0 ? rest->n : (size_t)comma;
    *name = c;
    *value = (struct str){rest->p + 2, end - 2};
    if (memchr(value->p, 0, value->n) != NULL)
        return false;
    if (comma < 0) {
        *rest = STR_NONE;
        return true;
    }
    /* a comma at the very end leaves an empty rest, which is not STR_NONE: the next attribute is
     * due */
    *rest = (struct str){rest->p + end + 1, rest->n - end - 1};
    return rest->n > 0;
}

bool scram_message_need(struct str *rest, char name, struct str *value)
{
    char found;
    return scram_message_attr(rest, &found, value) && found == name;
}

bool scram_message_skip(struct str rest)
{
    char name;
    struct str value;
    while (rest.p != NULL) {
        if (!scram_message_attr(&rest, &name, &value))
            return false;
    }
    return true;
}

bool scram_message_nonce(struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] < 0x21 || s.p[i] > 0x7e || s.p[i] == ',')
            return false;
    }
    return s.n > 0;
}

void scram_message_put_b64(struct buf *b, const void *p, size_t n)
{
    uint8_t *dst = buf_reserve(b, B64_LEN(n));
    if (dst == NULL)
        return;
    b64_encode((char *)dst, p, n);
    buf_commit(b, B64_LEN(n));
}

void scram_message_put_nonce(struct buf *b, struct str fixed)
{
    uint8_t raw[SCRAM_MESSAGE_NONCE_RAW];
    if (fixed.n > 0) {
        buf_put_str(b, fixed);
        return;
    }
    random_bytes(raw, sizeof(raw));
    scram_message_put_b64(b, raw, sizeof(raw));
}

void scram_message_xor(uint8_t a[SECRET_KEY_LEN], const uint8_t b[SECRET_KEY_LEN])
{
    for (size_t i = 0; i < SECRET_KEY_LEN; i++)
        a[i] = (uint8_t)(a[i] ^ b[i]);
}

void scram_message_wipe_buf(struct buf *b)
{
    if (b->mem != NULL)
        mem_wipe(b->mem, b->cap);
    buf_fini(b);
}
