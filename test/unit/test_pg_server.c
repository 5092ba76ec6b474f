/* test_pg_server.c - unit tests of protocol/pg/pg_server*.c and pg_track.c: replies of a server.
 *
 * Streams are written as literals; those of a real server are in the integration tests.
 */
#include "base/base.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "protocol/pg/pg_server.h"
#include "test/unit/support/pg_stream.h"

#define OK1 "1\0\0\0\4"
#define OK2 "2\0\0\0\4"
#define OK3 "3\0\0\0\4"
#define NODATA "n\0\0\0\4"
#define PARAMS "t\0\0\0\6\0\0"
#define ROWDESC "T\0\0\0\6\0\0"
#define ROW "D\0\0\0\6\0\0"
#define SELECT1 "C\0\0\0\15SELECT 1\0"
#define INSERT1 "C\0\0\0\17INSERT 0 1\0"
#define SUSPENDED "s\0\0\0\4"
#define EMPTY "I\0\0\0\4"
#define READY "Z\0\0\0\5I"
#define READY_T "Z\0\0\0\5T"
#define READY_E "Z\0\0\0\5E"
#define ERR "E\0\0\0\26SERROR\0C42601\0Mx\0\0"
#define VAR "S\0\0\0\17TimeZone\0X\0"
#define NOTICE "N\0\0\0\10Mx\0\0"
#define NOTIFY "A\0\0\0\15\0\0\0\7ch\0p\0"

#define DONE_OK "DONE tx=0 err=0 tags=0 \n"

static struct wire_part part(enum wire_part_kind kind, struct str raw)
{
    return (struct wire_part){.kind = kind,
                              .raw = raw,
                              .name = STR(""),
                              .portal = STR(""),
                              .text = STR(""),
                              .types = STR("")};
}

static void send(struct pg_stream *s, enum wire_part_kind kind)
{
    struct wire_part p = part(kind, STR("?"));
    pg_wire.sv_parts(s->st, &p, 1, p.raw, &s->out);
}

static void fake(struct pg_stream *s, enum wire_part_kind kind)
{
    struct wire_part p = part(kind, STR("?"));
    pg_wire.sv_part_fake(s->st, &p);
}

static void one_query(struct pg_stream *s)
{
    pg_stream_logged_in(s);
    send(s, PART_QUERY);
}

static void extended(struct pg_stream *s)
{
    pg_stream_logged_in(s);
    send(s, PART_PARSE);
    send(s, PART_BIND);
    send(s, PART_DESCRIBE_PORTAL);
    send(s, PART_EXECUTE);
    send(s, PART_SYNC);
}

static void two_extended(struct pg_stream *s)
{
    extended(s);
    send(s, PART_PARSE);
    send(s, PART_DESCRIBE);
    send(s, PART_CLOSE);
    send(s, PART_SYNC);
}

static void whole_reply_in_one_buffer_is_one_event(void **state)
{
    (void)state;
    struct pg_stream s;
    struct wire_server_event ev;
    struct str in = BYTES(ROWDESC ROW ROW SELECT1 READY);
    one_query(&s);
    pg_wire.sv_feed(s.st, in, false, &ev);
    assert_int_equal(ev.kind, SV_DONE);
    assert_int_equal(ev.consumed, in.n);
    assert_ptr_equal(ev.out.p, in.p);
    assert_int_equal(ev.out.n, in.n);
    assert_int_equal(ev.tags, WT_READ);
    assert_int_equal(pg_wire.sv_pending(s.st), 0);
    pg_stream_fini_server(&s);
}

/* One event after the other of a stream that has been split: its kind, what it says, how much. */
static void next_is(struct pg_stream *s, struct str *in, enum server_event kind, bool preamble,
                    enum server_error refused, size_t out)
{
    struct wire_server_event ev;
    pg_wire.sv_feed(s->st, *in, false, &ev);
    assert_int_equal(ev.kind, kind);
    assert_int_equal(ev.preamble, preamble);
    assert_int_equal(ev.refused, refused);
    assert_int_equal(ev.out.n, out);
    *in = (struct str){in->p + ev.consumed, in->n - ev.consumed};
}

static void split_tells_the_beginning_of_an_answer_from_its_rows(void **state)
{
    (void)state;
    struct pg_stream s;
    struct str in = BYTES(OK1 OK2 ROWDESC ROW SELECT1 READY);
    extended(&s);
    pg_wire.sv_split(s.st);
    next_is(&s, &in, SV_DONE, false, SE_NONE, in.n);
    pg_stream_fini_server(&s);
    extended(&s);
    pg_wire.sv_split(s.st);
    struct str first = BYTES(OK1 OK2 ROWDESC "D\0\0");
    in = BYTES(ROW SELECT1 READY);
    next_is(&s, &first, SV_MORE, true, SE_NONE, 5 + 5 + 7);
    assert_int_equal(first.n, 3);
    next_is(&s, &in, SV_DONE, false, SE_NONE, in.n);
    pg_stream_fini_server(&s);
}

static void split_gives_an_error_by_itself(void **state)
{
    (void)state;
    struct pg_stream s;
    struct str in = BYTES(OK1 OK2 NODATA "E\0\0\0\26SERROR\0C25006\0Mx\0\0" READY);
    extended(&s);
    pg_wire.sv_split(s.st);
    next_is(&s, &in, SV_SPAN, true, SE_NONE, 15);
    next_is(&s, &in, SV_SPAN, false, SE_READ_ONLY, 23);
    next_is(&s, &in, SV_DONE, false, SE_NONE, 6);
    pg_stream_fini_server(&s);
    one_query(&s);
    pg_wire.sv_split(s.st);
    in = BYTES(ROWDESC ROW ERR READY);
    struct str row = BYTES(ROWDESC ROW);
    next_is(&s, &in, SV_SPAN, false, SE_NONE, row.n);
    next_is(&s, &in, SV_SPAN, false, SE_OTHER, 23);
    next_is(&s, &in, SV_DONE, false, SE_NONE, 6);
    pg_stream_fini_server(&s);
}

static void part_of_a_row_is_forwarded_at_once(void **state)
{
    (void)state;
    struct pg_stream s;
    struct wire_server_event ev;
    one_query(&s);
    pg_wire.sv_feed(s.st, BYTES("D\0\1\0\0abcdef"), false, &ev);
    assert_int_equal(ev.kind, SV_MORE);
    assert_int_equal(ev.out.n, 11);
    assert_int_equal(ev.consumed, 11);
    pg_wire.sv_feed(s.st, BYTES("abcdef"), false, &ev);
    assert_int_equal(ev.kind, SV_MORE);
    assert_int_equal(ev.out.n, 6);
    pg_stream_fini_server(&s);
}

static void simple_replies_end_with_the_idle_marker(void **state)
{
    (void)state;
    pg_stream_all_ways(false, one_query, BYTES(ROWDESC ROW SELECT1 INSERT1 READY),
                       "[TDCCZ] DONE tx=0 err=0 tags=600 \n");
    pg_stream_all_ways(false, one_query, BYTES(EMPTY READY_T), "[IZ] DONE tx=1 err=0 tags=0 \n");
    pg_stream_all_ways(false, one_query, BYTES(ERR READY_E),
                       "[EZ] DONE tx=2 err=1 tags=0 42601x\n");
}

static void extended_replies_are_matched_to_what_was_sent(void **state)
{
    (void)state;
    pg_stream_all_ways(false, extended, BYTES(OK1 OK2 ROWDESC ROW ROW SELECT1 READY),
                       "[12TDDCZ] DONE tx=0 err=0 tags=400 \n");
    pg_stream_all_ways(false, extended, BYTES(OK1 OK2 NODATA SUSPENDED READY_T),
                       "[12nsZ] DONE tx=1 err=0 tags=0 \n");
    pg_stream_all_ways(false, two_extended,
                       BYTES(OK1 OK2 ROWDESC EMPTY READY OK1 PARAMS ROWDESC OK3 READY),
                       "[12TIZ] " DONE_OK "[1tT3Z] " DONE_OK);
    pg_stream_all_ways(false, two_extended,
                       BYTES(OK1 OK2 NODATA EMPTY READY OK1 PARAMS NODATA OK3 READY),
                       "[12nIZ] " DONE_OK "[1tn3Z] " DONE_OK);
}

static void error_drops_the_rest_of_its_request_only(void **state)
{
    (void)state;
    pg_stream_all_ways(false, two_extended, BYTES(OK1 ERR READY OK1 PARAMS NODATA OK3 READY),
                       "[1EZ] DONE tx=0 err=1 tags=0 42601x\n[1tn3Z] " DONE_OK);
    pg_stream_all_ways(false, two_extended, BYTES(OK1 OK2 ROWDESC ROW SELECT1 ERR READY),
                       "[12TDCEZ] DONE tx=0 err=1 tags=400 42601x\n");
}

static void asynchronous_messages_are_taken_out_or_left_in_place(void **state)
{
    (void)state;
    pg_stream_all_ways(false, one_query, BYTES(NOTICE ROWDESC VAR ROW NOTIFY SELECT1 NOTICE READY),
                       "[NT] VAR TimeZone=X [D] NOTIFY 7 ch=p [CNZ] DONE tx=0 err=0 tags=400 \n");
}

static void unasked_messages_of_an_idle_server_are_told(void **state)
{
    (void)state;
    pg_stream_all_ways(false, pg_stream_logged_in, BYTES(NOTICE VAR NOTIFY),
                       "NOTICE 9 VAR TimeZone=X NOTIFY 7 ch=p ");
}

static void whatever_answers_nothing_is_refused(void **state)
{
    (void)state;
    pg_stream_all_ways(false, pg_stream_logged_in, BYTES(READY),
                       "BAD idle marker without a request ");
    pg_stream_all_ways(false, pg_stream_logged_in, BYTES(ROW), "BAD message without a request ");
    pg_stream_all_ways(false, pg_stream_logged_in, BYTES(ERR), "BAD error without a request ");
    pg_stream_all_ways(false, one_query, BYTES(READY),
                       "BAD idle marker while answers are missing ");
    pg_stream_all_ways(false, one_query, BYTES(OK1), "BAD message does not answer the request ");
    pg_stream_all_ways(false, extended, BYTES(OK1 READY),
                       "[1] BAD idle marker while answers are missing ");
    pg_stream_all_ways(false, extended, BYTES(OK2), "BAD message does not answer the request ");
    pg_stream_all_ways(false, one_query, BYTES(SELECT1 READY READY),
                       "[CZ] DONE tx=0 err=0 tags=400 \nBAD idle marker without a request ");
}

static void lengths_of_a_hostile_server_are_refused(void **state)
{
    (void)state;
    pg_stream_all_ways(false, one_query, BYTES("D\0\0\0\3"),
                       "BAD malformed message of the server ");
    pg_stream_all_ways(false, one_query, BYTES("D\xff\xff\xff\xff"),
                       "BAD malformed message of the server ");
    pg_stream_all_ways(false, one_query, BYTES("S\0\2\0\0"),
                       "BAD message of the server is too long ");
    pg_stream_all_ways(false, one_query, BYTES("S\0\0\0\7a\0b"), "BAD malformed setting ");
    pg_stream_all_ways(false, one_query, BYTES("S\0\0\0\11a\0b\0c"), "BAD malformed setting ");
    pg_stream_all_ways(false, one_query, BYTES("A\0\0\0\6\0\0"), "BAD malformed notification ");
    pg_stream_all_ways(false, one_query, BYTES("Z\0\0\0\6II"), "BAD malformed idle marker ");
    pg_stream_all_ways(false, one_query, BYTES(EMPTY "Z\0\0\0\5x"),
                       "[I] BAD unknown transaction state ");
    pg_stream_all_ways(false, extended, BYTES("1\0\0\0\5x"), "BAD malformed confirmation ");
}

static void error_without_any_field_is_an_error(void **state)
{
    (void)state;
    pg_stream_all_ways(false, one_query, BYTES("E\0\0\0\4" READY),
                       "[EZ] DONE tx=0 err=1 tags=0 \n");
    pg_stream_all_ways(false, one_query, BYTES("E\0\0\0\5\0" READY),
                       "[EZ] DONE tx=0 err=1 tags=0 \n");
    pg_stream_all_ways(false, one_query, BYTES("E\0\0\0\6Mx" READY),
                       "[EZ] DONE tx=0 err=1 tags=0 \n");
}

static void long_error_streams_and_keeps_its_code(void **state)
{
    (void)state;
    struct pg_stream s;
    struct wire_server_event ev;
    char text[3000];
    struct buf b;
    memset(text, 'x', sizeof text);
    memcpy(text, "C40P01\0Mm\0D", 11);
    buf_init(&b, 1u << 16);
    pg_stream_message(&b, 'E', (struct str){text, sizeof text});
    one_query(&s);
    pg_wire.sv_feed(s.st, (struct str){(const char *)buf_data(&b), 511}, false, &ev);
    assert_int_equal(ev.kind, SV_MORE);
    assert_int_equal(ev.consumed, 0);
    assert_int_equal(ev.need, 512);
    pg_stream_feed_server(&s, buf_str(&b));
    pg_stream_feed_server(&s, BYTES(READY));
    assert_string_equal(pg_stream_log(&s), "[EZ] DONE tx=0 err=13 tags=0 40P01m\n");
    buf_fini(&b);
    pg_stream_fini_server(&s);
}

static void fatal_error_ends_the_session(void **state)
{
    (void)state;
#define FATAL "E\0\0\0\45SFATALE\0VFATAL\0C57P01\0Mbye bye!\0\0"
    pg_stream_all_ways(false, pg_stream_logged_in, BYTES(FATAL),
                       "FATAL err=5 out=38 57P01 bye bye! ");
    pg_stream_all_ways(false, one_query, BYTES(ROWDESC ROW FATAL),
                       "[TD] FATAL err=5 out=38 57P01 bye bye! ");
}

static void severity_v_is_believed_before_s(void **state)
{
    (void)state;
    pg_stream_all_ways(false, one_query, BYTES("E\0\0\0\23SFATAL\0VERROR\0\0" EMPTY READY),
                       "[EIZ] DONE tx=0 err=1 tags=0 \n");
}

/* ---- edited streams -------------------------------------------------------------------------- */

static void with_fakes(struct pg_stream *s)
{
    pg_stream_logged_in(s);
    fake(s, PART_PARSE);
    send(s, PART_BIND);
    fake(s, PART_CLOSE);
    fake(s, PART_PARSE);
    send(s, PART_EXECUTE);
    send(s, PART_SYNC);
}

static void confirmations_are_made_up_at_the_right_place(void **state)
{
    (void)state;
    pg_stream_all_ways(false, with_fakes, BYTES(OK2 SELECT1 READY),
                       "[1] ACK [23] ACK [1] ACK [CZ] DONE tx=0 err=0 tags=400 \n");
    pg_stream_all_ways(false, with_fakes, BYTES(ERR READY),
                       "[1] ACK [EZ] DONE tx=0 err=1 tags=0 42601x\n");
}

static void fake_alone_comes_out_with_empty_input(void **state)
{
    (void)state;
    struct pg_stream s;
    pg_stream_logged_in(&s);
    fake(&s, PART_PARSE);
    pg_stream_feed_server(&s, STR_NONE);
    assert_string_equal(pg_stream_log(&s), "[1] ACK ");
    pg_stream_fini_server(&s);
}

static void own_parts(struct pg_stream *s)
{
    struct wire_handle h;
    struct wire_part p = part(PART_PARSE, BYTES("P\0\0\0\10\0\0\0\0"));
    pg_stream_logged_in(s);
    pg_wire.handle_make(7, 42, &h);
    pg_wire.sv_unprepare(s->st, &h, &s->out);
    pg_wire.sv_prepare(s->st, &h, STR("select 1"), STR(""), &s->out);
    send(s, PART_BIND);
    pg_wire.sv_part_tracked(s->st, &p, &s->out);
    send(s, PART_EXECUTE);
    send(s, PART_SYNC);
}

static void own_prepares_are_confirmed_to_the_core_only(void **state)
{
    (void)state;
    pg_stream_all_ways(false, own_parts, BYTES(OK3 OK1 OK2 OK1 SELECT1 READY),
                       "ACK ACK [21] ACK [CZ] DONE tx=0 err=0 tags=400 \n");
}

static void failed_own_prepare_fails_the_request_of_the_client(void **state)
{
    (void)state;
    pg_stream_all_ways(false, own_parts, BYTES(OK3 NOTICE ERR READY),
                       "ACK [EZ] DONE tx=0 err=1 tags=0 42601x\n");
}

static void own_run(struct pg_stream *s)
{
    struct wire_handle h;
    pg_stream_logged_in(s);
    pg_wire.handle_make(7, 42, &h);
    pg_wire.sv_prepare(s->st, &h, STR("select 1"), STR(""), &s->out);
    pg_wire.sv_prepare(s->st, &h, STR("select 2"), STR(""), &s->out);
    pg_wire.sv_sync(s->st, &s->out);
    send(s, PART_QUERY);
}

static void nothing_of_an_own_run_reaches_a_client(void **state)
{
    (void)state;
    pg_stream_all_ways(false, own_run, BYTES(OK1 OK1 READY EMPTY READY),
                       "ACK ACK " DONE_OK "[IZ] " DONE_OK);
    pg_stream_all_ways(false, own_run, BYTES(OK1 NOTICE ERR READY EMPTY READY),
                       "ACK DONE tx=0 err=1 tags=0 42601x\n[IZ] " DONE_OK);
}

static void own_query(struct pg_stream *s)
{
    pg_stream_logged_in(s);
    pg_wire.sv_text(s->st, OWN_QUIET, STR("x"), &s->out);
    send(s, PART_QUERY);
}

static void own_rows(struct pg_stream *s)
{
    pg_stream_logged_in(s);
    pg_wire.sv_text(s->st, OWN_ROWS, STR("x"), &s->out);
}

static void own_answers_are_kept_from_clients(void **state)
{
    (void)state;
    pg_stream_all_ways(
        false, own_query, BYTES(ROWDESC ROW NOTICE VAR SELECT1 READY ROWDESC SELECT1 READY),
        "VAR TimeZone=X DONE tx=0 err=0 tags=400 \n[TCZ] DONE tx=0 err=0 tags=400 \n");
    pg_stream_all_ways(false, own_query, BYTES(ERR READY EMPTY READY),
                       "DONE tx=0 err=1 tags=0 42601x\n[IZ] " DONE_OK);
}

static void rows_of_own_statements_are_decoded(void **state)
{
    (void)state;
    pg_stream_all_ways(false, own_rows,
                       BYTES(ROWDESC "D\0\0\0\21\0\2\0\0\0\3abc\xff\xff\xff\xff" ROW SELECT1 READY),
                       "ROW abc NULL ROW DONE tx=0 err=0 tags=400 \n");
    pg_stream_all_ways(false, own_rows, BYTES("D\0\0\0\13\0\1\0\0\0\2a"), "BAD malformed row ");
    pg_stream_all_ways(false, own_rows,
                       BYTES("D\0\0\0\13\0\1\xff\xff\xff\xfe"
                             "a"),
                       "BAD malformed row ");
    pg_stream_all_ways(false, own_rows, BYTES("D\0\0\0\6\0\21"),
                       "BAD row of an own statement has too many columns ");
}

static void handles_replace_names_and_lengths(void **state)
{
    (void)state;
    struct pg_stream s;
    struct buf b;
    struct wire_handle h;
    buf_init(&b, 1u << 16);
    pg_stream_logged_in(&s);
    assert_true(pg_wire.handle_named(STR("handle"), &h));
    struct wire_part p = part(PART_BIND, BYTES("B\0\0\0\17po\0st\0rest!"));
    p.portal = STR("po");
    p.name = STR("st");
    pg_wire.sv_part_named(s.st, &p, &h, &s.out);
    struct str sent = pg_stream_sent(&s, &b);
    assert_memory_equal(sent.p, "B\0\0\0\23po\0handle\0rest!", 20);
    p = part(PART_DESCRIBE, BYTES("D\0\0\0\6S\0"));
    pg_wire.sv_part_named(s.st, &p, &h, &s.out);
    sent = pg_stream_sent(&s, &b);
    assert_memory_equal(sent.p, "D\0\0\0\14Shandle\0", 13);
    p = part(PART_PARSE, BYTES("P\0\1\0\0abc\0sele"));
    p.name = STR("abc");
    p.cut = true;
    pg_wire.sv_part_named(s.st, &p, &h, &s.out);
    sent = pg_stream_sent(&s, &b);
    assert_memory_equal(sent.p, "P\0\1\0\3handle\0sele", 16);
    buf_fini(&b);
    pg_stream_fini_server(&s);
}

static void handles_are_distinct_and_bounded(void **state)
{
    (void)state;
    struct wire_handle a, b;
    pg_wire.handle_make(1, UINT64_MAX, &a);
    assert_int_equal(a.b[23], 0);
    assert_int_not_equal(a.b[22], 0);
    pg_wire.handle_make(2, UINT64_MAX, &b);
    assert_memory_not_equal(a.b, b.b, sizeof a.b);
    pg_wire.handle_make(1, 0, &b);
    assert_memory_not_equal(a.b, b.b, sizeof a.b);
    assert_false(pg_wire.handle_named(
        STR("a234567890a234567890a234567890a234567890a234567890a2345678901234"), &a));
    assert_true(pg_wire.handle_named(
        STR("a234567890a234567890a234567890a234567890a234567890a234567890123"), &a));
    assert_false(pg_wire.handle_named(BYTES("a\0b"), &a));
}

/* ---- uploads --------------------------------------------------------------------------------- */

#define COPY_IN "G\0\0\0\7\0\0\0"
#define COPIED "C\0\0\0\13COPY 1\0"

static void copy_extended_synced(struct pg_stream *s)
{
    pg_stream_logged_in(s);
    send(s, PART_BIND);
    send(s, PART_EXECUTE);
    send(s, PART_FLUSH);
    send(s, PART_SYNC);
}

static void copy_extended_open(struct pg_stream *s)
{
    pg_stream_logged_in(s);
    send(s, PART_BIND);
    send(s, PART_EXECUTE);
    send(s, PART_FLUSH);
}

static void copy_doomed(struct pg_stream *s)
{
    pg_stream_logged_in(s);
    send(s, PART_EXECUTE);
    send(s, PART_CLOSE_PORTAL);
    send(s, PART_SYNC);
}

static void copy_lost(struct pg_stream *s)
{
    copy_extended_synced(s);
    send(s, PART_QUERY);
}

static void uploads_tell_whether_their_end_marker_is_void(void **state)
{
    (void)state;
    pg_stream_all_ways(false, one_query, BYTES(COPY_IN COPIED READY),
                       "[G] UPLOAD [CZ] DONE tx=0 err=0 tags=800 \n");
    pg_stream_all_ways(false, copy_extended_synced, BYTES(OK2 COPY_IN COPIED READY),
                       "[2G] UPLOAD-void [CZ] DONE tx=0 err=0 tags=800 \n");
    pg_stream_all_ways(false, copy_extended_synced, BYTES(OK2 COPY_IN ERR READY),
                       "[2G] UPLOAD-void [EZ] DONE tx=0 err=1 tags=0 42601x\n");
    pg_stream_all_ways(false, copy_doomed, BYTES(COPY_IN ERR READY),
                       "[GEZ] DONE tx=0 err=1 tags=0 42601x\n");
    pg_stream_all_ways(false, copy_lost, BYTES(OK2 COPY_IN),
                       "[2] BAD upload in the middle of pipelined requests ");
}

static void failed_open_upload_is_told_before_its_sync_is_sent(void **state)
{
    (void)state;
    struct pg_stream s;
    copy_extended_open(&s);
    pg_stream_feed_server(&s, BYTES(OK2 COPY_IN ERR));
    send(&s, PART_BIND); /* skipped by the server */
    send(&s, PART_SYNC);
    assert_int_equal(pg_wire.sv_pending(s.st), 1);
    pg_stream_feed_server(&s, BYTES(NOTICE READY));
    assert_string_equal(pg_stream_log(&s),
                        "[2G] UPLOAD [E] UPLOAD-FAILED [NZ] DONE tx=0 err=1 tags=0 42601x\n");
    pg_stream_fini_server(&s);
}

static void query_behind_a_failed_pipeline_closes_the_connection(void **state)
{
    (void)state;
    struct pg_stream s;
    pg_stream_logged_in(&s);
    send(&s, PART_PARSE);
    pg_stream_feed_server(&s, BYTES(ERR));
    send(&s, PART_QUERY); /* the server skips it: no answer will ever come */
    pg_stream_feed_server(&s, STR(""));
    assert_string_equal(pg_stream_log(&s),
                        "[E] BAD too many or mixed requests: answers can no longer be told apart ");
    pg_stream_fini_server(&s);
}

static void copy_out_passes(void **state)
{
    (void)state;
    pg_stream_all_ways(false, one_query,
                       BYTES("H\0\0\0\7\0\0\0"
                             "d\0\0\0\6ab"
                             "d\0\0\0\4"
                             "c\0\0\0\4" COPIED READY),
                       "[HddcCZ] DONE tx=0 err=0 tags=800 \n");
    pg_stream_all_ways(false, one_query, BYTES("W\0\0\0\7\0\0\0"),
                       "BAD message does not answer the request ");
}

static void function_call(struct pg_stream *s)
{
    pg_stream_logged_in(s);
    send(s, PART_CALL);
}

static void function_call_is_answered(void **state)
{
    (void)state;
    pg_stream_all_ways(false, function_call, BYTES("V\0\0\0\11\0\0\0\1x" READY), "[VZ] " DONE_OK);
    pg_stream_all_ways(false, function_call, BYTES(ERR READY),
                       "[EZ] DONE tx=0 err=1 tags=0 42601x\n");
    pg_stream_all_ways(false, function_call, BYTES(READY),
                       "BAD idle marker while answers are missing ");
}

static void long_pipelines_keep_their_order(void **state)
{
    (void)state;
    struct pg_stream s;
    pg_stream_logged_in(&s);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 1000; i++)
            send(&s, i % 2 ? PART_BIND : PART_PARSE);
        send(&s, PART_SYNC);
        for (int i = 0; i < 1000; i++)
            pg_stream_feed_server(&s, i % 2 ? BYTES(OK2) : BYTES(OK1));
        pg_stream_feed_server(&s, BYTES(READY));
        assert_false(s.stop);
    }
    assert_int_equal(pg_wire.sv_pending(s.st), 0);
    pg_stream_fini_server(&s);
}

/* ---- login ----------------------------------------------------------------------------------- */

static void opening(struct pg_stream *s)
{
    struct wire_target t = {.user = STR("u"), .database = STR("d")};
    pg_stream_server(s);
    pg_wire.sv_open(s->st, &t, &s->out);
}

static void tls_asked(struct pg_stream *s)
{
    pg_stream_server(s);
    pg_wire.sv_tls_request(s->st, &s->out);
}

#define AUTH_OK_MSG "R\0\0\0\10\0\0\0\0"

static void login_reports_settings_and_the_key(void **state)
{
    (void)state;
    pg_stream_all_ways(
        false, opening,
        BYTES("v\0\0\0\14\0\3\0\0\0\0\0\0" AUTH_OK_MSG VAR "K\0\0\0\20\0\0\0\1abcdefgh" READY),
        "VAR TimeZone=X READY key=12 ");
    pg_stream_all_ways(false, opening, BYTES("R\0\0\0\10\0\0\0\3"), "AUTH ");
    pg_stream_all_ways(false, opening, BYTES("E\0\0\0\24C3D000\0Mno such\0"),
                       "FATAL err=3 out=21 3D000 no such ");
    pg_stream_all_ways(false, tls_asked, BYTES("S"), "TLS=1 ");
    pg_stream_all_ways(false, tls_asked, BYTES("N"), "TLS=0 ");
    pg_stream_all_ways(false, tls_asked, BYTES("E"), "BAD unexpected answer to the TLS request ");
}

static void hostile_logins_are_refused(void **state)
{
    (void)state;
    pg_stream_all_ways(false, opening, BYTES(READY), "BAD unexpected message during login ");
    pg_stream_all_ways(false, opening, BYTES("K\0\0\0\14\0\0\0\1\0\0\0\2"),
                       "BAD unexpected message during login ");
    pg_stream_all_ways(false, opening, BYTES("R\0\0\0\6\0\0"),
                       "BAD unexpected authentication message ");
    pg_stream_all_ways(false, opening, BYTES("R\0\1\0\0"), "BAD malformed message during login ");
    pg_stream_all_ways(false, opening, BYTES(AUTH_OK_MSG AUTH_OK_MSG),
                       "BAD unexpected authentication message ");
    pg_stream_all_ways(false, opening, BYTES(AUTH_OK_MSG "K\0\0\0\10\0\0\0\1"),
                       "BAD cancel key of impossible length ");
    pg_stream_all_ways(false, opening, BYTES(AUTH_OK_MSG "Z\0\0\0\5T"),
                       "BAD malformed first idle marker ");
    pg_stream_all_ways(false, opening, BYTES("v\0\0\0\14\0\3\0\3\0\0\0\0"),
                       "BAD server wants a protocol that is not spoken here ");
    pg_stream_all_ways(false, pg_stream_server, BYTES("R"),
                       "BAD server talks before it was asked ");
}

static void startup_packet_says_who_and_where(void **state)
{
    (void)state;
    struct pg_stream s;
    struct buf b;
    struct wire_var vars[] = {{STR("TimeZone"), STR("UTC")}, {STR(""), STR("x")}};
    struct wire_target t = {.user = STR("u"), .database = STR("d"), .vars = vars, .nvars = 2};
    buf_init(&b, 4096);
    pg_stream_server(&s);
    pg_wire.sv_open(s.st, &t, &s.out);
    struct str sent = pg_stream_sent(&s, &b);
    static const char expect[] = "\0\0\0\50\0\3\0\2user\0u\0database\0d\0TimeZone\0UTC\0";
    assert_int_equal(sent.n, sizeof expect);
    assert_memory_equal(sent.p, expect, sizeof expect);
    buf_fini(&b);
    pg_stream_fini_server(&s);
}

static void raw_connection_is_relayed(void **state)
{
    (void)state;
    struct pg_stream s;
    struct wire_server_event ev;
    pg_stream_logged_in(&s);
    pg_wire.sv_raw(s.st);
    pg_wire.sv_feed(s.st, BYTES("W\0\0\0\0garbage"), false, &ev);
    assert_int_equal(ev.kind, SV_SPAN);
    assert_int_equal(ev.out.n, 12);
    pg_stream_fini_server(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_reply_in_one_buffer_is_one_event),
        cmocka_unit_test(split_tells_the_beginning_of_an_answer_from_its_rows),
        cmocka_unit_test(split_gives_an_error_by_itself),
        cmocka_unit_test(part_of_a_row_is_forwarded_at_once),
        cmocka_unit_test(simple_replies_end_with_the_idle_marker),
        cmocka_unit_test(extended_replies_are_matched_to_what_was_sent),
        cmocka_unit_test(error_drops_the_rest_of_its_request_only),
        cmocka_unit_test(asynchronous_messages_are_taken_out_or_left_in_place),
        cmocka_unit_test(unasked_messages_of_an_idle_server_are_told),
        cmocka_unit_test(whatever_answers_nothing_is_refused),
        cmocka_unit_test(lengths_of_a_hostile_server_are_refused),
        cmocka_unit_test(error_without_any_field_is_an_error),
        cmocka_unit_test(long_error_streams_and_keeps_its_code),
        cmocka_unit_test(fatal_error_ends_the_session),
        cmocka_unit_test(severity_v_is_believed_before_s),
        cmocka_unit_test(confirmations_are_made_up_at_the_right_place),
        cmocka_unit_test(fake_alone_comes_out_with_empty_input),
        cmocka_unit_test(own_prepares_are_confirmed_to_the_core_only),
        cmocka_unit_test(failed_own_prepare_fails_the_request_of_the_client),
        cmocka_unit_test(nothing_of_an_own_run_reaches_a_client),
        cmocka_unit_test(own_answers_are_kept_from_clients),
        cmocka_unit_test(rows_of_own_statements_are_decoded),
        cmocka_unit_test(handles_replace_names_and_lengths),
        cmocka_unit_test(handles_are_distinct_and_bounded),
        cmocka_unit_test(uploads_tell_whether_their_end_marker_is_void),
        cmocka_unit_test(failed_open_upload_is_told_before_its_sync_is_sent),
        cmocka_unit_test(query_behind_a_failed_pipeline_closes_the_connection),
        cmocka_unit_test(copy_out_passes),
        cmocka_unit_test(function_call_is_answered),
        cmocka_unit_test(long_pipelines_keep_their_order),
        cmocka_unit_test(login_reports_settings_and_the_key),
        cmocka_unit_test(hostile_logins_are_refused),
        cmocka_unit_test(startup_packet_says_who_and_where),
        cmocka_unit_test(raw_connection_is_relayed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
