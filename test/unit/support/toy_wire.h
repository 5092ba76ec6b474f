/* toy_wire.h - a database protocol of text lines behind struct wire, for tests of the core.
 *
 * It is as different from PostgreSQL's as the core allows: no frames but lines that end in '\n', no
 * start-up packet, one word per answer, keys and handles that are readable text.  What the core
 * does is tested against it with scripts that a person can read; what then works was not built on
 * PostgreSQL's bytes.
 *
 * A client says                        and hears (S: a server says, and the proxy forwards)
 *   hello USER DB [NAME=VALUE]...        ask password | bye CODE TEXT
 *   pass SECRET                          var NAME VALUE.. hi KEY done I
 *   cancel KEY                           nothing
 *   Q TEXT                           S   row A|B.. ok TAG | err CODE TEXT, at the end done I|T|E
 *   P NAME TEXT   (- is no name)     S   parsed
 *   B NAME ARGS                      S   bound
 *   D NAME                           S   described
 *   E ROWS                           S   row A|B.. ok TAG
 *   C NAME                           S   closed
 *   F                                    nothing
 *   S                                S   done I|T|E
 *   +DATA and . or !                     after S up: an upload, its end or its failure
 *   bye                                  nothing
 * A server hears the same and also: set NAME=VALUE;NAME; (no =: reset), state ASKS [NAMES], clean
 * WHAT, ping, listen CHANNEL, unlisten CHANNEL.  It may say var, note and push PID CHANNEL TEXT at
 * any time. Texts are SQL, because the core takes what it knows of a text from protocol/sql itself.
 */
#ifndef PENSTOCK_TOY_WIRE_H
#define PENSTOCK_TOY_WIRE_H

#include "protocol/wire.h"

extern const struct wire toy_wire;

#endif
