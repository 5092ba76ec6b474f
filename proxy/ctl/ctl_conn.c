/* ctl_conn.c - libpq's only user; see ctl_conn.h. */
#include "proxy/ctl/ctl_conn.h"

#include "base/mem.h"
#include "base/str.h"

#include <libpq-fe.h>
#include <stdlib.h>

#define CONNECT_TIMEOUT "10" /* seconds */

/* types of the console's numbers */
#define OID_INT8 20
#define OID_INT4 23
#define OID_NUMERIC 1700

struct ctl_conn {
    PGconn *pg;
    void (*notice)(const char *text);
};

static void on_notice(void *arg, const PGresult *r)
{
    struct ctl_conn *c = arg;
    const char *text = PQresultErrorField(r, PG_DIAG_MESSAGE_PRIMARY);
    const char *detail = PQresultErrorField(r, PG_DIAG_MESSAGE_DETAIL);
    if (c->notice == NULL)
        return;
    if (text != NULL)
        c->notice(text);
    if (detail != NULL)
        c->notice(detail);
}

/* libpq ends its texts with a line end. */
static enum status fail(struct error *err, enum status st, const char *text)
{
    struct str s = str_trim(str_of(text));
    return error_set(err, st, STR_FMT, STR_ARG(s));
}

enum status ctl_conn_open(const struct ctl_target *t, void (*notice)(const char *text),
                          struct ctl_conn **out, struct error *err)
{
    const char *const keys[] = {
        "host", "port", "user", "dbname", "connect_timeout", "application_name", NULL};
    const char *const values[] = {t->host,         t->port,        t->user, t->database,
                                  CONNECT_TIMEOUT, "penstock ctl", NULL};
    struct ctl_conn *c = mem_new(sizeof(*c));
    *out = NULL;
    c->notice = notice;
    c->pg = PQconnectdbParams(keys, values, 0);
    if (PQstatus(c->pg) != CONNECTION_OK) {
        enum status st = fail(err, ST_IO, PQerrorMessage(c->pg));
        ctl_conn_close(&c);
        return st;
    }
    PQsetNoticeReceiver(c->pg, on_notice, c);
    *out = c;
    return ST_OK;
}

void ctl_conn_close(struct ctl_conn **cp)
{
    struct ctl_conn *c = *cp;
    *cp = NULL;
    if (c == NULL)
        return;
    PQfinish(c->pg);
    mem_free(c);
}

static struct ctl_table *table_of(PGresult *r)
{
    struct ctl_table *t = mem_new(sizeof(*t));
    t->owner = r;
    t->ncols = (size_t)PQnfields(r);
    t->nrows = (size_t)PQntuples(r);
    t->cols = mem_new((t->ncols + 1) * sizeof(*t->cols));
    t->cells = mem_new((t->ncols * t->nrows + 1) * sizeof(*t->cells));
    for (size_t i = 0; i < t->ncols; i++) {
        Oid type = PQftype(r, (int)i);
        t->cols[i].name = PQfname(r, (int)i);
        t->cols[i].number = type == OID_INT8 || type == OID_INT4 || type == OID_NUMERIC;
    }
    for (size_t row = 0; row < t->nrows; row++)
        for (size_t i = 0; i < t->ncols; i++)
            t->cells[row * t->ncols + i] = PQgetisnull(r, (int)row, (int)i)
                                               ? NULL
                                               : PQgetvalue(r, (int)row, (int)i);
    return t;
}

enum status ctl_conn_ask(struct ctl_conn *c, const char *command, struct ctl_table **out,
                         struct error *err)
{
    PGresult *r = PQexec(c->pg, command);
    ExecStatusType st = PQresultStatus(r);
    *out = NULL;
    if (st == PGRES_TUPLES_OK || st == PGRES_COMMAND_OK) {
        *out = table_of(r);
        return ST_OK;
    }
    bool alive = PQstatus(c->pg) == CONNECTION_OK;
    const char *primary = PQresultErrorField(r, PG_DIAG_MESSAGE_PRIMARY);
    enum status failed = fail(err, alive ? ST_INVALID : ST_IO,
                              primary != NULL ? primary : PQerrorMessage(c->pg));
    PQclear(r);
    return failed;
}

void ctl_table_free(struct ctl_table **tp)
{
    struct ctl_table *t = *tp;
    *tp = NULL;
    if (t == NULL)
        return;
    PQclear(t->owner);
    mem_free(t->cols);
    mem_free((void *)t->cells);
    mem_free(t);
}

int ctl_table_column(const struct ctl_table *t, const char *name)
{
    for (size_t i = 0; t != NULL && i < t->ncols; i++)
        if (strcmp(t->cols[i].name, name) == 0)
            return (int)i;
    return -1;
}

const char *ctl_table_text(const struct ctl_table *t, size_t row, int col)
{
    const char *cell = col < 0 ? NULL : t->cells[row * t->ncols + (size_t)col];
    return cell != NULL ? cell : "";
}

double ctl_table_number(const struct ctl_table *t, size_t row, int col)
{
    return strtod(ctl_table_text(t, row, col), NULL);
}
