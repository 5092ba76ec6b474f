/* test_sql_support.h - facts as one line of text, for tables of expectations. */
#ifndef PENSTOCK_TEST_SQL_SUPPORT_H
#define PENSTOCK_TEST_SQL_SUPPORT_H

#include "base/base.h"
#include "base/str.h"
#include "protocol/sql_facts.h"

#include <stdarg.h>
#include <stdio.h>

struct facts_line {
    char text[2048];
    size_t n;
};

ATTR_PRINTF(2, 3) static inline void line_add(struct facts_line *l, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(l->text + l->n, sizeof(l->text) - l->n, fmt, ap);
    va_end(ap);
    if (n > 0)
        l->n = MIN(l->n + (size_t)n, sizeof(l->text) - 1);
}

static inline void line_names(struct facts_line *l, char mark, const struct fact_name *f, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        line_add(l, " %c:", mark);
        if (f[i].schema.n > 0)
            line_add(l, STR_FMT ".", STR_ARG(f[i].schema));
        line_add(l, STR_FMT "%s", STR_ARG(f[i].name), f[i].written ? "!" : "");
    }
}

/* Effects in the order of their bits, then r:relation (! when written), f:function, v:setting,
 * p:prepared, c:channel, and the flags. */
static inline const char *facts_describe(const struct facts *f, struct facts_line *l)
{
    static const struct {
        uint32_t bit;
        const char *name;
    } bits[] = {
        {FX_READ, "read"},
        {FX_WRITE, "write"},
        {FX_DDL, "ddl"},
        {FX_BEGIN, "begin"},
        {FX_END, "end"},
        {FX_VARS_NAMED, "vars"},
        {FX_VARS_ALL, "vars_all"},
        {FX_ROLE, "role"},
        {FX_LOCKS, "locks"},
        {FX_TEMP, "temp"},
        {FX_CURSOR, "cursor"},
        {FX_PREPARE, "prepare"},
        {FX_EXECUTE, "execute"},
        {FX_DEALLOCATE, "dealloc"},
        {FX_DEALLOCATE_ALL, "dealloc_all"},
        {FX_DISCARD_ALL, "discard_all"},
        {FX_LISTEN, "listen"},
        {FX_UNLISTEN, "unlisten"},
        {FX_NOTIFY, "notify"},
        {FX_SEQ_READ, "seq_read"},
        {FX_SEQ_WRITE, "seq_write"},
        {FX_COPY, "copy"},
        {FX_KILL, "kill"},
        {FX_LOCAL, "local"},
        {FX_MULTI, "multi"},
        {FX_TXCTL, "txctl"},
        {FX_EMPTY, "empty"},
        {FX_LOAD, "load"},
        {FX_SHOW, "show"},
        {FX_UNKNOWN, "unknown"},
    };

    l->n = 0;
    l->text[0] = '\0';
    for (size_t i = 0; i < ARRAY_LEN(bits); i++) {
        if ((f->effects & bits[i].bit) != 0)
            line_add(l, " %s", bits[i].name);
    }
    line_names(l, 'r', f->relations, f->nrelations);
    line_names(l, 'f', f->functions, f->nfunctions);
    for (size_t i = 0; i < f->nvars; i++)
        line_add(l, " v:" STR_FMT "%s", STR_ARG(f->vars[i]), facts_resets(f, (int)i) ? "!" : "");
    if (f->prepared.n > 0)
        line_add(l, " p:" STR_FMT, STR_ARG(f->prepared));
    if (f->channel.n > 0)
        line_add(l, " c:" STR_FMT, STR_ARG(f->channel));
    line_add(l, "%s%s%s%s%s%s%s", f->vars_reset ? " +reset" : "",
             f->repeatable_text ? " +repeat" : "", f->read_only_begin ? " +ro" : "",
             f->operators ? " +ops" : "", f->custom_types ? " +types" : "",
             f->custom_operators ? " +custom" : "", f->complete ? "" : " +cut");
    return l->text[0] == ' ' ? l->text + 1 : l->text;
}

#endif
