/* console.h - the worker's half of a console session.
 *
 * A console client lives on its worker in state CL_ADMIN.  Its commands are parsed there
 * (admin_command.h), run by the main thread (admin.h) and answered there; one is under way at a
 * time, later input waits. console_begin, _input, _cancel and _gone are declared where the client
 * machine wants them (login.h, session.h).  Thread: the client's worker.
 */
#ifndef PENSTOCK_PROXY_CONSOLE_H
#define PENSTOCK_PROXY_CONSOLE_H

#include "base/base.h"
#include "proxy/net/mailbox.h"

/* Delivery of a struct admin_reply to the worker of its client. */
void console_answer(struct message *m, void *ctx);

#endif
