/* proxy_protocol.h - the PROXY protocol header, versions 1 and 2, as a pure parser.
 *
 * Called by the client machine on listeners that ask for it, before anything else is read from the
 * socket.  Bytes in, verdict out: no socket, no state between calls, no allocation; any thread.
 * The caller shows all bytes it has so far and, after OK, goes on behind `consumed`.
 * Whether the sender may be believed is the caller's decision (who may connect to that listener).
 * An address of family AF_UNIX says only what the sender claims: it is never a reason for peer
 * login.
 * Source: "The PROXY protocol", HAProxy documentation.
 */
#ifndef PENSTOCK_PROXY_PROTOCOL_H
#define PENSTOCK_PROXY_PROTOCOL_H

#include "base/base.h"
#include "base/status.h"
#include "base/str.h"

#include <sys/socket.h>

#define PROXY_PROTOCOL_V1_MAX 107  /* with its CR LF */
#define PROXY_PROTOCOL_V2_MAX 4096 /* ours; the format would allow 65,551 */

enum proxy_protocol_verdict { PROXY_PROTOCOL_MORE, PROXY_PROTOCOL_OK, PROXY_PROTOCOL_BAD };

struct proxy_protocol_header { /* filled by OK only */
    size_t consumed;
    int version;
    bool has_addr; /* false: LOCAL, UNKNOWN or UNSPEC; the socket's own addresses are the truth */
    struct sockaddr_storage src, dst;
};

/* err says what is wrong after BAD. MORE is never answered to PROXY_PROTOCOL_V2_MAX bytes or
 * more. */
enum proxy_protocol_verdict proxy_protocol_parse(struct str in, struct proxy_protocol_header *out,
                                                 struct error *err);

#endif
