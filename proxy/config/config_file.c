/* config_file.c - see config_file.h. */
#include "base/base.h"

#include "proxy/config/config_file.h"

#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static enum status read_all(int fd, const char *path, size_t max, struct config_text *out,
                            struct error *err)
{
    struct stat sb;
    if (fstat(fd, &sb) != 0)
        return error_set(err, ST_IO, "cannot read %.200s: %s", path, strerrorname_np(errno));
    if (!S_ISREG(sb.st_mode))
        return error_set(err, ST_IO, "%.200s is not a regular file", path);
    size_t cap = (size_t)sb.st_size + 1; /* one more, to see that the file did not grow */
    if ((uintmax_t)sb.st_size > max)
        return error_set(err, ST_LIMIT, "%.200s is larger than %zu bytes", path, max);
    char *p = mem_try(cap + 1);
    if (p == NULL)
        return error_set(err, ST_MEMORY, "no memory to read %.200s", path);
    size_t n = 0;
    ssize_t got = 0;
    while (n < cap && (got = read(fd, p + n, cap - n)) != 0) {
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            break;
        n += (size_t)got;
    }
    *out = (struct config_text){p, n};
    p[n] = '\0';
    if (got >= 0 && n < cap)
        return ST_OK;
    config_file_free(out);
    if (got < 0)
        return error_set(err, ST_IO, "cannot read %.200s: %s", path, strerrorname_np(errno));
    return error_set(err, ST_IO, "%.200s changed while it was read", path);
}

enum status config_file_read(const char *path, size_t max, struct config_text *out,
                             struct error *err)
{
    *out = (struct config_text){NULL, 0};
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        int e = errno;
        enum status st = e == ENOENT || e == ENOTDIR ? ST_MISSING : ST_IO;
        return error_set(err, st, "cannot open %.200s: %s", path,
                         e == ENOENT   ? "no such file"
                         : e == EACCES ? "permission denied"
                                       : strerrorname_np(e));
    }
    enum status st = read_all(fd, path, max, out, err);
    close(fd);
    return st;
}

void config_file_free(struct config_text *t)
{
    if (t->p != NULL)
        mem_wipe(t->p, t->n);
    mem_free(t->p);
    *t = (struct config_text){NULL, 0};
}

const char *config_file_beside(struct config_arena *arena, const char *from, struct str path)
{
    const char *plain = config_arena_dup(arena, path);
    const char *slash = from != NULL ? strrchr(from, '/') : NULL;
    if (plain[0] == '/' || slash == NULL || access(plain, F_OK) == 0)
        return plain;
    size_t dir = (size_t)(slash - from) + 1;
    char *joined = config_arena_new(arena, dir + path.n + 1);
    memcpy(joined, from, dir);
    memcpy(joined + dir, plain, path.n);
    return joined;
}

static enum status secret_from_file(struct config_arena *arena, const char *path, const char **out,
                                    struct error *err)
{
    struct config_text text;
    enum status st = config_file_read(path, CONFIG_SECRET_MAX + 2, &text, err);
    if (st != ST_OK)
        return st;
    struct str s = {text.p, text.n};
    if (s.n > 0 && s.p[s.n - 1] == '\n')
        s.n--;
    if (s.n > 0 && s.p[s.n - 1] == '\r')
        s.n--;
    if (str_find(s, '\0') >= 0 || str_find(s, '\n') >= 0)
        st = error_set(err, ST_INVALID, "%.200s must hold one line", path);
    else if (s.n > CONFIG_SECRET_MAX)
        st = error_set(err, ST_LIMIT, "secret is too long");
    else
        *out = config_arena_dup(arena, s);
    config_file_free(&text);
    return st;
}

enum status config_file_secret(struct config_arena *arena, struct str text, const char **out,
                               struct error *err)
{
    if (str_starts(text, STR("file:")))
        return secret_from_file(
            arena, config_arena_dup(arena, (struct str){text.p + 5, text.n - 5}), out, err);
    if (str_starts(text, STR("env:"))) {
        const char *name = config_arena_dup(arena, (struct str){text.p + 4, text.n - 4});
        const char *value = secure_getenv(name);
        if (value == NULL)
            return error_set(err, ST_MISSING, "environment variable %.100s is not set", name);
        text = str_of(value);
    }
    if (text.n > CONFIG_SECRET_MAX)
        return error_set(err, ST_LIMIT, "secret is too long");
    *out = config_arena_dup(arena, text);
    return ST_OK;
}
