/* proxy_protocol.c - the PROXY protocol header, versions 1 and 2; see proxy_protocol.h.  Any
 * thread. */
#include "proxy/net/proxy_protocol.h"

#include "proxy/net/sockopt.h"

#include <netinet/in.h>
#include <sys/un.h>

#define V2_HEADER 16u
#define TLV_HEADER 3u
#define TLV_CRC32C 0x03
#define V2_UNIX_PATH 108u

static const char v1_start[] = "PROXY ";
static const uint8_t v2_start[12] = {0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d,
                                     0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a};

static enum proxy_protocol_verdict bad(struct error *err, const char *why)
{
    (void)error_set(err, ST_INVALID, "PROXY protocol: %s", why);
    return PROXY_PROTOCOL_BAD;
}

/* ---- version 1: a line of text --------------------------------------------------------------- */

static bool v1_port(struct str s, uint16_t *port)
{
    int64_t n = 0;
    if (s.n == 0 || s.n > 5 || (s.n > 1 && s.p[0] == '0'))
        return false;
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] < '0' || s.p[i] > '9')
            return false;
    if (!str_to_i64(s, 0, UINT16_MAX, &n))
        return false;
    *port = (uint16_t)n;
    return true;
}

static bool v1_addr(struct str text, struct str port_text, sa_family_t family,
                    struct sockaddr_storage *out)
{
    uint16_t port = 0;
    uint32_t len = 0;
    if (!v1_port(port_text, &port) || text.n == 0 || text.p[0] == '[' || str_find(text, '%') >= 0)
        return false;
    return sockopt_parse(text, port, out, &len) && out->ss_family == family;
}

static enum proxy_protocol_verdict v1_line(struct str line, struct proxy_protocol_header *out,
                                           struct error *err)
{
    struct str rest = line;
    struct str word = str_cut(&rest, ' ');
    if (str_eq(word, STR("UNKNOWN"))) /* whatever follows is to be ignored */
        return PROXY_PROTOCOL_OK;
    sa_family_t family = AF_UNSPEC;
    if (str_eq(word, STR("TCP4")))
        family = AF_INET;
    else if (str_eq(word, STR("TCP6")))
        family = AF_INET6;
    else
        return bad(err, "unknown protocol in version 1 header");
    struct str src = str_cut(&rest, ' ');
    struct str dst = str_cut(&rest, ' ');
    struct str sport = str_cut(&rest, ' ');
    if (!v1_addr(src, sport, family, &out->src) || !v1_addr(dst, rest, family, &out->dst))
        return bad(err, "malformed address in version 1 header");
    out->has_addr = true;
    return PROXY_PROTOCOL_OK;
}

static enum proxy_protocol_verdict parse_v1(struct str in, struct proxy_protocol_header *out,
                                            struct error *err)
{
    size_t look = MIN(in.n, (size_t)PROXY_PROTOCOL_V1_MAX);
    const char *lf = memchr(in.p, '\n', look);
    if (lf == NULL) {
        if (look == PROXY_PROTOCOL_V1_MAX)
            return bad(err, "version 1 header is longer than 107 bytes");
        return PROXY_PROTOCOL_MORE;
    }
    size_t n = (size_t)(lf - in.p);
    if (in.p[n - 1] != '\r' || memchr(in.p, '\r', n - 1) != NULL || memchr(in.p, 0, n) != NULL)
        return bad(err, "version 1 header does not end in CR LF");
    size_t skip = sizeof(v1_start) - 1;
    if (n - 1 < skip)
        return bad(err, "version 1 header is too short");
    out->version = 1;
    out->consumed = n + 1;
    return v1_line((struct str){in.p + skip, n - 1 - skip}, out, err);
}

/* ---- version 2: binary ----------------------------------------------------------------------- */

static uint32_t crc32c_byte(uint32_t crc, uint8_t b)
{
    crc ^= b;
    for (int i = 0; i < 8; i++)
        crc = (crc >> 1) ^ (0x82f63b78u & (0u - (crc & 1u)));
    return crc;
}

/* hole: offset of the four checksum bytes, which count as zero. */
static uint32_t crc32c_without(const uint8_t *p, size_t n, size_t hole)
{
    uint32_t crc = 0xffffffffu;
    for (size_t i = 0; i < n; i++)
        crc = crc32c_byte(crc, i >= hole && i < hole + 4 ? 0 : p[i]);
    return ~crc;
}

/* p: the whole header of n bytes; at: where the TLVs begin. */
static bool tlvs_are_sound(const uint8_t *p, size_t n, size_t at, const char **why)
{
    bool summed = false;
    while (at < n) {
        if (TLV_HEADER > n - at) {
            *why = "truncated TLV";
            return false;
        }
        uint8_t type = p[at];
        size_t len = (size_t)p[at + 1] << 8 | p[at + 2];
        at += TLV_HEADER;
        if (len > n - at) {
            *why = "TLV is longer than the header";
            return false;
        }
        if (type == TLV_CRC32C) {
            if (len != 4 || summed) {
                *why = "malformed checksum TLV";
                return false;
            }
            uint32_t want = (uint32_t)p[at] << 24 | (uint32_t)p[at + 1] << 16 |
                            (uint32_t)p[at + 2] << 8 | p[at + 3];
            if (crc32c_without(p, n, at) != want) {
                *why = "checksum does not match";
                return false;
            }
            summed = true;
        }
        at += len;
    }
    return true;
}

static void put_v4(struct sockaddr_storage *ss, const uint8_t *addr, const uint8_t *port)
{
    struct sockaddr_in v4;
    memset(&v4, 0, sizeof(v4));
    v4.sin_family = AF_INET;
    memcpy(&v4.sin_addr, addr, 4);
    memcpy(&v4.sin_port, port, 2);
    memcpy(ss, &v4, sizeof(v4));
}

static void put_v6(struct sockaddr_storage *ss, const uint8_t *addr, const uint8_t *port)
{
    struct sockaddr_in6 v6;
    memset(&v6, 0, sizeof(v6));
    v6.sin6_family = AF_INET6;
    memcpy(&v6.sin6_addr, addr, 16);
    memcpy(&v6.sin6_port, port, 2);
    memcpy(ss, &v6, sizeof(v6));
}

static void put_unix(struct sockaddr_storage *ss, const uint8_t *path)
{
    struct sockaddr_un un;
    memset(&un, 0, sizeof(un));
    un.sun_family = AF_UNIX;
    memcpy(un.sun_path, path, MIN(sizeof(un.sun_path) - 1, V2_UNIX_PATH));
    memcpy(ss, &un, sizeof(un));
}

/* Length of the address block of a family nibble; 0 for UNSPEC. */
static size_t v2_addr_len(uint8_t family)
{
    switch (family) {
    case 1:
        return 12;
    case 2:
        return 36;
    case 3:
        return 2 * V2_UNIX_PATH;
    }
    return 0;
}

static void v2_addr(const uint8_t *a, uint8_t family, struct proxy_protocol_header *out)
{
    if (family == 1) {
        put_v4(&out->src, a, a + 8);
        put_v4(&out->dst, a + 4, a + 10);
    } else if (family == 2) {
        put_v6(&out->src, a, a + 32);
        put_v6(&out->dst, a + 16, a + 34);
    } else {
        put_unix(&out->src, a);
        put_unix(&out->dst, a + V2_UNIX_PATH);
    }
    out->has_addr = true;
}

static enum proxy_protocol_verdict parse_v2(const uint8_t *p, size_t avail,
                                            struct proxy_protocol_header *out, struct error *err)
{
    /* each byte is judged as soon as it is there, so that nobody is waited for in vain */
    if (avail > 12 && p[12] != 0x20 && p[12] != 0x21)
        return bad(err, "unknown version or command");
    uint8_t family = avail > 13 ? p[13] >> 4 : 0;
    uint8_t transport = avail > 13 ? p[13] & 0x0f : 0;
    bool local = avail > 12 && p[12] == 0x20;
    if (!local && (family > 3 || transport > 1))
        return bad(err, "unknown address family, or not a stream");
    if (avail < V2_HEADER)
        return PROXY_PROTOCOL_MORE;
    size_t n = V2_HEADER + ((size_t)p[14] << 8 | p[15]);
    if (n > PROXY_PROTOCOL_V2_MAX)
        return bad(err, "version 2 header is longer than 4096 bytes");
    if (!local && v2_addr_len(family) > n - V2_HEADER)
        return bad(err, "version 2 header is shorter than its addresses");
    if (avail < n)
        return PROXY_PROTOCOL_MORE;
    out->version = 2;
    out->consumed = n;
    if (local || family == 0) /* their block has no defined layout: skipped whole */
        return PROXY_PROTOCOL_OK;
    const char *why = NULL;
    if (!tlvs_are_sound(p, n, V2_HEADER + v2_addr_len(family), &why))
        return bad(err, why);
    if (transport == 1)
        v2_addr(p + V2_HEADER, family, out);
    return PROXY_PROTOCOL_OK;
}

enum proxy_protocol_verdict proxy_protocol_parse(struct str in, struct proxy_protocol_header *out,
                                                 struct error *err)
{
    memset(out, 0, sizeof(*out));
    if (in.n == 0)
        return PROXY_PROTOCOL_MORE;
    if (memcmp(in.p, v2_start, MIN(in.n, sizeof(v2_start))) == 0) {
        if (in.n < sizeof(v2_start))
            return PROXY_PROTOCOL_MORE;
        return parse_v2((const uint8_t *)in.p, in.n, out, err);
    }
    if (memcmp(in.p, v1_start, MIN(in.n, sizeof(v1_start) - 1)) != 0)
        return bad(err, "no header");
    return parse_v1(in, out, err);
}
