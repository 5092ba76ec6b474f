/* b64.c - strict base64, see b64.h.
 *
 * Called by: secret.c, scram_server.c, scram_client.c.  No state, no allocation, any thread.
 * Invariant: decode(encode(x)) == x, and encode(decode(t)) == t for every text that decodes.
 */
#include "base/base.h"

#include "protocol/auth/b64.h"

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void b64_encode(char *dst, const void *src, size_t n)
{
    const uint8_t *p = src;
    while (n > 0) {
        uint32_t v = (uint32_t)p[0] << 16;
        if (n > 1)
            v |= (uint32_t)p[1] << 8;
        if (n > 2)
            v |= p[2];
        dst[0] = alphabet[v >> 18];
        dst[1] = alphabet[v >> 12 & 63];
        dst[2] = n > 1 ? alphabet[v >> 6 & 63] : '=';
        dst[3] = n > 2 ? alphabet[v & 63] : '=';
        dst += 4;
        p += MIN(n, 3u);
        n -= MIN(n, 3u);
    }
}

/* 64 for a character that is none of the alphabet */
static uint32_t value_of(char c)
{
    if (c >= 'A' && c <= 'Z')
        return (uint32_t)(c - 'A');
    if (c >= 'a' && c <= 'z')
        return (uint32_t)(c - 'a') + 26;
    if (c >= '0' && c <= '9')
        return (uint32_t)(c - '0') + 52;
    if (c == '+')
        return 62;
    return c == '/' ? 63 : 64;
}

bool b64_decode(uint8_t *dst, size_t cap, size_t *n, struct str text)
{
    *n = 0;
    if (text.n % 4 != 0)
        return false;
    for (size_t i = 0; i < text.n; i += 4) {
        const char *q = text.p + i;
        bool last = i + 4 == text.n;
        size_t made = last && q[3] == '=' ? (q[2] == '=' ? 1 : 2) : 3;
        uint32_t v = 0;
        for (size_t k = 0; k <= made; k++) {
            uint32_t d = value_of(q[k]);
            if (d > 63)
                return false;
            v |= d << (18 - 6 * k);
        }
        uint32_t unused = made == 3 ? 0 : made == 2 ? 0xff : 0xffff;
        if ((v & unused) != 0 || made > cap - *n)
            return false;
        for (size_t k = 0; k < made; k++)
            dst[(*n)++] = (uint8_t)(v >> (16 - 8 * k));
    }
    return true;
}
