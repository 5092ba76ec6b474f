/* fuzz_userlist.c - libFuzzer target: protocol/auth/userlist.c with any bytes.
 *
 * Beyond memory errors it checks that a refused file leaves nothing behind, that every refusal
 * names file and line, and that what was accepted can be found again.
 */
#include "base/base.h"

#include "base/check.h"
#include "base/str.h"
#include "protocol/auth/userlist.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void ignore_warning(void *arg, const char *text)
{
    (void)arg;
    CHECK(str_starts(str_of(text), STR("f:")));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct userlist u;
    struct userlist_hook hook = {ignore_warning, NULL};
    struct error err;
    struct str text = {(const char *)data, size}, key;
    void *value;
    userlist_init(&u);
    enum status st = userlist_parse(&u, text, "f", &hook, &err);
    if (st != ST_OK) {
        CHECK(str_starts(str_of(err.text), STR("f:")));
        CHECK(userlist_count(&u) == 0);
    }
    for (size_t i = 0; map_next(&u.by_name, &i, &key, &value);) {
        const struct userlist_entry *e = userlist_find(&u, key);
        CHECK(e == value && str_eq(str_of(e->name), key) && key.n > 0 && e->line > 0);
    }
    userlist_fini(&u);
    return 0;
}
