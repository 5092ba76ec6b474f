/* log.h - log lines as PgBouncer's users' tools read them.
 *
 * Line: "YYYY-MM-DD HH:MM:SS.mmm ZONE [pid] LEVEL text".  The text of connection events starts with
 * "C-0x..: db/user@addr:port " or "S-0x..: ..." (the caller formats it).  Any thread; one write(2)
 * per line.  Sinks: standard error, a file (reopened by log_reopen), syslog; chosen by
 * log_configure. Secrets are never passed in here; control characters in the text are escaped so
 * that a peer cannot forge lines.
 *
 * Floods: LOG_LIMITED(level, ...) allows 10 lines a second per call site and then counts; the next
 * line that passes says how many were left out.
 */
#ifndef PENSTOCK_LOG_H
#define PENSTOCK_LOG_H

#include "base/base.h"
#include "base/status.h"

enum log_level { LL_FATAL, LL_ERROR, LL_WARNING, LL_LOG, LL_DEBUG, LL_NOISE };

struct log_config {
    const char *file; /* NULL or "": none */
    bool to_stderr;   /* standard error as well */
    bool to_syslog;
    const char *ident; /* syslog */
    const char *facility;
    enum log_level level; /* the most talkative level that is printed */
};

/* Takes over the settings (copies the strings); on failure nothing changes. Main thread. */
enum status log_configure(const struct log_config *cfg, struct error *err) ATTR_NODISCARD;
void log_reopen(void); /* after logrotate; main thread */
bool log_enabled(enum log_level level);
void log_line(enum log_level level, const char *fmt, ...) ATTR_PRINTF(2, 3);

struct log_site { /* all fields atomic, private to log.c */
    _Atomic int64_t window;
    _Atomic uint32_t count, dropped;
};
bool log_site_pass(struct log_site *site, uint32_t *dropped);

#define LOG_LIMITED(level, ...)                                                                    \
    do {                                                                                           \
        static struct log_site site_;                                                              \
        uint32_t dropped_ = 0;                                                                     \
        if (log_enabled(level) && log_site_pass(&site_, &dropped_)) {                              \
            log_line(level, __VA_ARGS__);                                                          \
            if (dropped_ > 0)                                                                      \
                log_line(level, "%u similar lines left out", dropped_);                            \
        }                                                                                          \
    } while (0)

#endif
