/* test_scram_messages.c - malformed and oversized messages against both SCRAM roles.
 *
 * Conversations that are well formed are in test_scram.c.
 */
#include "base/base.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/mem.h"
#include "protocol/auth/scram.h"

#define BINDING STR("\x01\x02hash of a certificate\xff")
#define SALT_B64 "W22ZaJ0SNY7soEsUEjb6gQ=="

static struct secret verifier_of(const char *password, int iterations)
{
    struct secret s;
    secret_init(&s);
    assert_int_equal(scram_derive_verifier(&s, str_of(password), iterations, STR_NONE), ST_OK);
    return s;
}

/* What the server role says to first, then (if that was well) to final. */
static enum status server_says_why(struct str mechanism, struct str first, struct str final,
                                   bool tls, struct error *why)
{
    struct scram_server s;
    struct secret secret = verifier_of("x", 1);
    struct scram_server_config cfg = {
        .secret = &secret, .binding = tls ? BINDING : STR_NONE, .nonce = STR("SSSS")};
    struct error again;
    struct str reply;
    assert_int_equal(scram_server_init(&s, &cfg, why), ST_OK);
    enum status st = scram_server_first(&s, mechanism, first, &reply, why);
    if (st == ST_OK && final.n > 0)
        st = scram_server_final(&s, final, &reply, why);
    if (st != ST_OK) {
        assert_int_equal(s.state, SCRAM_SERVER_FAILED);
        assert_false(s.keys.have_client_key);
        assert_int_equal(scram_server_final(&s, final, &reply, &again), ST_INVALID);
    }
    scram_server_fini(&s);
    secret_fini(&secret);
    return st;
}

static enum status server_says(struct str mechanism, struct str first, struct str final, bool tls)
{
    struct error why;
    return server_says_why(mechanism, first, final, tls, &why);
}

static void malformed_first_messages_are_refused_by_the_server(void **state)
{
    (void)state;
    const struct {
        struct str text;
        enum status st, st_tls; /* without and with -PLUS offered */
    } rows[] = {
        {STR("n,,n=,r=abc"), ST_OK, ST_OK},
        {STR("y,,n=,r=abc"), ST_OK, ST_DENIED},
        {STR("n,,n=al=2Cice,r=abc,x=ext,Y="), ST_OK, ST_OK},
        {STR("p=tls-server-end-point,,n=,r=abc"), ST_INVALID, ST_INVALID},
        {STR(""), ST_INVALID, ST_INVALID},
        {STR("n"), ST_INVALID, ST_INVALID},
        {STR("n,,"), ST_INVALID, ST_INVALID},
        {STR("x,,n=,r=abc"), ST_INVALID, ST_INVALID},
        {STR("n,a=bob,n=,r=abc"), ST_UNSUPPORTED, ST_UNSUPPORTED},
        {STR("n,b,n=,r=abc"), ST_INVALID, ST_INVALID},
        {STR("n=,,n=,r=abc"), ST_INVALID, ST_INVALID},
        {STR("n,,m=must,n=,r=abc"), ST_UNSUPPORTED, ST_UNSUPPORTED},
        {STR("n,,r=abc"), ST_INVALID, ST_INVALID},
        {STR("n,,r=abc,n="), ST_INVALID, ST_INVALID},
        {STR("n,,n="), ST_INVALID, ST_INVALID},
        {STR("n,,n=,"), ST_INVALID, ST_INVALID},
        {STR("n,,n=,r="), ST_INVALID, ST_INVALID},
        {STR("n,,n=,r=a bc"), ST_INVALID, ST_INVALID},
        {STR("n,,n=,r=a\0bc"), ST_INVALID, ST_INVALID},
        {STR("n,,n=\0,r=abc"), ST_INVALID, ST_INVALID},
        {STR("n,,n=,r=a\xc3\xa9"), ST_INVALID, ST_INVALID},
        {STR("n,,n=,r=abc,"), ST_INVALID, ST_INVALID},
        {STR("n,,n=,r=abc,x"), ST_INVALID, ST_INVALID},
        {STR("n,,n=,r=abc,1=x"), ST_INVALID, ST_INVALID},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        for (int tls = 0; tls < 2; tls++) {
            char *copy = mem_copy(rows[i].text.p, MAX(rows[i].text.n, 1u));
            struct str text = {copy, rows[i].text.n};
            assert_int_equal(server_says(STR("SCRAM-SHA-256"), text, STR_NONE, tls),
                             tls ? rows[i].st_tls : rows[i].st);
            mem_free(copy);
        }
    }
    struct str plus = STR("SCRAM-SHA-256-PLUS"), bound = STR("p=tls-server-end-point,,n=,r=abc");
    assert_int_equal(server_says(plus, bound, STR_NONE, true), ST_OK);
    assert_int_equal(server_says(plus, bound, STR_NONE, false), ST_UNSUPPORTED);
    assert_int_equal(server_says(plus, STR("n,,n=,r=abc"), STR_NONE, true), ST_INVALID);
    assert_int_equal(server_says(plus, STR("y,,n=,r=abc"), STR_NONE, true), ST_INVALID);
    assert_int_equal(server_says(plus, STR("p=tls-unique,,n=,r=abc"), STR_NONE, true),
                     ST_UNSUPPORTED);
    assert_int_equal(server_says(STR("SCRAM-SHA-1"), STR("n,,n=,r=abc"), STR_NONE, true),
                     ST_UNSUPPORTED);
    assert_int_equal(server_says(STR_NONE, STR("n,,n=,r=abc"), STR_NONE, true), ST_UNSUPPORTED);
}

static void malformed_final_messages_are_refused_by_the_server(void **state)
{
    (void)state;
#define PROOF "p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
    const struct {
        struct str text;
        enum status st;
        const char *why; /* NULL: any */
    } rows[] = {
        {STR("c=biws,r=abcSSSS," PROOF), ST_DENIED, "SCRAM: proof does not match"},
        {STR("c=biws,r=abcSSSS,x=ext," PROOF), ST_DENIED, "SCRAM: proof does not match"},
        {STR("c=biws,r=abcSSSS,m=ext," PROOF), ST_UNSUPPORTED, NULL},
        {STR("c=eSws,r=abcSSSS," PROOF), ST_DENIED, "SCRAM: channel binding check failed"},
        {STR("c=,r=abcSSSS," PROOF), ST_DENIED, "SCRAM: channel binding check failed"},
        {STR("c=biws,r=abcSSS," PROOF), ST_DENIED, "SCRAM: nonce does not match"},
        {STR("c=biws,r=abcSSSSS," PROOF), ST_DENIED, "SCRAM: nonce does not match"},
        {STR("c=biws,r=," PROOF), ST_DENIED, "SCRAM: nonce does not match"},
        {STR("r=abcSSSS,c=biws," PROOF), ST_INVALID, NULL},
        {STR("c=biws," PROOF), ST_INVALID, NULL},
        {STR("c=biws,r=abcSSSS"), ST_INVALID, NULL},
        {STR("c=biws,r=abcSSSS,x=y"), ST_INVALID, NULL},
        {STR("c=biws,r=abcSSSS,p="), ST_INVALID, NULL},
        {STR("c=biws,r=abcSSSS,p=AAAA"), ST_INVALID, NULL},
        {STR("c=biws,r=abcSSSS,p"), ST_INVALID, NULL},
        {STR("c=biws,r=abcSSSS," PROOF ",x=y"), ST_INVALID, NULL},
        {STR("c=biws,r=abcSSSS," PROOF ","), ST_INVALID, NULL},
        {STR("c=biws,r=abcSSSS," PROOF "\0"), ST_INVALID, NULL},
        {STR("c=biws,r=abcSSSS,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVR="), ST_INVALID, NULL},
        {STR("c=biws,r=abcSSSS,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQAAAA="), ST_INVALID,
         NULL},
        {STR("x"), ST_INVALID, NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct error why;
        assert_int_equal(
            server_says_why(STR("SCRAM-SHA-256"), STR("n,,n=,r=abc"), rows[i].text, false, &why),
            rows[i].st);
        if (rows[i].why != NULL)
            assert_string_equal(why.text, rows[i].why);
    }
}

/* What the client role (nonce "CCCC") says to a server's messages. */
static enum status client_says(struct str first, struct str final, int max_iterations)
{
    struct scram_client c;
    struct scram_client_config cfg = {
        .password = STR("x"), .nonce = STR("CCCC"), .max_iterations = max_iterations};
    struct str mechanism, reply;
    struct error err;
    assert_int_equal(scram_client_init(&c, &cfg, &err), ST_OK);
    assert_int_equal(
        scram_client_first(&c, scram_server_mechanisms(false), &mechanism, &reply, &err), ST_OK);
    enum status st = scram_client_final(&c, first, &reply, &err);
    if (st == ST_OK && final.n > 0)
        st = scram_client_verify(&c, final, &err);
    if (st != ST_OK)
        assert_int_equal(c.state, SCRAM_CLIENT_FAILED);
    assert_false(st != ST_OK && scram_client_done(&c));
    scram_client_fini(&c);
    return st;
}

static void malformed_server_messages_are_refused_by_the_client(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum status st;
    } rows[] = {
        {"r=CCCCs,s=" SALT_B64 ",i=1", ST_OK},
        {"r=CCCC,s=" SALT_B64 ",i=1", ST_INVALID}, /* adds nothing to our nonce */
        {"r=CCCs,s=" SALT_B64 ",i=1", ST_INVALID},
        {"r=sCCCC,s=" SALT_B64 ",i=1", ST_INVALID},
        {"r=CCCC\x01,s=" SALT_B64 ",i=1", ST_INVALID},
        {"r=CCCCs,s=,i=1", ST_INVALID},
        {"r=CCCCs,s=A,i=1", ST_INVALID},
        {"r=CCCCs,i=1,s=" SALT_B64, ST_INVALID},
        {"r=CCCCs,s=" SALT_B64, ST_INVALID},
        {"r=CCCCs,s=" SALT_B64 ",i=", ST_INVALID},
        {"r=CCCCs,s=" SALT_B64 ",i=0", ST_INVALID},
        {"r=CCCCs,s=" SALT_B64 ",i=-1", ST_INVALID},
        {"r=CCCCs,s=" SALT_B64 ",i=+1", ST_INVALID},
        {"r=CCCCs,s=" SALT_B64 ",i= 1", ST_INVALID},
        {"r=CCCCs,s=" SALT_B64 ",i=1 ", ST_INVALID},
        {"r=CCCCs,s=" SALT_B64 ",i=1x", ST_INVALID},
        {"r=CCCCs,s=" SALT_B64 ",i=10000001", ST_INVALID},
        {"r=CCCCs,s=" SALT_B64 ",i=4294967297", ST_INVALID},
        {"r=CCCCs,s=" SALT_B64 ",i=99999999999999999999999", ST_INVALID},
        {"r=CCCCs,s=" SALT_B64 ",i=1,x=y", ST_INVALID},
        {"r=CCCCs,s=" SALT_B64 ",i=1,", ST_INVALID},
        {"m=x,r=CCCCs,s=" SALT_B64 ",i=1", ST_UNSUPPORTED},
        {"e=other-error", ST_INVALID},
        {"", ST_INVALID},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        assert_int_equal(client_says(str_of(rows[i].text), STR_NONE, 0), rows[i].st);
    struct str first = STR("r=CCCCs,s=" SALT_B64 ",i=5");
    assert_int_equal(client_says(first, STR_NONE, 4), ST_INVALID);
    assert_int_equal(client_says(first, STR_NONE, 5), ST_OK);
    assert_int_equal(client_says(first, STR("v="), 0), ST_INVALID);
    assert_int_equal(client_says(first, STR("v=AAAA"), 0), ST_INVALID);
    assert_int_equal(client_says(first, STR("e=invalid-proof"), 0), ST_DENIED);
    assert_int_equal(client_says(first, STR("x=y"), 0), ST_INVALID);
    assert_int_equal(client_says(first, STR("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="), 0),
                     ST_DENIED);
    assert_int_equal(
        client_says(first, STR("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=,x=y"), 0),
        ST_INVALID);
}

static void long_nonces_and_salts_are_refused_at_their_limits(void **state)
{
    (void)state;
    static const struct {
        size_t nonce;
        bool ok;
    } rows[] = {{1, true},
                {SCRAM_NONCE_MAX, true},
                {SCRAM_NONCE_MAX + 1, false},
                {8000, false},
                {100000, false}};
    struct buf b;
    buf_init(&b, 1 << 20);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        buf_reset(&b);
        buf_put_text(&b, "n,,n=,r=");
        for (size_t k = 0; k < rows[i].nonce; k++)
            buf_put_u8(&b, 'N');
        assert_int_equal(server_says(STR("SCRAM-SHA-256"), buf_str(&b), STR_NONE, false),
                         rows[i].ok ? ST_OK : ST_LIMIT);
        buf_reset(&b);
        buf_put_text(&b, "r=CCCC");
        for (size_t k = 0; k < rows[i].nonce; k++)
            buf_put_u8(&b, 'N');
        buf_put_text(&b, ",s=" SALT_B64 ",i=1");
        assert_int_equal(client_says(buf_str(&b), STR_NONE, 0), rows[i].ok ? ST_OK : ST_LIMIT);
    }
    for (int more = 0; more < 2; more++) {
        buf_reset(&b);
        buf_put_text(&b, "r=CCCCs,s=");
        for (int k = 0; k < SECRET_SALT_MAX / 3 + more; k++)
            buf_put_text(&b, "AAAA");
        buf_put_text(&b, ",i=1");
        assert_int_equal(client_says(buf_str(&b), STR_NONE, 0), more ? ST_INVALID : ST_OK);
    }
    buf_fini(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(malformed_first_messages_are_refused_by_the_server),
        cmocka_unit_test(malformed_final_messages_are_refused_by_the_server),
        cmocka_unit_test(malformed_server_messages_are_refused_by_the_client),
        cmocka_unit_test(long_nonces_and_salts_are_refused_at_their_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
