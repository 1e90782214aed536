#include "bin/serve.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "bin/control.h"
#include "bin/instance.h"
#include "bin/settings.h"

enum {
    STOP_MS = 9000,   /* a stop takes at most 10 s */
    SWEEP_MS = 5000,  /* more, when the launcher had to be killed */
    RESTARTS_MAX = 5, /* within RESTART_WINDOW_US: then something is wrong for good */
    RESTART_WINDOW_US = 10000000,
    ARGS_MAX = 192,
    FIRST_CHILD_FD = 3,
};

struct server {
    struct settings settings;
    struct instance instance;
    char program_dir[4000];
    int listener, signals;
    pid_t irorid, launcher;
    int control;    /* our end to irorid */
    int supervisor; /* our end of the launcher's life line; closing it ends the launcher */
    unsigned restarts;
    uint64_t restart_window_us;
    bool unswept, swept; /* the last launcher was killed; another was started to sweep */
    bool stopping;
    bool failed; /* a program said that trying again will not help */
    uint64_t stop_deadline_us;
};

static int fail(const struct err *err)
{
    (void)fprintf(stderr, "irori serve: %s\n", err->text);
    return 1;
}

static int find_program_dir(struct server *server, struct err *err)
{
    ssize_t len = readlink("/proc/self/exe", server->program_dir, sizeof server->program_dir - 1);
    char *slash;

    if (len <= 0)
        return err_set(err, ERR_SYSTEM, errno, "/proc/self/exe");
    server->program_dir[len] = '\0';
    slash = strrchr(server->program_dir, '/');
    *slash = '\0';
    return 0;
}

static int listen_on(struct server *server, struct err *err)
{
    char host[128], port_text[8];
    unsigned port;
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE }, *found;
    int on = 1, result;

    if (settings_split_listen(server->settings.listen, host, sizeof host, &port, err) < 0)
        return -EINVAL;
    (void)snprintf(port_text, sizeof port_text, "%u", port);
    result = getaddrinfo(host, port_text, &hints, &found);
    if (result != 0)
        return err_set(err, ERR_INVALID, 0, "listen: '%s': %s", host, gai_strerror(result));
    server->listener = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (server->listener >= 0)
        (void)setsockopt(server->listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (server->listener < 0 || bind(server->listener, found->ai_addr, found->ai_addrlen) < 0 ||
        listen(server->listener, 4096) < 0) {
        result = errno;
        freeaddrinfo(found);
        return err_set(err, ERR_SYSTEM, result, "cannot listen on %s", server->settings.listen);
    }
    freeaddrinfo(found);
    return 0;
}

static unsigned bound_port(int fd)
{
    struct sockaddr_in6 address = { 0 };
    socklen_t len = sizeof address;

    if (getsockname(fd, (struct sockaddr *)&address, &len) < 0)
        return 0;
    return ntohs(address.sin6_port); /* at the same place in an address of IPv4 */
}

/* ---- children ---- */

struct arguments {
    char *argv[ARGS_MAX + 1];
    size_t count;
    bool failed;
};

static void arg(struct arguments *args, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void arg(struct arguments *args, const char *format, ...)
{
    char *text = NULL;
    va_list list;

    va_start(list, format);
    if (args->count == ARGS_MAX || vasprintf(&text, format, list) < 0)
        args->failed = true;
    else
        args->argv[args->count++] = text;
    va_end(list);
}

static void arguments_done(struct arguments *args)
{
    for (size_t i = 0; i < args->count; i++)
        free(args->argv[i]);
}

/* In the child: fds become 3, 4, ...; everything else closes on exec. */
static void exec_child(const struct server *server, const struct arguments *args, const int *fds,
                       size_t fd_count)
{
    char path[4200];
    sigset_t none;
    int moved[8];

    for (size_t i = 0; i < fd_count; i++)
        moved[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, 64);
    for (size_t i = 0; i < fd_count; i++) {
        if (moved[i] < 0 || dup2(moved[i], FIRST_CHILD_FD + (int)i) < 0)
            _exit(127);
    }
    (void)sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    (void)snprintf(path, sizeof path, "%s/%s", server->program_dir, args->argv[0]);
    if (access(path, X_OK) < 0) /* installed: bin/ and libexec/irori/ */
        (void)snprintf(path, sizeof path, "%s/../libexec/irori/%s", server->program_dir, args->argv[0]);
    (void)execv(path, args->argv);
    log_error("cannot run %s: %s", path, strerror(errno));
    _exit(127);
}

static pid_t spawn(const struct server *server, struct arguments *args, const int *fds, size_t fd_count)
{
    pid_t pid = args->failed ? -1 : fork();

    if (pid == 0)
        exec_child(server, args, fds, fd_count);
    arguments_done(args);
    if (pid < 0)
        log_error("cannot start a program: %s", strerror(errno));
    return pid;
}

static void close_fd(int *fd)
{
    if (*fd >= 0)
        (void)close(*fd);
    *fd = -1;
}

static bool start_irorid(struct server *server)
{
    const struct settings *settings = &server->settings;
    const char *sudo_uid = getenv("SUDO_UID"), *sudo_gid = getenv("SUDO_GID");
    struct arguments args = { 0 };
    int pair[2];

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return false;
    arg(&args, "irorid");
    arg(&args, "--uid=%u", server->instance.uid);
    arg(&args, "--gid=%u", server->instance.gid);
    arg(&args, "--owner-uid=%s", sudo_uid && *sudo_uid ? sudo_uid : "0");
    arg(&args, "--owner-gid=%s", sudo_gid && *sudo_gid ? sudo_gid : "0");
    arg(&args, "--port=%u", bound_port(server->listener));
    arg(&args, "--region=%s", settings->region);
    arg(&args, "--account-id=%s", settings->account_id);
    arg(&args, "--idle-timeout-ms=%llu", (unsigned long long)settings->idle_timeout_ms);
    arg(&args, "--busy-poll-us=%llu", (unsigned long long)settings->busy_poll_us);
    arg(&args, "--freeze-after-ms=%llu", (unsigned long long)settings->freeze_after_ms);
    arg(&args, "--max-memory-mb=%llu", (unsigned long long)settings->max_memory_mb);
    arg(&args, "--account-concurrency=%llu", (unsigned long long)settings->account_concurrency);
    arg(&args, "--log-deleted=%llu", (unsigned long long)settings->log_deleted);
    arg(&args, "--log-max-mb=%llu", (unsigned long long)settings->log_max_mb);
    arg(&args, "--code-cache-max-mb=%llu", (unsigned long long)settings->code_cache_max_mb);
    arg(&args, "--templates=%d", settings->templates);
    arg(&args, "--template-idle-ms=%llu", (unsigned long long)settings->template_idle_ms);
    if (settings->no_auth)
        arg(&args, "--no-auth");
    if (settings->debug)
        arg(&args, "--debug");
    server->irorid = spawn(server, &args, (int[]){ pair[1], server->listener, server->instance.data_fd }, 3);
    (void)close(pair[1]);
    server->control = pair[0];
    return server->irorid > 0;
}

/* The folder that holds runtimes/: beside an installation's programs, or the source tree of a build folder.
 */
static void find_share(const struct server *server, char *out, size_t size)
{
    static const char *const places[] = { "/../share/irori", "/.." };

    for (size_t i = 0; i < 2; i++) {
        char probe[4200];

        (void)snprintf(out, size, "%s%s", server->program_dir, places[i]);
        (void)snprintf(probe, sizeof probe, "%s/runtimes/node", out);
        if (access(probe, F_OK) == 0)
            return;
    }
}

static bool start_launcher(struct server *server)
{
    const struct settings *settings = &server->settings;
    struct arguments args = { 0 };
    char share[4100];
    int wire[2], life[2];

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, wire) < 0)
        return false;
    if (pipe2(life, O_CLOEXEC) < 0) {
        (void)close(wire[0]);
        (void)close(wire[1]);
        return false;
    }
    find_share(server, share, sizeof share);
    arg(&args, "irori-launcher");
    arg(&args, "--wire-fd=3");
    arg(&args, "--supervisor-fd=4");
    arg(&args, "--data-fd=5");
    arg(&args, "--instance=%s", server->instance.id);
    arg(&args, "--uid-base=%u", server->instance.uid_base);
    arg(&args, "--share=%s", share);
    arg(&args, "--max-slots=%llu", (unsigned long long)settings->max_environments);
    arg(&args, "--spare-slots=%llu", (unsigned long long)settings->spare_slots);
    arg(&args, "--max-memory-mb=%llu", (unsigned long long)settings->max_memory_mb);
    for (size_t i = 0; i < settings->allow_host_count; i++)
        arg(&args, "--allow-host=%s", settings->allow_host[i]);
    if (settings->debug)
        arg(&args, "--debug");
    server->launcher = spawn(server, &args, (int[]){ wire[1], life[0], server->instance.data_fd }, 3);
    (void)close(wire[1]);
    (void)close(life[0]);
    server->supervisor = life[1];
    /* An irorid that cannot take it has just died: the launcher ends with the socket, and both start anew. */
    if (server->launcher > 0)
        (void)control_send_launcher(server->control, wire[0]);
    (void)close(wire[0]);
    return server->launcher > 0;
}

/* ---- the loop ---- */

static bool may_restart(struct server *server)
{
    uint64_t now = clock_us();

    if (now - server->restart_window_us > RESTART_WINDOW_US) {
        server->restart_window_us = now;
        server->restarts = 0;
    }
    return ++server->restarts <= RESTARTS_MAX;
}

static void begin_stop(struct server *server)
{
    if (server->stopping)
        return;
    server->stopping = true;
    server->stop_deadline_us = clock_us() + (uint64_t)STOP_MS * 1000;
    if (server->irorid > 0)
        (void)kill(server->irorid, SIGTERM);
    else
        close_fd(&server->supervisor);
}

static void describe(const char *program, int status)
{
    if (WIFSIGNALED(status))
        log_error("%s was killed by signal %d", program, WTERMSIG(status));
    else if (WEXITSTATUS(status) != 0)
        log_error("%s ended with status %d", program, WEXITSTATUS(status));
}

static void check_use(struct server *server, int status)
{
    if (!WIFEXITED(status) || WEXITSTATUS(status) != CONTROL_EXIT_CONFIG)
        return;
    server->failed = true;
    begin_stop(server);
}

static void on_irorid_end(struct server *server, int status)
{
    server->irorid = 0;
    close_fd(&server->control);
    describe("irorid", status);
    /* The launcher cleans up and ends when its peer is gone; both start anew after it. */
    close_fd(&server->supervisor);
    check_use(server, status);
}

static void on_launcher_end(struct server *server, int status)
{
    server->launcher = 0;
    server->unswept = !WIFEXITED(status);
    close_fd(&server->supervisor);
    describe("irori-launcher", status);
    check_use(server, status);
}

static void reap(struct server *server)
{
    int status;
    pid_t pid;

    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        if (pid == server->irorid)
            on_irorid_end(server, status);
        else if (pid == server->launcher)
            on_launcher_end(server, status);
    }
}

/* Starts what is missing. False when it is no use. */
static bool mend(struct server *server)
{
    if (server->stopping || (server->irorid > 0 && server->launcher > 0))
        return true;
    if (server->irorid <= 0 && server->launcher > 0)
        return true; /* its end comes next */
    if (!may_restart(server)) {
        log_error("the programs end again and again; giving up");
        return false;
    }
    if (server->irorid <= 0 && !start_irorid(server))
        return false;
    return start_launcher(server);
}

/* What a killed launcher leaves is swept by the next one. After the last there is none: one that finds nobody
 * to serve sweeps and ends. */
static bool sweep(struct server *server)
{
    if (!server->unswept || server->swept)
        return false;
    server->swept = true;
    server->stop_deadline_us = clock_us() + (uint64_t)SWEEP_MS * 1000;
    return start_launcher(server);
}

static void on_signal(struct server *server)
{
    struct signalfd_siginfo info;

    while (read(server->signals, &info, sizeof info) == (ssize_t)sizeof info) {
        if (info.ssi_signo == SIGCHLD)
            reap(server);
        else
            begin_stop(server);
    }
}

static int run(struct server *server)
{
    for (;;) {
        struct pollfd watch = { .fd = server->signals, .events = POLLIN };

        on_signal(server);
        if (!mend(server)) {
            server->failed = true;
            begin_stop(server);
        }
        if (server->stopping && server->irorid <= 0 && server->launcher <= 0 && !sweep(server))
            return server->failed || server->unswept ? 1 : 0;
        if (server->stopping && clock_us() > server->stop_deadline_us) {
            log_error("the programs did not end in time; killing them");
            if (server->irorid > 0)
                (void)kill(server->irorid, SIGKILL);
            if (server->launcher > 0)
                (void)kill(server->launcher, SIGKILL);
        }
        (void)poll(&watch, 1, server->stopping ? 100 : -1);
    }
}

static int watch_signals(struct server *server, struct err *err)
{
    sigset_t set;

    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGINT);
    (void)sigaddset(&set, SIGHUP);
    (void)sigaddset(&set, SIGCHLD);
    (void)signal(SIGPIPE, SIG_IGN);
    /* What an ignorant parent has ignored would never arrive. SIGHUP stays: that is what nohup asks for. */
    (void)signal(SIGCHLD, SIG_DFL);
    (void)signal(SIGTERM, SIG_DFL);
    if (sigprocmask(SIG_BLOCK, &set, NULL) < 0 ||
        (server->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK)) < 0)
        return err_set(err, ERR_SYSTEM, errno, "signals");
    return 0;
}

int serve_main(int argc, char **argv)
{
    struct server server = { .listener = -1, .signals = -1, .control = -1, .supervisor = -1 };
    struct err err = { 0 };
    int result;

    settings_init(&server.settings);
    result = settings_read(&server.settings, argc, argv, 2, &err);
    if (result != 0)
        return result > 0 ? 0 : fail(&err);
    if (geteuid() != 0) {
        (void)fprintf(stderr,
                      "irori serve: must be run as root, because only root can make sandboxes (namespaces, "
                      "mounts, cgroups); try: sudo irori serve\n");
        return 1;
    }
    log_init("irori", server.settings.debug ? LOG_DEBUG : LOG_INFO);
    (void)umask(022);
    /* Signals first: one that comes meanwhile stops what has been started, and no more is. */
    if (find_program_dir(&server, &err) < 0 || watch_signals(&server, &err) < 0 ||
        instance_open(server.settings.data, &server.instance, &err) < 0)
        return fail(&err);
    if (listen_on(&server, &err) < 0) {
        instance_close(&server.instance);
        return fail(&err);
    }
    log_info("listening on %s, data in %s, instance %s", server.settings.listen, server.settings.data,
             server.instance.id);
    result = run(&server);
    instance_close(&server.instance);
    settings_done(&server.settings);
    log_info("stopped");
    return result;
}
