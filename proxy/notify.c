/* notify.c - datagrams to the service manager; see notify.h.  Main thread. */
#include "proxy/notify.h"

#include "base/log.h"
#include "base/str.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/un.h>
#include <unistd.h>

#define TEXT_MAX 1024

/* A path, or a name in the abstract name space that begins with @. */
static bool set_address(struct notify *n, struct str path)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    if (path.n < 2 || path.n >= sizeof(un.sun_path) || (path.p[0] != '/' && path.p[0] != '@'))
        return false;
    memcpy(un.sun_path, path.p, path.n);
    if (path.p[0] == '@')
        un.sun_path[0] = '\0';
    memcpy(&n->addr, &un, sizeof(un));
    n->len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + path.n);
    return true;
}

static struct str variable(const char *name)
{
    /* NOLINTNEXTLINE(concurrency-mt-unsafe): no thread has been started yet */
    return str_of(getenv(name));
}

static usec_t watchdog_period(bool heir)
{
    int64_t us, pid;
    struct str whose = variable("WATCHDOG_PID");
    if (!str_to_i64(variable("WATCHDOG_USEC"), 1, INT64_MAX, &us))
        return 0;
    if (whose.n > 0 && !heir && (!str_to_i64(whose, 1, INT32_MAX, &pid) || pid != getpid()))
        return 0;
    return us;
}

void notify_init(struct notify *n, bool heir)
{
    *n = (struct notify){.fd = -1};
    struct str path = variable("NOTIFY_SOCKET");
    if (path.n == 0)
        return;
    if (!set_address(n, path)) {
        log_line(LL_WARNING, "NOTIFY_SOCKET is no address of a Unix socket, nobody is notified");
        return;
    }
    n->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    n->watchdog = n->fd >= 0 ? watchdog_period(heir) : 0;
}

void notify_fini(struct notify *n)
{
    if (n->fd >= 0)
        close(n->fd);
    n->fd = -1;
}

void notify_send(const struct notify *n, const char *fmt, ...)
{
    char text[TEXT_MAX];
    va_list ap;
    if (n->fd < 0)
        return;
    va_start(ap, fmt);
    int len = vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    if (len <= 0)
        return;
    size_t size = MIN((size_t)len, sizeof(text) - 1);
    if (sendto(n->fd, text, size, MSG_NOSIGNAL, (const struct sockaddr *)&n->addr, n->len) < 0)
        LOG_LIMITED(LL_WARNING, "cannot notify the service manager: %s", strerrordesc_np(errno));
}

void notify_reloading(const struct notify *n)
{
    notify_send(n, "RELOADING=1\nMONOTONIC_USEC=%" PRId64, clock_mono_us());
}
