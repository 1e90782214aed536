#pragma once

/* Intrusive doubly linked list; a node is in at most one list. */

#include <stdbool.h>
#include <stddef.h>

struct list {
    struct list *prev, *next;
};

static inline void list_init(struct list *head)
{
    head->prev = head->next = head;
}

static inline bool list_empty(const struct list *head)
{
    return head->next == head;
}

static inline void list_push_back(struct list *head, struct list *node)
{
    node->prev = head->prev;
    node->next = head;
    head->prev->next = node;
    head->prev = node;
}

static inline void list_push_front(struct list *head, struct list *node)
{
    node->next = head->next;
    node->prev = head;
    head->next->prev = node;
    head->next = node;
}

/* Leaves the node self-linked, so that removing it again is harmless. */
static inline void list_remove(struct list *node)
{
    node->prev->next = node->next;
    node->next->prev = node->prev;
    list_init(node);
}

#define list_entry(node, type, member) ((type *)(void *)((char *)(node)-offsetof(type, member)))
#define list_each(at, head)            for (struct list *at = (head)->next; at != (head); at = at->next)
/* The body may remove the node it is at. */
#define list_each_safe(at, head)                                              \
    for (struct list *at = (head)->next, *at##_next = at->next; at != (head); \
         at = at##_next, at##_next = at->next)
