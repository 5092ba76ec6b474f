/* pg_server_own.c - own statements: each is a Query whose whole answer is kept from every client.
 *
 * Called through pg_wire.c.
 */
#include "protocol/pg/pg_frame.h"
#include "protocol/pg/pg_server.h"
#include "protocol/pg/pg_text.h"

void pg_server_text(void *st, enum wire_own own, struct str text, struct outq *out)
{
    struct pg_server *s = st;
    unsigned rows = 0;
    switch (own) {
    case OWN_QUIET:
        break;
    case OWN_ROWS:
        rows = PX_ROWS;
        break;
    }
    pg_track_push(&s->track, PX_QUERY | PX_OWN | rows);
    text = pg_frame_clean(text);
    pg_frame_put_head(out, 'Q', text.n + 1);
    pg_frame_put_z(out, text);
}

void pg_server_ping(void *st, struct outq *out)
{
    pg_server_text(st, OWN_QUIET, STR(""), out);
}

void pg_server_clean(void *st, enum wire_clean depth, struct outq *out)
{
    switch (depth) {
    case CLEAN_TX:
        pg_server_text(st, OWN_QUIET, STR("ROLLBACK"), out);
        break;
    case CLEAN_FULL:
        pg_server_text(st, OWN_QUIET, str_of(pg_text_reset_query), out);
        break;
    case CLEAN_SETTINGS:
        pg_server_text(st, OWN_QUIET, STR("RESET ALL"), out);
        break;
    case CLEAN_SEQUENCES:
        pg_server_text(st, OWN_QUIET, STR("DISCARD SEQUENCES"), out);
        break;
    }
}

/* A text that could not be built is replaced by one that fails: silence would look like success. */
static void send(struct pg_server *s, enum wire_own own, struct buf *b, struct outq *out)
{
    pg_server_text(s, own, b->failed ? STR("too long") : buf_str(b), out);
    buf_fini(b);
}

void pg_server_vars(void *st, const struct wire_var *delta, int n, struct outq *out)
{
    struct buf b;
    buf_init(&b, PG_TEXT_MAX);
    pg_text_vars(delta, n, &b);
    send(st, OWN_QUIET, &b, out);
}

void pg_server_ask(void *st, uint32_t asks, const struct str *names, int n, struct outq *out)
{
    struct buf b;
    buf_init(&b, PG_TEXT_MAX);
    pg_text_ask(asks, names, n, &b);
    send(st, OWN_ROWS, &b, out);
}

void pg_server_listen(void *st, struct str channel, bool on, struct outq *out)
{
    struct buf b;
    buf_init(&b, PG_TEXT_MAX);
    pg_text_listen(channel, on, &b);
    send(st, OWN_QUIET, &b, out);
}

void pg_server_notify(void *st, struct str channel, struct str payload, struct outq *out)
{
    struct buf b;
    buf_init(&b, PG_TEXT_MAX);
    buf_put_text(&b, "NOTIFY ");
    pg_text_identifier(channel, &b);
    buf_put_text(&b, ", ");
    pg_text_literal(payload, &b);
    send(st, OWN_QUIET, &b, out);
}
