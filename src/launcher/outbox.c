/* Answers to irorid. Its socket may be full for a moment; nothing is lost then and the loop goes on. */

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "launcher/launcher_priv.h"

struct letter {
    struct list node;
    int fds[WIRE_MAX_FDS];
    size_t fd_count, len;
    char packet[];
};

static void letter_free(struct letter *letter)
{
    for (size_t i = 0; i < letter->fd_count; i++)
        (void)close(letter->fds[i]);
    list_remove(&letter->node);
    free(letter);
}

static void watch_for_room(struct launcher *launcher, bool on)
{
    struct epoll_event event = { .events = EPOLLIN | (on ? EPOLLOUT : 0U), .data.ptr = &launcher->on_wire };

    if (on != launcher->out_watched)
        (void)epoll_ctl(launcher->epoll, EPOLL_CTL_MOD, launcher->config->wire_fd, &event);
    launcher->out_watched = on;
}

static void keep(struct launcher *launcher, const int *fds, size_t fd_count)
{
    struct letter *letter = malloc(sizeof *letter + launcher->encoded.len);
    struct err err;

    if (!letter) {
        (void)err_set(&err, ERR_SYSTEM, ENOMEM, "message to irorid");
        launcher_fail(launcher, &err);
        return;
    }
    letter->len = launcher->encoded.len;
    memcpy(letter->packet, launcher->encoded.data, letter->len);
    letter->fd_count = fd_count;
    for (size_t i = 0; i < fd_count; i++)
        letter->fds[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, 3);
    list_push_back(&launcher->out, &letter->node);
    watch_for_room(launcher, true);
}

void outbox_send(struct launcher *launcher, const struct wire_message *message, const int *fds,
                 size_t fd_count)
{
    struct err err;
    int r;

    buf_clear(&launcher->encoded);
    r = wire_encode(message, &launcher->encoded);
    if (r == 0 && list_empty(&launcher->out))
        r = wire_send(launcher->config->wire_fd, launcher->encoded.data, launcher->encoded.len, fds,
                      fd_count);
    else if (r == 0)
        r = -EAGAIN;
    if (r == -EAGAIN)
        keep(launcher, fds, fd_count);
    else if (r == -EPIPE || r == -ECONNRESET)
        launcher->stopping = true;
    else if (r < 0) {
        (void)err_set(&err, ERR_SYSTEM, -r, "sending to irorid");
        launcher_fail(launcher, &err);
    }
}

void outbox_flush(struct launcher *launcher)
{
    while (!list_empty(&launcher->out)) {
        struct letter *letter = list_entry(launcher->out.next, struct letter, node);
        int r =
            wire_send(launcher->config->wire_fd, letter->packet, letter->len, letter->fds, letter->fd_count);

        if (r == -EAGAIN)
            return;
        letter_free(letter);
        if (r < 0) {
            launcher->stopping = true;
            return;
        }
    }
    watch_for_room(launcher, false);
}

void outbox_done(struct launcher *launcher)
{
    list_each_safe(at, &launcher->out) letter_free(list_entry(at, struct letter, node));
    buf_done(&launcher->encoded);
}
