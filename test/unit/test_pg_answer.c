/* test_pg_answer.c - unit tests of protocol/pg/pg_answer.c: what is kept of an answer, which
 * requests it fits, and that it is given again byte for byte. */
#include "base/base.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "base/buf.h"
#include "protocol/pg/pg_answer.h"
#include "test/unit/support/pg_stream.h"

/* one column "b" of type int8 */
#define DESC_F(format) "T\0\0\0\32\0\1b\0\0\0\100\121\0\2\0\0\0\24\0\10\377\377\377\377\0" format
#define DESC DESC_F("\0")
#define ROW1 "D\0\0\0\13\0\1\0\0\0\1\67"
#define ROW2 "D\0\0\0\13\0\1\0\0\0\1\70"
#define DONE2 "C\0\0\0\15SELECT 2\0"
#define IDLE "Z\0\0\0\5I"
#define ACKS                                                                                       \
    "1\0\0\0\4"                                                                                    \
    "2\0\0\0\4"
#define QUERY "Q\0\0\0\15select 1\0"
#define PARSE "P\0\0\0\16\0select\0\0\0"
#define BIND "B\0\0\0\14\0\0\0\0\0\0\0\0"
#define BIND_BINARY "B\0\0\0\16\0\0\0\0\0\0\0\1\0\1"
#define BIND_OTHER "B\0\0\0\15x\0\0\0\0\0\0\0\0"
#define DESC_P "D\0\0\0\6P\0"
#define DESC_S "D\0\0\0\6S\0"
#define EXEC "E\0\0\0\11\0\0\0\0\0"
#define EXEC_1 "E\0\0\0\11\0\0\0\0\1"
#define CLOSE_P "C\0\0\0\6P\0"
#define SYNC "S\0\0\0\4"

struct whole {
    struct str raw;
    bool desc;
};

static const struct whole wholes[] = {
    {STR_INIT(DESC ROW1 ROW2 DONE2 IDLE), true},
    {STR_INIT(ACKS DESC ROW1 ROW2 DONE2 IDLE), true},
    {STR_INIT("2\0\0\0\4" ROW1 ROW2 DONE2 IDLE), false},
    {STR_INIT(ACKS DESC ROW1 ROW2 DONE2 "3\0\0\0\4" IDLE), true},
};

static void complete_results_are_kept(void **state)
{
    (void)state;
    struct wire_kept k;
    for (size_t i = 0; i < ARRAY_LEN(wholes); i++) {
        assert_true(pg_answers.read(wholes[i].raw, &k));
        assert_int_equal(k.nrows, 2);
        assert_int_equal(k.desc.n > 0, wholes[i].desc);
        assert_true(pg_answers.whole(&k));
    }
}

static const struct str broken[] = {
    STR_INIT(""),
    STR_INIT(DESC ROW1 ROW2 DONE2), /* no end */
    STR_INIT(DESC ROW1 ROW2 IDLE),
    STR_INIT(DESC ROW1 ROW2 DONE2 "Z\0\0\0\5T"), /* in a transaction */
    STR_INIT(DESC ROW1 ROW2 DONE2 IDLE "N"),
    STR_INIT(DESC ROW1 DONE2 DESC ROW1 DONE2 IDLE),      /* two results */
    STR_INIT("E\0\0\0\5\0" IDLE),                        /* an error */
    STR_INIT(DESC ROW1 "N\0\0\0\5\0" ROW2 DONE2 IDLE),   /* a notice in between */
    STR_INIT(DESC ROW1 "s\0\0\0\4" IDLE),                /* suspended */
    STR_INIT("T\0\0\0\7\0\1b" ROW1 DONE2 IDLE),          /* a description that is cut */
    STR_INIT("t\0\0\0\6\0\0" DESC ROW1 ROW2 DONE2 IDLE), /* of a statement */
};

static void anything_else_is_not(void **state)
{
    (void)state;
    struct wire_kept k;
    for (size_t i = 0; i < ARRAY_LEN(broken); i++)
        assert_false(pg_answers.read(broken[i], &k));
}

static void every_cut_of_a_kept_answer_is_noticed(void **state)
{
    (void)state;
    struct wire_kept k, cut;
    assert_true(pg_answers.read(wholes[0].raw, &k));
    for (size_t i = 0; i < 3; i++) {
        struct str *parts[] = {&cut.desc, &cut.rows, &cut.complete};
        cut = k;
        for (parts[i]->n--; parts[i]->n > 0; parts[i]->n--)
            assert_true(parts[i] == &cut.rows && parts[i]->n == k.rows.n / 2
                            ? true
                            : !pg_answers.whole(&cut));
    }
    cut = k;
    cut.nrows = 3;
    assert_false(pg_answers.whole(&cut));
}

/* What the client said, as one request. */
static struct wire_req read_request(struct pg_stream *s, struct str bytes, struct wire_part *parts)
{
    struct wire_client_event ev;
    pg_stream_running(s);
    pg_wire.cl_feed(s->st, bytes, false, parts, &ev);
    assert_int_equal(ev.kind, CE_REQ);
    return ev.req;
}

struct fit {
    struct str request;
    bool described, bare; /* fits an answer with, and without, a description */
};

static const struct fit fits[] = {
    {STR_INIT(QUERY), true, false},
    {STR_INIT(PARSE BIND EXEC SYNC), true, true},
    {STR_INIT(PARSE BIND DESC_P EXEC SYNC), true, false},
    {STR_INIT(BIND DESC_P EXEC CLOSE_P SYNC), true, false},
    {STR_INIT(BIND EXEC SYNC), true, true},
    {STR_INIT(BIND EXEC_1 SYNC), false, false},
    {STR_INIT(BIND EXEC EXEC SYNC), false, false},
    {STR_INIT(BIND EXEC BIND EXEC SYNC), false, false},
    {STR_INIT(BIND_OTHER EXEC SYNC), false, false}, /* another portal */
    {STR_INIT(PARSE DESC_S BIND EXEC SYNC), false, false},
    {STR_INIT(BIND EXEC DESC_P SYNC), false, false},
    {STR_INIT(EXEC SYNC), false, false},
    {STR_INIT(PARSE SYNC), false, false},
    {STR_INIT(SYNC), false, false},
    {STR_INIT(BIND EXEC), false, false}, /* more may come */
};

static void requests_that_an_answer_fits(void **state)
{
    (void)state;
    struct wire_kept k, bare;
    assert_true(pg_answers.read(wholes[0].raw, &k));
    assert_true(pg_answers.read(wholes[2].raw, &bare));
    for (size_t i = 0; i < ARRAY_LEN(fits); i++) {
        struct pg_stream s;
        struct wire_part parts[WIRE_PARTS_MAX];
        struct wire_req r = read_request(&s, fits[i].request, parts);
        assert_int_equal(pg_answers.fits(NULL, &r), fits[i].described);
        assert_int_equal(pg_answers.fits(&k, &r), fits[i].described);
        assert_int_equal(pg_answers.fits(&bare, &r), fits[i].bare);
        pg_stream_fini_client(&s);
    }
}

struct giving {
    struct str request, answer;
};

static const struct giving givings[] = {
    {STR_INIT(QUERY), STR_INIT(DESC ROW1 ROW2 DONE2 IDLE)},
    {STR_INIT(PARSE BIND DESC_P EXEC SYNC), STR_INIT(ACKS DESC ROW1 ROW2 DONE2 IDLE)},
    {STR_INIT(BIND_BINARY DESC_P EXEC SYNC),
     STR_INIT("2\0\0\0\4" DESC_F("\1") ROW1 ROW2 DONE2 IDLE)},
    {STR_INIT(BIND EXEC CLOSE_P SYNC), STR_INIT("2\0\0\0\4" ROW1 ROW2 DONE2 "3\0\0\0\4" IDLE)},
};

static void answer_is_given_as_the_server_would(void **state)
{
    (void)state;
    struct wire_kept k;
    assert_true(pg_answers.read(wholes[1].raw, &k));
    for (size_t i = 0; i < ARRAY_LEN(givings); i++) {
        struct pg_stream s;
        struct buf b;
        struct wire_part parts[WIRE_PARTS_MAX];
        struct wire_req r = read_request(&s, givings[i].request, parts);
        buf_init(&b, 4096);
        (void)pg_stream_sent(&s, &b);
        pg_answers.give(s.st, &r, &k, &s.out);
        struct str sent = pg_stream_sent(&s, &b);
        assert_int_equal(sent.n, givings[i].answer.n);
        assert_memory_equal(sent.p, givings[i].answer.p, sent.n);
        buf_fini(&b);
        pg_stream_fini_client(&s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(complete_results_are_kept),
        cmocka_unit_test(anything_else_is_not),
        cmocka_unit_test(every_cut_of_a_kept_answer_is_noticed),
        cmocka_unit_test(requests_that_an_answer_fits),
        cmocka_unit_test(answer_is_given_as_the_server_would),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
