/* hba.c - pg_hba rules: reading and matching; see hba.h.
 *
 * Each line becomes one record with its lists of names resolved (@files included) and its network
 * in network byte order, so that matching is comparing and nothing else.
 */
#include "base/base.h"

#include "proxy/config/hba.h"

#include "base/mem.h"
#include "base/refs.h"
#include "proxy/config/config_file.h"
#include "proxy/config/hba_lex.h"
#include "proxy/config/hba_record.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

struct hba {
    struct refs refs;
    struct config_arena arena;
    struct hba_record *first;
    size_t count;
};

struct hba *hba_get(struct hba *h)
{
    refs_get(&h->refs);
    return h;
}

void hba_put(struct hba **h)
{
    struct hba *x = *h;
    *h = NULL;
    if (x == NULL || !refs_put(&x->refs))
        return;
    config_arena_fini(&x->arena);
    mem_free(x);
}

size_t hba_count(const struct hba *h)
{
    return h->count;
}

enum status hba_parse(const char *name, struct str text, const struct hba_ident *ident,
                      struct hba **out, struct error *err)
{
    struct hba *h = mem_new(sizeof(*h));
    struct hba_record **tail = &h->first;
    enum status st = ST_OK;
    refs_init(&h->refs);
    config_arena_init(&h->arena);
    for (int line = 1; text.n > 0 && st == ST_OK; line++) {
        struct hba_record *record = NULL;
        struct hba_source src = {.arena = &h->arena, .ident = ident, .file = name};
        src.line = str_cut(&text, '\n');
        st = hba_record_read(&src, &record, err);
        if (st != ST_OK) {
            st = hba_lex_blame(name, line, st, err);
        } else if (record != NULL) {
            record->rule.line = line;
            *tail = record;
            tail = &record->next;
            h->count++;
        }
    }
    if (st == ST_OK)
        *out = h;
    else
        hba_put(&h);
    return st;
}

enum status hba_load(const char *path, const struct hba_ident *ident, struct hba **out,
                     struct error *err)
{
    struct config_text text;
    enum status st = config_file_read(path, CONFIG_FILE_MAX, &text, err);
    if (st != ST_OK)
        return st;
    st = hba_parse(path, (struct str){text.p, text.n}, ident, out, err);
    config_file_free(&text);
    return st;
}

static bool database_matches(const struct hba_name *names, const struct hba_query *q)
{
    for (const struct hba_name *n = names; n != NULL; n = n->next) {
        bool match = false;
        switch (n->kind) {
        case HBA_NAME_ALL:
            match = !q->replication;
            break;
        case HBA_NAME_SAMEUSER:
            match = !q->replication && str_eq(q->database, q->user);
            break;
        case HBA_NAME_REPLICATION:
            match = q->replication;
            break;
        case HBA_NAME_TEXT:
            match = !q->replication && str_eq(n->text, q->database);
            break;
        }
        if (match)
            return true;
    }
    return false;
}

static bool user_matches(const struct hba_name *names, struct str user)
{
    for (const struct hba_name *n = names; n != NULL; n = n->next) {
        if (n->kind == HBA_NAME_ALL || (n->kind == HBA_NAME_TEXT && str_eq(n->text, user)))
            return true;
    }
    return false;
}

/* The bytes of the address, IPv4 also where it is mapped into IPv6; their number, 0 for others. */
static size_t address_bytes(const struct sockaddr *sa, uint8_t out[16])
{
    if (sa == NULL)
        return 0;
    if (sa->sa_family == AF_INET) {
        struct sockaddr_in in;
        memcpy(&in, sa, sizeof(in));
        memcpy(out, &in.sin_addr, 4);
        return 4;
    }
    if (sa->sa_family != AF_INET6)
        return 0;
    struct sockaddr_in6 in6;
    memcpy(&in6, sa, sizeof(in6));
    if (IN6_IS_ADDR_V4MAPPED(&in6.sin6_addr)) {
        memcpy(out, in6.sin6_addr.s6_addr + 12, 4);
        return 4;
    }
    memcpy(out, &in6.sin6_addr, 16);
    return 16;
}

static bool network_matches(const struct hba_record *r, const uint8_t *addr, size_t n)
{
    if (r->any_address)
        return n > 0;
    if (r->addr_len != n)
        return false;
    for (size_t i = 0; i < n; i++) {
        if ((addr[i] & r->mask[i]) != r->addr[i])
            return false;
    }
    return true;
}

static bool transport_matches(const struct hba_record *r, const struct hba_query *q)
{
    switch (r->type) {
    case HBA_LOCAL:
        return q->is_unix;
    case HBA_HOST:
        return !q->is_unix;
    case HBA_HOSTSSL:
        return !q->is_unix && q->tls;
    case HBA_HOSTNOSSL:
        return !q->is_unix && !q->tls;
    }
    return false;
}

const struct hba_rule *hba_find(const struct hba *h, const struct hba_query *q)
{
    uint8_t addr[16] = {0};
    size_t n = q->is_unix ? 0 : address_bytes(q->addr, addr);
    for (const struct hba_record *r = h->first; r != NULL; r = r->next) {
        if (transport_matches(r, q) && (q->is_unix || network_matches(r, addr, n)) &&
            database_matches(r->databases, q) && user_matches(r->users, q->user))
            return &r->rule;
    }
    return NULL;
}
