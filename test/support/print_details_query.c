/* print_details_query.c - prints the question about how tables hang together, for
 * test_cache_catalog.py.
 *
 * Linked with protocol/pg/pg_catalog_details.c alone, so that the test runs the very bytes the
 * program sends. Not a unit test and not part of the program.
 */
#include "base/base.h"
#include "protocol/pg/pg_catalog_details.h"

#include <stdio.h>

int main(void)
{
    return fputs(pg_catalog_details_query, stdout) < 0 || fflush(stdout) != 0;
}
