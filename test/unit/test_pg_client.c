/* test_pg_client.c - unit tests of protocol/pg/pg_client*.c: requests, uploads, errors, answers,
 * login. */
#include "base/base.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "base/mem.h"
#include "protocol/auth/md5.h"
#include "protocol/auth/scram.h"
#include "protocol/pg/pg_client.h"
#include "test/unit/support/pg_stream.h"

#define QUERY1 "Q\0\0\0\15select 1\0"
#define PARSE1 "P\0\0\0\23s\0select\0\0\1\0\0\0\27" /* one type */
#define BIND1 "B\0\0\0\16p\0s\0\0\0\0\0\0\0"
#define DESC_S "D\0\0\0\7Ss\0"
#define DESC_P "D\0\0\0\7Pp\0"
#define EXEC1 "E\0\0\0\12p\0\0\0\0\5"
#define CLOSE_S "C\0\0\0\7Ss\0"
#define CLOSE_P "C\0\0\0\7Pp\0"
#define SYNC "S\0\0\0\4"
#define FLUSH "H\0\0\0\4"
#define CALL1 "F\0\0\0\10\0\0\0\1"
#define COPY_DATA "d\0\0\0\6a\n"
#define COPY_DONE "c\0\0\0\4"
#define COPY_FAIL "f\0\0\0\6x\0"
#define TERMINATE "X\0\0\0\4"

static void all_ways(const char *expected, struct str bytes)
{
    pg_stream_all_ways(true, pg_stream_running, bytes, expected);
}

static void query_is_a_request_of_one_part(void **state)
{
    (void)state;
    all_ways("<simple query(||select 1|0) > <simple query > ", BYTES(QUERY1 "Q\0\0\0\5\0"));
}

static void every_message_of_a_request_is_taken_apart(void **state)
{
    (void)state;
    all_ways(
        "< parse(s||select|0) bind(s|p||0) describe(s|||0) describe_portal(|p||0) execute(|p||5) "
        "close(s|||0) close_portal(|p||0) flush sync > < call > QUIT ",
        BYTES(PARSE1 BIND1 DESC_S DESC_P EXEC1 CLOSE_S CLOSE_P FLUSH SYNC CALL1 TERMINATE));
}

static void batch_in_one_buffer_is_one_event(void **state)
{
    (void)state;
    struct pg_stream s;
    struct wire_part parts[WIRE_PARTS_MAX];
    struct wire_client_event ev;
    struct str in = BYTES(PARSE1 BIND1 DESC_P EXEC1 SYNC QUERY1);
    pg_stream_running(&s);
    pg_wire.cl_feed(s.st, in, false, parts, &ev);
    assert_int_equal(ev.kind, CE_REQ);
    assert_int_equal(ev.req.nparts, 5);
    assert_int_equal(ev.req.flags, REQ_START | REQ_END);
    assert_int_equal(ev.consumed, in.n - 14);
    assert_int_equal(parts[0].types.n, 6);
    pg_stream_fini_client(&s);
}

static void flush_ends_a_piece_and_is_told(void **state)
{
    (void)state;
    struct pg_stream s;
    struct wire_part parts[WIRE_PARTS_MAX];
    struct wire_client_event ev;
    pg_stream_running(&s);
    pg_wire.cl_feed(s.st, BYTES(PARSE1 FLUSH BIND1), false, parts, &ev);
    assert_int_equal(ev.req.flags, REQ_START | REQ_FLUSH);
    assert_int_equal(ev.req.nparts, 2);
    pg_wire.cl_feed(s.st, BYTES(BIND1 QUERY1), false, parts, &ev);
    assert_int_equal(ev.req.flags, REQ_END); /* the text ends what the Parse began */
    pg_stream_fini_client(&s);
}

static void long_request_comes_in_pieces(void **state)
{
    (void)state;
    struct pg_stream s;
    struct wire_part parts[WIRE_PARTS_MAX];
    struct wire_client_event ev;
    struct buf b;
    buf_init(&b, 1u << 16);
    for (int i = 0; i < WIRE_PARTS_MAX + 1; i++)
        buf_put_str(&b, BYTES(CLOSE_P));
    pg_stream_running(&s);
    pg_wire.cl_feed(s.st, buf_str(&b), false, parts, &ev);
    assert_int_equal(ev.req.nparts, WIRE_PARTS_MAX);
    assert_int_equal(ev.req.flags, REQ_START);
    buf_fini(&b);
    pg_stream_fini_client(&s);
}

static void unread_request_is_given_again(void **state)
{
    (void)state;
    struct pg_stream s;
    struct wire_part parts[WIRE_PARTS_MAX];
    struct wire_client_event ev;
    struct str in = BYTES(PARSE1 FLUSH), next = BYTES(BIND1 SYNC);
    pg_stream_running(&s);
    for (int i = 0; i < 2; i++) {
        pg_wire.cl_feed(s.st, in, false, parts, &ev);
        assert_int_equal(ev.req.flags, REQ_START | REQ_FLUSH);
        if (i == 0)
            pg_wire.cl_unread(s.st, &ev);
    }
    for (int i = 0; i < 2; i++) {
        pg_wire.cl_feed(s.st, next, false, parts, &ev);
        assert_int_equal(ev.req.flags, REQ_END);
        pg_wire.cl_unread(s.st, &ev);
    }
    pg_stream_fini_client(&s);
}

static void malformed_messages_are_refused(void **state)
{
    (void)state;
    all_ways("BAD bad packet length ", BYTES("Q\0\0\0\3"));
    all_ways("BAD bad packet length ", BYTES("Q\xff\xff\xff\xff"));
    all_ways("BAD bad packet length ", BYTES("Q\x40\0\0\0"));
    all_ways("BAD bad packet length ", BYTES("S\0\1\0\0"));
    all_ways("BAD unknown pkt ", BYTES("z"));
    all_ways("BAD unknown pkt ", BYTES("\0"));
    all_ways("BAD unknown pkt ", BYTES("p\0\0\0\5x"));
    all_ways("BAD broken Query packet ", BYTES("Q\0\0\0\4"));
    all_ways("BAD broken Query packet ", BYTES("Q\0\0\0\6ab"));
    all_ways("BAD broken Query packet ", BYTES("Q\0\0\0\7a\0b"));
    all_ways("BAD broken Parse packet ", BYTES("P\0\0\0\6a\0"));
    all_ways("BAD broken Parse packet ", BYTES("P\0\0\0\12a\0b\0\0\1"));
    all_ways("BAD broken Bind packet ", BYTES("B\0\0\0\7a\0b"));
    all_ways("BAD broken Describe packet ", BYTES("D\0\0\0\7xs\0"));
    all_ways("BAD broken Describe packet ", BYTES("D\0\0\0\4"));
    all_ways("BAD broken Close packet ", BYTES("C\0\0\0\10Ss\0x"));
    all_ways("BAD broken Execute packet ", BYTES("E\0\0\0\11p\0\0\0\0"));
    all_ways("BAD broken Sync packet ", BYTES("S\0\0\0\5x"));
    all_ways("<simple query(||select 1|0) > BAD unknown pkt ", BYTES(QUERY1 "z"));
}

static void length_over_the_limit_is_refused_with_its_header(void **state)
{
    (void)state;
    struct pg_stream s;
    pg_stream_running(&s);
    pg_wire.cl_limits(s.st, 100);
    pg_stream_feed_client(&s, BYTES("Q\0\0\0\145"));
    assert_string_equal(pg_stream_log(&s), "BAD bad packet length ");
    pg_stream_fini_client(&s);
}

static void running_full(struct pg_stream *s)
{
    pg_stream_running(s);
    s->full = true;
}

static void messages_longer_than_the_buffer_are_cut(void **state)
{
    (void)state;
    struct pg_stream s;
    running_full(&s);
    pg_stream_feed_client(&s, BYTES("Q\0\0\0\21abcd"));
    assert_string_equal(pg_stream_log(&s), "<simple query(||abcd|0)... ");
    buf_reset(&s.log);
    pg_stream_feed_client(&s, BYTES("efghijk"));
    pg_stream_feed_client(&s, BYTES("l\0" QUERY1));
    assert_non_null(strstr(pg_stream_log(&s), "> <simple query(||select 1|0) > "));
    pg_stream_fini_client(&s);

    running_full(&s);
    pg_stream_feed_client(&s, BYTES(PARSE1 "B\0\0\0\22p\0s\0abc"));
    pg_stream_feed_client(&s, BYTES("efghijk" SYNC));
    assert_non_null(strstr(pg_stream_log(&s), "< parse(s||select|0) bind(s|p||0)... "));
    assert_non_null(strstr(pg_stream_log(&s), "sync > "));
    pg_stream_fini_client(&s);

    running_full(&s);
    pg_stream_feed_client(&s, BYTES("P\0\0\1\0longname"));
    assert_string_equal(pg_stream_log(&s), "BAD broken Parse packet ");
    pg_stream_fini_client(&s);

    pg_stream_running(&s); /* not full: waits */
    pg_stream_feed_client(&s, BYTES("P\0\0\1\0longname"));
    assert_string_equal(pg_stream_log(&s), "");
    pg_stream_fini_client(&s);
}

static void copy_messages_without_an_upload_have_no_meaning(void **state)
{
    (void)state;
    all_ways("<simple query(||select 1|0) > ", BYTES(COPY_DATA COPY_DONE COPY_FAIL QUERY1));
    all_ways("< parse(s||select|0) sync > ", BYTES(FLUSH PARSE1 COPY_DATA SYNC FLUSH));
}

/* ---- uploads --------------------------------------------------------------------------------- */

static void upload_simple(struct pg_stream *s)
{
    pg_stream_running(s);
    pg_stream_feed_client(s, BYTES(QUERY1));
    pg_wire.cl_upload(s->st, false);
    buf_reset(&s->log);
}

static void upload_void(struct pg_stream *s)
{
    pg_stream_running(s);
    pg_stream_feed_client(s, BYTES(BIND1 EXEC1 SYNC));
    pg_wire.cl_upload(s->st, true);
    buf_reset(&s->log);
}

static void upload_open(struct pg_stream *s)
{
    pg_stream_running(s);
    pg_stream_feed_client(s, BYTES(BIND1 EXEC1 FLUSH));
    pg_wire.cl_upload(s->st, false);
    buf_reset(&s->log);
}

static void upload_of_a_text_ends_the_request(void **state)
{
    (void)state;
    pg_stream_all_ways(true, upload_simple, BYTES(COPY_DATA COPY_DATA COPY_DONE QUERY1),
                       "[ddc] > <simple query(||select 1|0) > ");
    pg_stream_all_ways(true, upload_simple, BYTES(COPY_DATA SYNC FLUSH COPY_FAIL QUERY1),
                       "[dSHf] > <simple query(||select 1|0) > ");
    pg_stream_all_ways(true, upload_simple, BYTES(COPY_DATA QUERY1 CALL1), "[dQ] > < call > ");
    pg_stream_all_ways(true, upload_simple, BYTES(COPY_DATA TERMINATE), "[d] QUIT ");
    pg_stream_all_ways(true, upload_simple, BYTES(COPY_DATA "d\xff\0\0\0"),
                       "[d] BAD bad packet length ");
}

static void upload_with_a_void_sync_ends_with_another(void **state)
{
    (void)state;
    pg_stream_all_ways(true, upload_void, BYTES(COPY_DATA COPY_DONE SYNC QUERY1),
                       "[dcS] > <simple query(||select 1|0) > ");
    pg_stream_all_ways(true, upload_void,
                       BYTES(COPY_DATA SYNC COPY_DATA COPY_FAIL FLUSH SYNC QUERY1),
                       "[dSdfHS] > <simple query(||select 1|0) > ");
    pg_stream_all_ways(true, upload_void, BYTES(PARSE1 BIND1 SYNC QUERY1),
                       "[PBS] > <simple query(||select 1|0) > ");
    pg_stream_all_ways(true, upload_void, BYTES(COPY_DONE PARSE1),
                       "[c] BAD unexpected packet at the end of an upload ");
}

static void upload_of_an_open_request_goes_on_with_pieces(void **state)
{
    (void)state;
    pg_stream_all_ways(true, upload_open, BYTES(COPY_DATA COPY_DONE CLOSE_S SYNC QUERY1),
                       "[dc] close(s|||0) sync > <simple query(||select 1|0) > ");
    pg_stream_all_ways(true, upload_open, BYTES(COPY_DATA PARSE1 SYNC), "[dP] sync > ");
}

static void upload_that_is_over_leaves_no_trace(void **state)
{
    (void)state;
    struct pg_stream s;
    upload_simple(&s);
    pg_stream_feed_client(&s, BYTES("d\0\0\0\12abc"));
    assert_string_equal(pg_stream_log(&s), "[d+cut] ");
    buf_reset(&s.log);
    assert_true(pg_wire.cl_upload_over(s.st)); /* the server still reads that message */
    pg_stream_feed_client(&s, BYTES("def" COPY_DATA COPY_DONE QUERY1));
    assert_string_equal(pg_stream_log(&s), "[+cut] <simple query(||select 1|0) > ");
    pg_stream_fini_client(&s);

    upload_open(&s); /* the client's Sync must be read as the end of its request */
    pg_stream_feed_client(&s, BYTES(COPY_DATA));
    assert_false(pg_wire.cl_upload_over(s.st));
    pg_stream_feed_client(&s, BYTES(COPY_DATA SYNC));
    assert_string_equal(pg_stream_log(&s), "[d] sync > ");
    pg_stream_fini_client(&s);
}

/* ---- errors ---------------------------------------------------------------------------------- */

static void sent_is(struct pg_stream *s, struct str expect)
{
    struct buf b;
    buf_init(&b, 1u << 16);
    struct str sent = pg_stream_sent(s, &b);
    assert_int_equal(sent.n, expect.n);
    if (expect.n > 0)
        assert_memory_equal(sent.p, expect.p, expect.n);
    buf_fini(&b);
}

static void fail_request(struct pg_stream *s, bool req_open)
{
    const struct wire_fault f = {.cause = C_QUERY_TIMEOUT, .text = STR("x"), .req_open = req_open};
    pg_wire.cl_error(s->st, &f, &s->out);
}

static void error_of_a_complete_request_is_followed_by_the_idle_marker(void **state)
{
    (void)state;
    struct pg_stream s;
    pg_stream_running(&s);
    pg_stream_feed_client(&s, BYTES(QUERY1));
    fail_request(&s, false);
    sent_is(&s, BYTES("E\0\0\0\35SERROR\0VERROR\0C57014\0Mx\0\0Z\0\0\0\5I"));
    pg_stream_fini_client(&s);
}

static void error_in_an_open_request_skips_to_its_sync(void **state)
{
    (void)state;
    struct pg_stream s;
    pg_stream_running(&s);
    pg_stream_feed_client(&s, BYTES(PARSE1 FLUSH));
    buf_reset(&s.log);
    fail_request(&s, true);
    sent_is(&s, BYTES("E\0\0\0\35SERROR\0VERROR\0C57014\0Mx\0\0"));
    pg_stream_feed_client(&s, BYTES(BIND1 QUERY1 COPY_DATA FLUSH "S\0\0"));
    assert_string_equal(pg_stream_log(&s), "");
    buf_reset(&s.log);
    pg_stream_feed_client(&s, BYTES("\0\4" QUERY1));
    assert_string_equal(pg_stream_log(&s), "SKIPPED <simple query(||select 1|0) > ");
    pg_wire.cl_idle(s.st, TX_FAILED, &s.out);
    sent_is(&s, BYTES("Z\0\0\0\5E"));
    pg_stream_fini_client(&s);
}

static void error_in_a_cut_query_skips_its_rest(void **state)
{
    (void)state;
    struct pg_stream s;
    running_full(&s);
    pg_stream_feed_client(&s, BYTES("Q\0\0\0\21abcd"));
    buf_reset(&s.log);
    fail_request(&s, true);
    pg_stream_feed_client(&s, BYTES("efgh"));
    pg_stream_feed_client(&s, BYTES("ijkl\0" QUERY1));
    assert_string_equal(pg_stream_log(&s), "SKIPPED <simple query(||select 1|0) > ");
    pg_stream_fini_client(&s);
}

static void error_in_a_text_upload_lets_the_client_go_on_at_once(void **state)
{
    (void)state;
    struct pg_stream s;
    upload_simple(&s);
    fail_request(&s, true);
    sent_is(&s, BYTES("E\0\0\0\35SERROR\0VERROR\0C57014\0Mx\0\0Z\0\0\0\5I"));
    pg_stream_feed_client(&s, BYTES(""));
    pg_wire.cl_idle(s.st, TX_IDLE, &s.out); /* the answer to SKIPPED: was sent already */
    sent_is(&s, STR(""));
    pg_stream_feed_client(&s, BYTES(COPY_DATA COPY_DONE QUERY1));
    assert_string_equal(pg_stream_log(&s), "SKIPPED <simple query(||select 1|0) > ");
    pg_stream_fini_client(&s);
}

static void error_in_an_extended_upload_skips_to_the_sync_that_ends_it(void **state)
{
    (void)state;
    struct pg_stream s;
    upload_void(&s);
    fail_request(&s, true);
    sent_is(&s, BYTES("E\0\0\0\35SERROR\0VERROR\0C57014\0Mx\0\0"));
    pg_stream_feed_client(&s, BYTES(COPY_DATA COPY_DONE SYNC QUERY1));
    assert_string_equal(pg_stream_log(&s), "SKIPPED <simple query(||select 1|0) > ");
    pg_stream_fini_client(&s);
}

static void fatal_error_and_server_code_are_written(void **state)
{
    (void)state;
    struct pg_stream s;
    pg_stream_running(&s);
    struct wire_fault f = {.cause = C_SHUTDOWN, .text = STR("x"), .fatal = true};
    pg_wire.cl_error(s.st, &f, &s.out);
    sent_is(&s, BYTES("E\0\0\0\35SFATAL\0VFATAL\0C57P01\0Mx\0\0"));
    f.code = STR("3D000");
    f.text = BYTES("x\0Cfake");
    pg_wire.cl_error(s.st, &f, &s.out);
    sent_is(&s, BYTES("E\0\0\0\35SFATAL\0VFATAL\0C3D000\0Mx\0\0"));
    f = (struct wire_fault){.code = STR("no code"), .text = STR("x")};
    pg_wire.cl_error(s.st, &f, &s.out);
    sent_is(&s, BYTES("E\0\0\0\35SERROR\0VERROR\0C08P01\0Mx\0\0Z\0\0\0\5I"));
    pg_stream_fini_client(&s);
}

static void console_answers_have_the_right_bytes(void **state)
{
    (void)state;
    struct pg_stream s;
    struct wire_column cols[] = {{"a", COL_TEXT}, {"b", COL_INT8}};
    struct str row[] = {STR("xy"), STR_NONE};
    pg_stream_running(&s);
    pg_wire.cl_row_desc(s.st, cols, 2, &s.out);
    sent_is(&s, BYTES("T\0\0\0\56\0\2a\0\0\0\0\0\0\0\0\0\0\31\xff\xff\xff\xff\xff\xff\0\0"
                      "b\0\0\0\0\0\0\0\0\0\0\24\0\10\xff\xff\xff\xff\0\0"));
    pg_wire.cl_row(s.st, row, 2, &s.out);
    sent_is(&s, BYTES("D\0\0\0\20\0\2\0\0\0\2xy\xff\xff\xff\xff"));
    pg_wire.cl_complete(s.st, STR("SHOW"), &s.out);
    sent_is(&s, BYTES("C\0\0\0\11SHOW\0"));
    pg_wire.cl_ack(s.st, PART_BIND, &s.out);
    pg_wire.cl_params(s.st, NULL, 0, &s.out);
    pg_wire.cl_no_data(s.st, &s.out);
    sent_is(&s, BYTES("2\0\0\0\4t\0\0\0\6\0\0n\0\0\0\4"));
    const struct wire_column one = {"", COL_INT8}, binary = {"b", COL_BOOL_BINARY};
    pg_wire.cl_params(s.st, &one, 1, &s.out);
    sent_is(&s, BYTES("t\0\0\0\12\0\1\0\0\0\24"));
    pg_wire.cl_row_desc(s.st, &binary, 1, &s.out);
    sent_is(&s, BYTES("T\0\0\0\32\0\1b\0\0\0\0\0\0\0\0\0\0\20\0\1\xff\xff\xff\xff\0\1"));
    pg_wire.cl_notify(s.st, 7, STR("ch"), STR("p"), &s.out);
    sent_is(&s, BYTES("A\0\0\0\15\0\0\0\7ch\0p\0"));
    pg_wire.cl_notice(s.st, STR("x"), STR("d"), &s.out);
    sent_is(&s, BYTES("N\0\0\0\42SNOTICE\0VNOTICE\0C00000\0Mx\0Dd\0\0"));
    pg_stream_fini_client(&s);
}

/* ---- login ----------------------------------------------------------------------------------- */

static void started(struct pg_stream *s)
{
    pg_stream_client(s);
    pg_stream_feed_client(s, BYTES("\0\0\0\24\0\3\0\0user\0alice\0\0"));
    buf_reset(&s->log);
}

static enum auth_result answer(struct pg_stream *s, struct wire_auth *a, struct str data)
{
    outq_clear(&s->out);
    return pg_wire.cl_auth(s->st, a, data, &s->out);
}

static void clear_password_is_checked_against_every_kind_of_secret(void **state)
{
    (void)state;
    char md5[MD5_TEXT_LEN + 1];
    struct secret kinds[3];
    assert_true(md5_hash_password(STR("pw"), STR("alice"), md5));
    for (int i = 0; i < 3; i++)
        secret_init(&kinds[i]);
    assert_int_equal(secret_parse(&kinds[0], STR("pw"), NULL), ST_OK);
    assert_int_equal(secret_parse(&kinds[1], str_of(md5), NULL), ST_OK);
    assert_int_equal(scram_derive_verifier(&kinds[2], STR("pw"), 1, STR("salt")), ST_OK);
    for (int i = 0; i < 4; i++) {
        struct pg_stream s;
        struct wire_auth a = {.method = AUTH_PLAIN,
                              .user = STR("alice"),
                              .scram_iterations = 1,
                              .secret = i < 3 ? &kinds[i] : NULL};
        started(&s);
        assert_int_equal(pg_wire.cl_auth_start(s.st, &a, &s.out), AUTH_MORE);
        sent_is(&s, BYTES("R\0\0\0\10\0\0\0\3"));
        assert_int_equal(answer(&s, &a, BYTES("pw\0")), i < 3 ? AUTH_OK : AUTH_FAIL);
        assert_int_equal(pg_wire.cl_auth_start(s.st, &a, &s.out), AUTH_MORE);
        assert_int_equal(answer(&s, &a, BYTES("pW\0")), AUTH_FAIL);
        assert_int_equal(answer(&s, &a, BYTES("pw\0")), AUTH_FAIL); /* one try only */
        pg_stream_fini_client(&s);
    }
    for (int i = 0; i < 3; i++)
        secret_fini(&kinds[i]);
}

static void password_without_terminator_is_refused(void **state)
{
    (void)state;
    struct secret secret;
    struct pg_stream s;
    secret_init(&secret);
    assert_int_equal(secret_parse(&secret, STR("pw"), NULL), ST_OK);
    struct wire_auth a = {.method = AUTH_PLAIN, .user = STR("alice"), .secret = &secret};
    started(&s);
    const struct str wrong[] = {BYTES("pw"), BYTES("pw\0\0"), BYTES(""), BYTES("\0"),
                                BYTES("pw\0x")};
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        assert_int_equal(pg_wire.cl_auth_start(s.st, &a, &s.out), AUTH_MORE);
        assert_int_equal(answer(&s, &a, wrong[i]), AUTH_FAIL);
    }
    outq_clear(&s.out);
    secret_fini(&secret);
    pg_stream_fini_client(&s);
}

static void external_method_leaves_the_password_to_the_core(void **state)
{
    (void)state;
    struct pg_stream s;
    struct wire_auth a = {.method = AUTH_EXTERNAL, .user = STR("alice")};
    started(&s);
    assert_int_equal(pg_wire.cl_auth_start(s.st, &a, &s.out), AUTH_MORE);
    assert_int_equal(answer(&s, &a, BYTES("pw\0")), AUTH_MORE);
    assert_true(str_eq(a.password, STR("pw")));
    pg_stream_fini_client(&s);
}

static void md5_response_is_checked(void **state)
{
    (void)state;
    struct secret secret;
    struct pg_stream s;
    struct buf b;
    uint8_t salt[4];
    char response[MD5_TEXT_LEN + 1];
    secret_init(&secret);
    buf_init(&b, 4096);
    assert_int_equal(secret_parse(&secret, STR("pw"), NULL), ST_OK);
    struct wire_auth a = {.method = AUTH_MD5, .user = STR("alice"), .secret = &secret};
    started(&s);
    for (int i = 0; i < 2; i++) {
        a.secret = i == 0 ? &secret : NULL;
        assert_int_equal(pg_wire.cl_auth_start(s.st, &a, &s.out), AUTH_MORE);
        struct str sent = pg_stream_sent(&s, &b);
        assert_int_equal(sent.n, 13);
        memcpy(salt, sent.p + 9, 4);
        assert_int_equal(md5_response(&secret, STR("alice"), salt, response), ST_OK);
        assert_int_equal(answer(&s, &a, (struct str){response, sizeof response}),
                         i == 0 ? AUTH_OK : AUTH_FAIL);
    }
    buf_fini(&b);
    secret_fini(&secret);
    pg_stream_fini_client(&s);
}

/* A SCRAM login of our own server side against our own client side; the client codec stands
 * between. */
static enum auth_result scram_login(struct pg_stream *s, struct wire_auth *a, const char *password)
{
    struct wire_target t = {.user = STR("alice"), .database = STR("d")};
    struct secret secret;
    struct wire_cred cred = {.user = STR("alice"), .secret = &secret};
    struct pg_stream server;
    struct buf b;
    secret_init(&secret);
    assert_int_equal(secret_parse(&secret, str_of(password), NULL), ST_OK);
    buf_init(&b, 1u << 16);
    pg_stream_server(&server);
    pg_wire.sv_open(server.st, &t, &server.out);
    (void)pg_stream_sent(&server, &b);
    started(s);
    enum auth_result r = pg_wire.cl_auth_start(s->st, a, &s->out);
    while (r == AUTH_MORE || (r == AUTH_OK && s->out.len > 0)) {
        struct wire_server_event ev;
        struct wire_client_event ce;
        struct str sent = pg_stream_sent(s, &b);
        pg_wire.sv_feed(server.st, sent, false, &ev);
        assert_int_equal(ev.kind, SV_AUTH);
        if (pg_wire.sv_auth(server.st, &cred, ev.data, &server.out, NULL) != AUTH_MORE ||
            r == AUTH_OK)
            break;
        sent = pg_stream_sent(&server, &b);
        pg_wire.cl_feed(s->st, sent, false, NULL, &ce);
        assert_int_equal(ce.kind, CE_CRED);
        r = pg_wire.cl_auth(s->st, a, ce.data, &s->out);
    }
    if (r == AUTH_OK) {
        pg_wire.cl_welcome(s->st, NULL, 0, NULL, &s->out);
        pg_stream_feed_server(&server, pg_stream_sent(s, &b));
        assert_string_equal(pg_stream_log(&server), "READY key=0 ");
    }
    buf_fini(&b);
    secret_fini(&secret);
    pg_stream_fini_server(&server);
    return r;
}

static void scram_login_goes_through_both_codecs(void **state)
{
    (void)state;
    struct pg_stream s;
    struct secret verifier;
    struct scram_keys keys;
    memset(&keys, 0, sizeof keys);
    secret_init(&verifier);
    assert_int_equal(scram_derive_verifier(&verifier, STR("pw"), 16, STR("salt")), ST_OK);
    struct wire_auth a = {.method = AUTH_SCRAM,
                          .user = STR("alice"),
                          .secret = &verifier,
                          .learned = &keys,
                          .scram_iterations = 16};
    assert_int_equal(scram_login(&s, &a, "pw"), AUTH_OK);
    assert_true(keys.have_client_key);
    pg_stream_fini_client(&s);
    assert_int_equal(scram_login(&s, &a, "wrong"), AUTH_FAIL);
    outq_clear(&s.out);
    pg_stream_fini_client(&s);
    a.method = AUTH_MD5; /* a verifier turns md5 into SCRAM */
    assert_int_equal(scram_login(&s, &a, "pw"), AUTH_OK);
    pg_stream_fini_client(&s);
    a.method = AUTH_SCRAM;
    a.secret = NULL; /* an unknown user gets as far as anybody with a wrong password */
    assert_int_equal(scram_login(&s, &a, "pw"), AUTH_FAIL);
    outq_clear(&s.out);
    pg_stream_fini_client(&s);
    secret_fini(&verifier);
}

static void malformed_scram_messages_fail(void **state)
{
    (void)state;
    const struct str wrong[] = {BYTES(""),
                                BYTES("SCRAM-SHA-256"),
                                BYTES("SCRAM-SHA-256\0\0\0"),
                                BYTES("SCRAM-SHA-256\0\xff\xff\xff\xff"),
                                BYTES("SCRAM-SHA-256\0\0\0\0\2x"),
                                BYTES("SCRAM-SHA-256\0\0\0\0\1xy"),
                                BYTES("OTHER\0\0\0\0\1x")};
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        struct pg_stream s;
        struct wire_auth a = {.method = AUTH_SCRAM, .user = STR("alice"), .scram_iterations = 1};
        started(&s);
        assert_int_equal(pg_wire.cl_auth_start(s.st, &a, &s.out), AUTH_MORE);
        char *copy = wrong[i].n > 0 ? mem_copy(wrong[i].p, wrong[i].n) : NULL;
        assert_int_equal(answer(&s, &a, (struct str){copy, wrong[i].n}), AUTH_FAIL);
        mem_free(copy);
        pg_stream_fini_client(&s);
    }
}

static void asked(struct pg_stream *s)
{
    struct wire_auth a = {.method = AUTH_EXTERNAL, .user = STR("alice")};
    started(s);
    assert_int_equal(pg_wire.cl_auth_start(s->st, &a, &s->out), AUTH_MORE);
    outq_clear(&s->out);
}

static void only_credentials_are_read_during_the_login(void **state)
{
    (void)state;
    pg_stream_all_ways(true, asked, BYTES("p\0\0\0\7abc"), "CRED abc ");
    pg_stream_all_ways(true, asked, BYTES(QUERY1), "BAD unexpected packet during login ");
    pg_stream_all_ways(true, asked, BYTES("p\0\2\0\0"), "BAD password too long ");
    pg_stream_all_ways(true, asked, BYTES(TERMINATE), "QUIT ");
    pg_stream_all_ways(true, started, BYTES("p\0\0\0\7abc"), ""); /* the core has not asked yet */
}

static void welcome_has_settings_key_and_idle_marker(void **state)
{
    (void)state;
    struct pg_stream s;
    struct wire_auth a = {.method = AUTH_TRUST};
    struct wire_var vars[] = {{STR("TimeZone"), STR("X")}};
    struct wire_key key = {.n = 8, .b = "abcdefgh"};
    started(&s);
    assert_int_equal(pg_wire.cl_auth_start(s.st, &a, &s.out), AUTH_OK);
    pg_wire.cl_welcome(s.st, vars, 1, &key, &s.out);
    sent_is(&s, BYTES("R\0\0\0\10\0\0\0\0S\0\0\0\17TimeZone\0X\0K\0\0\0\14abcdefghZ\0\0\0\5I"));
    pg_stream_fini_client(&s);
}

static void state_of_an_idle_client_is_small(void **state)
{
    (void)state;
    assert_true(pg_wire.client_size <= 64);
    assert_true(pg_wire.server_size <= 384);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(query_is_a_request_of_one_part),
        cmocka_unit_test(every_message_of_a_request_is_taken_apart),
        cmocka_unit_test(batch_in_one_buffer_is_one_event),
        cmocka_unit_test(flush_ends_a_piece_and_is_told),
        cmocka_unit_test(long_request_comes_in_pieces),
        cmocka_unit_test(unread_request_is_given_again),
        cmocka_unit_test(malformed_messages_are_refused),
        cmocka_unit_test(length_over_the_limit_is_refused_with_its_header),
        cmocka_unit_test(messages_longer_than_the_buffer_are_cut),
        cmocka_unit_test(copy_messages_without_an_upload_have_no_meaning),
        cmocka_unit_test(upload_of_a_text_ends_the_request),
        cmocka_unit_test(upload_with_a_void_sync_ends_with_another),
        cmocka_unit_test(upload_of_an_open_request_goes_on_with_pieces),
        cmocka_unit_test(upload_that_is_over_leaves_no_trace),
        cmocka_unit_test(error_of_a_complete_request_is_followed_by_the_idle_marker),
        cmocka_unit_test(error_in_an_open_request_skips_to_its_sync),
        cmocka_unit_test(error_in_a_cut_query_skips_its_rest),
        cmocka_unit_test(error_in_a_text_upload_lets_the_client_go_on_at_once),
        cmocka_unit_test(error_in_an_extended_upload_skips_to_the_sync_that_ends_it),
        cmocka_unit_test(fatal_error_and_server_code_are_written),
        cmocka_unit_test(console_answers_have_the_right_bytes),
        cmocka_unit_test(clear_password_is_checked_against_every_kind_of_secret),
        cmocka_unit_test(password_without_terminator_is_refused),
        cmocka_unit_test(external_method_leaves_the_password_to_the_core),
        cmocka_unit_test(md5_response_is_checked),
        cmocka_unit_test(scram_login_goes_through_both_codecs),
        cmocka_unit_test(malformed_scram_messages_fail),
        cmocka_unit_test(only_credentials_are_read_during_the_login),
        cmocka_unit_test(welcome_has_settings_key_and_idle_marker),
        cmocka_unit_test(state_of_an_idle_client_is_small),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
