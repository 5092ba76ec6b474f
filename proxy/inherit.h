/* inherit.h - what the process was given at its start: listening sockets of the service manager, or
 * everything that a predecessor hands over.
 *
 * systemd's socket activation: LISTEN_FDS descriptors from number 3 on, meant for LISTEN_PID.
 * A predecessor (upgrade.h) starts its successor with PENSTOCK_HANDOVER: `name=number` words, of
 * which those that are not known are skipped, for the two may be of different versions.  Descriptor
 * 3 is then the channel to it, and behind that come the pid file, if there is one, and the sockets.
 * Used by main.c on the main thread, before any thread exists.
 */
#ifndef PENSTOCK_PROXY_INHERIT_H
#define PENSTOCK_PROXY_INHERIT_H

#include "base/base.h"
#include "base/status.h"
#include "proxy/net/listener.h"

#define INHERIT_VARIABLE "PENSTOCK_HANDOVER"
#define INHERIT_FIRST 3 /* descriptor */

struct inherit {
    bool heir;         /* of a predecessor, over */
    int channel;       /* owned until taken; -1: none */
    int pidfile;       /* owned until taken, open and locked; -1: none */
    uint32_t first_id; /* of clients: the predecessor's have others */
    bool activated;    /* the sockets are the service manager's */
    int nsockets;
    int sockets[LISTENER_SOCKETS_MAX]; /* owned; -1: taken */
};

/* Reads the environment and takes what is meant for this process out of it. ST_INVALID: there is
 * something, and it makes no sense. */
enum status inherit_read(struct inherit *in, struct error *err) ATTR_NODISCARD;
/* Closes what nobody has taken. */
void inherit_fini(struct inherit *in);

#endif
