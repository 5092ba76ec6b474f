/* judge_statements.c - says of statements whether they are repeatable, for test_repeatable_sql.py,
 * or whether a standby may run them, for test_standby_sql.py.
 *
 * Standard input: the rows of the catalog question, one a line, columns parted by tabs; an empty
 * line; then one statement a line.  Standard output: a line for each statement, "yes", "no", or
 * "no unknown" when sql_effects holds FX_UNKNOWN; with the argument "standby" the name of the
 * verdict, and ", plain" for statements whose relations are all tables by themselves.  Not a unit
 * test and not part of the program.
 */
#include "base/base.h"
#include "base/status.h"
#include "protocol/catalog.h"
#include "protocol/sql/sql_cache.h"
#include "protocol/sql_standby.h"

#include <stdio.h>
#include <stdlib.h>

/* The next line without its end, in buf; false at the end of the input. */
static bool next_line(char **buf, size_t *cap, struct str *line)
{
    ssize_t n = getline(buf, cap, stdin);
    if (n < 0)
        return false;
    *line = (struct str){*buf, (size_t)n - ((*buf)[n - 1] == '\n')};
    return true;
}

static bool add_row(struct catalog *cat, struct str line)
{
    struct str cols[4];
    struct error err = {{0}};
    for (size_t i = 0; i < ARRAY_LEN(cols); i++) {
        const char *tab = i + 1 < ARRAY_LEN(cols) ? memchr(line.p, '\t', line.n) : line.p + line.n;
        if (tab == NULL)
            return false;
        cols[i] = (struct str){line.p, (size_t)(tab - line.p)};
        line = (struct str){tab + 1, i + 1 < ARRAY_LEN(cols) ? line.n - cols[i].n - 1 : 0};
    }
    if (catalog_add_row(cat, cols, ARRAY_LEN(cols), &err) == ST_OK)
        return true;
    (void)fprintf(stderr, "%s\n", err.text);
    return false;
}

static void judge(struct sql_cache *sql, const struct catalog *cat, struct str text)
{
    struct facts *f = sql_cache_get(sql, text, 0);
    bool unknown = (sql_effects(f, cat) & FX_UNKNOWN) != 0;
    (void)puts(sql_repeatable(f, cat) ? "yes" : unknown ? "no unknown" : "no");
    facts_put(&f);
}

static void judge_standby(struct sql_cache *sql, const struct catalog *cat, struct str text)
{
    struct facts *f = sql_cache_get(sql, text, 0);
    bool plain = f->nrelations > 0;
    for (uint16_t i = 0; i < f->nrelations; i++)
        plain &= catalog_relation_plain(cat, f->relations[i].schema, f->relations[i].name);
    (void)printf("%s%s\n", sql_standby_name(sql_standby(f, cat)), plain ? ", plain" : "");
    facts_put(&f);
}

int main(int argc, char **argv)
{
    bool standby = argc > 1 && strcmp(argv[1], "standby") == 0;
    struct catalog *cat = catalog_new(1);
    struct sql_cache *sql = sql_cache_new(1 << 20);
    char *buf = NULL;
    size_t cap = 0;
    struct str line;
    while (next_line(&buf, &cap, &line) && line.n > 0) {
        if (!add_row(cat, line))
            return 1;
    }
    while (next_line(&buf, &cap, &line))
        (standby ? judge_standby : judge)(sql, cat, line);
    free(buf);
    sql_cache_free(&sql);
    catalog_put(&cat);
    return fflush(stdout) != 0;
}
