/* cluster_rig.c - a rig whose database is a cluster of scripted nodes; see cluster_rig.h. */
#include "test/unit/support/cluster_rig.h"

#include "test/unit/support/toy_wire.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define FIRST_PROBE 5 /* all nodes have replayed it */

static void make_nodes(struct cluster_rig *x, unsigned n)
{
    router_rig_init(&x->m, n);
    for (unsigned i = 0; i < n; i++) {
        struct topology_node *t = &x->m.nodes[i];
        x->fd[i] = rig_listen(&x->port[i]);
        snprintf(x->names[i], sizeof(x->names[i]), "127.0.0.1:%d", x->port[i]);
        t->name = str_of(x->names[i]);
        t->host = STR("127.0.0.1");
        t->port = (uint16_t)x->port[i];
        router_rig_replayed(&x->m, (int)i, FIRST_PROBE);
    }
    atomic_store(&x->m.live->sent, FIRST_PROBE);
}

static const char *options(struct cluster_rig *x, const char *keys)
{
    int n = snprintf(x->options, sizeof(x->options),
                     "default_pool_size = 2\n[cluster main]\nprobe_user = p\n%s%shosts = ", keys,
                     strstr(keys, "begin_hold") == NULL ? "begin_hold = 0\n" : "");
    for (unsigned i = 0; i < x->m.model.nnodes; i++)
        n += snprintf(x->options + n, sizeof(x->options) - (size_t)n, "%s%s", i > 0 ? ", " : "",
                      x->names[i]);
    return x->options;
}

void nodes_new(struct cluster_rig *x, unsigned nnodes, const char *keys)
{
    memset(x, 0, sizeof(*x));
    for (size_t i = 0; i < ARRAY_LEN(x->c); i++)
        x->c[i].fd = -1;
    for (size_t i = 0; i < ARRAY_LEN(x->s); i++)
        x->s[i].fd = -1;
    for (int i = 0; i < CLUSTER_NODES_MAX; i++)
        x->fd[i] = -1;
    clock_test_stop();
    make_nodes(x, nnodes);
    x->r = rig_new(&toy_wire, 1, options(x, keys), "cluster=main");
    x->cluster = cluster_of(x->r->process.clusters, STR("main"));
    x->m.model.primary = 0;
    nodes_tell(x);
    rig_client(x->r, 0, &x->c[0]);
    peer_say(&x->c[0], "hello u d\n");
    nodes_server(x, 0, 0);
    peer_hears_until(x->r, &x->c[0], "done I", NULL, 0);
    rig_know_catalog(x->r);
}

void nodes_free(struct cluster_rig *x)
{
    for (size_t i = 0; i < ARRAY_LEN(x->c); i++)
        peer_close(&x->c[i]);
    for (size_t i = 0; i < ARRAY_LEN(x->s); i++)
        peer_close(&x->s[i]);
    rig_settle(x->r);
    rig_free(&x->r);
    for (int i = 0; i < CLUSTER_NODES_MAX; i++)
        if (x->fd[i] >= 0)
            close(x->fd[i]);
    router_rig_fini(&x->m);
}

void nodes_tell(struct cluster_rig *x)
{
    cluster_publish(x->cluster, &x->r->process, topology_new(&x->m.model));
    rig_settle(x->r);
}

void nodes_reload(struct cluster_rig *x, const char *keys, const char *db)
{
    rig_reload(x->r, options(x, keys), db);
}

void nodes_client(struct cluster_rig *x, int c, const char *startup)
{
    char line[64];
    rig_client(x->r, 0, &x->c[c]);
    snprintf(line, sizeof(line), "hello u d%s\n", startup);
    peer_say(&x->c[c], line);
    peer_hears_until(x->r, &x->c[c], "done I", NULL, 0);
}

void nodes_server(struct cluster_rig *x, int node, int s)
{
    rig_accept_from(x->r, x->fd[node], &x->s[s]);
    peer_hears(x->r, &x->s[s], "hello u d\n");
    peer_say(&x->s[s], "var server_version 1\nvar zone utc\nhi key\n");
    rig_settle(x->r);
}

void nodes_accept_nothing(struct cluster_rig *x, int node)
{
    rig_settle(x->r);
    assert_true(accept4(x->fd[node], NULL, NULL, SOCK_CLOEXEC) < 0);
}

void nodes_refuse(struct cluster_rig *x, int node)
{
    close(x->fd[node]);
    x->fd[node] = -1;
}

void nodes_listen(struct cluster_rig *x, int node)
{
    x->fd[node] = rig_listen(&x->port[node]);
}

void nodes_asks(struct cluster_rig *x, int c, int s, const char *text)
{
    char line[128];
    snprintf(line, sizeof(line), "Q %s\n", text);
    peer_say(&x->c[c], line);
    peer_hears(x->r, &x->s[s], line);
}

void nodes_answers(struct cluster_rig *x, int s, int c)
{
    peer_say(&x->s[s], "row 1\nok read\ndone I\n");
    peer_hears(x->r, &x->c[c], "row 1\nok read\ndone I\n");
}

void nodes_answers_write(struct cluster_rig *x, int s, int c)
{
    peer_say(&x->s[s], "ok write\ndone I\n");
    peer_hears(x->r, &x->c[c], "ok write\ndone I\n");
}

void nodes_reads(struct cluster_rig *x, int c, int s)
{
    nodes_asks(x, c, s, "select 1 from t");
    nodes_answers(x, s, c);
}

void nodes_writes(struct cluster_rig *x, int c, int s)
{
    nodes_asks(x, c, s, "update t set a = 1");
    nodes_answers_write(x, s, c);
}

struct pool *nodes_home(struct cluster_rig *x)
{
    return rig_pool(x->r, 0);
}

const struct client *nodes_at(struct cluster_rig *x)
{
    return container_of(list_last(&nodes_home(x)->clients), struct client, in_pool);
}
