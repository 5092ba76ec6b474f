/* toy_server.h - the server side of the toy codec; used by toy_wire.c only. */
#ifndef PENSTOCK_TOY_SERVER_H
#define PENSTOCK_TOY_SERVER_H

#include "protocol/wire.h"

enum toy_server_phase { TOY_SV_LOGIN, TOY_SV_RUN, TOY_SV_RAW, TOY_SV_DEAD };

struct toy_server_want;

struct toy_server {
    enum toy_server_phase phase;
    bool mid_row;                  /* a row longer than the buffer is going through */
    bool split;                    /* errors that answer a request come by themselves */
    bool skipping;                 /* an error came before the end of its request was sent */
    struct toy_server_want *wants; /* owned array; answers still to come, oldest first */
    int nwants, cap_wants;
    enum server_error error;
    uint32_t tags;
    uint64_t rows;
    char code[32], text[128];
};

void toy_server_init(void *st);
void toy_server_fini(void *st);
void toy_server_tls_request(void *st, struct outq *out);
void toy_server_open(void *st, const struct wire_target *t, struct outq *out);
enum auth_result toy_server_auth(void *st, const struct wire_cred *c, struct str data,
                                 struct outq *out, struct error *err);
void toy_server_feed(void *st, struct str in, bool full, struct wire_server_event *ev);
void toy_server_raw(void *st);
void toy_server_split(void *st);
void toy_server_parts(void *st, const struct wire_part *parts, int n, struct str raw,
                      struct outq *out);
void toy_server_part_named(void *st, const struct wire_part *part, const struct wire_handle *h,
                           struct outq *out);
void toy_server_part_tracked(void *st, const struct wire_part *part, struct outq *out);
void toy_server_part_fake(void *st, const struct wire_part *part);
void toy_server_body(void *st, struct str raw, struct outq *out);
void toy_server_prepare(void *st, const struct wire_handle *h, struct str text, struct str types,
                        struct outq *out);
void toy_server_unprepare(void *st, const struct wire_handle *h, struct outq *out);
void toy_server_sync(void *st, struct outq *out);
void toy_server_text(void *st, enum wire_own own, struct str text, struct outq *out);
void toy_server_ping(void *st, struct outq *out);
void toy_server_clean(void *st, enum wire_clean depth, struct outq *out);
void toy_server_vars(void *st, const struct wire_var *delta, int n, struct outq *out);
void toy_server_ask(void *st, uint32_t asks, const struct str *names, int n, struct outq *out);
void toy_server_listen(void *st, struct str channel, bool on, struct outq *out);
void toy_server_quit(void *st, struct outq *out);
int toy_server_pending(const void *st);

#endif
