/* test_proxy_protocol.c - the PROXY protocol parser: whole, byte by byte, at every split,
 * malformed. */
#include "base/base.h"

#include "proxy/net/proxy_protocol.h"
#include "proxy/net/sockopt.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#define SIG "\r\n\r\n\0\r\nQUIT\n"
/* 192.0.2.1:40000 198.51.100.2:6432 */
#define V2_4 "\xc0\x00\x02\x01\xc6\x33\x64\x02\x9c\x40\x19\x20"
#define V6_1 "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01"
#define V6_2 "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x02"

struct sample {
    struct str bytes;
    int version;
    const char *src; /* "addr port", NULL: no address */
    const char *dst;
};

static const struct sample good[] = {
    {{"PROXY TCP4 192.0.2.1 198.51.100.2 40000 6432\r\n", 46},
     1,
     "192.0.2.1 40000",
     "198.51.100.2 6432"},
    {{"PROXY TCP4 255.255.255.255 0.0.0.0 0 65535\r\n", 44},
     1,
     "255.255.255.255 0",
     "0.0.0.0 65535"},
    {{"PROXY TCP6 2001:db8::1 ::1 1 2\r\n", 32}, 1, "2001:db8::1 1", "::1 2"},
    {{"PROXY UNKNOWN\r\n", 15}, 1, NULL, NULL},
    {{"PROXY UNKNOWN ffff:f...f:ffff ::1 65535 x\r\n", 43}, 1, NULL, NULL},
    {{SIG "\x21\x11\x00\x0c" V2_4, 28}, 2, "192.0.2.1 40000", "198.51.100.2 6432"},
    {{SIG "\x21\x21\x00\x24" V6_1 V6_2 "\x00\x01\x00\x02", 52},
     2,
     "2001:db8::1 1",
     "2001:db8::2 2"},
    {{SIG "\x20\x00\x00\x00", 16}, 2, NULL, NULL},
    {{SIG "\x20\xff\x00\x03"
          "abc",
      19},
     2,
     NULL,
     NULL}, /* LOCAL: the family is not looked at */
    {{SIG "\x21\x00\x00\x02"
          "ab",
      18},
     2,
     NULL,
     NULL},
    {{SIG "\x21\x11\x00\x11" V2_4 "\x04\x00\x02ok", 33}, 2, "192.0.2.1 40000", "198.51.100.2 6432"},
};

static void assert_addr(const struct sockaddr_storage *ss, const char *want)
{
    char text[SOCKOPT_TEXT_MAX], both[SOCKOPT_TEXT_MAX + 8];
    uint16_t port = sockopt_format((const struct sockaddr *)ss, 0, text, sizeof(text));
    snprintf(both, sizeof(both), "%s %u", text, port);
    assert_string_equal(both, want);
}

static void assert_good(const struct sample *s, const struct proxy_protocol_header *h)
{
    assert_int_equal(h->consumed, s->bytes.n);
    assert_int_equal(h->version, s->version);
    assert_int_equal(h->has_addr, s->src != NULL);
    if (s->src == NULL)
        return;
    assert_addr(&h->src, s->src);
    assert_addr(&h->dst, s->dst);
}

static void every_good_header_is_read_whole_and_stops_before_the_next_bytes(void **state)
{
    (void)state;
    struct proxy_protocol_header h;
    struct error err = {""};
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        char more[256];
        memcpy(more, good[i].bytes.p, good[i].bytes.n);
        memset(more + good[i].bytes.n, '\n', 10);
        assert_int_equal(proxy_protocol_parse(good[i].bytes, &h, &err), PROXY_PROTOCOL_OK);
        assert_good(&good[i], &h);
        struct str in = {more, good[i].bytes.n + 10};
        assert_int_equal(proxy_protocol_parse(in, &h, &err), PROXY_PROTOCOL_OK);
        assert_good(&good[i], &h);
    }
}

static void every_beginning_of_a_good_header_asks_for_more(void **state)
{
    (void)state;
    struct proxy_protocol_header h;
    struct error err = {""};
    for (size_t i = 0; i < ARRAY_LEN(good); i++)
        for (size_t n = 0; n < good[i].bytes.n; n++) {
            char exact[256]; /* nothing behind it that could be looked at by mistake */
            memset(exact, 0x55, sizeof(exact));
            memcpy(exact, good[i].bytes.p, n);
            assert_int_equal(proxy_protocol_parse((struct str){exact, n}, &h, &err),
                             PROXY_PROTOCOL_MORE);
        }
}

static const struct str malformed[] = {
    {"GET / HTTP/1.1\r\n", 16},
    {"\0\0\0\x08", 4},
    {"PROXX", 5},
    {"proxy TCP4 1.2.3.4 1.2.3.4 1 2\r\n", 32},
    {"PROXY TCP4 1.2.3.4 1.2.3.4 1 2\n", 31},
    {"PROXY\r\n", 7},
    {"PROXY \r\n", 8},
    {"PROXY TCP4\r\n", 12},
    {"PROXY TCP5 1.2.3.4 1.2.3.4 1 2\r\n", 32},
    {"PROXY TCP4 ::1 ::1 1 2\r\n", 24},
    {"PROXY TCP6 1.2.3.4 1.2.3.4 1 2\r\n", 32},
    {"PROXY TCP4 1.2.3.256 1.2.3.4 1 2\r\n", 34},
    {"PROXY TCP4 1.2.3 1.2.3.4 1 2\r\n", 30},
    {"PROXY TCP4 1.2.3.4  1.2.3.4 1 2\r\n", 33},
    {"PROXY TCP4 1.2.3.4 1.2.3.4 01 2\r\n", 33},
    {"PROXY TCP4 1.2.3.4 1.2.3.4 1 65536\r\n", 36},
    {"PROXY TCP4 1.2.3.4 1.2.3.4 1 -2\r\n", 33},
    {"PROXY TCP4 1.2.3.4 1.2.3.4 1 +2\r\n", 33},
    {"PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n", 30},
    {"PROXY TCP4 1.2.3.4 1.2.3.4 1 2 \r\n", 33},
    {"PROXY TCP4 1.2.3.4 1.2.3.4 1 2 3\r\n", 34},
    {"PROXY TCP6 [::1] ::1 1 2\r\n", 26},
    {"PROXY TCP6 fe80::1%lo ::1 1 2\r\n", 31},
    {"PROXY TCP4 1.2.3.4\0 1.2.3.4 1 2\r\n", 33},
    {"PROXY UNKNOWN \r x\r\n", 19},
    {SIG "\x11", 13},             /* version 1 in the binary form */
    {SIG "\x22", 13},             /* unknown command */
    {SIG "\x21\x41", 14},         /* unknown family */
    {SIG "\x21\x12", 14},         /* a datagram */
    {SIG "\x21\x13", 14},         /* unknown transport */
    {SIG "\x21\x11\x00\x0b", 16}, /* shorter than its addresses */
    {SIG "\x21\x21\x00\x23", 16},
    {SIG "\x21\x31\x00\xd7", 16},
    {SIG "\x21\x11\x0f\xf1", 16}, /* 4097 bytes */
    {SIG "\x20\x00\xff\xff", 16},
    {SIG "\x21\x11\x00\x0e" V2_4 "\x04\x00", 30}, /* half a TLV */
    {SIG "\x21\x11\x00\x11" V2_4 "\x04\x00\x03ok", 33},
    {SIG "\x21\x11\x00\x12" V2_4 "\x03\x00\x03\0\0\0", 34}, /* a checksum of three bytes */
};

static void malformed_headers_are_refused_with_a_reason(void **state)
{
    (void)state;
    struct proxy_protocol_header h;
    for (size_t i = 0; i < ARRAY_LEN(malformed); i++) {
        struct error err = {""};
        if (proxy_protocol_parse(malformed[i], &h, &err) != PROXY_PROTOCOL_BAD)
            fail_msg("malformed header %zu was not refused", i);
        assert_true(strlen(err.text) > 0);
        /* fed piece by piece it must not be taken for good in between */
        for (size_t n = 0; n < malformed[i].n; n++)
            assert_int_not_equal(proxy_protocol_parse((struct str){malformed[i].p, n}, &h, &err),
                                 PROXY_PROTOCOL_OK);
    }
}

static void a_line_of_107_bytes_is_the_longest(void **state)
{
    (void)state;
    struct proxy_protocol_header h;
    struct error err = {""};
    char line[120];
    memset(line, 'x', sizeof(line));
    memcpy(line, "PROXY UNKNOWN ", 14);
    assert_int_equal(proxy_protocol_parse((struct str){line, 106}, &h, &err), PROXY_PROTOCOL_MORE);
    assert_int_equal(proxy_protocol_parse((struct str){line, 107}, &h, &err), PROXY_PROTOCOL_BAD);
    memcpy(line + 105, "\r\n", 2);
    assert_int_equal(proxy_protocol_parse((struct str){line, 120}, &h, &err), PROXY_PROTOCOL_OK);
    assert_int_equal(h.consumed, 107);
    memcpy(line + 105, "x\r\n", 3);
    assert_int_equal(proxy_protocol_parse((struct str){line, 120}, &h, &err), PROXY_PROTOCOL_BAD);
}

/* the checksum was computed by another program */
static const char summed[] = SIG "\x21\x11\x00\x13" V2_4 "\x03\x00\x04\xa9\x50\xab\x22";

static void a_right_checksum_is_accepted_and_any_changed_bit_is_not(void **state)
{
    (void)state;
    struct proxy_protocol_header h;
    struct error err = {""};
    char copy[sizeof(summed)];
    struct str in = {copy, sizeof(summed) - 1};
    memcpy(copy, summed, sizeof(summed));
    assert_int_equal(proxy_protocol_parse(in, &h, &err), PROXY_PROTOCOL_OK);
    assert_addr(&h.src, "192.0.2.1 40000");
    for (size_t i = 16; i < in.n; i++) {
        if (i >= 28 && i < 31)
            continue; /* the TLV's own header: then it is no checksum */
        copy[i] ^= 1;
        assert_int_equal(proxy_protocol_parse(in, &h, &err), PROXY_PROTOCOL_BAD);
        copy[i] ^= 1;
    }
}

static void a_unix_address_is_taken_as_a_claim(void **state)
{
    (void)state;
    struct proxy_protocol_header h;
    struct error err = {""};
    char in[16 + 216];
    memset(in, 0, sizeof(in));
    memcpy(in, SIG "\x21\x31\x00\xd8", 16);
    memset(in + 16, 'p', 108); /* not terminated by the sender */
    assert_int_equal(proxy_protocol_parse((struct str){in, sizeof(in) - 1}, &h, &err),
                     PROXY_PROTOCOL_MORE);
    assert_int_equal(proxy_protocol_parse((struct str){in, sizeof(in)}, &h, &err),
                     PROXY_PROTOCOL_OK);
    assert_int_equal(h.src.ss_family, AF_UNIX);
    assert_true(h.has_addr);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_good_header_is_read_whole_and_stops_before_the_next_bytes),
        cmocka_unit_test(every_beginning_of_a_good_header_asks_for_more),
        cmocka_unit_test(malformed_headers_are_refused_with_a_reason),
        cmocka_unit_test(a_line_of_107_bytes_is_the_longest),
        cmocka_unit_test(a_right_checksum_is_accepted_and_any_changed_bit_is_not),
        cmocka_unit_test(a_unix_address_is_taken_as_a_claim),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
