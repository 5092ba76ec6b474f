/* print_catalog_query.c - prints the catalog question to standard output, for test_catalog_sql.py.
 *
 * Linked with protocol/pg/pg_catalog.c alone, so that the test runs the very bytes the program
 * sends. Not a unit test and not part of the program.
 */
#include "base/base.h"
#include "protocol/pg/pg_catalog.h"

#include <stdio.h>

int main(void)
{
    return fputs(pg_catalog_query, stdout) < 0 || fflush(stdout) != 0;
}
