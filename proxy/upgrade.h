/* upgrade.h - the older of two processes: starts a successor from the program's file, hands the
 * listening sockets over, and goes on until its own clients have left.
 *
 * Decision 018.  main.c asks for it (console, signal) and is called back once: the successor
 * serves, or it could not be started and everything stays as it was.  Afterwards the successor
 * passes on cancel requests that it cannot place, which may be of our clients, and tells when log
 * files have moved.
 * Thread: main, but for upgrade_answer.
 */
#ifndef PENSTOCK_PROXY_UPGRADE_H
#define PENSTOCK_PROXY_UPGRADE_H

#include "base/base.h"
#include "base/status.h"
#include "proxy/process.h"

#include <ev.h>

struct upgrade;

struct upgrade_plan {    /* borrowed for the call */
    const char *program; /* absolute path */
    char *const *argv;   /* as this process was started */
    const int *sockets;  /* listening */
    int nsockets;
    bool activated;    /* they came from the service manager */
    int pidfile;       /* open and locked; -1: none */
    uint32_t first_id; /* of the successor's clients */
};

struct upgrade_handler {
    /* pid 0: it did not work, and why says how; the next attempt may begin. */
    void (*done)(void *arg, int pid, const char *why);
    void (*reopen_log)(void *arg);
    void *arg;
};

struct upgrade *upgrade_new(struct ev_loop *loop, struct process *p, struct upgrade_handler h);
void upgrade_free(struct upgrade **u); /* NULL inside is fine; a successor that serves goes on */

/* Starts a successor; handler.done follows. ST_INVALID: one is being started, or serves already. */
enum status upgrade_start(struct upgrade *u, const struct upgrade_plan *plan,
                          struct error *err) ATTR_NODISCARD;

/* The process is told to end: a successor that does not serve yet is stopped. */
void upgrade_stop(struct upgrade *u);

/* The request that the successor gave that number was acted on. w: the calling worker, any. */
void upgrade_answer(struct worker *w, uint32_t number);

#endif
