/* log.c - log lines.
 *
 * Called from everywhere, on any thread.  A line is formatted and escaped on the caller's stack and
 * then handed to each sink under one mutex, which log_configure and log_reopen take as well: no
 * line is ever written to a descriptor that was just closed.  A file line is one write(2) to a
 * descriptor opened with O_APPEND, so several processes may share a file.
 * Before log_configure everything up to LL_LOG goes to standard error.
 * What a peer said may be part of a line: log_format.c escapes it, whoever forgot.
 * Sites that have left out lines hang on a list that only grows: they are static objects.
 */
#include "base/log.h"

#include "base/clock.h"
#include "base/log_format.h"
#include "base/mem.h"
#include "base/str.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <syslog.h>
#include <unistd.h>

#define TEXT_MAX 2048        /* bytes of one line's text before escaping */
#define LOG_LINE_BYTES 32768 /* of a line with all that is escaped in it */
#define SITE_LINES_PER_SEC 10

static struct {
    pthread_mutex_t lock; /* guards what follows */
    int fd;               /* -1: no file */
    char *file, *ident;   /* owned */
    bool to_stderr, to_syslog;
    /* read and changed without the lock: */
    _Atomic int format;
    struct log_site *_Atomic sites; /* that have ever left out a line */
} sink = {.lock = PTHREAD_MUTEX_INITIALIZER, .fd = -1, .to_stderr = true};

static _Atomic int threshold = LL_LOG;

static const struct {
    const char *name;
    int value;
} facilities[] = {
    {"auth", LOG_AUTH},     {"authpriv", LOG_AUTHPRIV}, {"cron", LOG_CRON},
    {"daemon", LOG_DAEMON}, {"ftp", LOG_FTP},           {"kern", LOG_KERN},
    {"lpr", LOG_LPR},       {"mail", LOG_MAIL},         {"news", LOG_NEWS},
    {"syslog", LOG_SYSLOG}, {"user", LOG_USER},         {"uucp", LOG_UUCP},
    {"local0", LOG_LOCAL0}, {"local1", LOG_LOCAL1},     {"local2", LOG_LOCAL2},
    {"local3", LOG_LOCAL3}, {"local4", LOG_LOCAL4},     {"local5", LOG_LOCAL5},
    {"local6", LOG_LOCAL6}, {"local7", LOG_LOCAL7},
};

static const char *level_name(enum log_level level)
{
    switch (level) {
    case LL_FATAL:
        return "FATAL";
    case LL_ERROR:
        return "ERROR";
    case LL_WARNING:
        return "WARNING";
    case LL_LOG:
        return "LOG";
    case LL_DEBUG:
        return "DEBUG";
    case LL_NOISE:
        return "NOISE";
    }
    return "LOG";
}

static int level_priority(enum log_level level)
{
    switch (level) {
    case LL_FATAL:
        return LOG_CRIT;
    case LL_ERROR:
        return LOG_ERR;
    case LL_WARNING:
        return LOG_WARNING;
    case LL_LOG:
        return LOG_INFO;
    case LL_DEBUG:
    case LL_NOISE:
        return LOG_DEBUG;
    }
    return LOG_INFO;
}

static enum status find_facility(const char *name, int *value, struct error *err)
{
    *value = LOG_DAEMON;
    if (name == NULL || name[0] == '\0')
        return ST_OK;
    for (size_t i = 0; i < ARRAY_LEN(facilities); i++) {
        if (str_ieq(str_of(name), str_of(facilities[i].name))) {
            *value = facilities[i].value;
            return ST_OK;
        }
    }
    return error_set(err, ST_INVALID, "unknown syslog facility \"%s\"", name);
}

static int open_file(const char *file)
{
    return open(file, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0640);
}

enum status log_configure(const struct log_config *cfg, struct error *err)
{
    int facility;
    enum status st = find_facility(cfg->facility, &facility, err);
    if (st != ST_OK)
        return st;
    int fd = -1;
    bool has_file = cfg->file != NULL && cfg->file[0] != '\0';
    if (has_file) {
        fd = open_file(cfg->file);
        if (fd < 0)
            return error_set(err, ST_IO, "cannot open log file \"%s\": %s", cfg->file,
                             strerrordesc_np(errno));
    }
    /* Copies first: cfg may point into what is replaced here. */
    char *file = has_file ? str_dup(str_of(cfg->file)) : NULL;
    const char *name = cfg->ident == NULL || cfg->ident[0] == '\0' ? "penstock" : cfg->ident;
    char *ident = str_dup(str_of(name));

    pthread_mutex_lock(&sink.lock);
    int old_fd = sink.fd;
    char *old_file = sink.file, *old_ident = sink.ident;
    if (sink.to_syslog)
        closelog();
    sink.fd = fd;
    sink.file = file;
    sink.ident = ident;
    sink.to_stderr = cfg->to_stderr;
    sink.to_syslog = cfg->to_syslog;
    if (sink.to_syslog)
        openlog(ident, LOG_PID | LOG_NDELAY, facility); /* keeps the pointer */
    atomic_store_explicit(&threshold, (int)cfg->level, memory_order_relaxed);
    atomic_store_explicit(&sink.format, (int)cfg->format, memory_order_relaxed);
    pthread_mutex_unlock(&sink.lock);

    if (old_fd >= 0)
        close(old_fd);
    mem_free(old_file);
    mem_free(old_ident);
    return ST_OK;
}

void log_reopen(void)
{
    pthread_mutex_lock(&sink.lock);
    int fd = sink.file == NULL ? -1 : open_file(sink.file);
    int old_fd = -1;
    bool failed = sink.file != NULL && fd < 0;
    if (fd >= 0) {
        old_fd = sink.fd;
        sink.fd = fd;
    }
    pthread_mutex_unlock(&sink.lock);
    if (old_fd >= 0)
        close(old_fd);
    if (failed)
        log_line(LL_ERROR, "cannot reopen the log file, the old one stays in use");
}

bool log_enabled(enum log_level level)
{
    return (int)level <= atomic_load_explicit(&threshold, memory_order_relaxed);
}

/* A sink that takes no more loses lines; it must not stop the proxy. */
static void write_line(int fd, const char *line, size_t n)
{
    while (n > 0) {
        ssize_t put = write(fd, line, n);
        if (put < 0 && errno == EINTR)
            continue;
        if (put <= 0)
            return;
        line += put;
        n -= (size_t)put;
    }
}

static void emit(enum log_level level, struct str text, const struct log_field *fields, size_t n)
{
    char line[LOG_LINE_BYTES];
    const struct log_entry e = {.wall = clock_wall_us(),
                                .pid = (int)getpid(),
                                .level = level_name(level),
                                .text = text,
                                .fields = fields,
                                .nfields = n};
    size_t at = 0, len;
    if (atomic_load_explicit(&sink.format, memory_order_relaxed) == LOG_FORMAT_JSON)
        len = log_format_json(&e, line, sizeof(line));
    else
        len = log_format_text(&e, line, sizeof(line), &at);
    pthread_mutex_lock(&sink.lock);
    if (sink.to_syslog)
        syslog(level_priority(level), "%s", line + at);
    line[len] = '\n';
    if (sink.fd >= 0)
        write_line(sink.fd, line, len + 1);
    if (sink.to_stderr)
        write_line(STDERR_FILENO, line, len + 1);
    pthread_mutex_unlock(&sink.lock);
}

void log_line(enum log_level level, const char *fmt, ...)
{
    if (!log_enabled(level))
        return;
    int saved_errno = errno;
    char text[TEXT_MAX];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    if (n < 0)
        text[0] = '\0';
    else if ((size_t)n >= sizeof(text))
        memcpy(text + sizeof(text) - 4, "...", 4);
    emit(level, str_of(text), NULL, 0);
    errno = saved_errno;
}

void log_event(enum log_level level, const char *text, const struct log_field *fields, size_t n)
{
    if (log_enabled(level))
        emit(level, str_of(text), fields, n);
}

/* ---- floods ---------------------------------------------------------------------------------- */

static int64_t this_second(void)
{
    return clock_mono_us() / USEC_PER_SEC + 1; /* 0 is a site never used */
}

/* Once in its life a site is put on the list. */
static void list_site(struct log_site *site)
{
    if (atomic_exchange_explicit(&site->listed, true, memory_order_relaxed))
        return;
    site->next = atomic_load_explicit(&sink.sites, memory_order_relaxed);
    while (!atomic_compare_exchange_weak_explicit(&sink.sites, &site->next, site,
                                                  memory_order_release, memory_order_relaxed)) {
    }
}

bool log_site_pass(struct log_site *site, uint32_t *dropped)
{
    *dropped = 0;
    int64_t now = this_second();
    int64_t window = atomic_load_explicit(&site->window, memory_order_relaxed);
    uint32_t most = site->per_sec > 0 ? (uint32_t)site->per_sec : SITE_LINES_PER_SEC;
    /* One thread opens the new second; the others count in it. */
    if (now != window &&
        atomic_compare_exchange_strong_explicit(&site->window, &window, now, memory_order_relaxed,
                                                memory_order_relaxed))
        atomic_store_explicit(&site->count, 0, memory_order_relaxed);
    if (atomic_fetch_add_explicit(&site->count, 1, memory_order_relaxed) >= most) {
        atomic_fetch_add_explicit(&site->dropped, 1, memory_order_relaxed);
        list_site(site);
        return false;
    }
    *dropped = atomic_exchange_explicit(&site->dropped, 0, memory_order_relaxed);
    return true;
}

void log_flush_sites(void)
{
    int64_t now = this_second();
    struct log_site *s = atomic_load_explicit(&sink.sites, memory_order_acquire);
    for (; s != NULL; s = s->next) {
        if (atomic_load_explicit(&s->window, memory_order_relaxed) == now)
            continue; /* it may still say so itself */
        uint32_t n = atomic_exchange_explicit(&s->dropped, 0, memory_order_relaxed);
        if (n > 0)
            log_line(LL_WARNING, "%u lines left out like: %s", n, s->what);
    }
}
