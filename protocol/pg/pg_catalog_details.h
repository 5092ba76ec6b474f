/* pg_catalog_details.h - the question about how tables hang together (protocol/catalog.h, details).
 *
 * Run by the core like pg_catalog_query and into the same snapshot, but only where there are rules
 * of the result cache.  Constant data.
 */
#ifndef PENSTOCK_PG_CATALOG_DETAILS_H
#define PENSTOCK_PG_CATALOG_DETAILS_H

#include "base/base.h"

/* One SELECT; four text columns, a row for each relation, foreign key, trigger, view dependency and
 * column of a type that can be part of a key. It changes nothing and means the same under any
 * search_path and role. */
extern const char pg_catalog_details_query[];

#endif
