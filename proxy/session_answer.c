/* session_answer.c - see session_answer.h.  Worker thread. */
#include "proxy/session_answer.h"

static void put_row(struct client *c, const struct session_answer *a, const struct wire_part *p)
{
    const struct wire *wire = conn_wire(&c->conn);
    wire->cl_row(c->wire_state, a->values, a->n, &c->conn.out);
    if (p->kind == PART_EXECUTE && p->row_limit == 1) /* the database would not look for its end */
        wire->cl_suspended(c->wire_state, &c->conn.out);
    else
        wire->cl_complete(c->wire_state, str_of(a->tag), &c->conn.out);
}

static void answer_part(struct client *c, const struct session_answer *a, const struct wire_part *p,
                        struct stmt *stmt)
{
    const struct wire *wire = conn_wire(&c->conn);
    struct outq *out = &c->conn.out;
    switch (p->kind) {
    case PART_PARSE:
        session_name(c, p->name, stmt);
        wire->cl_ack(c->wire_state, PART_PARSE, out);
        break;
    case PART_BIND:
        wire->cl_ack(c->wire_state, PART_BIND, out);
        break;
    case PART_DESCRIBE:
        wire->cl_params(c->wire_state, a->params, a->nparams, out);
        wire->cl_row_desc(c->wire_state, a->stated, a->n, out);
        break;
    case PART_DESCRIBE_PORTAL:
        wire->cl_row_desc(c->wire_state, a->columns, a->n, out);
        break;
    case PART_QUERY:
        wire->cl_row_desc(c->wire_state, a->columns, a->n, out);
        put_row(c, a, p);
        break;
    case PART_EXECUTE:
        put_row(c, a, p);
        break;
    case PART_CALL:
    case PART_CLOSE:
    case PART_CLOSE_PORTAL:
    case PART_FLUSH:
    case PART_SYNC:
        break;
    }
}

void session_answer_parts(struct client *c, const struct wire_req *r,
                          const struct session_answer *a)
{
    for (int i = 0; i < r->nparts; i++)
        answer_part(c, a, &r->parts[i], c->conn.worker->part_stmts[i]);
}

static void answer_nothing(struct client *c, const struct wire_part *p, struct stmt *stmt,
                           struct str tag)
{
    const struct wire *wire = conn_wire(&c->conn);
    struct outq *out = &c->conn.out;
    switch (p->kind) {
    case PART_PARSE:
        session_name(c, p->name, stmt);
        wire->cl_ack(c->wire_state, PART_PARSE, out);
        break;
    case PART_BIND:
    case PART_CLOSE:
    case PART_CLOSE_PORTAL:
        wire->cl_ack(c->wire_state, p->kind, out);
        break;
    case PART_DESCRIBE:
        wire->cl_params(c->wire_state, NULL, 0, out);
        wire->cl_no_data(c->wire_state, out);
        break;
    case PART_DESCRIBE_PORTAL:
        wire->cl_no_data(c->wire_state, out);
        break;
    case PART_QUERY:
        if (c->names != NULL)
            stmt_put(&c->names->unnamed); /* a text ends the unnamed statement */
        wire->cl_complete(c->wire_state, tag, out);
        break;
    case PART_EXECUTE:
        wire->cl_complete(c->wire_state, tag, out);
        break;
    case PART_CALL:
    case PART_FLUSH:
    case PART_SYNC:
        break;
    }
}

void session_answer_none(struct client *c, const struct wire_req *r, struct str tag)
{
    for (int i = 0; i < r->nparts; i++)
        answer_nothing(c, &r->parts[i], c->conn.worker->part_stmts[i], tag);
}
