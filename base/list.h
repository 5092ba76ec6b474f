/* list.h - intrusive doubly linked list; the head is a node too.
 *
 * An initialised node that is on no list points at itself, so list_remove is always safe and
 * list_linked tells the truth.  No ownership, no allocation; the owner of the objects is the owner
 * of the list.
 */
#ifndef PENSTOCK_LIST_H
#define PENSTOCK_LIST_H

#include "base/base.h"

struct list {
    struct list *prev, *next;
};

void list_init(struct list *l);
void list_push_back(struct list *head, struct list *node);  /* node must be unlinked */
void list_push_front(struct list *head, struct list *node); /* node must be unlinked */
void list_insert_before(struct list *at, struct list *node);
void list_remove(struct list *node); /* unlinks and re-initialises */
bool list_empty(const struct list *head);
bool list_linked(const struct list *node);
struct list *list_first(const struct list *head); /* NULL when empty */
struct list *list_last(const struct list *head);  /* NULL when empty */
struct list *list_pop_front(struct list *head);   /* NULL when empty */
size_t list_count(const struct list *head);       /* walks */

/* The body may remove `it` itself, nothing else. */
#define LIST_EACH(it, tmp, head)                                                                   \
    for ((it) = (head)->next, (tmp) = (it)->next; (it) != (head); (it) = (tmp), (tmp) = (it)->next)

#endif
