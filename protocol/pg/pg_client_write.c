/* pg_client_write.c - everything told to a client: errors, settings, console rows, idle markers.
 *
 * Called through pg_wire.c.  Texts from outside are cut at a zero byte, so that no field can forge
 * another. The version negotiation must be the first message after the start-up packet: every
 * function that may be the first to answer sends it (cl_auth_start, cl_welcome, cl_error,
 * cl_notice).
 */
#include "protocol/pg/pg_client.h"
#include "protocol/pg/pg_error.h"
#include "protocol/pg/pg_startup.h"

void pg_client_negotiate(struct pg_client *c, struct outq *out)
{
    if (!c->login || buf_len(&c->login->negotiate) == 0)
        return;
    outq_put_str(out, buf_str(&c->login->negotiate));
    buf_reset(&c->login->negotiate);
}

void pg_client_tls_reply(void *st, bool accept, struct outq *out)
{
    struct pg_client *c = st;
    outq_put_u8(out, accept && !c->gss_pending ? 'S' : 'N');
    c->gss_pending = false;
}

static void put_ready(struct outq *out, enum tx_state tx)
{
    char state = 'I';
    switch (tx) {
    case TX_IDLE:
    case TX_UNKNOWN:
        break;
    case TX_OPEN:
        state = 'T';
        break;
    case TX_FAILED:
        state = 'E';
        break;
    }
    pg_frame_put_head(out, 'Z', 1);
    outq_put_u8(out, (uint8_t)state);
}

void pg_client_vars(void *st, const struct wire_var *vars, int nvars, struct outq *out)
{
    (void)st;
    for (int i = 0; i < nvars; i++) {
        size_t n = pg_frame_clean(vars[i].name).n + pg_frame_clean(vars[i].value).n + 2;
        pg_frame_put_head(out, 'S', n);
        pg_frame_put_z(out, vars[i].name);
        pg_frame_put_z(out, vars[i].value);
    }
}

void pg_client_welcome(void *st, const struct wire_var *vars, int nvars, const struct wire_key *key,
                       struct outq *out)
{
    struct pg_client *c = st;
    pg_client_negotiate(c, out);
    pg_frame_put_head(out, 'R', 4);
    outq_put_be32(out, 0);
    pg_client_vars(st, vars, nvars, out);
    if (key && key->n > 0) {
        pg_frame_put_head(out, 'K', key->n);
        outq_put(out, key->b, key->n);
    }
    put_ready(out, TX_IDLE);
    pg_startup_login_free(&c->login);
    pg_client_auth_free(&c->auth);
    c->phase = PG_CL_RUN;
}

/* The request is given up: what is still to be read of it, and whether its idle marker can go out
 * now. */
static bool give_up(struct pg_client *c, bool req_open)
{
    bool tail = c->body_left > 0 && c->body == PG_BODY_PART_END;
    bool waiting = c->open || c->upload == PG_UP_VOID || c->upload == PG_UP_VOID_DONE ||
                   c->upload == PG_UP_VOID_BROKEN;
    pg_client_upload_over(c);
    if (!req_open) {
        c->open = false;
        return true;
    }
    if (tail)
        c->skip = PG_SKIP_BODY;
    else
        c->skip = waiting ? PG_SKIP_SYNC : PG_SKIP_NOW;
    /* a client whose text asked for an upload waits for the idle marker before it sends anything:
     * what it still sends of the upload has no meaning afterwards */
    c->idle_sent = c->skip == PG_SKIP_NOW;
    return c->idle_sent;
}

static struct str fault_code(const struct wire_fault *f)
{
    if (f->code.n > 0)
        return f->code.n == 5 ? f->code : STR("08P01");
    return f->cause == C_PROTOCOL ? pg_startup_code(f->text) : pg_error_code(f->cause);
}

void pg_client_error(void *st, const struct wire_fault *f, struct outq *out)
{
    struct pg_client *c = st;
    pg_client_negotiate(c, out);
    pg_error_write(out, f->fatal, fault_code(f), f->text.n > 0 ? f->text : pg_error_text(f->cause));
    if (!f->fatal && give_up(c, f->req_open))
        put_ready(out, f->tx);
}

void pg_client_notice(void *st, struct str text, struct str detail, struct outq *out)
{
    pg_client_negotiate(st, out);
    pg_error_notice(out, text, detail);
}

void pg_client_idle(void *st, enum tx_state tx, struct outq *out)
{
    struct pg_client *c = st;
    if (c->idle_sent) {
        c->idle_sent = false;
        return;
    }
    put_ready(out, tx);
}

void pg_client_notify(void *st, uint32_t pid, struct str channel, struct str payload,
                      struct outq *out)
{
    (void)st;
    size_t n = 4 + pg_frame_clean(channel).n + 1 + pg_frame_clean(payload).n + 1;
    pg_frame_put_head(out, 'A', n);
    outq_put_be32(out, pid);
    pg_frame_put_z(out, channel);
    pg_frame_put_z(out, payload);
}

void pg_client_ack(void *st, enum wire_part_kind kind, struct outq *out)
{
    (void)st;
    switch (kind) {
    case PART_PARSE:
        pg_frame_put_empty(out, '1');
        break;
    case PART_BIND:
        pg_frame_put_empty(out, '2');
        break;
    case PART_CLOSE:
    case PART_CLOSE_PORTAL:
        pg_frame_put_empty(out, '3');
        break;
    case PART_QUERY:
    case PART_CALL:
    case PART_DESCRIBE:
    case PART_DESCRIBE_PORTAL:
    case PART_EXECUTE:
    case PART_FLUSH:
    case PART_SYNC:
        break; /* their answers are not mere confirmations */
    }
}

void pg_client_no_data(void *st, struct outq *out)
{
    (void)st;
    pg_frame_put_empty(out, 'n');
}

struct type_row {
    uint32_t oid;
    uint16_t len; /* as int16: 0xffff is -1, of no fixed length */
};

static struct type_row type_of(const struct wire_column *col)
{
    switch (col->type) {
    case COL_TEXT:
        break;
    case COL_INT4:
        return (struct type_row){23, 4};
    case COL_INT8:
        return (struct type_row){20, 8};
    case COL_NUMERIC:
        return (struct type_row){1700, 0xffff};
    case COL_BOOL:
    case COL_BOOL_BINARY:
        return (struct type_row){16, 1};
    case COL_BYTES:
        return (struct type_row){17, 0xffff};
    }
    return (struct type_row){25, 0xffff};
}

void pg_client_params(void *st, const struct wire_column *params, int n, struct outq *out)
{
    (void)st;
    pg_frame_put_head(out, 't', 2 + 4 * (size_t)n);
    outq_put_be16(out, (uint16_t)n);
    for (int i = 0; i < n; i++)
        outq_put_be32(out, type_of(&params[i]).oid);
}

void pg_client_row_desc(void *st, const struct wire_column *cols, int ncols, struct outq *out)
{
    (void)st;
    size_t n = 2;
    for (int i = 0; i < ncols; i++)
        n += strlen(cols[i].name) + 1 + 18;
    pg_frame_put_head(out, 'T', n);
    outq_put_be16(out, (uint16_t)ncols);
    for (int i = 0; i < ncols; i++) {
        struct type_row t = type_of(&cols[i]);
        pg_frame_put_z(out, str_of(cols[i].name));
        outq_put_be32(out, 0); /* no table */
        outq_put_be16(out, 0);
        outq_put_be32(out, t.oid);
        outq_put_be16(out, t.len);
        outq_put_be32(out, UINT32_MAX); /* no modifier */
        outq_put_be16(out, cols[i].type == COL_BOOL_BINARY ? 1 : 0);
    }
}

void pg_client_row(void *st, const struct str *values, int ncols, struct outq *out)
{
    (void)st;
    size_t n = 2;
    for (int i = 0; i < ncols; i++)
        n += 4 + (values[i].p ? values[i].n : 0);
    pg_frame_put_head(out, 'D', n);
    outq_put_be16(out, (uint16_t)ncols);
    for (int i = 0; i < ncols; i++) {
        outq_put_be32(out, values[i].p ? (uint32_t)values[i].n : UINT32_MAX);
        if (values[i].p)
            outq_put_str(out, values[i]);
    }
}

void pg_client_complete(void *st, struct str tag, struct outq *out)
{
    (void)st;
    pg_frame_put_head(out, 'C', pg_frame_clean(tag).n + 1);
    pg_frame_put_z(out, tag);
}

void pg_client_suspended(void *st, struct outq *out)
{
    (void)st;
    pg_frame_put_empty(out, 's');
}
