/* admin_names.h - words for what the console shows: states in PgBouncer's terms, and pins.
 *
 * Called by the views, on the worker that owns the object.  Constants only.
 */
#ifndef PENSTOCK_PROXY_ADMIN_NAMES_H
#define PENSTOCK_PROXY_ADMIN_NAMES_H

#include "base/base.h"
#include "proxy/client.h"
#include "proxy/server.h"

const char *admin_names_client_state(enum client_state st);
/* cleaning: a reset is running; cancel: nobody's, but a cancel request is on its way to it. */
const char *admin_names_server_state(enum server_state st, bool cleaning, bool cancel);

#define ADMIN_PINS 11
#define ADMIN_PIN_TX 0 /* a transaction */
extern const char *const admin_names_pin[ADMIN_PINS];
/* Why the server stays with its client: bit i stands for admin_names_pin[i]. */
uint32_t admin_names_pin_set(const struct server *s);
/* The same in words, comma-separated; empty: for no reason. */
void admin_names_pins(const struct server *s, char *dst, size_t cap);

#endif
