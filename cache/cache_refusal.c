/* cache_refusal.c - see cache_refusal.h.
 *
 * Redis 7 begins with the code of what a script was refused; older ones have it in the middle,
 * after the script and the line.
 */
#include "cache/cache_refusal.h"

#include <stdio.h>
#include <string.h>

static bool has_code(struct str text, const char *const *codes, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        char code[24];
        size_t len = (size_t)snprintf(code, sizeof(code), ": -%s ", codes[i]);
        if (str_starts(text, str_of(code + 3)) || memmem(text.p, text.n, code, len) != NULL)
            return true;
    }
    return false;
}

bool cache_refusal_astray(struct str error)
{
    static const char *const codes[] = {"READONLY", "LOADING", "MASTERDOWN"};
    return has_code(error, codes, ARRAY_LEN(codes));
}

/* What refuses writes refuses the first one of a script, or none.  Rights are looked at command by
 * command: only the one to run a script at all counts here. */
bool cache_refusal_certain(struct str error)
{
    static const char *const codes[] = {"OOM",    "MISCONF",  "NOREPLICAS", "BUSY",
                                        "NOAUTH", "NOSCRIPT", "TAKEN"};
    bool barred = str_starts(error, STR("NOPERM ")) &&
                  memmem(error.p, error.n, "'evalsha'", 9) != NULL;
    return barred || cache_refusal_astray(error) || has_code(error, codes, ARRAY_LEN(codes));
}
