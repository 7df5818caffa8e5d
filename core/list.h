/* Intrusive lists: the links live in the objects, so that adding never fails.
 *
 * nqi_list   doubly linked ring with a head: remove from the middle
 * nqi_fifo   singly linked, push at the tail, take from the head
 */
#ifndef NQ_CORE_LIST_H
#define NQ_CORE_LIST_H

#include "core/base.h"

struct nqi_list {
    struct nqi_list *next, *prev;
};

static inline void nqi_list_init(struct nqi_list *head)
{
    head->next = head->prev = head;
}

static inline bool nqi_list_empty(const struct nqi_list *head)
{
    return head->next == head;
}

static inline void nqi_list_add_tail(struct nqi_list *head, struct nqi_list *item)
{
    item->next = head;
    item->prev = head->prev;
    head->prev->next = item;
    head->prev = item;
}

/* Leaves `item` as an empty list, so that removing twice is harmless. */
static inline void nqi_list_remove(struct nqi_list *item)
{
    item->prev->next = item->next;
    item->next->prev = item->prev;
    item->next = item->prev = item;
}

/* First item, or NULL. */
static inline struct nqi_list *nqi_list_first(const struct nqi_list *head)
{
    return head->next == head ? NULL : head->next;
}

struct nqi_node {
    struct nqi_node *next;
};

struct nqi_fifo {
    struct nqi_node *head;
    struct nqi_node **tail; /* where the next item is linked */
};

static inline void nqi_fifo_init(struct nqi_fifo *fifo)
{
    fifo->head = NULL;
    fifo->tail = &fifo->head;
}

static inline bool nqi_fifo_empty(const struct nqi_fifo *fifo)
{
    return !fifo->head;
}

static inline void nqi_fifo_push(struct nqi_fifo *fifo, struct nqi_node *item)
{
    item->next = NULL;
    *fifo->tail = item;
    fifo->tail = &item->next;
}

static inline void nqi_fifo_push_front(struct nqi_fifo *fifo, struct nqi_node *item)
{
    item->next = fifo->head;
    if (!fifo->head)
        fifo->tail = &item->next;
    fifo->head = item;
}

/* First item, taken out, or NULL. */
static inline struct nqi_node *nqi_fifo_pop(struct nqi_fifo *fifo)
{
    struct nqi_node *item = fifo->head;

    if (!item)
        return NULL;
    fifo->head = item->next;
    if (!fifo->head)
        fifo->tail = &fifo->head;
    return item;
}

/* Take `item` out of the middle; O(n). */
static inline bool nqi_fifo_remove(struct nqi_fifo *fifo, struct nqi_node *item)
{
    for (struct nqi_node **at = &fifo->head; *at; at = &(*at)->next) {
        if (*at != item)
            continue;
        *at = item->next;
        if (!item->next)
            fifo->tail = at;
        return true;
    }
    return false;
}

#endif
