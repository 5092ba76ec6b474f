/* options.h - the command line, and becoming a daemon or another user.
 *
 * Called by main.c, before any thread exists.
 */
#ifndef PENSTOCK_PROXY_OPTIONS_H
#define PENSTOCK_PROXY_OPTIONS_H

#include "base/status.h"
#include "proxy/config/config_schema.h"
#include "proxy/inherit.h"

#ifndef PENSTOCK_VERSION
#define PENSTOCK_VERSION "0.1.0"
#endif

struct config;

struct options {
    const char *file, *url; /* exactly one is set; borrowed from argv */
    const char *user;       /* -u */
    int verbose;
    bool quiet, daemonize, check, upgrade;
    char **argv; /* as they were given; borrowed */
};

/* Fills o and returns -1, or the exit status when there is nothing to run (help, version,
 * mistakes). */
int options_parse(int argc, char **argv, struct options *o);
/* --check: says whether the configuration is good (cfg's reference is taken over), and what each
 * key of the file does. Returns the exit status. */
int options_check(const struct options *o, struct config *cfg);
/* --upgrade: asks the process that runs with this configuration for UPGRADE, over its Unix socket.
 * Returns the exit status. */
int options_upgrade(const struct config_options *cfg);
/* Changes the user, daemonizes and locks the pid file, as asked. *pidfile becomes its descriptor,
 * whose lock keeps a second process from the same file, or -1. in: of an heir, which is in the
 * background already and may get the lock from there. */
enum status options_become(const struct options *o, const struct config_options *cfg,
                           struct inherit *in, int *pidfile, struct error *err) ATTR_NODISCARD;
/* Writes our number into the locked file; nothing for -1. */
enum status options_write_pid(const struct config_options *cfg, int pidfile,
                              struct error *err) ATTR_NODISCARD;
/* Removes and closes the file; nothing for -1. */
void options_remove_pidfile(const struct config_options *cfg, int pidfile);

#endif
