/* log.h - log lines as PgBouncer's users' tools read them, or as JSON.
 *
 * Line: "YYYY-MM-DD HH:MM:SS.mmm ZONE [pid] LEVEL text", or an object with time, pid, level and
 * message (log_format.h).  The text of connection events starts with "C-0x..: db/user@addr:port "
 * or "S-0x..: ..." (the caller formats it).  Any thread; one write(2) per line.  Sinks: standard
 * error, a file (reopened by log_reopen), syslog; chosen by log_configure. Secrets are never passed
 * in here; control characters are escaped so that a peer cannot forge lines.
 *
 * Floods: LOG_LIMITED(level, ...) allows 10 lines a second per call site and then counts.  How many
 * were left out is said by the next line that passes there, or by log_flush_sites when none does.
 */
#ifndef PENSTOCK_LOG_H
#define PENSTOCK_LOG_H

#include "base/base.h"
#include "base/status.h"
#include "base/str.h"

enum log_level { LL_FATAL, LL_ERROR, LL_WARNING, LL_LOG, LL_DEBUG, LL_NOISE };

enum log_format { LOG_FORMAT_TEXT, LOG_FORMAT_JSON };

struct log_config {
    const char *file; /* NULL or "": none */
    bool to_stderr;   /* standard error as well */
    bool to_syslog;
    const char *ident; /* syslog */
    const char *facility;
    enum log_level level; /* the most talkative level that is printed */
    enum log_format format;
};

/* Takes over the settings (copies the strings); on failure nothing changes. Main thread. */
enum status log_configure(const struct log_config *cfg, struct error *err) ATTR_NODISCARD;
void log_reopen(void); /* after logrotate; main thread */
bool log_enabled(enum log_level level);
void log_line(enum log_level level, const char *fmt, ...) ATTR_PRINTF(2, 3);

struct log_field { /* one more member of a line */
    const char *name;
    enum { LOG_TEXT, LOG_NUMBER, LOG_USEC } kind; /* USEC: shown in milliseconds */
    struct str text;
    int64_t number;
};

/* A line with members: " name=value" behind the text, or members of the object. */
void log_event(enum log_level level, const char *text, const struct log_field *fields, size_t n);

struct log_site {           /* one place that logs */
    const char *what;       /* the line's format */
    int per_sec;            /* lines a second; 0: 10 */
    _Atomic int64_t window; /* from here on private to log.c */
    _Atomic uint32_t count, dropped;
    _Atomic bool listed;
    struct log_site *next;
};
/* The site may log now; *dropped: so many lines were left out before. */
bool log_site_pass(struct log_site *site, uint32_t *dropped);
/* Says what was left out at sites that have been silent since; about once a second, main thread. */
void log_flush_sites(void);

#define LOG_FIRST_(first, ...) first
#define LOG_FIRST(...) LOG_FIRST_(__VA_ARGS__, "")

/* The same for what is more than a line: does body, at most rate times a second, with the number
 * left out in dropped, a uint32_t of the caller's. */
#define LOG_PASSING(level, text, rate, dropped, body)                                              \
    do {                                                                                           \
        static struct log_site site_ = {.what = (text), .per_sec = (rate)};                        \
        if (log_enabled(level) && log_site_pass(&site_, &(dropped)))                               \
            body;                                                                                  \
    } while (0)

#define LOG_LIMITED(level, ...)                                                                    \
    do {                                                                                           \
        static struct log_site site_ = {.what = LOG_FIRST(__VA_ARGS__)};                           \
        uint32_t dropped_ = 0;                                                                     \
        if (log_enabled(level) && log_site_pass(&site_, &dropped_)) {                              \
            log_line(level, __VA_ARGS__);                                                          \
            if (dropped_ > 0)                                                                      \
                log_line(level, "%u similar lines left out", dropped_);                            \
        }                                                                                          \
    } while (0)

#endif
