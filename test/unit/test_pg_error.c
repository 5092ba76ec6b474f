/* test_pg_error.c - unit tests of protocol/pg/pg_error.c and wire.c. */
#include "base/base.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "base/mem.h"
#include "protocol/pg/pg_error.h"

#define BYTES(lit) ((struct str){(lit), sizeof(lit) - 1})

static void fields_come_in_any_order(void **state)
{
    (void)state;
    struct pg_error e;
    pg_error_read(BYTES("Mtext\0C26000\0Xunknown field\0VERROR\0SFEHLER\0Dmore\0Rfn\0\0"), &e);
    assert_true(str_eq(e.message, STR("text")));
    assert_true(str_eq(e.code, STR("26000")));
    assert_true(str_eq(e.severity, STR("ERROR")));
    assert_true(str_eq(e.detail, STR("more")));
    assert_true(str_eq(e.routine, STR("fn")));
}

static void every_field_is_optional_and_any_cut_is_harmless(void **state)
{
    (void)state;
    struct str whole = BYTES("SFATAL\0VFATAL\0C57P01\0Mbye\0\0");
    for (size_t n = 0; n <= whole.n; n++) {
        struct pg_error e;
        char *copy = n > 0 ? mem_copy(whole.p, n) : NULL;
        pg_error_read((struct str){copy ? copy : "", n}, &e);
        assert_int_equal(pg_error_is_fatal(&e), n >= 7);
        assert_int_equal(pg_error_class(&e), n >= 21 ? SE_SHUTDOWN : SE_OTHER);
        assert_int_equal(e.message.n, n >= 26 ? 3 : 0);
        mem_free(copy);
    }
}

static void codes_are_classified(void **state)
{
    (void)state;
    static const struct {
        const char *code;
        enum server_error error;
    } rows[] = {
        {"26000", SE_STMT_UNKNOWN},
        {"42P05", SE_STMT_EXISTS},
        {"57P01", SE_SHUTDOWN},
        {"57P02", SE_SHUTDOWN},
        {"57P03", SE_STARTING},
        {"28P01", SE_AUTH},
        {"28000", SE_AUTH},
        {"3D000", SE_NO_DB},
        {"53300", SE_TOO_MANY},
        {"57014", SE_CANCELLED},
        {"40001", SE_STANDBY_CONFLICT},
        {"40P01", SE_DEADLOCK},
        {"25006", SE_READ_ONLY},
        {"0A000", SE_UNABLE},
        {"55000", SE_UNABLE},
        {"42601", SE_OTHER},
        {"", SE_OTHER},
        {"28", SE_OTHER},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct pg_error e = {STR("ERROR"), str_of(rows[i].code), STR("x"), STR(""), STR("")};
        assert_int_equal(pg_error_class(&e), rows[i].error);
    }
    struct pg_error plan = {STR("ERROR"), STR("0A000"),
                            STR("cached plan must not change result type"), STR(""), STR("")};
    assert_int_equal(pg_error_class(&plan), SE_PLAN_CHANGED);
    plan.message = STR("translated");
    assert_int_equal(pg_error_class(&plan), SE_UNABLE);
    plan.routine = STR("RevalidateCachedQuery");
    assert_int_equal(pg_error_class(&plan), SE_PLAN_CHANGED);
}

static void every_cause_has_a_name_a_code_and_a_text(void **state)
{
    (void)state;
    for (int c = C_PROTOCOL; c <= C_INTERNAL; c++) {
        assert_int_equal(pg_error_code((enum cause)c).n, 5);
        assert_true(pg_error_text((enum cause)c).n > 3);
        assert_string_not_equal(cause_name((enum cause)c), "unknown");
        if (c != C_INTERNAL)
            assert_false(str_eq(pg_error_code((enum cause)c), STR("XX000")));
    }
    assert_true(str_eq(pg_error_code(C_QUERY_TIMEOUT), STR("57014")));
    assert_true(str_eq(pg_error_code(C_IDLE_TX_TIMEOUT), STR("25P03")));
    assert_true(str_eq(pg_error_text(C_POOL_TIMEOUT), STR("query_wait_timeout")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fields_come_in_any_order),
        cmocka_unit_test(every_field_is_optional_and_any_cut_is_harmless),
        cmocka_unit_test(codes_are_classified),
        cmocka_unit_test(every_cause_has_a_name_a_code_and_a_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
