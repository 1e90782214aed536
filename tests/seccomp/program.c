/* What a C library needs of the kernel, above all musl linked statically. Prints "ok" when all of it worked.
 */

#include <errno.h>
#include <ifaddrs.h>
#include <netdb.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/shm.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define CHECK(condition)                                                        \
    do {                                                                        \
        if (!(condition)) {                                                     \
            printf("line %d: %s: %s\n", __LINE__, #condition, strerror(errno)); \
            exit(1);                                                            \
        }                                                                       \
    } while (0)

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static int total;

static void *work(void *unused)
{
    (void)unused;
    for (int i = 0; i < 1000; i++) {
        pthread_mutex_lock(&mutex);
        total++;
        pthread_mutex_unlock(&mutex);
    }
    return NULL;
}

static void threads(void)
{
    pthread_t all[16];
    sem_t semaphore;

    for (int i = 0; i < 16; i++)
        CHECK(pthread_create(&all[i], NULL, work, NULL) == 0);
    for (int i = 0; i < 16; i++)
        CHECK(pthread_join(all[i], NULL) == 0);
    CHECK(total == 16000);
    CHECK(prctl(PR_SET_NAME, "renamed") == 0);
    CHECK(sem_init(&semaphore, 1, 1) == 0 && sem_wait(&semaphore) == 0);
}

static void processes(void)
{
    char *argv[] = { "true", NULL };
    int status = -1;
    pid_t pid;

    CHECK(posix_spawn(&pid, "/bin/true", NULL, NULL, argv, NULL) == 0);
    CHECK(waitpid(pid, &status, 0) == pid && status == 0);
    CHECK(system("exit 3") == 3 << 8);
    pid = vfork();
    if (pid == 0)
        _exit(4);
    CHECK(waitpid(pid, &status, 0) == pid && WEXITSTATUS(status) == 4);
    CHECK(setuid(getuid()) == 0 && setgid(getgid()) == 0);

    FILE *pipe = popen("echo 42", "r");
    CHECK(pipe && fgetc(pipe) == '4' && pclose(pipe) == 0);
}

static void descriptors(void)
{
    struct epoll_event event = { .events = EPOLLIN };
    struct itimerspec soon = { .it_value = { .tv_nsec = 1000000 } };
    sigset_t set;
    int epoll = epoll_create1(EPOLL_CLOEXEC), timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);

    CHECK(epoll >= 0 && timer >= 0 && eventfd(0, EFD_CLOEXEC) >= 0);
    CHECK(timerfd_settime(timer, 0, &soon, NULL) == 0 && epoll_ctl(epoll, EPOLL_CTL_ADD, timer, &event) == 0);
    CHECK(epoll_wait(epoll, &event, 1, 5000) == 1);
    CHECK(sigemptyset(&set) == 0 && sigaddset(&set, SIGUSR1) == 0 && signalfd(-1, &set, SFD_CLOEXEC) >= 0);
    isatty(0);
}

static void memory(void)
{
    void *block = malloc(100 << 20);
    CHECK(block);
    memset(block, 1, 100 << 20);
    block = realloc(block, 200 << 20); /* mremap */
    CHECK(block);
    free(block);

    void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(page != MAP_FAILED && mprotect(page, 4096, PROT_READ | PROT_EXEC) == 0 &&
          madvise(page, 4096, MADV_DONTNEED) == 0);

    int segment = shmget(IPC_PRIVATE, 4096, IPC_CREAT | 0600);
    void *shared = segment < 0 ? NULL : shmat(segment, NULL, 0);
    CHECK(shared && shared != (void *)-1 && shmctl(segment, IPC_RMID, NULL) == 0 && shmdt(shared) == 0);
}

static void network(void)
{
    struct ifaddrs *addresses;
    struct addrinfo *found, hints = { .ai_family = AF_INET, .ai_socktype = SOCK_STREAM };

    CHECK(getifaddrs(&addresses) == 0 && addresses);
    freeifaddrs(addresses);
    CHECK(getaddrinfo("127.0.0.1", "80", &hints, &found) == 0);
    freeaddrinfo(found);
    CHECK(socket(AF_INET, SOCK_RAW, 1) < 0 && errno == EPERM);
}

int main(void)
{
    threads();
    processes();
    descriptors();
    memory();
    network();
    puts("ok");
    return 0;
}
