/* options.c - the command line, and becoming a daemon or another user; see options.h.  Main
 * thread. */
#include "proxy/options.h"

#include "base/str.h"
#include "proxy/config/config.h"
#include "proxy/config/config_explain.h"
#include "proxy/ctl/ctl.h"
#include "proxy/http/http.h"
#include "proxy/process.h"
#include "proxy/metrics/metrics.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static const char usage[] =
    "Penstock: thousands of PostgreSQL clients over a few hundred servers.\n"
    "\n"
    "Usage: penstock [OPTION]... FILE.ini\n"
    "       penstock [OPTION]... postgres://USER:PASSWORD@HOST:PORT/DATABASE\n"
    "       penstock ctl [OPTION]... COMMAND     the console for scripts\n"
    "       penstock top [OPTION]...             pools and statements in a terminal\n"
    "\n"
    "With a URL no file is needed: clients connect to 127.0.0.1:6432 in transaction mode.\n"
    "\n"
    "  --check         say whether the configuration is good and what each key does, and exit\n"
    "  --upgrade       let a new process take over from the one that runs with this file\n"
    "  --sample        print a commented sample configuration and exit\n"
    "  --manual        print the table of all options and exit\n"
    "  --metrics       print the table of all metrics and exit\n"
    "  -d, --daemon    run in the background (needs logfile and pidfile)\n"
    "  -u, --user=NAME change to this system user\n"
    "  -v, --verbose   more in the log; may be given several times\n"
    "  -q, --quiet     nothing on standard error\n"
    "  -V, --version   print the version and exit\n"
    "  -h, --help      print this and exit\n"
    "\n"
    "Console: psql -h /tmp -p 6432 -U penstock penstock    (SHOW HELP lists its commands)\n"
    "Signals: HUP reload, TERM wait for clients, INT wait for servers, QUIT now,\n"
    "         USR1 pause, USR2 resume.\n";

enum { OPT_CHECK = 256, OPT_SAMPLE, OPT_MANUAL, OPT_METRICS, OPT_UPGRADE };

int options_parse(int argc, char **argv, struct options *o)
{
    static const struct option longs[] = {
        {"check", no_argument, NULL, OPT_CHECK},     {"sample", no_argument, NULL, OPT_SAMPLE},
        {"upgrade", no_argument, NULL, OPT_UPGRADE}, {"manual", no_argument, NULL, OPT_MANUAL},
        {"daemon", no_argument, NULL, 'd'},          {"user", required_argument, NULL, 'u'},
        {"verbose", no_argument, NULL, 'v'},         {"quiet", no_argument, NULL, 'q'},
        {"version", no_argument, NULL, 'V'},         {"help", no_argument, NULL, 'h'},
        {"metrics", no_argument, NULL, OPT_METRICS}, {NULL, 0, NULL, 0}};
    memset(o, 0, sizeof(*o));
    o->argv = argv;
    int ch;
    /* NOLINTNEXTLINE(concurrency-mt-unsafe): no thread has been started yet */
    while ((ch = getopt_long(argc, argv, "du:vqVh", longs, NULL)) != -1) {
        switch (ch) {
        case 'd':
            o->daemonize = true;
            break;
        case 'u':
            o->user = optarg;
            break;
        case 'v':
            o->verbose++;
            break;
        case 'q':
            o->quiet = true;
            break;
        case OPT_CHECK:
            o->check = true;
            break;
        case OPT_UPGRADE:
            o->upgrade = true;
            break;
        case OPT_SAMPLE:
            config_print_sample(stdout);
            return 0;
        case OPT_MANUAL:
            config_print_manual(stdout);
            return 0;
        case OPT_METRICS:
            metrics_print_manual(stdout);
            return 0;
        case 'V':
            printf("penstock %s\n", PENSTOCK_VERSION);
            return 0;
        case 'h':
            fputs(usage, stdout);
            return 0;
        default:
            fputs("Try 'penstock --help'.\n", stderr);
            return 2;
        }
    }
    if (optind != argc - 1) {
        fputs(usage, stderr);
        return 2;
    }
    struct str arg = str_of(argv[optind]);
    if (str_starts(arg, STR("postgres://")) || str_starts(arg, STR("postgresql://")))
        o->url = argv[optind];
    else
        o->file = argv[optind];
    return -1;
}

int options_check(const struct options *o, struct config *cfg)
{
    struct error err = {""};
    struct runtime *rt = NULL;
    struct tls_ticket_keys *tickets = tls_ticket_keys_new();
    enum status st = http_check(&cfg->opt, &err);
    if (st == ST_OK)
        st = runtime_new(cfg, tickets, &rt, &err);
    if (st == ST_OK)
        puts("configuration is good");
    if (st == ST_OK && o->file != NULL)
        st = config_explain(stdout, rt->config, o->file, &err);
    if (st != ST_OK)
        fprintf(stderr, "%s\n", err.text);
    runtime_put(&rt);
    tls_ticket_keys_free(&tickets);
    return st == ST_OK ? 0 : 1;
}

int options_upgrade(const struct config_options *cfg)
{
    char port[16], dir[sizeof(struct sockaddr_un)], command[] = "ctl", host[] = "-h", p[] = "-p",
                                                    ask[] = "UPGRADE";
    char *argv[] = {command, host, dir, p, port, ask, NULL};
    int status = 1;
    if (cfg->unix_socket_dir[0] == '\0' ||
        !str_copy(dir, sizeof(dir), str_of(cfg->unix_socket_dir))) {
        fputs("penstock: --upgrade needs unix_socket_dir\n", stderr);
        return 1;
    }
    snprintf(port, sizeof(port), "%d", cfg->listen_port);
    optind = 0; /* a second command line */
    (void)ctl_run((int)ARRAY_LEN(argv) - 1, argv, &status);
    return status;
}

static enum status change_user(const char *name, struct error *err)
{
    struct passwd pw, *found = NULL;
    char mem[4096];
    if (getpwnam_r(name, &pw, mem, sizeof(mem), &found) != 0 || found == NULL)
        return error_set(err, ST_MISSING, "user \"%s\" does not exist", name);
    if (geteuid() == pw.pw_uid)
        return ST_OK;
    if (initgroups(name, pw.pw_gid) != 0 || setgid(pw.pw_gid) != 0 || setuid(pw.pw_uid) != 0)
        return error_set(err, ST_DENIED, "cannot change to user \"%s\": %s", name,
                         strerrordesc_np(errno));
    return ST_OK;
}

/* The lock ends with the process, however it ends: a file that a crash left behind is in nobody's
 * way. */
static enum status lock_pidfile(const char *path, int *pidfile, struct error *err)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0)
        return error_set(err, ST_IO, "pidfile %s: %s", path, strerrordesc_np(errno));
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        close(fd);
        return error_set(err, ST_IO, "pidfile %s belongs to a running process", path);
    }
    *pidfile = fd;
    return ST_OK;
}

/* The predecessor's file, if ours has the same name: its lock comes with the descriptor. */
static bool inherit_pidfile(const char *path, struct inherit *in, int *pidfile)
{
    struct stat theirs, ours;
    if (in->pidfile < 0 || fstat(in->pidfile, &theirs) != 0 || stat(path, &ours) != 0 ||
        theirs.st_dev != ours.st_dev || theirs.st_ino != ours.st_ino)
        return false;
    *pidfile = in->pidfile;
    in->pidfile = -1;
    return true;
}

enum status options_write_pid(const struct config_options *cfg, int pidfile, struct error *err)
{
    char text[32];
    int n = snprintf(text, sizeof(text), "%ld\n", (long)getpid());
    if (pidfile >= 0 &&
        (ftruncate(pidfile, 0) != 0 || pwrite(pidfile, text, (size_t)n, 0) != (ssize_t)n))
        return error_set(err, ST_IO, "pidfile %s: %s", cfg->pidfile, strerrordesc_np(errno));
    return ST_OK;
}

enum status options_become(const struct options *o, const struct config_options *cfg,
                           struct inherit *in, int *pidfile, struct error *err)
{
    *pidfile = -1;
    const char *user = o->user != NULL ? o->user : cfg->user;
    if (user[0] != '\0') {
        enum status st = change_user(user, err);
        if (st != ST_OK)
            return st;
    }
    if (geteuid() == 0)
        return error_set(err, ST_DENIED,
                         "must not run as root: give --user, or user = in the file");
    /* before the terminal is gone; the lock passes on to the child */
    if (cfg->pidfile[0] != '\0' && !inherit_pidfile(cfg->pidfile, in, pidfile)) {
        enum status st = lock_pidfile(cfg->pidfile, pidfile, err);
        if (st != ST_OK)
            return st;
    }
    if (o->daemonize && !in->heir) {
        if (cfg->logfile[0] == '\0' && !cfg->syslog)
            return error_set(err, ST_INVALID, "--daemon needs logfile or syslog");
        if (daemon(1, 0) != 0)
            return error_set(err, ST_IO, "cannot go to the background: %s", strerrordesc_np(errno));
    }
    return ST_OK;
}

void options_remove_pidfile(const struct config_options *cfg, int pidfile)
{
    if (pidfile < 0)
        return;
    unlink(cfg->pidfile);
    close(pidfile);
}
