/* userlist.c - parses userlist.txt, see userlist.h.
 *
 * Called by: the proxy's configuration loader.  One pass, line by line; each line yields at most
 * one entry.  No state, any thread. Invariant: the text is a slice; secrets that were unquoted into
 * a buffer are wiped before it is freed.
 */
#include "base/base.h"

#include "protocol/auth/userlist.h"

#include "base/buf.h"
#include "base/mem.h"

struct reader {
    struct userlist *list;
    const char *file;
    int line;
    const struct userlist_hook *hook; /* may be NULL */
    struct error *err;
};

void userlist_init(struct userlist *u)
{
    map_init(&u->by_name);
}

static void entry_free(struct userlist_entry *e)
{
    if (e == NULL)
        return;
    secret_fini(&e->secret);
    mem_free(e->name);
    mem_free(e);
}

void userlist_fini(struct userlist *u)
{
    struct str key;
    void *value;
    for (size_t i = 0; map_next(&u->by_name, &i, &key, &value);)
        entry_free(value);
    map_fini(&u->by_name);
    map_init(&u->by_name);
}

static enum status broken(const struct reader *r, enum status st, const char *reason)
{
    return error_set(r->err, st, "%s:%d: %s", r->file, r->line, reason);
}

static void warn(const struct reader *r, const char *reason)
{
    if (r->hook == NULL || r->hook->on_warning == NULL)
        return;
    struct error text;
    (void)error_set(&text, ST_OK, "%s:%d: %s", r->file, r->line, reason);
    r->hook->on_warning(r->hook->arg, text.text);
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\v' || c == '\f' || c == '\r';
}

static void skip_blanks(struct str *s)
{
    while (s->n > 0 && is_blank(s->p[0])) {
        s->p++;
        s->n--;
    }
}

/* Takes a quoted text from the front of *s and unquotes it into out. */
static enum status take_quoted(const struct reader *r, struct str *s, struct buf *out)
{
    if (s->n == 0 || s->p[0] != '"')
        return broken(r, ST_INVALID, "a text in double quotes is expected");
    size_t i = 1;
    for (; i < s->n; i++) {
        if (s->p[i] == '"' && (i + 1 == s->n || s->p[i + 1] != '"'))
            break;
        if (s->p[i] == '"')
            i++;
        buf_put_u8(out, (uint8_t)s->p[i]);
    }
    if (i >= s->n)
        return broken(r, ST_INVALID, "a double quote is not closed on its line");
    if (out->failed)
        return broken(r, ST_LIMIT, "the text is too long");
    s->p += i + 1;
    s->n -= i + 1;
    return ST_OK;
}

static enum status add_entry(const struct reader *r, struct str name, struct str secret)
{
    if (name.n == 0) {
        warn(r, "an entry with an empty user name is left out");
        return ST_OK;
    }
    struct userlist_entry *e = mem_new(sizeof(*e));
    secret_init(&e->secret);
    e->name = str_dup(name);
    e->line = r->line;
    struct error why = {.text = ""};
    enum status st = secret_parse(&e->secret, secret, &why);
    if (st == ST_INVALID) {
        warn(r, "malformed SCRAM verifier: this user cannot log in with a password");
        st = ST_OK;
    }
    if (st != ST_OK) {
        entry_free(e);
        return broken(r, st, why.text);
    }
    struct userlist_entry *old = map_put(&r->list->by_name, name, e);
    if (old != NULL)
        warn(r, "a user is listed twice, the last line counts");
    entry_free(old);
    return ST_OK;
}

static enum status read_line(const struct reader *r, struct str line)
{
    skip_blanks(&line);
    if (line.n == 0 || line.p[0] == ';')
        return ST_OK;
    if (memchr(line.p, 0, line.n) != NULL)
        return broken(r, ST_INVALID, "a zero byte");
    struct buf name, secret;
    buf_init(&name, USERLIST_NAME_MAX);
    buf_init(&secret, SECRET_PLAIN_MAX);
    /* all at once: growing would leave copies of the secret in freed memory */
    (void)buf_reserve(&secret, MIN(line.n, (size_t)SECRET_PLAIN_MAX));
    enum status st = take_quoted(r, &line, &name);
    skip_blanks(&line);
    if (st == ST_OK)
        st = take_quoted(r, &line, &secret);
    if (st == ST_OK)
        st = add_entry(r, buf_str(&name), buf_str(&secret));
    if (secret.mem != NULL)
        mem_wipe(secret.mem, secret.cap);
    buf_fini(&secret);
    buf_fini(&name);
    return st;
}

enum status userlist_parse(struct userlist *u, struct str text, const char *file,
                           const struct userlist_hook *hook, struct error *err)
{
    struct reader r = {u, file, 0, hook, err};
    while (text.n > 0) {
        struct str line = str_cut(&text, '\n');
        r.line++;
        enum status st = read_line(&r, line);
        if (st != ST_OK) {
            userlist_fini(u);
            return st;
        }
    }
    return ST_OK;
}

const struct userlist_entry *userlist_find(const struct userlist *u, struct str name)
{
    return map_get(&u->by_name, name);
}

size_t userlist_count(const struct userlist *u)
{
    return map_count(&u->by_name);
}
