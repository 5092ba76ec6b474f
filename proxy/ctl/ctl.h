/* ctl.h - `penstock ctl` and `penstock top`: the console for scripts and for a terminal.
 *
 * Called by main.c when the first argument says so; nothing of the proxy itself is started.  Both
 * are clients of the console like any other, over its Unix socket or TCP (ctl_conn.h).  ctl.c reads
 * the arguments of both and runs ctl, ctl_print.c writes its answers, top.c runs top.
 * Thread: main, and no other exists.
 */
#ifndef PENSTOCK_PROXY_CTL_H
#define PENSTOCK_PROXY_CTL_H

#include "base/base.h"
#include "proxy/ctl/ctl_conn.h"

/* exit status of both */
#define CTL_DONE 0
#define CTL_REFUSED 1 /* the console answered with an error */
#define CTL_USAGE 2   /* mistakes in the arguments, or no terminal */
#define CTL_AWAY 3    /* no connection, or it was lost */

/* argv[0] is "ctl" or "top". true: *status is the exit status of what was run. */
bool ctl_run(int argc, char **argv, int *status);

/* top.c: shows what t has every interval_s seconds until the user leaves. */
int top_run(const struct ctl_target *t, double interval_s);

#endif
