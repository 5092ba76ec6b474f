/* pg_catalog.h - the question that fills a catalog snapshot (protocol/catalog.h).
 *
 * Used by the codec, which hands the text to the core; the core runs it as one simple query in the
 * database that the snapshot is for, as any role, and feeds each row to catalog_add_row.  The
 * format of the rows and the rules behind them are in pg_catalog.c.  PostgreSQL 13 and later.
 * Constant data.
 */
#ifndef PENSTOCK_PG_CATALOG_H
#define PENSTOCK_PG_CATALOG_H

#include "base/base.h"

/* One SELECT without parameters; four text columns, about 3,000 rows plus one for each relation and
 * proved function. It changes nothing, takes no lock beyond reading the system catalogs, and means
 * the same whatever the session's search_path, standard_conforming_strings and role are. */
extern const char pg_catalog_query[];

#endif
