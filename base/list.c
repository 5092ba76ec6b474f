/* list.c - the intrusive list.
 *
 * Called by the owners of lists of connections, waiters and timers; the thread is the owner's.
 */
#include "base/list.h"

#include "base/check.h"

void list_init(struct list *l)
{
    l->prev = l->next = l;
}

void list_insert_before(struct list *at, struct list *node)
{
    DCHECK(!list_linked(node));
    node->prev = at->prev;
    node->next = at;
    at->prev->next = node;
    at->prev = node;
}

void list_push_back(struct list *head, struct list *node)
{
    list_insert_before(head, node);
}

void list_push_front(struct list *head, struct list *node)
{
    list_insert_before(head->next, node);
}

void list_remove(struct list *node)
{
    node->prev->next = node->next;
    node->next->prev = node->prev;
    node->prev = node->next = node;
}

bool list_empty(const struct list *head)
{
    return head->next == head;
}

bool list_linked(const struct list *node)
{
    return node->next != node;
}

struct list *list_first(const struct list *head)
{
    return list_empty(head) ? NULL : head->next;
}

struct list *list_last(const struct list *head)
{
    return list_empty(head) ? NULL : head->prev;
}

struct list *list_pop_front(struct list *head)
{
    struct list *first = list_first(head);
    if (first != NULL)
        list_remove(first);
    return first;
}

size_t list_count(const struct list *head)
{
    size_t n = 0;
    for (const struct list *it = head->next; it != head; it = it->next)
        n++;
    return n;
}
