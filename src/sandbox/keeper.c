#include "sandbox/keeper.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "base/list.h"
#include "sandbox/volume.h"

enum { SOCKET_BYTES = 16 << 20, ENDING_THREADS = 32 };

struct keeper {
    int socket, pidfd;
    pid_t pid;
};

struct request {
    uint32_t what, size_mb;
    uint64_t volume_id, from_id; /* from_id: to copy */
};

struct answer {
    struct request request;
    uint32_t failed, entries;
    char text[200];
};

/* ------------------------------------------------------------------ in the keeper's process */

struct kept {
    struct list node;
    uint64_t id;
    unsigned size_mb;
    struct volume *volume;
};

static struct kept *find(struct list *all, uint64_t id)
{
    list_each(at, all)
    {
        struct kept *kept = list_entry(at, struct kept, node);

        if (kept->id == id)
            return kept;
    }
    return NULL;
}

static void forget(struct kept *kept)
{
    list_remove(&kept->node);
    (void)volume_free(kept->volume);
    free(kept);
}

static int make(struct volume_source *source, struct list *all, const struct request *request, int *ret_mount,
                struct err *err)
{
    struct kept *kept = calloc(1, sizeof *kept);
    int r;

    if (!kept)
        return err_set(err, ERR_SYSTEM, ENOMEM, "volume");
    kept->id = request->volume_id;
    kept->size_mb = request->size_mb;
    r = volume_new(source, request->size_mb, &kept->volume, err);
    if (r < 0) {
        free(kept);
        return r;
    }
    list_push_back(all, &kept->node);
    r = volume_mount(kept->volume, ret_mount, err);
    if (r < 0)
        forget(kept);
    return r;
}

static int fill(struct list *all, const struct kept *kept, uint64_t from_id, struct err *err)
{
    const struct kept *from = find(all, from_id);

    return from ? volume_fill(kept->volume, from->volume, err)
                : err_set(err, ERR_NOT_FOUND, 0, "the volume to copy is gone");
}

static bool ends_volume(uint32_t what)
{
    return what == KEEPER_RELEASE || what == KEEPER_DISCARD;
}

/* Fills the answer; ret_mount stays -1 when there is none. */
static void serve(struct volume_source *source, struct list *all, struct answer *answer, int *ret_mount)
{
    struct kept *kept = find(all, answer->request.volume_id);
    struct err err = { 0 };
    int r = 0;

    if (kept)
        answer->request.size_mb = kept->size_mb;
    if (answer->request.what == KEEPER_MAKE)
        r = kept ? -EEXIST : make(source, all, &answer->request, ret_mount, &err);
    else if (!kept)
        r = err_set(&err, ERR_NOT_FOUND, 0, "no such volume");
    else if (answer->request.what == KEEPER_REMOUNT ||
             (answer->request.what == KEEPER_RELEASE && volume_untouched(kept->volume)))
        r = volume_mount(kept->volume, ret_mount, &err);
    else if (answer->request.what == KEEPER_MEASURE)
        r = volume_measure(kept->volume, &answer->entries, &err);
    else if (answer->request.what == KEEPER_FILL)
        r = fill(all, kept, answer->request.from_id, &err);
    if (ends_volume(answer->request.what) && kept && *ret_mount < 0)
        forget(kept);
    answer->failed = r < 0;
    (void)snprintf(answer->text, sizeof answer->text, "%.199s", err.text);
}

static int send_answer(int socket, const struct answer *answer, int mount)
{
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec iov = { (void *)(uintptr_t)answer, sizeof *answer };
    struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

    if (mount >= 0) {
        memset(&control, 0, sizeof control);
        control.header.cmsg_level = SOL_SOCKET;
        control.header.cmsg_type = SCM_RIGHTS;
        control.header.cmsg_len = CMSG_LEN(sizeof mount);
        memcpy(CMSG_DATA(&control.header), &mount, sizeof mount);
        msg.msg_control = &control;
        msg.msg_controllen = sizeof control;
    }
    while (sendmsg(socket, &msg, MSG_NOSIGNAL) < 0) {
        if (errno != EINTR)
            return -errno;
    }
    return 0;
}

static pthread_mutex_t ending = PTHREAD_MUTEX_INITIALIZER;

static void *end_some(void *ctx)
{
    struct list *all = ctx;

    for (;;) {
        struct kept *kept = NULL;

        (void)pthread_mutex_lock(&ending);
        if (!list_empty(all)) {
            kept = list_entry(all->next, struct kept, node);
            list_remove(&kept->node);
        }
        (void)pthread_mutex_unlock(&ending);
        if (!kept)
            return NULL;
        forget(kept);
    }
}

/* Nearly all of an unmount is waiting, for the disk and for the kernel's threads: a thousand of them one
 * after the other would take longer than a stop may. */
static void end_all(struct list *all)
{
    pthread_t threads[ENDING_THREADS];
    size_t count = 0;

    while (count < ENDING_THREADS && pthread_create(&threads[count], NULL, end_some, all) == 0)
        count++;
    (void)end_some(all);
    while (count > 0)
        (void)pthread_join(threads[--count], NULL);
}

static _Noreturn void keep(int socket, int scratch)
{
    struct volume_source *source = NULL;
    struct list all;

    list_init(&all);
    if (volume_source_new(scratch, &source, NULL) < 0)
        _exit(1);
    for (;;) {
        struct answer answer = { 0 };
        AUTO_FD int mount = -1;
        ssize_t n = recv(socket, &answer.request, sizeof answer.request, 0);

        if (n < 0 && errno == EINTR)
            continue;
        if (n != (ssize_t)sizeof answer.request)
            break;
        serve(source, &all, &answer, &mount);
        if (answer.request.what != KEEPER_DISCARD && send_answer(socket, &answer, mount) < 0)
            break;
    }
    end_all(&all);
    (void)volume_source_free(source);
    _exit(0);
}

/* ------------------------------------------------------------------ in the launcher's */

/* Only what the keeper needs stays open: it must not hold the launcher's sockets or namespaces beyond the
 * launcher's life. */
static _Noreturn void become_keeper(int socket, int scratch)
{
    sigset_t none;
    int low = socket < scratch ? socket : scratch, high = socket < scratch ? scratch : socket;

    (void)prctl(PR_SET_NAME, "irori-volumes");
    (void)setsid();
    sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    /* The terminal's and the supervisor's signals are the launcher's business; the keeper ends with its
     * socket. */
    (void)signal(SIGINT, SIG_IGN);
    (void)signal(SIGTERM, SIG_IGN);
    (void)signal(SIGPIPE, SIG_IGN);
    if (low > 3)
        (void)syscall(SYS_close_range, 3U, (unsigned)low - 1, 0);
    if (high > low + 1)
        (void)syscall(SYS_close_range, (unsigned)low + 1, (unsigned)high - 1, 0);
    (void)syscall(SYS_close_range, (unsigned)high + 1, ~0U, 0);
    keep(socket, scratch);
}

int keeper_start(int scratch, struct keeper **ret_keeper, struct err *err)
{
    AUTO_FREE struct keeper *keeper = calloc(1, sizeof *keeper);
    int pair[2], size = SOCKET_BYTES;

    if (!keeper)
        return err_set(err, ERR_SYSTEM, ENOMEM, "keeper of volumes");
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return err_set(err, ERR_SYSTEM, errno, "socket of the keeper of volumes");
    /* Room for a request about every slot at once: asking never blocks. */
    (void)setsockopt(pair[0], SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size);
    (void)setsockopt(pair[1], SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size);
    keeper->pid = fork();
    if (keeper->pid == 0)
        become_keeper(pair[1], scratch);
    (void)close(pair[1]);
    keeper->pidfd = keeper->pid < 0 ? -1 : (int)syscall(SYS_pidfd_open, keeper->pid, 0);
    if (keeper->pidfd < 0) {
        (void)close(pair[0]);
        return err_set(err, ERR_SYSTEM, errno, "starting the keeper of volumes");
    }
    keeper->socket = pair[0];
    *ret_keeper = TAKE_PTR(keeper);
    return 0;
}

struct keeper *keeper_stop(struct keeper *keeper, unsigned timeout_ms)
{
    struct pollfd wait;

    if (!keeper)
        return NULL;
    (void)close(keeper->socket);
    wait = (struct pollfd){ .fd = keeper->pidfd, .events = POLLIN };
    if (poll(&wait, 1, (int)timeout_ms) <= 0)
        (void)kill(keeper->pid, SIGKILL);
    (void)waitpid(keeper->pid, NULL, 0);
    (void)close(keeper->pidfd);
    free(keeper);
    return NULL;
}

int keeper_fd(const struct keeper *keeper)
{
    return keeper->socket;
}

pid_t keeper_pid(const struct keeper *keeper)
{
    return keeper->pid;
}

int keeper_ask(struct keeper *keeper, enum keeper_request request, uint64_t volume_id, uint64_t argument)
{
    struct request packet = { .what = (uint32_t)request, .volume_id = volume_id };

    if (request == KEEPER_FILL)
        packet.from_id = argument;
    else
        packet.size_mb = (uint32_t)argument;

    if (send(keeper->socket, &packet, sizeof packet, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
        return -errno;
    return 0;
}

int keeper_receive(struct keeper *keeper, struct keeper_answer *ret_answer)
{
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control;
    struct answer answer;
    struct iovec iov = { &answer, sizeof answer };
    struct msghdr msg = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control
    };
    const struct cmsghdr *header;
    ssize_t n = recvmsg(keeper->socket, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : -errno;
    if (n != (ssize_t)sizeof answer)
        return -EPIPE;
    *ret_answer = (struct keeper_answer){ .request = (enum keeper_request)answer.request.what,
                                          .volume_id = answer.request.volume_id,
                                          .size_mb = answer.request.size_mb,
                                          .entries = answer.entries,
                                          .mount = -1,
                                          .failed = answer.failed != 0 };
    (void)snprintf(ret_answer->text, sizeof ret_answer->text, "%.199s", answer.text);
    header = CMSG_FIRSTHDR(&msg);
    if (header && header->cmsg_type == SCM_RIGHTS)
        memcpy(&ret_answer->mount, CMSG_DATA(header), sizeof ret_answer->mount);
    return 1;
}
