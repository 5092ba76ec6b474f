/* print_cache_scripts.c - prints each Lua program of the result cache after its number and a zero
 * byte, for test_cache_scripts.py.  Linked with cache/cache_script.c alone.
 */
#include "base/base.h"
#include "cache/cache_script.h"

#include <stdio.h>

int main(void)
{
    for (int k = 0; k < CACHE_CMD_COUNT; k++) {
        const char *text = cache_script_text((enum cache_cmd_kind)k);
        if (text != NULL && printf("%d%c%s%c", k, 0, text, 0) < 0)
            return 1;
    }
    return fflush(stdout) != 0;
}
