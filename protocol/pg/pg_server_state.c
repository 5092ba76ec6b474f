/* pg_server_state.c - beginning and end of the server side, and what it remembers of an error; see
 * pg_server.h.  Owner thread.
 */
#include "protocol/pg/pg_server.h"

#include "protocol/pg/pg_error.h"
#include "protocol/pg/pg_frame.h"

void pg_server_init(void *st)
{
    struct pg_server *s = st;
    memset(s, 0, sizeof *s);
    pg_track_init(&s->track);
}

void pg_server_fini(void *st)
{
    struct pg_server *s = st;
    pg_server_login_free(&s->login);
    pg_track_fini(&s->track);
}

void pg_server_raw(void *st)
{
    struct pg_server *s = st;
    s->phase = PG_SV_RAW;
}

void pg_server_split(void *st)
{
    ((struct pg_server *)st)->split = true;
}

int pg_server_pending(const void *st)
{
    const struct pg_server *s = st;
    return (int)s->track.requests;
}

bool pg_server_answered(const void *st)
{
    const struct pg_server *s = st;
    return s->track.count == 0 && !s->track.skipping && !s->track.broken;
}

bool pg_server_skips(const void *st)
{
    return ((const struct pg_server *)st)->track.skipping;
}

void pg_server_bad(struct wire_server_event *ev, const char *reason)
{
    ev->kind = SV_BAD;
    ev->reason = reason;
}

void pg_server_note_error(struct pg_server *s, const struct pg_error *e)
{
    if (s->error != SE_NONE)
        return;
    s->error = pg_error_class(e);
    s->code_len = (uint8_t)MIN(e->code.n, sizeof s->code);
    s->text_len = (uint8_t)MIN(e->message.n, sizeof s->text);
    memcpy(s->code, e->code.p, s->code_len);
    memcpy(s->text, e->message.p, s->text_len);
}

void pg_server_tell_error(const struct pg_server *s, struct wire_server_event *ev)
{
    ev->error = s->error;
    ev->code = s->error == SE_NONE ? STR("") : (struct str){s->code, s->code_len};
    ev->message = s->error == SE_NONE ? STR("") : (struct str){s->text, s->text_len};
}

bool pg_server_read_var(struct str body, struct wire_var *var)
{
    struct pg_reader r = pg_frame_reader(body);
    var->name = pg_frame_get_z(&r);
    var->value = pg_frame_get_z(&r);
    return pg_frame_done(&r);
}
