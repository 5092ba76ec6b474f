/* test_cache_lease.c - the steps one by one, and the membership with its two clocks. */
#include "cache/cache_lease.h"
#include "cache/cache_member.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define MS 1000

static const struct cache_view view = {.server = 0x100, .names = 7, .members = 2};

/* World, members, rule and entry as they are when all is well and the entry is there. */
static void good(struct cache_answer *in)
{
    in[0] = (struct cache_answer){.a = 5, .b = 7};
    in[1] = (struct cache_answer){.a = 2};
    in[2] = (struct cache_answer){.a = 9};
    in[3] = (struct cache_answer){.value = STR("entry")};
}

static enum cache_read_next asked(struct cache_read *r, const struct cache_answer *in)
{
    struct cache_cmd c[CACHE_READ_CMDS];
    cache_lease_ask(r, c);
    assert_true(c[0].kind == CACHE_CMD_WORLD && c[3].kind == CACHE_CMD_ENTRY);
    return cache_lease_asked(r, &view, in);
}

static void an_entry_counts_in_its_epoch_and_generation(void **state)
{
    (void)state;
    struct cache_read r;
    struct cache_answer in[CACHE_READ_CMDS];
    struct cache_entry e = {.epoch = 5 ^ 0x100, .stamp = 9};
    good(in);
    assert_int_equal(asked(&r, in), CACHE_READ_VALUE);
    assert_true(cache_lease_counts(&r, &e));
    e.stamp = 8;
    assert_false(cache_lease_counts(&r, &e));
    e.stamp = 9;
    e.epoch = 5;
    assert_false(cache_lease_counts(&r, &e));
}

static void whatever_is_wrong_with_the_world_is_a_bypass(void **state)
{
    (void)state;
    for (int what = 0; what < 8; what++) {
        struct cache_read r;
        struct cache_answer in[CACHE_READ_CMDS];
        good(in);
        if (what == 0)
            in[0].a = 0;
        else if (what == 1)
            in[0].b = 8;
        else if (what == 2)
            in[0].open = true;
        else if (what == 3)
            in[1].a = 1;
        else
            in[what - 4].state = CACHE_ANSWER_FAILED;
        assert_int_equal(asked(&r, in), CACHE_READ_BYPASS);
        assert_int_equal(r.state, CACHE_READ_OVER);
    }
}

static void fewer_members_than_expected_serve_nothing(void **state)
{
    (void)state;
    struct cache_read r;
    struct cache_cmd c[CACHE_READ_CMDS];
    struct cache_answer in[CACHE_READ_CMDS];
    struct cache_view three = view;
    three.expected = 3;
    good(in);
    cache_lease_ask(&r, c);
    assert_int_equal(cache_lease_asked(&r, &three, in), CACHE_READ_BYPASS);
}

static void a_miss_takes_a_lease_and_stores_under_it(void **state)
{
    (void)state;
    struct cache_read r;
    struct cache_cmd c[CACHE_READ_CMDS];
    struct cache_answer in[CACHE_READ_CMDS];
    struct cache_entry_parts p = {.rows = 1};
    good(in);
    in[3].value = STR_NONE;
    assert_int_equal(asked(&r, in), CACHE_READ_TAKE);
    cache_lease_take(&r, 11, 12, 50, c);
    assert_true(c[2].kind == CACHE_CMD_TAKE_RULE && c[2].fresh == 12);
    assert_true(c[3].kind == CACHE_CMD_TAKE_ENTRY && c[3].nonce == 11 && !c[3].flag);
    in[2].a = 10;
    in[3].a = 1;
    assert_int_equal(cache_lease_taken(&r, &view, in), CACHE_READ_FILL);
    cache_lease_stamp(&r, &p);
    assert_true(p.epoch == (5 ^ 0x100) && p.stamp == 10);
    cache_lease_store(&r, 300, c);
    assert_true(c[0].kind == CACHE_CMD_STORE && c[0].nonce == 11 && c[0].ms == 300);
}

static void what_does_not_count_is_replaced(void **state)
{
    (void)state;
    struct cache_read r;
    struct cache_cmd c[CACHE_READ_CMDS];
    struct cache_answer in[CACHE_READ_CMDS];
    good(in);
    assert_int_equal(asked(&r, in), CACHE_READ_VALUE);
    cache_lease_take(&r, 11, 12, 50, c);
    assert_true(c[3].flag);
}

static void somebody_elses_lease_or_write_is_a_bypass(void **state)
{
    (void)state;
    for (int what = 0; what < 5; what++) {
        struct cache_read r;
        struct cache_cmd c[CACHE_READ_CMDS];
        struct cache_answer in[CACHE_READ_CMDS];
        good(in);
        in[3].value = STR_NONE;
        assert_int_equal(asked(&r, in), CACHE_READ_TAKE);
        cache_lease_take(&r, 11, 12, 50, c);
        in[3].open = what == 1;
        in[2].open = what == 2;
        in[3].a = 1;
        if (what == 0)
            in[3].a = 0;
        if (what == 4)
            in[3].state = CACHE_ANSWER_FOREIGN;
        if (what == 3)
            in[1].a = 1;
        assert_int_equal(cache_lease_taken(&r, &view, in), CACHE_READ_BYPASS);
    }
}

static void another_filled_it_meanwhile(void **state)
{
    (void)state;
    struct cache_read r;
    struct cache_cmd c[CACHE_READ_CMDS];
    struct cache_answer in[CACHE_READ_CMDS];
    good(in);
    in[3].value = STR_NONE;
    assert_int_equal(asked(&r, in), CACHE_READ_TAKE);
    cache_lease_take(&r, 11, 12, 50, c);
    in[3].value = STR("entry");
    assert_int_equal(cache_lease_taken(&r, &view, in), CACHE_READ_VALUE);
}

static void writes_wait_for_what_they_left_in_redis(void **state)
{
    (void)state;
    static const struct {
        bool begun, ended, joined;
        enum cache_without_redis policy;
        enum cache_write_next write, ack;
    } cases[] = {
        {true, true, true, CACHE_HOLD, CACHE_WRITE_GO, CACHE_WRITE_GO},
        {false, true, true, CACHE_HOLD, CACHE_WRITE_LAPSE, CACHE_WRITE_GO},
        {false, false, true, CACHE_HOLD, CACHE_WRITE_LAPSE, CACHE_WRITE_LAPSE},
        {false, true, false, CACHE_HOLD, CACHE_WRITE_REFUSE, CACHE_WRITE_GO},
        {true, false, true, CACHE_REFUSE, CACHE_WRITE_GO, CACHE_WRITE_LAPSE},
        {false, true, true, CACHE_REFUSE, CACHE_WRITE_REFUSE, CACHE_WRITE_GO},
        {false, false, false, CACHE_PROCEED, CACHE_WRITE_GO, CACHE_WRITE_GO},
    };
    for (size_t k = 0; k < ARRAY_LEN(cases); k++) {
        struct cache_intent i[2];
        struct cache_cmd c;
        const struct cache_answer ok = {.state = CACHE_ANSWER_OK};
        const struct cache_answer no = {.state = CACHE_ANSWER_FAILED};
        cache_lease_begin(&i[0], false, 1, 2, 3, &c);
        assert_int_equal(c.kind, CACHE_CMD_BEGIN);
        cache_lease_begin(&i[1], true, 1, 2, 3, &c);
        assert_true(c.kind == CACHE_CMD_RULE_BEGIN && c.fresh == 2);
        cache_lease_begun(&i[0], &ok);
        assert_int_equal(cache_lease_may_write(i, 2, cases[k].policy, true), CACHE_WRITE_WAIT);
        cache_lease_begun(&i[1], cases[k].begun ? &ok : &no);
        assert_int_equal(cache_lease_may_write(i, 2, cases[k].policy, cases[k].joined),
                         cases[k].write);
        cache_lease_end(&i[0], 4, &c);
        assert_int_equal(c.kind, CACHE_CMD_END);
        cache_lease_end(&i[1], 4, &c);
        assert_int_equal(c.kind, CACHE_CMD_RULE_END);
        cache_lease_ended(&i[0], &ok);
        assert_int_equal(cache_lease_may_ack(i, 2, cases[k].policy), CACHE_WRITE_WAIT);
        cache_lease_ended(&i[1], cases[k].ended ? &ok : &no);
        assert_int_equal(cache_lease_may_ack(i, 2, cases[k].policy), cases[k].ack);
    }
}

static void a_foreign_key_needs_no_intent(void **state)
{
    (void)state;
    struct cache_intent i;
    struct cache_cmd c;
    const struct cache_answer foreign = {.state = CACHE_ANSWER_FOREIGN};
    cache_lease_begin(&i, false, 1, 2, 3, &c);
    cache_lease_begun(&i, &foreign);
    assert_int_equal(cache_lease_may_write(&i, 1, CACHE_HOLD, true), CACHE_WRITE_GO);
    cache_lease_end(&i, 4, &c);
    cache_lease_ended(&i, &foreign);
    assert_int_equal(cache_lease_may_ack(&i, 1, CACHE_HOLD), CACHE_WRITE_GO);
}

/* ---- membership ------------------------------------------------------------------------------ */

#define PERIOD (100 * MS)

static void join(struct cache_member *m, usec_t *now)
{
    struct cache_cmd c;
    const struct cache_answer time = {.ms = 5000};
    const struct cache_answer in = {.a = 3, .b = 7, .ms = 5000, .value = STR("one,two")};
    cache_member_init(m, PERIOD, 42, 0);
    assert_true(cache_member_step(m, *now, 1, &c));
    assert_int_equal(c.kind, CACHE_CMD_TIME);
    assert_false(cache_member_step(m, *now, 1, &c));
    cache_member_answer(m, &time, *now);
    assert_true(cache_member_step(m, *now, 1, &c));
    assert_true(c.kind == CACHE_CMD_RENEW && c.flag && c.nonce == 42 && c.ms == 5100);
    cache_member_answer(m, &in, *now);
    assert_true(m->joined && m->state == CACHE_MEMBER_IN && m->view.members == 2);
    assert_int_equal(m->view.names, 7);
}

static void presence_is_renewed_with_absolute_deadlines(void **state)
{
    (void)state;
    struct cache_member m;
    struct cache_cmd c;
    usec_t now = 1000 * MS;
    join(&m, &now);
    assert_false(cache_member_step(&m, now, 1, &c));
    now += 30 * MS;
    assert_true(cache_member_step(&m, now, 1, &c));
    assert_true(c.ms == 5130 && !c.flag);
    /* No answer for long: nothing more is sent, and a new connection starts anew. */
    now += 1000 * MS;
    assert_false(cache_member_step(&m, now, 1, &c));
    cache_member_connected(&m, 77);
    assert_true(cache_member_step(&m, now, 1, &c));
    assert_int_equal(c.kind, CACHE_CMD_TIME);
    assert_true(m.view.members == 0 && m.view.server == 77);
}

static void a_lapse_ends_after_all_that_was_sent(void **state)
{
    (void)state;
    struct cache_member m;
    struct cache_cmd c;
    usec_t now = 1000 * MS;
    join(&m, &now);
    now += 30 * MS;
    assert_true(cache_member_step(&m, now, 1, &c)); /* on its way, never answered */
    usec_t sent = now;
    now += 10 * MS;
    usec_t until = cache_member_lapse(&m, now);
    assert_true(until >= sent + PERIOD && until < sent + PERIOD + PERIOD / 4);
    const struct cache_answer in = {.a = 3, .b = 7, .ms = 5040, .value = STR("one,two")};
    cache_member_answer(&m, &in, now);
    /* Nothing is sent while the write is going on, and not before the time either. */
    now = until;
    assert_false(cache_member_step(&m, now, 1, &c));
    assert_int_equal(cache_member_lapse(&m, now), until);
    cache_member_resume(&m);
    assert_false(cache_member_step(&m, now, 1, &c));
    cache_member_resume(&m);
    assert_true(cache_member_step(&m, now, 1, &c));
    assert_true(c.kind == CACHE_CMD_RENEW && c.flag);
    cache_member_answer(&m, &in, now);
    now += 30 * MS;
    assert_true(cache_member_step(&m, now, 1, &c));
    assert_false(c.flag);
}

/* Redis goes on to answer, and takes no writes. */
static void a_renewal_that_is_refused_prolongs_nothing(void **state)
{
    (void)state;
    struct cache_member m;
    struct cache_cmd c;
    const struct cache_answer no = {.state = CACHE_ANSWER_REFUSED};
    const struct cache_answer lost = {.state = CACHE_ANSWER_FAILED};
    usec_t now = 1000 * MS;
    join(&m, &now);
    usec_t until = m.until;
    for (int i = 0; i < 8; i++) {
        now += 30 * MS;
        assert_true(cache_member_step(&m, now, 1, &c));
        assert_true(c.kind == CACHE_CMD_RENEW && m.until > until);
        cache_member_answer(&m, &no, now);
        assert_true(m.until == until && m.view.members == 0);
    }
    assert_int_equal(cache_member_lapse(&m, now), now); /* nobody has to wait */
    cache_member_resume(&m);
    now += 30 * MS;
    assert_true(cache_member_step(&m, now, 1, &c)); /* no answer: it may be on its way */
    until = m.until;
    assert_true(until > now);
    cache_member_answer(&m, &lost, now);
    now += 30 * MS;
    assert_true(cache_member_step(&m, now, 1, &c));
    assert_true(cache_member_lapse(&m, now) > until);
    cache_member_answer(&m, &no, now);
    assert_int_equal(cache_member_forgotten(&m), until);
}

static void dirt_stays_until_a_renewal_was_answered(void **state)
{
    (void)state;
    struct cache_member m;
    struct cache_cmd c;
    const struct cache_answer no = {.state = CACHE_ANSWER_FAILED};
    usec_t now = 1000 * MS;
    join(&m, &now);
    cache_member_dirty(&m);
    now += 30 * MS;
    assert_true(cache_member_step(&m, now, 1, &c));
    assert_true(c.flag);
    cache_member_dirty(&m); /* after it was sent */
    const struct cache_answer in = {.a = 3, .b = 7, .ms = 5040, .value = STR("one,two")};
    cache_member_answer(&m, &in, now);
    now += 30 * MS;
    assert_true(cache_member_step(&m, now, 1, &c));
    assert_true(c.flag);
    cache_member_answer(&m, &no, now);
    assert_int_equal(m.state, CACHE_MEMBER_OUT);
    assert_int_equal(m.view.members, 0);
    now += 30 * MS;
    assert_true(cache_member_step(&m, now, 1, &c));
    assert_true(c.flag);
}

static void who_was_never_a_member_cannot_lapse(void **state)
{
    (void)state;
    struct cache_member m;
    cache_member_init(&m, PERIOD, 42, 0);
    assert_int_equal(cache_member_lapse(&m, 5), CACHE_MEMBER_NEVER);
}

static void members_with_other_rules_are_as_good_as_missing(void **state)
{
    (void)state;
    static const struct {
        const char *names;
        uint32_t members;
    } cases[] = {
        {"one/aaaa1111,two/aaaa1111", 2},
        {"one/aaaa1111,two/bbbb2222", 0},
        {"one,two/aaaa1111", 0},
        {"one/aaaa1111,two/xaaaa1111", 0},
        {"aaaa1111", 0},
        {"one/aaaa1111", 1},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct cache_member m;
        struct cache_cmd c;
        usec_t now = 1000 * MS;
        join(&m, &now);
        cache_member_rules(&m, STR("aaaa1111"));
        assert_int_equal(m.view.members, 0);
        now += 30 * MS;
        assert_true(cache_member_step(&m, now, 1, &c));
        assert_true(c.flag); /* what was kept long ago does not count */
        const struct cache_answer in = {
            .a = 3, .b = 7, .ms = 5040, .value = str_of(cases[i].names)};
        cache_member_answer(&m, &in, now);
        assert_int_equal(m.view.members, cases[i].members);
    }
}

static void nothing_counts_until_an_answer_to_what_was_sent_afterwards(void **state)
{
    (void)state;
    struct cache_member m;
    struct cache_cmd c;
    const struct cache_answer in = {.a = 3, .b = 7, .ms = 5040, .value = STR("one,two")};
    usec_t now = 1000 * MS;
    join(&m, &now);
    now += 30 * MS;
    assert_true(cache_member_step(&m, now, 1, &c)); /* on its way: its epoch is an old one */
    cache_member_void(&m);
    cache_member_answer(&m, &in, now);
    assert_int_equal(m.view.members, 0);
    now += 30 * MS;
    assert_true(cache_member_step(&m, now, 1, &c));
    assert_true(c.flag);
    cache_member_answer(&m, &in, now);
    assert_int_equal(m.view.members, 2);
}

static void on_another_server_nothing_counts_before_the_last_one_has_forgotten_us(void **state)
{
    (void)state;
    struct cache_member m;
    struct cache_cmd c;
    const struct cache_answer time = {.ms = 9000};
    const struct cache_answer in = {.a = 3, .b = 7, .ms = 9000, .value = STR("one,two")};
    usec_t now = 1000 * MS;
    join(&m, &now);
    cache_member_connected(&m, 77); /* the first one that is known */
    assert_int_equal(m.view.server, 77);
    assert_true(cache_member_step(&m, now, 1, &c));
    cache_member_answer(&m, &time, now);
    assert_true(cache_member_step(&m, now, 1, &c));
    cache_member_answer(&m, &in, now);
    usec_t until = m.until;
    cache_member_connected(&m, 88);
    assert_int_equal(m.view.server, 0);
    assert_true(cache_member_step(&m, now, 1, &c));
    cache_member_answer(&m, &time, now);
    assert_true(cache_member_step(&m, now, 1, &c));
    cache_member_answer(&m, &in, until - 1);
    assert_int_equal(m.view.server, 0);
    assert_true(cache_member_step(&m, until, 1, &c));
    cache_member_answer(&m, &in, until);
    assert_int_equal(m.view.server, 88);
    cache_member_moved(&m);
    assert_int_equal(cache_member_lapse(&m, until), CACHE_MEMBER_NEVER);
}

static void words_of_the_policy(void **state)
{
    (void)state;
    enum cache_without_redis p;
    assert_true(cache_lease_policy(STR("hold"), &p) && p == CACHE_HOLD);
    assert_true(cache_lease_policy(STR("Proceed"), &p) && p == CACHE_PROCEED);
    assert_true(cache_lease_policy(STR("refuse"), &p) && p == CACHE_REFUSE);
    assert_false(cache_lease_policy(STR("wait"), &p));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_entry_counts_in_its_epoch_and_generation),
        cmocka_unit_test(whatever_is_wrong_with_the_world_is_a_bypass),
        cmocka_unit_test(fewer_members_than_expected_serve_nothing),
        cmocka_unit_test(a_miss_takes_a_lease_and_stores_under_it),
        cmocka_unit_test(what_does_not_count_is_replaced),
        cmocka_unit_test(somebody_elses_lease_or_write_is_a_bypass),
        cmocka_unit_test(another_filled_it_meanwhile),
        cmocka_unit_test(writes_wait_for_what_they_left_in_redis),
        cmocka_unit_test(a_foreign_key_needs_no_intent),
        cmocka_unit_test(presence_is_renewed_with_absolute_deadlines),
        cmocka_unit_test(a_lapse_ends_after_all_that_was_sent),
        cmocka_unit_test(a_renewal_that_is_refused_prolongs_nothing),
        cmocka_unit_test(dirt_stays_until_a_renewal_was_answered),
        cmocka_unit_test(who_was_never_a_member_cannot_lapse),
        cmocka_unit_test(members_with_other_rules_are_as_good_as_missing),
        cmocka_unit_test(nothing_counts_until_an_answer_to_what_was_sent_afterwards),
        cmocka_unit_test(on_another_server_nothing_counts_before_the_last_one_has_forgotten_us),
        cmocka_unit_test(words_of_the_policy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
