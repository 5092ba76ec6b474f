/* session_journal.c - what a flight has changed about names and prepared statements; see the
 * header. */
#include "proxy/session_journal.h"

#include "proxy/session_cache.h"

#include "base/check.h"
#include "base/mem.h"

#include <stdatomic.h>

struct journal *journal_note(struct flight *f, enum journal_kind kind)
{
    if (f->njournal == f->cap_journal) {
        f->cap_journal = (uint16_t)(f->cap_journal == 0 ? 4 : f->cap_journal * 2);
        f->journal = mem_resize(f->journal, f->cap_journal * sizeof(*f->journal));
    }
    struct journal *j = &f->journal[f->njournal++];
    memset(j, 0, sizeof(*j));
    j->kind = kind;
    j->ack = f->tracked;
    return j;
}

struct stmt_names *journal_names(struct client *c)
{
    if (c->names == NULL) {
        c->names = mem_new(sizeof(*c->names));
        stmt_names_init(c->names);
    }
    return c->names;
}

/* The client's name means stmt (NULL: nothing) from now on; takes a reference of its own. */
void journal_rename(struct client *c, struct flight *f, struct str name, struct stmt *stmt)
{
    struct stmt *old = stmt_names_set(journal_names(c), name, stmt == NULL ? NULL : stmt_get(stmt));
    struct journal *j = journal_note(f, JOURNAL_NAME);
    j->stmt = old;
    if (name.n > 0)
        j->name = (struct str){str_dup(name), name.n};
}

static void journal_drop(struct journal *j)
{
    stmt_put(&j->stmt);
    mem_free((void *)(uintptr_t)j->name.p);
    j->name = STR_NONE;
}

static void undo_one(struct server *s, struct client *c, struct journal *j)
{
    switch (j->kind) {
    case JOURNAL_NAME:
        if (c != NULL) {
            struct stmt *now = stmt_names_set(journal_names(c), j->name, j->stmt);
            j->stmt = now;
        }
        break;
    case JOURNAL_PREPARE:
        if (j->entry != NULL)
            stmt_set_remove(&s->stmts, j->entry);
        break;
    case JOURNAL_UNPREPARE:
        /* Still there though the set has forgotten it. Under a handle that is harmless, but it
         * would never be closed; under a client's own name the next client could meet it. */
        s->leaked++;
        s->reset.due = s->reset.due || j->named;
        break;
    case JOURNAL_FORGET:
    case JOURNAL_DESCRIBE:
        break;
    }
}

static void make_final(struct flight *f, const struct journal *j)
{
    if (j->kind == JOURNAL_DESCRIBE && f->client != NULL)
        stmt_names_described(journal_names(f->client), j->name, j->definitions);
}

void session_undo(struct server *s, struct flight *f)
{
    for (int i = f->njournal - 1; i >= 0; i--) {
        if (f->journal[i].ack > f->acks)
            undo_one(s, f->client, &f->journal[i]);
        else
            make_final(f, &f->journal[i]);
        journal_drop(&f->journal[i]);
    }
    f->njournal = 0;
    s->unnamed_known = false;
    stmt_put(&s->unnamed);
}

void session_disown(struct server *s, struct flight *f)
{
    int kept = 0;
    for (int i = f->njournal - 1; i >= 0; i--) { /* backwards: a name may have been given twice */
        struct journal *j = &f->journal[i];
        /* what was confirmed and is held back was never given either */
        if (j->kind == JOURNAL_NAME && (j->ack > f->acks || f->nheld > 0))
            undo_one(s, f->client, j);
    }
    for (int i = 0; i < f->njournal; i++) {
        if (f->journal[i].kind == JOURNAL_NAME)
            journal_drop(&f->journal[i]);
        else
            f->journal[kept++] = f->journal[i];
    }
    f->njournal = (uint16_t)kept;
    f->client = NULL;
    session_fill_drop(&f->fill);
}

void session_disown_all(struct server *s, const struct client *c)
{
    for (uint32_t i = s->fl_count; i-- > 0;) /* backwards, for the same reason */
        if (server_flight(s, i)->client == c)
            session_disown(s, server_flight(s, i));
}

void journal_describe(struct flight *f, struct str name, uint32_t definitions)
{
    struct journal *j = journal_note(f, JOURNAL_DESCRIBE);
    j->name = (struct str){str_dup(name), name.n};
    j->definitions = definitions;
}

/* An entry leaves the set while an earlier line of a journal may still name it. */
void journal_forget_entry(struct server *s, struct stmt_entry *e)
{
    for (uint32_t k = 0; k < s->fl_count; k++) {
        struct flight *f = server_flight(s, k);
        for (int i = 0; i < f->njournal; i++)
            if (f->journal[i].entry == e)
                f->journal[i].entry = NULL;
    }
    stmt_set_remove(&s->stmts, e);
}

/* Names that f gave behind line `mark` of its journal stay. */
static void forget_names(struct stmt_names *n, const struct flight *f, int mark)
{
    struct stmt_names kept;
    stmt_names_init(&kept);
    for (int i = mark; i < f->njournal; i++) {
        const struct journal *j = &f->journal[i];
        struct stmt *now = j->kind == JOURNAL_NAME ? stmt_names_find(n, j->name) : NULL;
        if (now == NULL)
            continue;
        struct stmt *old = stmt_names_set(&kept, j->name, stmt_get(now));
        stmt_put(&old);
    }
    stmt_names_fini(n);
    *n = kept;
}

void journal_set_unnamed(struct server *s, struct stmt *stmt)
{
    if (stmt != NULL)
        stmt_get(stmt);
    stmt_put(&s->unnamed);
    s->unnamed = stmt;
    s->unnamed_known = true;
    s->unnamed_large = false;
    s->unnamed_by = s->flights_done + s->fl_count;
    s->unnamed_definitions = atomic_load_explicit(&s->pool->shared->db->shared.definitions,
                                                  memory_order_relaxed);
}

/* All statements of the server are gone but those that f prepared behind its last JOURNAL_FORGET
 * line; likewise the client's names. */
void journal_forget_all(struct server *s, struct flight *f)
{
    struct list *it, *tmp;
    int mark = f->njournal;
    while (mark > 0 && f->journal[mark - 1].kind != JOURNAL_FORGET)
        mark--;
    LIST_EACH(it, tmp, &s->stmts.lru) {
        struct stmt_entry *e = container_of(it, struct stmt_entry, lru);
        bool kept = false;
        for (int i = mark; i < f->njournal && !kept; i++)
            kept = f->journal[i].kind == JOURNAL_PREPARE && f->journal[i].entry == e;
        if (!kept)
            journal_forget_entry(s, e);
    }
    struct str name;
    void *v;
    for (size_t i = 0; map_next(&s->stmts.by_name, &i, &name, &v);)
        journal_forget_entry(s, v);
    journal_set_unnamed(s, NULL);
    s->unnamed_known = false;
    s->pins &= ~(uint32_t)(PIN_PREPARED | PIN_LARGE);
    s->nlarge = 0;
    if (f->client != NULL && f->client->names != NULL)
        forget_names(f->client->names, f, mark);
}

void journal_accept(struct flight *f)
{
    for (int i = 0; i < f->njournal; i++) {
        make_final(f, &f->journal[i]);
        journal_drop(&f->journal[i]);
    }
    f->njournal = 0;
}

bool session_unconfirmed(struct server *s)
{
    for (uint32_t i = 0; i < s->fl_count; i++) {
        const struct flight *f = server_flight(s, i);
        for (int k = 0; k < f->njournal; k++) {
            const struct journal *j = &f->journal[k];
            if (j->kind != JOURNAL_DESCRIBE && (j->kind != JOURNAL_NAME || j->name.n > 0))
                return true;
        }
    }
    return false;
}
