/* test_pg_startup.c - unit tests of protocol/pg/pg_startup.c and of the answers to a start-up
 * packet. */
#include "base/base.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "protocol/pg/pg_startup.h"
#include "test/unit/support/pg_stream.h"

#define TLS_REQUEST "\0\0\0\10\4\322\26\57"
#define GSS_REQUEST "\0\0\0\10\4\322\26\60"

static void packet(struct buf *b, uint32_t version, struct str body)
{
    buf_init(b, 1u << 16);
    buf_put_be32(b, (uint32_t)body.n + 8);
    buf_put_be32(b, version);
    buf_put_str(b, body);
}

/* Every way of feeding a 3.0 start-up packet with these parameters gives this log. */
static void login(struct str body, const char *expected)
{
    struct buf b;
    packet(&b, 3u << 16, body);
    pg_stream_all_ways(true, pg_stream_client, buf_str(&b), expected);
    buf_fini(&b);
}

static void parameters_are_taken_apart(void **state)
{
    (void)state;
    login(BYTES("user\0alice\0\0"), "LOGIN alice@alice 3.0 ");
    login(BYTES("user\0alice\0database\0db\0TimeZone\0UTC\0x\0\0\0"),
          "LOGIN alice@db 3.0 TimeZone='UTC' x='' ");
    login(BYTES("database\0\0user\0alice\0\0"), "LOGIN alice@alice 3.0 ");
}

static void packet_must_end_with_its_terminator(void **state)
{
    (void)state;
    const char *reason = "BAD invalid startup packet layout: expected terminator as last byte ";
    login(BYTES("user\0alice\0"), reason);
    login(BYTES("user\0alice\0\0x"), reason);
    login(BYTES("user\0alice\0\0\0"), reason);
    login(BYTES("user\0alice"), reason);
    login(BYTES("user"), reason);
    login(BYTES(""), reason);
    login(BYTES("\0"), "BAD no PostgreSQL user name specified in startup packet ");
    login(BYTES("user\0\0\0"), "BAD no PostgreSQL user name specified in startup packet ");
}

static void options_are_taken_apart(void **state)
{
    (void)state;
    login(BYTES("user\0a\0options\0-c search_path=a,b  -cwork_mem=1MB\t--time-zone=UTC\0z\0"
                "1\0\0"),
          "LOGIN a@a 3.0 search_path='a,b' work_mem='1MB' time_zone='UTC' z='1' ");
    login(BYTES("user\0a\0options\0-c x=a\\ b\\\\c\\-c\\ y\0\0"), "LOGIN a@a 3.0 x='a b\\c-c y' ");
    login(BYTES("user\0a\0options\0-c x=a=b\0\0"), "LOGIN a@a 3.0 x='a=b' ");
    login(BYTES("user\0a\0options\0-c+x=1\0\0"), "LOGIN a@a 3.0 +x='1' ");
    login(BYTES("user\0a\0options\0\0\0"), "LOGIN a@a 3.0 ");
    login(BYTES("user\0a\0options\0-c\\\0\0"), "BAD startup option requires a value ");
    login(BYTES("user\0a\0options\0-c\0\0"), "BAD startup option requires a value ");
    login(BYTES("user\0a\0options\0-c x\0\0"), "BAD startup option requires a value ");
    login(BYTES("user\0a\0options\0--=x\0\0"), "BAD startup option requires a value ");
    const char *only = "BAD unsupported options startup parameter: only '-c config=val' and "
                       "'--config=val' are allowed ";
    login(BYTES("user\0a\0options\0-d 5\0\0"), only);
    login(BYTES("user\0a\0options\0--\0\0"), only);
    login(BYTES("user\0a\0options\0x=1\0\0"), only);
}

static void replication_is_told(void **state)
{
    (void)state;
    login(BYTES("user\0a\0replication\0database\0\0"), "LOGIN a@a 3.0 replication ");
    login(BYTES("user\0a\0replication\0true\0\0"), "LOGIN a@a 3.0 replication ");
    login(BYTES("user\0a\0replication\0off\0\0"), "LOGIN a@a 3.0 ");
    login(BYTES("user\0a\0replication\0maybe\0\0"),
          "BAD invalid value for parameter \"replication\" ");
}

static void lengths_are_refused_before_anything_is_waited_for(void **state)
{
    (void)state;
    pg_stream_all_ways(true, pg_stream_client, BYTES("\0\0\0\7"),
                       "BAD invalid length of startup packet ");
    pg_stream_all_ways(true, pg_stream_client, BYTES("\0\0\47\21"),
                       "BAD invalid length of startup packet ");
    pg_stream_all_ways(true, pg_stream_client, BYTES("\xff\xff\xff\xff"),
                       "BAD invalid length of startup packet ");
    pg_stream_all_ways(true, pg_stream_client, BYTES("\0\0\47\20"), "");
}

static void unspoken_versions_are_refused(void **state)
{
    (void)state;
    pg_stream_all_ways(true, pg_stream_client, BYTES("\0\0\0\11\0\2\0\0\0"),
                       "BAD old V2 protocol not supported ");
    pg_stream_all_ways(true, pg_stream_client, BYTES("\0\0\0\11\0\4\0\0\0"),
                       "BAD unsupported frontend protocol ");
}

static void too_many_parameters_are_refused(void **state)
{
    (void)state;
    struct buf body, b;
    struct pg_stream s;
    buf_init(&body, 1u << 16);
    buf_put_str(&body, BYTES("user\0a\0"));
    for (int i = 0; i <= PG_STARTUP_VARS_MAX; i++)
        buf_put_str(&body, BYTES("x\0y\0"));
    buf_put_u8(&body, 0);
    packet(&b, 3u << 16, buf_str(&body));
    pg_stream_client(&s);
    pg_stream_feed_client(&s, buf_str(&b));
    assert_string_equal(pg_stream_log(&s), "BAD too many startup parameters ");
    pg_stream_fini_client(&s);
    buf_fini(&b);
    buf_fini(&body);
}

static void after_start(uint32_t version, struct str body, struct str expect)
{
    struct pg_stream s;
    struct buf b, sent;
    struct wire_auth a = {.method = AUTH_TRUST};
    packet(&b, version, body);
    buf_init(&sent, 4096);
    pg_stream_client(&s);
    pg_stream_feed_client(&s, buf_str(&b));
    assert_int_equal(pg_wire.cl_auth_start(s.st, &a, &s.out), AUTH_OK);
    struct str x = pg_stream_sent(&s, &sent);
    assert_int_equal(x.n, expect.n);
    if (x.n > 0)
        assert_memory_equal(x.p, expect.p, x.n);
    pg_wire.cl_notice(s.st, STR("x"), STR(""), &s.out); /* negotiation is not sent again */
    assert_int_equal(pg_stream_sent(&s, &sent).p[0], 'N');
    buf_fini(&b);
    buf_fini(&sent);
    pg_stream_fini_client(&s);
}

static void newer_versions_and_options_are_negotiated(void **state)
{
    (void)state;
    after_start(3u << 16 | 0, BYTES("user\0a\0\0"), BYTES(""));
    after_start(3u << 16 | 2, BYTES("user\0a\0\0"), BYTES(""));
    after_start(3u << 16 | 3, BYTES("user\0a\0\0"), BYTES("v\0\0\0\14\0\3\0\2\0\0\0\0"));
    after_start(3u << 16 | 9999, BYTES("user\0a\0\0"), BYTES("v\0\0\0\14\0\3\0\2\0\0\0\0"));
    after_start(3u << 16,
                BYTES("user\0a\0_pq_.b\0"
                      "1\0_pq_.c\0\0\0"),
                BYTES("v\0\0\0\32\0\3\0\0\0\0\0\2_pq_.b\0_pq_.c\0"));
}

static void encryption_requests_are_told_once_each(void **state)
{
    (void)state;
    pg_stream_all_ways(true, pg_stream_client, BYTES(TLS_REQUEST GSS_REQUEST), "TLS TLS-no ");
    pg_stream_all_ways(true, pg_stream_client, BYTES(GSS_REQUEST TLS_REQUEST), "TLS-no TLS ");
    pg_stream_all_ways(true, pg_stream_client, BYTES(TLS_REQUEST TLS_REQUEST),
                       "TLS BAD encryption was asked for twice ");
    pg_stream_all_ways(true, pg_stream_client, BYTES("\0\0\0\11\4\322\26\57x"),
                       "BAD invalid startup packet layout ");
    struct pg_stream s;
    struct buf b;
    buf_init(&b, 64);
    pg_stream_client(&s);
    pg_stream_feed_client(&s, BYTES(GSS_REQUEST));
    pg_wire.cl_tls_reply(s.st, true, &s.out); /* whatever the core says, GSS is not spoken */
    pg_stream_feed_client(&s, BYTES(TLS_REQUEST));
    pg_wire.cl_tls_reply(s.st, true, &s.out);
    struct str sent = pg_stream_sent(&s, &b);
    assert_true(str_eq(sent, STR("NS")));
    buf_fini(&b);
    pg_stream_fini_client(&s);
}

static void tls_hello_is_recognised_and_not_consumed(void **state)
{
    (void)state;
    struct pg_stream s;
    pg_stream_client(&s);
    pg_stream_feed_client(&s, BYTES("\26\3\1"));
    assert_string_equal(pg_stream_log(&s), "TLS-direct ");
    assert_int_equal(buf_len(&s.in), 3);
    pg_stream_fini_client(&s);
    pg_stream_all_ways(true, pg_stream_client, BYTES(TLS_REQUEST "\26\3\1"),
                       "TLS BAD encryption was asked for twice ");
    pg_stream_all_ways(true, pg_stream_client, BYTES(GSS_REQUEST "\26\3\1"),
                       "TLS-no BAD bad packet header ");
}

#define CANCEL "\4\322\26\56"

static void cancel_requests_have_keys_of_any_allowed_length(void **state)
{
    (void)state;
    pg_stream_all_ways(true, pg_stream_client, BYTES("\0\0\0\20" CANCEL "abcdefgh"), "CANCEL 8 ");
    pg_stream_all_ways(true, pg_stream_client,
                       BYTES("\0\0\0\54" CANCEL "abcdefghijklmnopqrstuvwxyz0123456789"),
                       "CANCEL 36 ");
    pg_stream_all_ways(true, pg_stream_client, BYTES("\0\0\0\17" CANCEL "abcdefg"), "CANCEL 0 ");
    struct buf b;
    buf_init(&b, 1024);
    buf_put_be32(&b, 8 + WIRE_KEY_MAX + 1);
    buf_put_str(&b, BYTES(CANCEL));
    for (int i = 0; i <= WIRE_KEY_MAX; i++)
        buf_put_u8(&b, 1);
    pg_stream_all_ways(true, pg_stream_client, buf_str(&b), "CANCEL 0 ");
    buf_fini(&b);
}

static struct wire_identity identity(uint32_t id, uint16_t peer)
{
    struct wire_identity who = {.id = id, .peer = peer};
    for (int i = 0; i < 32; i++)
        who.secret[i] = (uint8_t)(i * 4 + 1);
    return who;
}

static void own_keys_can_be_read_again(void **state)
{
    (void)state;
    static const uint32_t ids[] = {0, 255, 256, 123456, 4000000};
    for (size_t i = 0; i < ARRAY_LEN(ids) * 2; i++) {
        struct wire_identity who = identity(ids[i / 2], 0), got;
        struct wire_key key;
        bool longer = i % 2 != 0;
        pg_wire.key_make(&who, longer ? 2 : 0, &key);
        assert_int_equal(key.n, longer ? 36 : 8);
        assert_true(pg_wire.key_pid(&key) >= 4194305);
        assert_int_equal(pg_wire.key_read(&key, &got), ST_OK);
        assert_int_equal(got.id, who.id);
        assert_int_equal(got.step, 0);
        assert_int_equal(got.peer, 0);
        assert_int_equal(got.nsecret, longer ? 32 : 4);
        assert_memory_equal(got.secret, who.secret, got.nsecret);
    }
}

static void keys_that_cannot_be_ours_are_refused(void **state)
{
    (void)state;
    struct wire_identity who = identity(7, 0);
    struct wire_key key;
    pg_wire.key_make(&who, 2, &key);
    key.n = 7;
    assert_int_equal(pg_wire.key_read(&key, &who), ST_INVALID);
    assert_int_equal(pg_wire.key_peer(&key), 0);
    assert_false(pg_wire.key_pass_on(&key));
    key.n = 37;
    assert_int_equal(pg_wire.key_read(&key, &who), ST_INVALID);
    static const uint8_t pids[][4] = {
        {0, 0, 0, 0}, {0, 64, 0, 0}, {1, 0, 0, 5}, {128, 1, 0, 5}, {255, 255, 255, 255}};
    for (size_t i = 0; i < ARRAY_LEN(pids); i++) {
        memcpy(key.b, pids[i], 4);
        key.n = 8;
        assert_int_equal(pg_wire.key_read(&key, &who), ST_INVALID);
    }
}

/* PgBouncer's layout: it must find its own number in bytes 1 and 2 of ours, and we in its. */
static void keys_of_peers_say_whose_they_are(void **state)
{
    (void)state;
    static const uint32_t ids[] = {0, 1, 255, 256, 32255, 32256, 32257, 100000};
    for (size_t i = 0; i < ARRAY_LEN(ids) * 2; i++) {
        struct wire_identity who = identity(ids[i / 2], 0x1234), got;
        struct wire_key key;
        pg_wire.key_make(&who, i % 2 ? 2 : 0, &key);
        assert_int_equal(key.b[1], 0x34);
        assert_int_equal(key.b[2], 0x12);
        assert_int_equal(key.b[7] & 3, 3);
        assert_true(key.b[0] >= 1 && key.b[0] <= 127);
        assert_int_equal(pg_wire.key_peer(&key), 0x1234);
        for (int hops = 0; hops < 3; hops++) {
            assert_int_equal(pg_wire.key_read(&key, &got), ST_OK);
            assert_int_equal(got.peer, 0x1234);
            if (who.id < 32256) {
                assert_int_equal(got.step, 0);
                assert_int_equal(got.id, who.id);
            } else { /* one of several */
                assert_int_equal(got.step, 256);
                assert_true(got.id >= 32256 && got.id <= who.id);
                assert_int_equal(got.id % 256, who.id % 256);
            }
            who.secret[3] |= 3; /* the count is no part of it */
            assert_memory_equal(got.secret, who.secret, got.nsecret);
            assert_true(pg_wire.key_pass_on(&key));
        }
        assert_false(pg_wire.key_pass_on(&key));
    }
    struct wire_key theirs = {.n = 8, .b = {0x00, 0x01, 0x00, 0xff, 1, 2, 3, 0x57}};
    assert_int_equal(pg_wire.key_peer(&theirs), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parameters_are_taken_apart),
        cmocka_unit_test(packet_must_end_with_its_terminator),
        cmocka_unit_test(options_are_taken_apart),
        cmocka_unit_test(replication_is_told),
        cmocka_unit_test(lengths_are_refused_before_anything_is_waited_for),
        cmocka_unit_test(unspoken_versions_are_refused),
        cmocka_unit_test(too_many_parameters_are_refused),
        cmocka_unit_test(newer_versions_and_options_are_negotiated),
        cmocka_unit_test(encryption_requests_are_told_once_each),
        cmocka_unit_test(tls_hello_is_recognised_and_not_consumed),
        cmocka_unit_test(cancel_requests_have_keys_of_any_allowed_length),
        cmocka_unit_test(own_keys_can_be_read_again),
        cmocka_unit_test(keys_that_cannot_be_ours_are_refused),
        cmocka_unit_test(keys_of_peers_say_whose_they_are),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
