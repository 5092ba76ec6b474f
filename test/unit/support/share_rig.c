/* share_rig.c - a rig on which reads of several clients may share a server; see share_rig.h. */
#include "test/unit/support/share_rig.h"

#include "test/unit/support/toy_wire.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

/* The rig's section is PgBouncer's, where sharing is off unless it is asked for. */
static const char *with_depth(const char *options, char *dst, size_t cap)
{
    bool told = strstr(options, "multiplex_depth") != NULL;
    snprintf(dst, cap, "%s%s", told ? "" : "multiplex_depth = 16\n", options);
    return dst;
}

void share_reload(struct share_rig *x, const char *options)
{
    char all[512];
    rig_reload(x->r, with_depth(options, all, sizeof(all)), NULL);
}

void share_new(struct share_rig *x, unsigned nworkers, const char *options, int nclients)
{
    char all[512];
    *x = (struct share_rig){0};
    clock_test_stop();
    for (int i = 0; i < SHARE_CLIENTS_MAX; i++)
        x->c[i].fd = -1;
    for (int i = 0; i < SHARE_SERVERS_MAX; i++)
        x->s[i].fd = -1;
    x->r = rig_new(&toy_wire, nworkers, with_depth(options, all, sizeof(all)), NULL);
    for (int i = 0; i < nclients; i++)
        (void)share_client(x, 0, NULL);
    rig_know_catalog(x->r);
    share_round(x, "0");
}

void share_free(struct share_rig *x)
{
    for (int i = 0; i < SHARE_CLIENTS_MAX; i++)
        peer_close(&x->c[i]);
    for (int i = 0; i < SHARE_SERVERS_MAX; i++)
        peer_close(&x->s[i]);
    rig_free(&x->r);
}

int share_client(struct share_rig *x, unsigned worker, const char *setting)
{
    char line[128];
    int i = x->nclients++;
    struct peer *c = &x->c[i];
    assert_in_range(i, 0, SHARE_CLIENTS_MAX - 1);
    rig_client(x->r, worker, c);
    snprintf(line, sizeof(line), "hello u d%s%s\n", setting != NULL ? " " : "",
             setting != NULL ? setting : "");
    peer_say(c, line);
    if (i == 0)
        rig_toy_server(x->r, &x->s[0]);
    if (setting != NULL) {
        snprintf(line, sizeof(line), "set %s;\n", setting);
        peer_hears(x->r, &x->s[0], line);
        peer_say(&x->s[0], "done I\n");
    }
    peer_hears_until(x->r, c, "hi ", line, sizeof(line));
    peer_hears(x->r, c, "done I\n");
    snprintf(x->key[i], sizeof(x->key[i]), "cancel %s\n", line + 3);
    return i;
}

void share_ask(struct share_rig *x, const char *clients)
{
    char text[32];
    for (const char *c = clients; *c != '\0'; c++) {
        snprintf(text, sizeof(text), "Q select '%c'\n", *c);
        peer_say(&x->c[*c - '0'], text);
        rig_settle(x->r);
    }
}

void share_heard(struct share_rig *x, int s, const char *clients)
{
    char text[32 * SHARE_CLIENTS_MAX] = "";
    size_t n = 0;
    for (const char *c = clients; *c != '\0'; c++)
        n += (size_t)snprintf(text + n, sizeof(text) - n, "Q select '%c'\n", *c);
    peer_hears(x->r, &x->s[s], text);
}

void share_answer(struct share_rig *x, int s, const char *clients)
{
    char text[32];
    for (const char *c = clients; *c != '\0'; c++) {
        snprintf(text, sizeof(text), "row %c\nok read\ndone I\n", *c);
        peer_say(&x->s[s], text);
    }
    rig_settle(x->r);
}

void share_answered(struct share_rig *x, const char *clients)
{
    char text[32];
    for (const char *c = clients; *c != '\0'; c++) {
        snprintf(text, sizeof(text), "row %c\nok read\ndone I\n", *c);
        peer_hears(x->r, &x->c[*c - '0'], text);
    }
}

void share_silent(struct share_rig *x, const char *clients)
{
    for (const char *c = clients; *c != '\0'; c++)
        peer_hears_nothing(x->r, &x->c[*c - '0']);
}

void share_round(struct share_rig *x, const char *clients)
{
    share_ask(x, clients);
    share_heard(x, 0, clients);
    share_answer(x, 0, clients);
    share_answered(x, clients);
}

void share_server(struct share_rig *x, int s)
{
    rig_toy_server(x->r, &x->s[s]);
}

void share_cancel(struct share_rig *x, int client)
{
    struct peer p;
    rig_client(x->r, 0, &p);
    peer_say(&p, x->key[client]);
    peer_hears_end(x->r, &p);
}

void share_accept_cancel(struct share_rig *x, struct peer *p)
{
    rig_accept(x->r, p);
    peer_hears(x->r, p, "cancel key\n");
}

const struct stats *share_stats(struct share_rig *x)
{
    return &rig_pool(x->r, 0)->stats;
}

void share_three(struct share_rig *x, const char *options)
{
    share_new(x, 1, options, 4);
    share_ask(x, "012");
    share_heard(x, 0, "012");
    assert_int_equal(share_stats(x)->shared, 2);
}

void share_elsewhere(struct share_rig *x, const char *clients)
{
    share_server(x, 1);
    for (const char *c = clients; *c != '\0'; c++) {
        char who[2] = {*c, '\0'};
        share_heard(x, 1, who);
        share_answer(x, 1, who);
        share_answered(x, who);
    }
}
