#include "template/ipc.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/err.h"

static int enter(pid_t pid, struct err *err)
{
    char path[64];

    (void)snprintf(path, sizeof path, "/proc/%d/ns/ipc", (int)pid);
    AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC);

    return fd < 0 || setns(fd, CLONE_NEWIPC) < 0 ? err_set(err, ERR_SYSTEM, errno, "IPC namespace") : 0;
}

/* A kernel that was built without them (ENOSYS) has none of them. */
static bool failed(int result)
{
    return result < 0 && errno != ENOSYS;
}

static int check_system_v(struct err *err)
{
    struct shm_info memory = { 0 };
    struct seminfo semaphores = { 0 };
    struct msginfo queues = { 0 };

    if (failed(shmctl(0, SHM_INFO, (struct shmid_ds *)(void *)&memory)) ||
        failed(semctl(0, 0, SEM_INFO, &semaphores)) ||
        failed(msgctl(0, MSG_INFO, (struct msqid_ds *)(void *)&queues)))
        return err_set(err, ERR_SYSTEM, errno, "IPC of System V");
    if (memory.used_ids > 0)
        return err_set(err, ERR_CONFLICT, 0, "it has shared memory of System V");
    if (semaphores.semusz > 0) /* how many sets there are */
        return err_set(err, ERR_CONFLICT, 0, "it has semaphores of System V");
    return queues.msgpool > 0 ? err_set(err, ERR_CONFLICT, 0, "it has a message queue of System V") : 0;
}

/* The namespace's own file system of queues, mounted nowhere. Returns a descriptor, or negative errno. */
static int open_queues(void)
{
    AUTO_FD int context = (int)syscall(SYS_fsopen, "mqueue", FSOPEN_CLOEXEC);
    AUTO_FD int mount = -1;
    int folder;

    if (context < 0 || syscall(SYS_fsconfig, context, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
        return -errno;
    mount = (int)syscall(SYS_fsmount, context, FSMOUNT_CLOEXEC, 0);
    folder = mount < 0 ? -1 : openat(mount, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return folder < 0 ? -errno : folder;
}

static int check_queues(struct err *err)
{
    int fd = open_queues();
    unsigned count = 0;
    DIR *folder;

    if (fd == -ENODEV) /* a kernel without them */
        return 0;
    folder = fd < 0 ? NULL : fdopendir(fd);
    if (!folder) {
        (void)err_set(err, ERR_SYSTEM, fd < 0 ? -fd : errno, "POSIX queues");
        if (fd >= 0)
            (void)close(fd);
        return -EIO;
    }
    while (readdir(folder))
        count++;
    (void)closedir(folder);
    if (count < 2) /* not even the folder itself and the one above */
        return err_set(err, ERR_SYSTEM, 0, "POSIX queues cannot be listed");
    return count > 2 ? err_set(err, ERR_CONFLICT, 0, "it has a POSIX message queue") : 0;
}

int ipc_check_empty(pid_t pid, struct err *err)
{
    int r = enter(pid, err);

    if (r == 0)
        r = check_system_v(err);
    return r == 0 ? check_queues(err) : r;
}
