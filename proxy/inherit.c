/* inherit.c - descriptors that were there before main; see inherit.h. */
#include "proxy/inherit.h"

#include "base/str.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

static struct str variable(const char *name)
{
    /* NOLINTNEXTLINE(concurrency-mt-unsafe): no thread has been started yet */
    return str_of(getenv(name));
}

static void forget(const char *name)
{
    /* NOLINTNEXTLINE(concurrency-mt-unsafe): no thread has been started yet */
    unsetenv(name);
}

/* n descriptors that begin at first must be open; they do not pass on to programs started later. */
static bool claim(int first, int n)
{
    for (int fd = first; fd < first + n; fd++)
        if (fcntl(fd, F_SETFD, FD_CLOEXEC) != 0)
            return false;
    return true;
}

static enum status take_sockets(struct inherit *in, int first, int64_t n, struct error *err)
{
    for (int i = 0; i < (int)n; i++) {
        int fd = first + i;
        int flags = fcntl(fd, F_GETFL);
        if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0)
            return error_set(err, ST_INVALID, "descriptor %d is no socket", fd);
        in->sockets[in->nsockets++] = fd;
    }
    return ST_OK;
}

static enum status from_manager(struct inherit *in, struct error *err)
{
    int64_t n, pid;
    struct str fds = variable("LISTEN_FDS");
    if (fds.n == 0 || !str_to_i64(variable("LISTEN_PID"), 1, INT32_MAX, &pid) || pid != getpid())
        return ST_OK; /* meant for another process */
    if (!str_to_i64(fds, 1, LISTENER_SOCKETS_MAX, &n) || !claim(INHERIT_FIRST, (int)n))
        return error_set(err, ST_INVALID, "LISTEN_FDS: there are no such descriptors");
    in->activated = true;
    forget("LISTEN_FDS");
    forget("LISTEN_PID");
    forget("LISTEN_FDNAMES");
    return take_sockets(in, INHERIT_FIRST, n, err);
}

/* The number behind NAME= in the words of text; def if it is not there. */
static int64_t number_of(struct str text, struct str name, int64_t max, int64_t def)
{
    while (text.n > 0) {
        struct str word = str_cut(&text, ' ');
        struct str key = str_cut(&word, '=');
        int64_t value;
        if (str_eq(key, name))
            return str_to_i64(word, 0, max, &value) ? value : def;
    }
    return def;
}

static enum status from_predecessor(struct inherit *in, struct str text, struct error *err)
{
    int64_t pidfile = number_of(text, STR("pidfile"), 1, 0);
    int64_t sockets = number_of(text, STR("sockets"), LISTENER_SOCKETS_MAX, -1);
    if (sockets < 0 || !claim(INHERIT_FIRST, (int)(1 + pidfile + sockets)))
        return error_set(err, ST_INVALID, INHERIT_VARIABLE ": there are no such descriptors");
    in->heir = true;
    in->channel = INHERIT_FIRST;
    in->pidfile = pidfile > 0 ? INHERIT_FIRST + 1 : -1;
    in->first_id = (uint32_t)number_of(text, STR("first_id"), UINT32_MAX, 0);
    in->activated = number_of(text, STR("activated"), 1, 0) > 0;
    forget(INHERIT_VARIABLE);
    return take_sockets(in, INHERIT_FIRST + 1 + (int)pidfile, sockets, err);
}

enum status inherit_read(struct inherit *in, struct error *err)
{
    struct str handed = variable(INHERIT_VARIABLE);
    memset(in, 0, sizeof(*in));
    in->channel = in->pidfile = -1;
    return handed.n > 0 ? from_predecessor(in, handed, err) : from_manager(in, err);
}

void inherit_fini(struct inherit *in)
{
    for (int i = 0; i < in->nsockets; i++)
        if (in->sockets[i] >= 0)
            close(in->sockets[i]);
    if (in->pidfile >= 0)
        close(in->pidfile);
    if (in->channel >= 0)
        close(in->channel);
    in->nsockets = 0;
    in->pidfile = in->channel = -1;
}
