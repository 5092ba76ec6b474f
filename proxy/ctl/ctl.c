/* ctl.c - arguments of `penstock ctl` and `penstock top`, and ctl itself; see ctl.h. */
#include "proxy/ctl/ctl.h"

#include "base/buf.h"
#include "base/str.h"
#include "proxy/ctl/ctl_print.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define COMMAND_MAX 1024
#define ANSWER_MAX ((size_t)1 << 30)
#define INTERVAL_MIN 0.1
#define INTERVAL_MAX 3600.

static const char ctl_usage[] =
    "Usage: penstock ctl [OPTION]... COMMAND\n"
    "Runs one command of the console and prints the answer, as in: penstock ctl SHOW POOLS\n"
    "\n"
    "  -h, --host=HOST      address, or folder of the Unix socket (/tmp)\n"
    "  -p, --port=PORT      port of the proxy (6432)\n"
    "  -U, --user=USER      user (penstock: the system user that runs the proxy)\n"
    "  -d, --database=NAME  the console's name (penstock)\n"
    "  -f, --format=FORMAT  table, csv or json (table)\n"
    "      --help           print this and exit\n"
    "\n"
    "Passwords: PGPASSWORD, or a file as psql reads it.\n"
    "Exit status: 0 done, 1 the console refused, 2 wrong arguments, 3 no connection.\n";

static const char top_usage[] =
    "Usage: penstock top [OPTION]...\n"
    "Shows pools, statements and clients in a terminal; the keys are on the screen.\n"
    "\n"
    "  -h, --host=HOST      address, or folder of the Unix socket (/tmp)\n"
    "  -p, --port=PORT      port of the proxy (6432)\n"
    "  -U, --user=USER      user (penstock: the system user that runs the proxy)\n"
    "  -d, --database=NAME  the console's name (penstock)\n"
    "  -i, --interval=SECS  time between two looks (2)\n"
    "      --help           print this and exit\n"
    "\n"
    "Exit status: 0 left, 2 wrong arguments or no terminal, 3 no connection.\n";

struct args {
    struct ctl_target target;
    enum ctl_format format;
    double interval;
    bool help;
    const char *wrong; /* what is, or NULL */
};

enum { OPT_HELP = 256 };

static void read_format(struct args *a, const char *z)
{
    static const char *const names[] = {"table", "csv", "json"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (strcmp(z, names[i]) == 0) {
            a->format = (enum ctl_format)i;
            return;
        }
    }
    a->wrong = "the format is table, csv or json";
}

static void read_interval(struct args *a, const char *z)
{
    char *end;
    a->interval = strtod(z, &end);
    if (end == z || *end != '\0' || !(a->interval >= INTERVAL_MIN && a->interval <= INTERVAL_MAX))
        a->wrong = "the interval is a number of seconds, 0.1 at least";
}

static void read_args(struct args *a, int argc, char **argv, bool top)
{
    static const struct option longs[] = {
        {"host", required_argument, NULL, 'h'},   {"port", required_argument, NULL, 'p'},
        {"user", required_argument, NULL, 'U'},   {"database", required_argument, NULL, 'd'},
        {"format", required_argument, NULL, 'f'}, {"interval", required_argument, NULL, 'i'},
        {"help", no_argument, NULL, OPT_HELP},    {NULL, 0, NULL, 0}};
    *a = (struct args){.target = {"/tmp", "6432", "penstock", "penstock"}, .interval = 2};
    int ch;
    /* NOLINTNEXTLINE(concurrency-mt-unsafe): there is one thread */
    while ((ch = getopt_long(argc, argv, top ? "+h:p:U:d:i:" : "+h:p:U:d:f:", longs, NULL)) != -1) {
        if (ch == 'h')
            a->target.host = optarg;
        else if (ch == 'p')
            a->target.port = optarg;
        else if (ch == 'U')
            a->target.user = optarg;
        else if (ch == 'd')
            a->target.database = optarg;
        else if (ch == 'f' && !top)
            read_format(a, optarg);
        else if (ch == 'i' && top)
            read_interval(a, optarg);
        else if (ch == OPT_HELP)
            a->help = true;
        else
            a->wrong = "";
    }
}

/* ---- ctl ------------------------------------------------------------------------------------- */

static void to_stderr(const char *text)
{
    fprintf(stderr, "%s\n", text);
}

/* The words of the command line with blanks between them. */
static bool join(char **words, int n, char *dst, size_t cap)
{
    size_t at = 0;
    for (int i = 0; i < n; i++) {
        size_t len = strlen(words[i]);
        if (at + len + 2 > cap)
            return false;
        if (i > 0)
            dst[at++] = ' ';
        memcpy(dst + at, words[i], len + 1);
        at += len;
    }
    return at > 0;
}

static int write_all(const struct buf *b)
{
    if (b->failed) {
        to_stderr("penstock ctl: the answer is too large");
        return CTL_REFUSED;
    }
    bool ok = fwrite(buf_data(b), 1, buf_len(b), stdout) == buf_len(b) && fflush(stdout) == 0;
    if (!ok)
        to_stderr("penstock ctl: cannot write the answer");
    return ok ? CTL_DONE : CTL_REFUSED;
}

static int ask(const struct args *a, const char *command)
{
    struct ctl_conn *conn = NULL;
    struct ctl_table *table = NULL;
    struct error err = {""};
    int status = CTL_DONE;
    enum status st = ctl_conn_open(&a->target, to_stderr, &conn, &err);
    if (st == ST_OK)
        st = ctl_conn_ask(conn, command, &table, &err);
    if (st == ST_IO && conn != NULL && str_ieq(str_trim(str_of(command)), STR("shutdown")))
        goto done; /* the connection ends with the process: that is the answer */
    if (st != ST_OK) {
        fprintf(stderr, "penstock ctl: %s\n", err.text);
        status = st == ST_INVALID ? CTL_REFUSED : CTL_AWAY;
    } else if (table->ncols > 0) {
        struct buf out;
        buf_init(&out, ANSWER_MAX);
        ctl_print(table, a->format, &out);
        status = write_all(&out);
        buf_fini(&out);
    }
done:
    ctl_table_free(&table);
    ctl_conn_close(&conn);
    return status;
}

static int run(const struct args *a, char **words, int n, bool top)
{
    char command[COMMAND_MAX];
    if (a->help) {
        fputs(top ? top_usage : ctl_usage, stdout);
        return CTL_DONE;
    }
    bool complete = a->wrong == NULL && (top ? n == 0 : n > 0);
    if (!complete) {
        if (a->wrong != NULL && a->wrong[0] != '\0')
            fprintf(stderr, "penstock: %s\n", a->wrong);
        fputs(top ? top_usage : ctl_usage, stderr);
        return CTL_USAGE;
    }
    if (top)
        return top_run(&a->target, a->interval);
    if (!join(words, n, command, sizeof(command))) {
        to_stderr("penstock ctl: the command is empty or too long");
        return CTL_USAGE;
    }
    return ask(a, command);
}

bool ctl_run(int argc, char **argv, int *status)
{
    struct args a;
    bool top = argc > 0 && strcmp(argv[0], "top") == 0;
    if (argc < 1 || (!top && strcmp(argv[0], "ctl") != 0))
        return false;
    read_args(&a, argc, argv, top);
    *status = run(&a, argv + optind, argc - optind, top);
    return true;
}
