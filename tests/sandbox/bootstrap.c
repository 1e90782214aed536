/*
 * A function for the tests of the launcher: static, says hello to the Runtime API and then does what it is
 * told, line by line.
 *
 *   w PATH BYTES   writes a file of that size        r PATH    reads up to 4000 bytes of a file
 *   m BYTES        touches that much memory          x CODE    exits            k SIGNAL  kills itself
 *   f              forks without end                 u FLAGS   unshare()        o PATH    opens for writing
 *   p N            makes N files in /tmp             z         closes everything and sleeps
 *   l TEXT         writes a line to stdout           c HOST PORT  connects      s         status of all
 *   i              makes inotify instances, then watches, then message queues, until each is refused
 *   e COMMAND      runs it in a shell and answers its output
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static char answer[65536];

static void write_file(const char *path, long long bytes)
{
    static char block[1 << 20];
    int fd = open(path, O_CREAT | O_WRONLY | O_TRUNC | O_CLOEXEC, 0600);
    long long done = 0;

    memset(block, 'x', sizeof block);
    while (fd >= 0 && done < bytes) {
        ssize_t n =
            write(fd, block, bytes - done > (long long)sizeof block ? sizeof block : (size_t)(bytes - done));

        if (n <= 0)
            break;
        done += n;
    }
    snprintf(answer, sizeof answer, "%lld %d", done, fd < 0 || done < bytes ? errno : 0);
    if (fd >= 0)
        close(fd);
}

static void read_file(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, answer, 4000);

    if (n < 0)
        snprintf(answer, sizeof answer, "errno %d", errno);
    else
        answer[n] = '\0';
    if (fd >= 0)
        close(fd);
}

static void touch_memory(long long bytes)
{
    char *memory = malloc((size_t)bytes);

    for (long long i = 0; memory && i < bytes; i += 4096)
        memory[i] = 1;
    snprintf(answer, sizeof answer, "%s", memory ? "ok" : "no");
}

static void connect_to(const char *host, int port)
{
    struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons((unsigned short)port) };
    struct timeval limit = { .tv_sec = 1 };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    inet_pton(AF_INET, host, &to.sin_addr);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    snprintf(answer, sizeof answer, "%d", connect(fd, (void *)&to, sizeof to) < 0 ? errno : 0);
    close(fd);
}

static void make_files(long count)
{
    long i;
    char path[64];

    for (i = 0; i < count; i++) {
        snprintf(path, sizeof path, "/tmp/f%ld", i);
        int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);

        if (fd < 0)
            break;
        close(fd);
    }
    snprintf(answer, sizeof answer, "%ld", i);
}

static int make_watches(int inotify)
{
    char path[64];
    int count = 0;

    for (; count < 5000; count++) {
        snprintf(path, sizeof path, "/tmp/w%d", count);
        close(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
        if (inotify_add_watch(inotify, path, IN_MODIFY) < 0)
            break;
    }
    return count;
}

static void take_shared_counts(void)
{
    int first = inotify_init1(IN_CLOEXEC), instances = first >= 0, queues = 0, watches;
    char name[32];

    while (instances < 200 && inotify_init1(IN_CLOEXEC) >= 0)
        instances++;
    watches = make_watches(first);
    for (; queues < 50; queues++) {
        snprintf(name, sizeof name, "q%d", queues);
        if (syscall(SYS_mq_open, name, O_CREAT | O_RDWR, 0600, NULL) < 0)
            break;
    }
    snprintf(answer, sizeof answer, "%d %d %d", instances, watches, queues);
}

static void run_command(const char *command)
{
    FILE *pipe = popen(command, "r");
    size_t n = pipe ? fread(answer, 1, sizeof answer - 1, pipe) : 0;

    answer[n] = '\0';
    if (pipe)
        pclose(pipe);
}

static void describe(void)
{
    struct statvfs tmp;

    statvfs("/tmp", &tmp);
    snprintf(
        answer, sizeof answer, "uid=%d gid=%d groups=%d pid=%d ppid=%d tmp_free=%llu tmp_inodes=%llu cwd=%s",
        (int)getuid(), (int)getgid(), getgroups(0, NULL), (int)getpid(), (int)getppid(),
        (unsigned long long)tmp.f_bavail * tmp.f_bsize, (unsigned long long)tmp.f_ffree, getcwd(NULL, 0));
}

static void obey(char *line)
{
    char path[256] = "";
    long long number = 0;
    char *rest = line + (line[1] == ' ' ? 2 : 1);

    strcpy(answer, "ok");
    sscanf(rest, "%255s %lld", path, &number);
    switch (*line) {
    case 'w':
        write_file(path, number);
        break;
    case 'r':
        read_file(path);
        break;
    case 'm':
        touch_memory(atoll(rest));
        break;
    case 'x':
        exit(atoi(rest));
    case 'k':
        kill(getpid(), atoi(rest));
        break;
    case 'f':
        for (;;)
            fork();
    case 'u':
        snprintf(answer, sizeof answer, "%d", unshare(atoi(rest)) < 0 ? errno : 0);
        break;
    case 'o': {
        int fd = open(path, O_WRONLY | O_CLOEXEC);
        snprintf(answer, sizeof answer, "%d", fd < 0 ? errno : 0);
        if (fd >= 0)
            close(fd);
        break;
    }
    case 'p':
        make_files(atol(rest));
        break;
    case 'z':
        for (int i = 0; i < 1024; i++)
            close(i);
        for (;;)
            pause();
    case 'l':
        printf("%s\n", rest);
        fflush(stdout);
        break;
    case 'c':
        connect_to(path, (int)number);
        break;
    case 'e':
        run_command(rest);
        break;
    case 'i':
        take_shared_counts();
        break;
    case 's':
        describe();
        break;
    default:
        strcpy(answer, "?");
    }
}

int main(void)
{
    struct sockaddr_in api = { .sin_family = AF_INET,
                               .sin_port = htons(9001),
                               .sin_addr = { htonl(INADDR_LOOPBACK) } };
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    char line[4096];

    if (connect(fd, (void *)&api, sizeof api) < 0)
        return 42;
    if (write(fd, "hello\n", 6) != 6)
        return 43;
    for (;;) {
        size_t n = 0;

        while (n < sizeof line - 1) {
            if (read(fd, line + n, 1) != 1)
                return 0;
            if (line[n] == '\n')
                break;
            n++;
        }
        line[n] = '\0';
        obey(line);
        strcat(answer, "\n\x04");
        if (write(fd, answer, strlen(answer)) < 0)
            return 44;
    }
}
