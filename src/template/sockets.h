#pragma once

/* What a socket of a stopped process is, asked by a duplicate of it, and what becomes of it in a clone. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "template/format.h"

/** Fills type, socket, a, b, times and content of op: TEMPLATE_OP_SOCKET or _DEAD. Returns NULL, or why it
 * cannot be made anew (static storage). */
const char *socket_describe(int fd, struct template_op *op);
/** Whether it is a connection to 127.0.0.1:port. *ret_waits: its last word was ours and has no answer yet. */
bool socket_is_api(int fd, unsigned port, bool *ret_waits);
/** Inode of the socket at the other end of an AF_UNIX socket; 0 when there is none. *ret_is_shut: one of the
 * two has called shutdown(). Context: in its network namespace. Returns 0, or negative errno when the kernel
 * does not say. */
int socket_find_peer(uint64_t inode, uint64_t *ret_peer, bool *ret_is_shut);
/** What waits in it, without taking it away: at most size bytes. Returns the length, or negative errno:
 * -EMSGSIZE when there is more or something else than bytes. */
int socket_peek(int fd, void *data, size_t size);
/** As socket_peek() for packets: each with a byte in front of it that says its length. An empty one that was
 * peeked at before is not seen. */
int socket_peek_packets(int fd, uint8_t *data, size_t size);
