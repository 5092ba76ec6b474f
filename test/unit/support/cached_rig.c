/* cached_rig.c - see cached_rig.h. */
#include "test/unit/support/cached_rig.h"

#include "base/clock.h"
#include "proxy/session_cache.h"

#include <stdatomic.h>
#include <stdio.h>

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

/* As if the catalog had been asked for when definitions were at that number; the toy codec has
 * none. */
void cached_know_catalog_of(struct cached *x, uint32_t definitions)
{
    static const char *const rows[][4] = {
        {"r", "app", "accounts", "rws"},         {"r", "app", "other", "rws"},
        {"relation", "app", "accounts", "1 r "}, {"relation", "app", "other", "2 r "},
        {"column", "1", "user_id", "int8"},      {"end", "", "", ""}};
    struct db_shared *db = rig_pool(x->r, 0)->shared->db;
    struct catalog *c = catalog_new(1);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct str cols[4] = {str_of(rows[i][0]), str_of(rows[i][1]), str_of(rows[i][2]),
                              str_of(rows[i][3])};
        assert_int_equal(catalog_add_row(c, cols, 4, NULL), ST_OK);
    }
    registry_set_catalog(x->r->process.registry, db, c, definitions);
    for (unsigned i = 0; i < x->r->process.nworkers; i++)
        if (rig_pool(x->r, i) != NULL)
            catalog_wanted(rig_pool(x->r, i));
}

uint32_t cached_definitions(struct cached *x)
{
    return atomic_load(&rig_pool(x->r, 0)->shared->db->shared.definitions);
}

void cached_know_catalog(struct cached *x)
{
    cached_know_catalog_of(x, cached_definitions(x));
}

void cached_begin(struct cached *x, const char *rules)
{
    *x = (struct cached){0};
    clock_test_stop();
    for (int i = 0; i < CLIENTS; i++)
        x->c[i].fd = -1;
    for (int i = 0; i < SERVERS; i++)
        x->s[i].fd = -1;
    x->r = rig_new(&toy_wire, 1, rules, NULL);
    rig_toy_client(x->r, 0, &x->c[0], &x->s[0]);
    for (int i = 1; i < CLIENTS; i++)
        rig_toy_client(x->r, 0, &x->c[i], NULL);
    cached_know_catalog(x);
}

void cached_end(struct cached *x)
{
    for (int i = 0; i < CLIENTS; i++)
        peer_close(&x->c[i]);
    for (int i = 0; i < SERVERS; i++)
        peer_close(&x->s[i]);
    rig_free(&x->r);
}

void cached_say(struct cached *x, int c, const char *text)
{
    peer_say(&x->c[c], text);
    rig_settle(x->r);
}

/* Client c asks for row 5, and the database is asked: s hears it. */
void cached_asks(struct cached *x, int c, int s)
{
    cached_say(x, c, READ);
    peer_hears(x->r, &x->s[s], READ);
}

void cached_row(struct cached *x, int s, const char *value)
{
    char text[64];
    snprintf(text, sizeof(text), "row %s\nok read\ndone I\n", value);
    peer_say(&x->s[s], text);
    rig_settle(x->r);
}

void cached_hears(struct cached *x, int c, const char *value)
{
    char text[64];
    snprintf(text, sizeof(text), "row %s\nok read\ndone I\n", value);
    peer_hears(x->r, &x->c[c], text);
}

/* The answer is the cache's: no server hears of it. */
void cached_hit(struct cached *x, int c, const char *value)
{
    cached_say(x, c, READ);
    cached_hears(x, c, value);
    for (int i = 0; i < SERVERS; i++)
        if (x->s[i].fd >= 0)
            peer_hears_nothing(x->r, &x->s[i]);
}

void cached_miss(struct cached *x, int c, int s, const char *value)
{
    cached_asks(x, c, s);
    cached_row(x, s, value);
    cached_hears(x, c, value);
}

void cached_runs(struct cached *x, int c, int s, const char *text, const char *answer)
{
    cached_say(x, c, text);
    peer_hears(x->r, &x->s[s], text);
    peer_say(&x->s[s], answer);
    peer_hears(x->r, &x->c[c], answer);
}
