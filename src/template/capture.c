#include "template/capture.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "template/copies.h"
#include "template/descriptors.h"
#include "template/ipc.h"
#include "template/proc.h"
#include "template/proc_file.h"
#include "template/restorer.h" /* generated */
#include "template/tracee.h"

enum {
    SMAPS_MAX_BYTES = 32 << 20,
    STATUS_MAX_BYTES = 64 * 1024,
    PAGE_BYTES = 4096,
    CODE_BYTES = (sizeof template_restorer + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES,
    DATA_BYTES = (sizeof(struct template_data) + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES,
    IMAGE_MS = 3000,
    LIMIT_S = 15,
    NS_LINK_BYTES = 64,
    FOLDER_BYTES = 4096,
    AREA_NAME_BYTES = 80,
    ITIMERS = 3,
    FILES_LEAST = TEMPLATE_FD_FLOOR + 32, /* that the restorer has at one time */
    FILES_MOST = 4096,
    /* Copying the page tables takes 30 us for each MiB: here 30 ms, in which a clone of a smaller one has
     * answered long ago, and in which no other clone of the same template can be made. */
    MEMORY_MAX_MB = 1024,
};

struct result {
    int32_t done, intact;
    uint32_t dead_sockets;
    char reason[TEMPLATE_REASON_BYTES];
};

struct capture {
    const struct template_source *source;
    struct tracee tracee;
    struct template_data *data; /* owned */
    uint64_t code_at, data_at;  /* in the process; 0 = not mapped yet */
    unsigned uid;               /* as we see it */
    struct copies copies;
    uint32_t dead_sockets;
    int listener;
    bool lifted; /* its limits */
    struct rlimit had_processes;
    bool jumped; /* the restorer runs: there is no way back */
};

/* ------------------------------------------------------------------ is it fit? */

static bool same_namespace(pid_t pid, const char *wanted)
{
    char path[64], link[NS_LINK_BYTES];
    ssize_t n;

    (void)snprintf(path, sizeof path, "/proc/%d/ns/pid", (int)pid);
    n = readlink(path, link, sizeof link - 1);
    if (n <= 0)
        return false;
    link[n] = '\0';
    return strcmp(link, wanted) == 0;
}

/* The one process beside the init; negative when there is another number of them. */
static pid_t find_program(const struct capture *capture, struct err *err)
{
    char path[64], wanted[NS_LINK_BYTES];
    const struct dirent *entry;
    pid_t found = 0;
    bool alone = true;
    DIR *folder = opendir("/proc");
    ssize_t n;

    (void)snprintf(path, sizeof path, "/proc/%d/ns/pid", (int)capture->source->init);
    n = readlink(path, wanted, sizeof wanted - 1);
    if (!folder || n <= 0) {
        if (folder)
            (void)closedir(folder);
        return err_set(err, ERR_SYSTEM, errno, "process id namespace");
    }
    wanted[n] = '\0';
    while ((entry = readdir(folder))) {
        pid_t pid = (pid_t)strtol(entry->d_name, NULL, 10);

        if (pid <= 0 || pid == capture->source->init || !same_namespace(pid, wanted))
            continue;
        alone = found == 0;
        found = pid;
    }
    (void)closedir(folder);
    if (!alone)
        return err_set(err, ERR_CONFLICT, 0, "it has child processes");
    return found ? found : err_set(err, ERR_NOT_FOUND, 0, "its process has ended");
}

static int check_thread(struct capture *capture, size_t at, const struct proc_status *status,
                        const struct proc_status *first, struct err *err)
{
    if (status->pending)
        return err_set(err, ERR_CONFLICT, 0, "a signal is pending");
    if (status->capabilities || status->seccomp != 2)
        return err_set(err, ERR_SYSTEM, 0, "a thread is not confined");
    if (status->shadow_stack)
        return err_set(err, ERR_CONFLICT, 0, "it uses a shadow stack");
    if (status->uid != first->uid || status->gid != first->gid ||
        strcmp(status->processors, first->processors) != 0)
        return err_set(err, ERR_CONFLICT, 0, "its threads differ in identity or processors");
    capture->data->threads[at].tid = status->tid;
    return 0;
}

/* New threads have what the one that makes them has. */
static bool same_priority(pid_t one, pid_t other)
{
    return sched_getscheduler(one) == sched_getscheduler(other) &&
           getpriority(PRIO_PROCESS, (id_t)one) == getpriority(PRIO_PROCESS, (id_t)other);
}

static int check_threads(struct capture *capture, struct err *err)
{
    struct proc_status first = { 0 };

    for (size_t i = 0; i < capture->tracee.count; i++) {
        AUTO_FREE char *text = proc_read(STATUS_MAX_BYTES, "/proc/%d/task/%d/status",
                                         (int)capture->tracee.pid, (int)capture->tracee.threads[i].tid);
        struct proc_status status;
        int r;

        if (!text || !proc_parse_status(text, &status))
            return err_set(err, ERR_SYSTEM, errno, "status of a thread");
        if (i == 0)
            first = status;
        if (!same_priority(capture->tracee.pid, capture->tracee.threads[i].tid))
            return err_set(err, ERR_CONFLICT, 0, "its threads differ in priority");
        r = check_thread(capture, i, &status, &first, err);
        if (r < 0)
            return r;
    }
    capture->uid = first.uid;
    if (first.anonymous_kb > MEMORY_MAX_MB * UINT64_C(1024))
        return err_set(err, ERR_LIMIT, 0, "it has %llu MiB of memory; %d are the most for copies",
                       (unsigned long long)(first.anonymous_kb / 1024), MEMORY_MAX_MB);
    return 0;
}

static int check_timers(const struct capture *capture, struct err *err)
{
    AUTO_FREE char *timers = proc_read(STATUS_MAX_BYTES, "/proc/%d/timers", (int)capture->tracee.pid);

    if (!timers)
        return err_set(err, ERR_SYSTEM, errno, "timers (the kernel needs CONFIG_CHECKPOINT_RESTORE)");
    return *timers ? err_set(err, ERR_CONFLICT, 0, "it has a POSIX timer") : 0;
}

struct areas {
    struct capture *capture;
    struct err *err;
};

static bool is_special(const struct proc_area *area)
{
    return area->name_len > 0 && area->name[0] == '[';
}

static bool refuse_area(const struct areas *areas, const struct proc_area *area, const char *why)
{
    (void)err_set(areas->err, ERR_CONFLICT, 0, "%s (%.*s)", why,
                  (int)(area->name_len < AREA_NAME_BYTES ? area->name_len : AREA_NAME_BYTES), area->name);
    return false;
}

static bool is_in_tmp(const struct proc_area *area)
{
    return area->name_len > 5 && memcmp(area->name, "/tmp/", 5) == 0;
}

static bool take_area(const struct proc_area *area, void *ctx)
{
    struct areas *areas = ctx;
    struct template_data *data = areas->capture->data;
    struct template_range *last = data->range_count > 0 ? &data->ranges[data->range_count - 1] : NULL;

    if (is_special(area) &&
        (area->device || memcmp(area->name, "[vs", area->name_len < 3 ? area->name_len : 3) == 0))
        return true; /* vvar, vdso, vsyscall */
    if (area->shared && (area->writable || area->may_write))
        return refuse_area(areas, area, "it shares writable memory");
    /* Each clone has a copy of the file, and would go on seeing the template's. */
    if (area->shared && is_in_tmp(area))
        return refuse_area(areas, area, "it shares the memory of a file in /tmp");
    if (area->device)
        return refuse_area(areas, area, "it has mapped a device");
    copies_note(&areas->capture->copies, area);
    if (!area->dontfork)
        return true;
    if (last && last->start + last->len == area->start) {
        last->len += area->end - area->start;
        return true;
    }
    if (data->range_count == TEMPLATE_MAX_RANGES) {
        (void)err_set(areas->err, ERR_LIMIT, 0, "its memory is in too many pieces");
        return false;
    }
    data->ranges[data->range_count++] = (struct template_range){ area->start, area->end - area->start };
    return true;
}

static int check_memory(struct capture *capture, struct err *err)
{
    AUTO_FREE char *text = proc_read(SMAPS_MAX_BYTES, "/proc/%d/smaps", (int)capture->tracee.pid);
    struct areas areas = { capture, err };

    if (!text)
        return err_set(err, ERR_SYSTEM, errno, "memory map");
    if (proc_parse_smaps(text, take_area, &areas))
        return 0;
    return err->code ? -EBUSY : err_set(err, ERR_SYSTEM, 0, "the memory map is not understood");
}

/* Where the clones begin. */
static int find_folder(struct capture *capture, struct err *err)
{
    struct template_data *data = capture->data;
    char link[64];
    struct stat status;
    ssize_t n;

    (void)snprintf(link, sizeof link, "/proc/%d/cwd", (int)capture->tracee.pid);
    n = readlink(link, data->paths, FOLDER_BYTES);
    if (n < 0 || stat(link, &status) < 0)
        return err_set(err, ERR_SYSTEM, errno, "working directory");
    if (n == FOLDER_BYTES || status.st_nlink == 0 || data->paths[0] != '/')
        return err_set(err, ERR_CONFLICT, 0, "its working directory is one that clones do not have");
    data->paths[n] = '\0';
    data->paths_used = (uint32_t)n + 1;
    return 0;
}

static int list_descriptors(struct capture *capture, struct err *err)
{
    const struct descriptors_source source = {
        .pid = capture->tracee.pid,
        .api_port = capture->source->api_port,
        .log_inode = capture->source->log_inode,
        .function = capture->source->function,
    };

    /* Sockets are asked about where they are; and abstract names are apart from everybody else's there. */
    if (setns(capture->source->netns, CLONE_NEWNET) < 0)
        return err_set(err, ERR_SYSTEM, errno, "network namespace");
    return descriptors_list(&source, capture->data, &capture->dead_sockets, err);
}

static int check(struct capture *capture, struct err *err)
{
    pid_t pid = find_program(capture, err);
    int r = pid < 0 ? pid : tracee_stop(&capture->tracee, pid, err);

    /* Again, now that nothing of it runs: whoever shares its memory without being a thread would be here. */
    if (r == 0 && find_program(capture, err) != pid)
        r = err->code ? -EBUSY : err_set(err, ERR_CONFLICT, 0, "its processes change");
    if (r == 0)
        r = check_threads(capture, err);
    if (r == 0)
        r = check_timers(capture, err);
    if (r == 0)
        r = check_memory(capture, err);
    if (r == 0)
        r = ipc_check_empty(pid, err);
    if (r == 0)
        r = find_folder(capture, err);
    return r == 0 ? list_descriptors(capture, err) : r;
}

/* ------------------------------------------------------------------ putting the restorer in */

static int call(struct capture *capture, long number, uint64_t a, uint64_t b, uint64_t c, uint64_t d,
                int64_t *ret_result, struct err *err)
{
    const uint64_t args[6] = { a, b, c, d, (uint64_t)-1, 0 };

    return tracee_call(&capture->tracee, 0, number, args, ret_result, err);
}

static int map(struct capture *capture, struct err *err)
{
    int64_t at;
    int r = call(capture, SYS_mmap, 0, CODE_BYTES + DATA_BYTES, PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS, &at, err);

    if (r < 0)
        return r;
    if (at < 0 && at > -PAGE_BYTES)
        return err_set(err, ERR_SYSTEM, (int)-at, "room for the restorer");
    capture->code_at = (uint64_t)at;
    capture->data_at = capture->code_at + CODE_BYTES;
    return 0;
}

/* Their signals would be the clone's. */
static int check_itimers(struct capture *capture, struct err *err)
{
    for (uint64_t which = 0; which < ITIMERS; which++) {
        uint64_t timer[4] = { 0 };
        int64_t result;
        int r = call(capture, SYS_getitimer, which, capture->data_at, 0, 0, &result, err);

        if (r < 0)
            return r;
        if (result < 0 || tracee_read(&capture->tracee, capture->data_at, timer, sizeof timer) < 0)
            return err_set(err, ERR_SYSTEM, (int)-result, "interval timers");
        if (timer[2] || timer[3])
            return err_set(err, ERR_CONFLICT, 0, "it has an interval timer");
    }
    return 0;
}

/* Where the kernel itself will write in a clone while it still has rights; the function has chosen it. */
static bool touches_restorer(const struct capture *capture, uint64_t at, uint64_t len)
{
    return at < capture->data_at + DATA_BYTES && (at >= capture->code_at || capture->code_at - at < len);
}

static int check_addresses(const struct capture *capture, const struct template_thread *thread,
                           struct err *err)
{
    if (touches_restorer(capture, thread->clear_tid, sizeof(uint64_t)) ||
        touches_restorer(capture, thread->rseq, thread->rseq_len))
        return err_set(err, ERR_CONFLICT, 0, "a thread has registered memory that is not its own");
    return 0;
}

static int save_threads(struct capture *capture, struct err *err)
{
    struct template_data *data = capture->data;
    int r = 0;

    data->thread_count = (uint32_t)capture->tracee.count;
    for (size_t i = 0; r == 0 && i < capture->tracee.count; i++) {
        uint64_t frame_at =
            capture->data_at + offsetof(struct template_data, frames) + i * TEMPLATE_FRAME_BYTES;
        uint64_t tid = data->threads[i].tid;

        r = tracee_save(&capture->tracee, i, capture->data_at, frame_at, &data->threads[i], data->frames[i],
                        err);
        data->threads[i].tid = tid;
        if (r == 0)
            r = check_addresses(capture, &data->threads[i], err);
    }
    return r;
}

/* Of a timer that has ended since its process was looked at. */
static int check_pending(const struct capture *capture, struct err *err)
{
    AUTO_FREE char *text = proc_read(STATUS_MAX_BYTES, "/proc/%d/status", (int)capture->tracee.pid);
    struct proc_status status;

    if (!text || !proc_parse_status(text, &status))
        return err_set(err, ERR_SYSTEM, errno, "status of a thread");
    return status.pending ? err_set(err, ERR_CONFLICT, 0, "a signal is pending") : 0;
}

static int write_restorer(struct capture *capture, struct err *err)
{
    size_t used = offsetof(struct template_data, frames) + capture->tracee.count * TEMPLATE_FRAME_BYTES;
    int64_t result;
    int r;

    if (tracee_write(&capture->tracee, capture->code_at, template_restorer, sizeof template_restorer) < 0 ||
        tracee_write(&capture->tracee, capture->data_at, capture->data, used) < 0)
        return err_set(err, ERR_SYSTEM, EFAULT, "writing the restorer");
    r = call(capture, SYS_mprotect, capture->code_at, CODE_BYTES, PROT_READ | PROT_EXEC, 0, &result, err);
    if (r < 0)
        return r;
    return result < 0 ? err_set(err, ERR_SYSTEM, (int)-result, "making the restorer executable") : 0;
}

static int take_away(struct capture *capture)
{
    int64_t result;
    struct err err;

    return capture->code_at == 0
               ? 0
               : call(capture, SYS_munmap, capture->code_at, CODE_BYTES + DATA_BYTES, 0, 0, &result, &err);
}

/* ------------------------------------------------------------------ the image */

static int listen_for_restorer(struct capture *capture, struct err *err)
{
    struct template_data *data = capture->data;
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    unsigned char random[16];

    if (getrandom(random, sizeof random, 0) != sizeof random)
        return err_set(err, ERR_SYSTEM, EIO, "random numbers");
    data->address_len = 1 + 2 * sizeof random; /* abstract: begins with NUL */
    for (size_t i = 0; i < sizeof random; i++)
        (void)snprintf(data->address + 1 + 2 * i, 3, "%02x", random[i]);
    memcpy(address.sun_path, data->address, data->address_len);
    capture->listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (capture->listener < 0 ||
        bind(capture->listener, (const struct sockaddr *)&address,
             (socklen_t)(offsetof(struct sockaddr_un, sun_path) + data->address_len)) < 0 ||
        listen(capture->listener, 2) < 0)
        return err_set(err, ERR_SYSTEM, errno, "socket for the restorer");
    return 0;
}

static void limit_waiting(int socket)
{
    const struct timeval limit = { .tv_sec = IMAGE_MS / 1000 };

    (void)setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
}

/* The next connection that says hello. ret_pid: whose it is. */
static int accept_restorer(struct capture *capture, pid_t *ret_pid, struct err *err)
{
    struct template_reply hello = { 0 };
    struct ucred peer = { 0 };
    socklen_t len = sizeof peer;

    limit_waiting(capture->listener);
    AUTO_FD int fd = accept4(capture->listener, NULL, NULL, SOCK_CLOEXEC);

    if (fd < 0 || getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0)
        return err_set(err, ERR_SYSTEM, errno, "the restorer does not answer");
    limit_waiting(fd);
    if (peer.uid != capture->uid || recv(fd, &hello, sizeof hello, 0) != sizeof hello ||
        hello.format != TEMPLATE_FORMAT || hello.pid != 0)
        return err_set(err, ERR_SYSTEM, EPROTO, "the restorer's greeting");
    *ret_pid = peer.pid;
    return TAKE_FD(fd);
}

static int make_image(struct capture *capture, int *ret_control, struct err *err)
{
    const struct template_request request = { .format = TEMPLATE_FORMAT, .type = TEMPLATE_REQUEST_IMAGE };
    struct template_reply reply;
    pid_t pid = 0;
    AUTO_FD int first = accept_restorer(capture, &pid, err);

    if (first < 0)
        return first;
    if (pid != capture->tracee.pid)
        return err_set(err, ERR_SYSTEM, EPROTO, "the restorer's greeting");
    if (send(first, &request, sizeof request, MSG_NOSIGNAL) != sizeof request ||
        recv(first, &reply, sizeof reply, 0) != sizeof reply)
        return err_set(err, ERR_SYSTEM, errno, "the restorer");
    if (reply.pid < 0)
        return err_set(err, ERR_SYSTEM, -reply.pid, "copying the process");

    AUTO_FD int second = accept_restorer(capture, &pid, err);

    if (second < 0)
        return second;
    if (pid == capture->tracee.pid)
        return err_set(err, ERR_SYSTEM, EPROTO, "the image's greeting");
    *ret_control = TAKE_FD(second);
    return 0;
}

/* ------------------------------------------------------------------ the working process */

/* Where we may not raise the highest limit the process gets all that it may have. */
static void lift(const struct capture *capture, __rlimit_resource_t resource, rlim_t most,
                 uint64_t ret_before[2])
{
    struct rlimit lifted = { most, most }, before = lifted;

    if (prlimit(capture->tracee.pid, resource, NULL, &before) == 0 &&
        prlimit(capture->tracee.pid, resource, &lifted, NULL) < 0) {
        lifted.rlim_cur = lifted.rlim_max = before.rlim_max;
        (void)prlimit(capture->tracee.pid, resource, &lifted, NULL);
    }
    ret_before[0] = before.rlim_cur;
    ret_before[1] = before.rlim_max;
}

/* All clones count as processes of the image's user, who owns their namespaces; and the restorer's own
 * descriptors have numbers that the function may have forbidden itself. Each clone gets the limits back. */
static int lift_limits(struct capture *capture, struct err *err)
{
    struct rlimit files = { 0 };

    capture->lifted = true;
    lift(capture, RLIMIT_NOFILE, FILES_MOST, capture->data->file_limit);
    lift(capture, RLIMIT_NPROC, RLIM_INFINITY, capture->data->process_limit);
    capture->had_processes =
        (struct rlimit){ capture->data->process_limit[0], capture->data->process_limit[1] };
    for (size_t i = 0; i < 2; i++) {
        if (capture->data->process_limit[i] > capture->source->processes_max)
            capture->data->process_limit[i] = capture->source->processes_max;
    }
    if (prlimit(capture->tracee.pid, RLIMIT_NOFILE, NULL, &files) < 0 || files.rlim_cur < FILES_LEAST)
        return err_set(err, ERR_CONFLICT, 0, "it may not have descriptors above %llu",
                       (unsigned long long)files.rlim_cur);
    return 0;
}

static void give_limits_back(const struct capture *capture)
{
    struct rlimit files;

    if (!capture->lifted)
        return;
    files = (struct rlimit){ capture->data->file_limit[0], capture->data->file_limit[1] };
    (void)prlimit(capture->tracee.pid, RLIMIT_NOFILE, &files, NULL);
    (void)prlimit(capture->tracee.pid, RLIMIT_NPROC, &capture->had_processes, NULL);
}

static int run(struct capture *capture, int *ret_control, struct err *err)
{
    const struct template_source *source = capture->source;
    struct template_data *data = capture->data;
    int r = check(capture, err);

    if (source->filter_count > TEMPLATE_MAX_FILTER)
        return err_set(err, ERR_LIMIT, 0, "the system call filter is too long");
    data->format = TEMPLATE_FORMAT;
    data->control = -1;
    data->filter_count = (uint32_t)source->filter_count;
    memcpy(data->filter, source->filter, source->filter_count * sizeof *source->filter);
    memcpy(data->secret, source->secret, sizeof data->secret);
    if (r == 0)
        r = listen_for_restorer(capture, err);
    if (r == 0)
        r = map(capture, err);
    if (r == 0)
        r = check_itimers(capture, err);
    if (r == 0)
        r = check_pending(capture, err);
    if (r == 0)
        r = save_threads(capture, err);
    if (r == 0)
        r = lift_limits(capture, err);
    if (r == 0)
        r = write_restorer(capture, err);
    if (r < 0)
        return r;
    copies_cheapen(&capture->copies, capture->tracee.pid);
    capture->jumped = true;
    r = tracee_jump(&capture->tracee, capture->code_at, capture->data_at,
                    capture->data_at + offsetof(struct template_data, main_stack) + TEMPLATE_STACK, err);
    if (r == 0)
        r = make_image(capture, ret_control, err);
    tracee_kill(&capture->tracee);
    return r;
}

static void send_result(int socket, const struct result *result, int control)
{
    struct iovec iov = { (void *)(uintptr_t)result, sizeof *result };
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(int))];
    } ancillary = { 0 };
    struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1 };

    if (control >= 0) {
        message.msg_control = &ancillary;
        message.msg_controllen = sizeof ancillary.bytes;
        ancillary.header.cmsg_level = SOL_SOCKET;
        ancillary.header.cmsg_type = SCM_RIGHTS;
        ancillary.header.cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(&ancillary.header), &control, sizeof control);
    }
    (void)sendmsg(socket, &message, MSG_NOSIGNAL);
}

static _Noreturn void work(const struct template_source *source, int socket)
{
    struct capture capture = { .source = source, .data = calloc(1, sizeof *capture.data), .listener = -1 };
    struct result result = { 0 };
    struct err err = { 0 };
    int control = -1, r;

    (void)prctl(PR_SET_NAME, "irori-capture");
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    /* A thread may be where nothing stops it. The process then dies with this one. */
    (void)alarm(LIMIT_S);
    r = capture.data ? run(&capture, &control, &err) : err_set(&err, ERR_SYSTEM, ENOMEM, "capture");
    result.done = r == 0;
    result.dead_sockets = capture.dead_sockets;
    result.intact = r < 0 && !capture.jumped && take_away(&capture) == 0;
    if (result.intact) {
        give_limits_back(&capture);
        tracee_release(&capture.tracee);
    }
    (void)snprintf(result.reason, sizeof result.reason, "%s", err.text);
    send_result(socket, &result, control);
    _exit(0); /* what is still traced dies with us */
}

int template_capture_start(const struct template_source *source, struct template_capture *ret_capture,
                           struct err *err)
{
    int pair[2];
    pid_t pid;

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return err_set(err, ERR_SYSTEM, errno, "capture");
    pid = fork();
    if (pid == 0) {
        sigset_t none;

        (void)close(pair[0]);
        (void)sigemptyset(&none);
        (void)sigprocmask(SIG_SETMASK, &none, NULL);
        work(source, pair[1]);
    }
    (void)close(pair[1]);
    if (pid < 0) {
        (void)close(pair[0]);
        return err_set(err, ERR_SYSTEM, errno, "capture");
    }
    *ret_capture = (struct template_capture){ pid, pair[0] };
    return 0;
}

void template_capture_cancel(struct template_capture *capture)
{
    if (capture->pid > 0) {
        (void)kill(capture->pid, SIGKILL);
        while (waitpid(capture->pid, NULL, 0) < 0 && errno == EINTR)
            continue;
    }
    if (capture->socket >= 0)
        (void)close(capture->socket);
    *capture = TEMPLATE_CAPTURE_INIT;
}

int template_capture_receive(struct template_capture *capture, struct template_captured *ret_captured)
{
    struct result result = { 0 };
    struct iovec iov = { &result, sizeof result };
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(int))];
    } ancillary = { 0 };
    struct msghdr message = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &ancillary, .msg_controllen = sizeof ancillary.bytes
    };
    ssize_t n = recvmsg(capture->socket, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    int control = -1;

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    if (n == sizeof result && message.msg_controllen >= sizeof ancillary.header &&
        ancillary.header.cmsg_type == SCM_RIGHTS)
        memcpy(&control, CMSG_DATA(&ancillary.header), sizeof control);
    if (n != sizeof result) {
        result = (struct result){ 0 };
        (void)snprintf(result.reason, sizeof result.reason, "the capturing process has ended");
    }
    result.reason[sizeof result.reason - 1] = '\0';
    *ret_captured = (struct template_captured){ .done = result.done && control >= 0,
                                                .intact = result.intact,
                                                .control = control,
                                                .dead_sockets = result.dead_sockets };
    memcpy(ret_captured->reason, result.reason, sizeof result.reason);
    template_capture_cancel(capture);
    return 1;
}
