/* route_cost.c - what a routing decision costs, without a network: a program of `make bench`.
 *
 * Prints lines of a name and a number: nanoseconds for the decision on a statement of known digest,
 * with and without marks of freshness, and microseconds for statements never seen before, of three
 * lengths, from the text to the decision: normalised, parsed, judged, decided.  CPU time; medians.
 * Built from the product's own sources by rigs.py; not part of the program.
 */
#include "base/hash.h"
#include "protocol/sql/sql_cache.h"
#include "router/route.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define ROUNDS 31
#define KNOWN 20000
#define UNSEEN 200
#define NODES 3

static const char *const small = "SELECT abalance AS a%u FROM pgbench_accounts WHERE aid = %u";

/* 455 bytes once the numbers are in. */
static const char *const medium =
    "SELECT o.id AS id_%u, o.created_at, c.name, c.email, sum(l.quantity * l.price) AS total, "
    "count(*) FILTER (WHERE l.returned) AS returned FROM orders o JOIN customers c ON c.id = "
    "o.customer_id JOIN order_lines l ON l.order_id = o.id LEFT JOIN shipments s ON s.order_id = "
    "o.id WHERE o.created_at >= '2024-01-01' AND o.status IN ('paid', 'shipped') AND c.country = "
    "'NL' AND s.sent_at IS NOT NULL GROUP BY o.id, c.name, c.email HAVING sum(l.price) > %u "
    "ORDER BY total DESC LIMIT 50";

struct bench {
    struct catalog *cat;
    struct topology *topology;
    struct freshness_mark mark;
    uint64_t turn, sum;
};

static void add(struct catalog *c, const char *kind, const char *schema, const char *name,
                const char *flags)
{
    struct str cols[4] = {str_of(kind), str_of(schema), str_of(name), str_of(flags)};
    struct error err = {{0}};
    if (catalog_add_row(c, cols, 4, &err) != ST_OK)
        abort();
}

static void setup(struct bench *b)
{
    static const char *const tables[] = {"pgbench_accounts", "orders", "customers", "order_lines",
                                         "shipments"};
    struct topology_node nodes[NODES];
    struct topology_live *live = topology_live_new(10);
    memset(nodes, 0, sizeof(nodes));
    b->cat = catalog_new(1);
    for (size_t i = 0; i < ARRAY_LEN(tables); i++)
        add(b->cat, "r", "public", tables[i], "rwstp");
    add(b->cat, "f", "pg_catalog", "sum", "bqst");
    add(b->cat, "f", "pg_catalog", "count", "bqst");
    for (int i = 0; i < NODES; i++) {
        nodes[i].used = true;
        nodes[i].weight = 1;
        nodes[i].role = i == 0 ? NODE_PRIMARY : NODE_REPLICA;
        atomic_store(&live->nodes[i].replayed, 9);
    }
    struct topology model = {.nodes = nodes, .nnodes = NODES, .live = live, .epoch = 1};
    model.policy.consistency = CONSISTENCY_SESSION;
    b->topology = topology_new(&model);
    topology_live_put(&live);
}

static void decide(struct bench *b, struct facts *f)
{
    struct route_choice to;
    struct route_ask ask = {.topology = b->topology,
                            .verdict = sql_standby(f, b->cat),
                            .hint = route_hint(f),
                            .rule = rules_match(NULL, f, NULL),
                            .bound = TOPOLOGY_NONE,
                            .random = b->turn++,
                            .mark = &b->mark};
    route_decide(&ask, &to);
    b->sum += (uint64_t)to.node;
}

/* Of this thread: a busy machine makes nothing dearer. */
static double cpu_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *v)
{
    qsort(v, ROUNDS, sizeof(*v), by_size);
    return v[ROUNDS / 2];
}

static double known_ns(struct bench *b, struct sql_cache *sql)
{
    double took[ROUNDS];
    struct facts *f = sql_cache_get(sql, STR("SELECT a FROM pgbench_accounts WHERE aid = 1"), 0);
    for (int r = 0; r < ROUNDS; r++) {
        double from = cpu_us();
        for (int i = 0; i < KNOWN; i++)
            decide(b, f);
        took[r] = (cpu_us() - from) * 1000 / KNOWN;
    }
    facts_put(&f);
    return median(took);
}

/* times: how often the text stands in a UNION ALL, which makes it long. */
static double unseen_us(struct bench *b, struct sql_cache *sql, const char *format, int times)
{
    static unsigned number;
    static char text[16384];
    double took[ROUNDS];
    for (int r = 0; r < ROUNDS; r++) {
        double spent = 0;
        for (int i = 0; i < UNSEEN; i++) {
            size_t n = 0;
            number++;
            for (int k = 0; k < times; k++)
                n += (size_t)snprintf(text + n, sizeof(text) - n, k == 0 ? "(" : ") UNION ALL ("),
                    n += (size_t)snprintf(text + n, sizeof(text) - n, format, number, number);
            n += (size_t)snprintf(text + n, sizeof(text) - n, ")");
            double from = cpu_us();
            struct facts *f = sql_cache_get(sql, (struct str){text, n}, 0);
            decide(b, f);
            spent += cpu_us() - from;
            if (sql_standby(f, b->cat) != STANDBY_OK)
                abort(); /* not the statement it was meant to be */
            facts_put(&f);
        }
        took[r] = spent / UNSEEN;
    }
    return median(took);
}

int main(void)
{
    struct bench b = {0};
    hash_seed_init();
    struct sql_cache *sql = sql_cache_new(1 << 20);
    setup(&b);
    printf("known %.1f\n", known_ns(&b, sql));
    b.mark = (struct freshness_mark){.wrote = 7, .saw = 8};
    printf("known_marked %.1f\n", known_ns(&b, sql));
    printf("unseen_small %.1f\n", unseen_us(&b, sql, small, 1));
    printf("unseen_medium %.1f\n", unseen_us(&b, sql, medium, 1));
    printf("unseen_large %.1f\n", unseen_us(&b, sql, medium, 5));
    sql_cache_free(&sql);
    topology_put(&b.topology);
    catalog_put(&b.cat);
    return b.sum == 0;
}
