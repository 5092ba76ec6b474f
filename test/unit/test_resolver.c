/* test_resolver.c - names to addresses: cache, coalescing, refresh, failures, blocking functions.
 *
 * A scripted look-up stands in for getaddrinfo, and time is moved by the clock's test hook; nothing
 * sleeps.
 */
#include "base/base.h"

#include "base/hash.h"
#include "proxy/net/resolver.h"
#include "proxy/net/sockopt.h"

#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>

#include <cmocka.h>

#define SEC ((usec_t)USEC_PER_SEC)

static struct {
    _Atomic int calls;
    /* 0: two addresses, 1: the same in another order, 2: another set, 3: failure */
    _Atomic int variant;
    _Atomic bool gated;
    sem_t entered, gate;
} script;

static void add(struct resolver_addrs *a, const char *text)
{
    uint32_t len = 0;
    (void)sockopt_parse(str_of(text), 0, &a->addr[a->n++], &len);
}

static enum status scripted(const char *host, struct resolver_addrs *out, struct error *err)
{
    (void)host;
    script.calls++;
    if (script.gated) {
        sem_post(&script.entered);
        sem_wait(&script.gate);
    }
    switch (atomic_load(&script.variant)) {
    case 0:
        add(out, "2001:db8::1");
        add(out, "10.0.0.2");
        return ST_OK;
    case 1:
        add(out, "10.0.0.2");
        add(out, "2001:db8::1");
        add(out, "10.0.0.2");
        return ST_OK;
    case 2:
        add(out, "10.0.0.3");
        return ST_OK;
    default:
        return error_set(err, ST_MISSING, "scripted failure");
    }
}

struct reply {
    sem_t came;
    struct resolver_addrs addrs;
    struct error err;
    bool ok;
};

static void on_reply(void *arg, const struct resolver_addrs *addrs, const struct error *err)
{
    struct reply *r = arg;
    r->ok = addrs != NULL;
    if (addrs != NULL)
        r->addrs = *addrs;
    if (err != NULL)
        r->err = *err;
    sem_post(&r->came);
}

static void reply_init(struct reply *r)
{
    memset(r, 0, sizeof(*r));
    sem_init(&r->came, 0, 0);
}

static struct resolver *fresh(int threads)
{
    script.calls = 0;
    script.variant = 0;
    script.gated = false;
    sem_init(&script.entered, 0, 0);
    sem_init(&script.gate, 0, 0);
    struct resolver *r = resolver_new(threads);
    resolver_set_lookup(r, scripted);
    resolver_set_ttl(r, 100 * SEC, 10 * SEC);
    return r;
}

/* Asks and waits; returns whether the cache knew it. */
static bool ask(struct resolver *r, const char *host, struct resolver_addrs *out, struct error *err)
{
    struct reply rep;
    reply_init(&rep);
    if (resolver_ask(r, host, out, err, (struct resolver_ask){on_reply, &rep}))
        return true;
    sem_wait(&rep.came);
    *out = rep.addrs;
    *err = rep.err;
    assert_int_equal(rep.ok, rep.addrs.n > 0);
    return false;
}

static void assert_first(const struct resolver_addrs *a, int n, const char *first)
{
    char text[SOCKOPT_TEXT_MAX];
    assert_int_equal(a->n, n);
    sockopt_format((const struct sockaddr *)&a->addr[0], 0, text, sizeof(text));
    assert_string_equal(text, first);
}

/* Returns when no look-up is under way. */
static void settle(struct resolver *r)
{
    size_t names = 0, pending = 1;
    while (pending > 0)
        resolver_counts(r, &names, &pending);
}

static void numeric_hosts_are_answered_at_once_and_asked_of_nobody(void **state)
{
    (void)state;
    struct resolver *r = fresh(1);
    struct resolver_addrs a, b;
    struct error err = {""};
    assert_true(resolver_ask(r, "192.0.2.7", &a, &err, (struct resolver_ask){on_reply, NULL}));
    assert_first(&a, 1, "192.0.2.7");
    assert_true(resolver_ask(r, "::1", &b, &err, (struct resolver_ask){on_reply, NULL}));
    assert_first(&b, 1, "::1");
    assert_int_not_equal(a.generation, b.generation);
    assert_int_equal(script.calls, 0);
    resolver_free(&r);
    assert_null(r);
}

static void a_name_is_looked_up_once_and_then_answered_from_the_cache(void **state)
{
    (void)state;
    struct resolver *r = fresh(2);
    struct resolver_addrs a;
    struct error err = {""};
    assert_false(ask(r, "db.example", &a, &err));
    assert_first(&a, 2, "10.0.0.2"); /* IPv4 first */
    assert_true(ask(r, "db.example", &a, &err));
    assert_first(&a, 2, "10.0.0.2");
    assert_int_equal(script.calls, 1);
    resolver_free(&r);
}

static void an_expired_name_is_waited_for(void **state)
{
    (void)state;
    struct resolver *r = fresh(1);
    struct resolver_addrs a;
    struct error err = {""};
    assert_false(ask(r, "db.example", &a, &err));
    clock_test_advance(101 * SEC);
    script.variant = 2;
    assert_false(ask(r, "db.example", &a, &err));
    assert_first(&a, 1, "10.0.0.3");
    assert_int_equal(script.calls, 2);
    resolver_free(&r);
}

static void a_name_in_use_is_refreshed_while_nobody_waits(void **state)
{
    (void)state;
    struct resolver *r = fresh(1);
    struct resolver_addrs a;
    struct error err = {""};
    assert_false(ask(r, "db.example", &a, &err));
    script.variant = 2;
    clock_test_advance(70 * SEC);
    assert_true(ask(r, "db.example", &a, &err));
    settle(r);
    assert_int_equal(script.calls, 1); /* not in its last quarter yet */
    clock_test_advance(10 * SEC);
    assert_true(ask(r, "db.example", &a, &err));
    assert_first(&a, 2, "10.0.0.2"); /* the old answer, at once */
    settle(r);
    assert_true(ask(r, "db.example", &a, &err));
    assert_first(&a, 1, "10.0.0.3");
    assert_int_equal(script.calls, 2);
    resolver_free(&r);
}

static void a_refresh_that_fails_keeps_the_answer_until_it_expires(void **state)
{
    (void)state;
    struct resolver *r = fresh(1);
    struct resolver_addrs a;
    struct error err = {""};
    assert_false(ask(r, "db.example", &a, &err));
    script.variant = 3;
    clock_test_advance(80 * SEC);
    assert_true(ask(r, "db.example", &a, &err));
    settle(r);
    assert_int_equal(script.calls, 2);
    assert_true(ask(r, "db.example", &a, &err));
    assert_first(&a, 2, "10.0.0.2");
    clock_test_advance(30 * SEC);
    assert_false(ask(r, "db.example", &a, &err));
    assert_int_equal(a.n, 0);
    resolver_free(&r);
}

static void the_generation_depends_on_the_set_and_not_on_its_order(void **state)
{
    (void)state;
    struct resolver *r = fresh(1);
    struct resolver_addrs a, b, c;
    struct error err = {""};
    assert_false(ask(r, "one", &a, &err));
    script.variant = 1;
    assert_false(ask(r, "two", &b, &err));
    script.variant = 2;
    assert_false(ask(r, "three", &c, &err));
    assert_int_equal(b.n, 2); /* the repetition is gone */
    assert_true(a.generation == b.generation);
    assert_true(a.generation != c.generation);
    resolver_free(&r);
}

static void a_failure_is_told_and_cached_for_its_own_time(void **state)
{
    (void)state;
    struct resolver *r = fresh(1);
    struct resolver_addrs a;
    struct error err = {""};
    script.variant = 3;
    assert_false(ask(r, "none.example", &a, &err));
    assert_non_null(strstr(err.text, "none.example"));
    assert_non_null(strstr(err.text, "scripted failure"));
    err.text[0] = '\0';
    clock_test_advance(9 * SEC);
    assert_true(ask(r, "none.example", &a, &err));
    assert_int_equal(a.n, 0);
    assert_non_null(strstr(err.text, "none.example"));
    clock_test_advance(2 * SEC);
    script.variant = 0;
    assert_false(ask(r, "none.example", &a, &err));
    assert_int_equal(a.n, 2);
    assert_int_equal(script.calls, 2);
    resolver_free(&r);
}

static void many_who_ask_for_one_name_share_one_question(void **state)
{
    (void)state;
    struct resolver *r = fresh(2);
    static struct reply replies[100];
    struct resolver_addrs a;
    struct error err = {""};
    size_t names = 0, pending = 0;
    script.gated = true;
    for (size_t i = 0; i < ARRAY_LEN(replies); i++) {
        reply_init(&replies[i]);
        assert_false(
            resolver_ask(r, "db.example", &a, &err, (struct resolver_ask){on_reply, &replies[i]}));
    }
    sem_wait(&script.entered);
    resolver_counts(r, &names, &pending);
    assert_int_equal(names, 1);
    assert_int_equal(pending, 1);
    sem_post(&script.gate);
    for (size_t i = 0; i < ARRAY_LEN(replies); i++) {
        sem_wait(&replies[i].came);
        assert_true(replies[i].ok);
        assert_int_equal(replies[i].addrs.n, 2);
    }
    assert_int_equal(script.calls, 1);
    resolver_free(&r);
}

static void hosts_that_cannot_be_names_are_refused_without_a_question(void **state)
{
    (void)state;
    struct resolver *r = fresh(1);
    struct resolver_addrs a;
    struct error err = {""};
    char longest[300];
    memset(longest, 'x', sizeof(longest));
    longest[254] = '\0';
    assert_true(ask(r, longest, &a, &err));
    assert_int_equal(a.n, 0);
    assert_true(strlen(err.text) > 0);
    assert_true(ask(r, "", &a, &err));
    longest[253] = '\0';
    assert_false(ask(r, longest, &a, &err));
    assert_int_equal(script.calls, 1);
    resolver_free(&r);
}

static sem_t job_gate, job_entered;

static void blocking_job(void *arg)
{
    (void)arg;
    sem_post(&job_entered);
    sem_wait(&job_gate);
}

static void slow_logins_do_not_stop_names(void **state)
{
    (void)state;
    struct resolver *r = fresh(2);
    struct resolver_addrs a;
    struct error err = {""};
    sem_init(&job_gate, 0, 0);
    sem_init(&job_entered, 0, 0);
    for (int i = 0; i < 5; i++)
        resolver_run(r, blocking_job, NULL);
    sem_wait(&job_entered);
    for (int i = 0; i < 100; i++) { /* would hang as soon as the second thread took a function */
        char host[16];
        snprintf(host, sizeof(host), "h%d", i);
        assert_false(ask(r, host, &a, &err));
        assert_int_equal(a.n, 2);
    }
    for (int i = 0; i < 5; i++)
        sem_post(&job_gate);
    for (int i = 0; i < 4; i++)
        sem_wait(&job_entered);
    resolver_free(&r);
}

static void freeing_waits_for_what_runs_and_leaks_nothing_that_is_queued(void **state)
{
    (void)state;
    struct resolver *r = fresh(1);
    static struct reply first, second;
    struct resolver_addrs a;
    struct error err = {""};
    reply_init(&first);
    reply_init(&second);
    script.gated = true;
    assert_false(resolver_ask(r, "one", &a, &err, (struct resolver_ask){on_reply, &first}));
    sem_wait(&script.entered);
    assert_false(resolver_ask(r, "two", &a, &err, (struct resolver_ask){on_reply, &second}));
    sem_init(&job_entered, 0, 0);
    sem_init(&job_gate, 0, 5); /* should the job be reached, it does not block */
    resolver_run(r, blocking_job, NULL);
    script.gated = false;
    sem_post(&script.gate);
    sem_wait(&first.came);
    resolver_free(&r);
    assert_true(first.ok);
}

struct seen {
    int rows;
    usec_t ttl;
    int addrs;
};

static void on_row(void *arg, const char *host, usec_t ttl, const struct resolver_addrs *addrs)
{
    struct seen *s = arg;
    s->rows++;
    if (strcmp(host, "db.example") == 0) {
        s->ttl = ttl;
        s->addrs = addrs->n;
    }
}

static void the_cache_can_be_listed(void **state)
{
    (void)state;
    struct resolver *r = fresh(1);
    struct resolver_addrs a;
    struct error err = {""};
    struct seen s = {0, 0, 0};
    assert_false(ask(r, "db.example", &a, &err));
    script.variant = 3;
    assert_false(ask(r, "gone.example", &a, &err));
    clock_test_advance(40 * SEC);
    resolver_each(r, on_row, &s);
    assert_int_equal(s.rows, 2);
    assert_int_equal(s.addrs, 2);
    assert_in_range(s.ttl, 50 * SEC, 60 * SEC);
    resolver_free(&r);
}

static void very_many_names_are_swept_when_they_have_expired(void **state)
{
    (void)state;
    struct resolver *r = fresh(2);
    struct resolver_addrs a;
    struct error err = {""};
    size_t names = 0, pending = 0;
    char host[32];
    for (int i = 0; i < 1024; i++) {
        snprintf(host, sizeof(host), "h%d", i);
        assert_false(ask(r, host, &a, &err));
    }
    clock_test_advance(200 * SEC);
    assert_false(ask(r, "another", &a, &err));
    resolver_counts(r, &names, &pending);
    assert_int_equal(names, 1);
    resolver_free(&r);
}

static void the_system_resolver_knows_localhost(void **state)
{
    (void)state;
    struct resolver *r = resolver_new(1);
    struct resolver_addrs a;
    struct error err = {""};
    assert_false(ask(r, "localhost", &a, &err));
    assert_true(a.n >= 1);
    char text[SOCKOPT_TEXT_MAX];
    assert_int_equal(sockopt_format((const struct sockaddr *)&a.addr[0], 0, text, sizeof(text)), 0);
    assert_true(strcmp(text, "127.0.0.1") == 0 || strcmp(text, "::1") == 0);
    resolver_free(&r);
}

int main(void)
{
    hash_seed_init();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numeric_hosts_are_answered_at_once_and_asked_of_nobody),
        cmocka_unit_test(a_name_is_looked_up_once_and_then_answered_from_the_cache),
        cmocka_unit_test(an_expired_name_is_waited_for),
        cmocka_unit_test(a_name_in_use_is_refreshed_while_nobody_waits),
        cmocka_unit_test(a_refresh_that_fails_keeps_the_answer_until_it_expires),
        cmocka_unit_test(the_generation_depends_on_the_set_and_not_on_its_order),
        cmocka_unit_test(a_failure_is_told_and_cached_for_its_own_time),
        cmocka_unit_test(many_who_ask_for_one_name_share_one_question),
        cmocka_unit_test(hosts_that_cannot_be_names_are_refused_without_a_question),
        cmocka_unit_test(slow_logins_do_not_stop_names),
        cmocka_unit_test(freeing_waits_for_what_runs_and_leaks_nothing_that_is_queued),
        cmocka_unit_test(the_cache_can_be_listed),
        cmocka_unit_test(very_many_names_are_swept_when_they_have_expired),
        cmocka_unit_test(the_system_resolver_knows_localhost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
