/* http_page.h - the page at /: page.html as it was at build time, and what a browser may do with
 * it.
 *
 * Called by http.c.  The policy allows the page's own style and script, by their hashes, and
 * requests to where it came from; nothing else.
 */
#ifndef PENSTOCK_PROXY_HTTP_PAGE_H
#define PENSTOCK_PROXY_HTTP_PAGE_H

#include "base/base.h"
#include "base/str.h"

#define HTTP_PAGE_POLICY_MAX 512

struct str http_page_text(void);
/* The Content-Security-Policy; cap >= HTTP_PAGE_POLICY_MAX. */
void http_page_policy(char *dst, size_t cap);

#endif
