/* console.h - the worker's half of a console session.
 *
 * A console client lives on its worker in state CL_ADMIN.  Its commands are parsed there
 * (admin_command.h), run by the main thread (admin.h) and answered there; one is under way at a
 * time, later input waits.  Called by the client machine.  Thread: the client's worker.
 */
#ifndef PENSTOCK_PROXY_CONSOLE_H
#define PENSTOCK_PROXY_CONSOLE_H

#include "base/base.h"
#include "proxy/client.h"
#include "proxy/net/mailbox.h"

void console_begin(struct client *c); /* logged in */
size_t console_input(struct client *c, struct str data, bool full);
/* what it waits for is given up and answered with an error */
void console_cancel(struct client *c);
void console_gone(struct client *c);
/* Delivery of a struct admin_reply to the worker of its client. */
void console_answer(struct message *m, void *ctx);

#endif
