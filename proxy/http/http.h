/* http.h - the HTTP port: a page to look at, /metrics, /healthz and /readyz.
 *
 * Off unless http_listen is set.  It only shows; nothing can be changed through it.  Requests come
 * in on a thread of their own (http_server.h), which touches nothing of the workers: what must be
 * asked goes to the main thread as a message (struct ask), which asks the workers as the console
 * does, and what comes back is formatted on the HTTP thread, so that neither the data path nor the
 * main thread pays for it.
 *   /healthz  200 when every worker has answered a message, else 503
 *   /readyz   200 when new clients can be served, else 503 with the reasons (ready.h)
 *   /metrics  OpenMetrics (proxy/metrics/metrics.h)
 *   /         the page (page.html), which asks for /state.json (proxy/metrics/metrics_json.h)
 * http_auth asks for the login of a console user; /healthz and /readyz need none, but /readyz then
 * tells reasons only to who has one.
 * Thread: main.
 */
#ifndef PENSTOCK_PROXY_HTTP_H
#define PENSTOCK_PROXY_HTTP_H

#include "proxy/process.h"

struct http;

/* http_listen is empty or an address that can be listened on: for a check of the configuration. */
enum status http_check(const struct config_options *o, struct error *err) ATTR_NODISCARD;
/* *out stays NULL when http_listen is empty. p->workers and p->admin are there. heir: the process
 * before this one may have the port open still. */
enum status http_start(struct process *p, const struct config *cfg, bool heir, struct http **out,
                       struct error *err) ATTR_NODISCARD;
void http_publish(struct http *h, const struct config *cfg); /* after a reload; h may be NULL */
/* Closes the port and answers whoever waits: while the workers are still there. h may be NULL. */
void http_stop(struct http *h);
void http_free(struct http **h); /* the resolver has ended, main_box is closed */

#endif
