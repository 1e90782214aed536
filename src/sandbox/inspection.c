#include "sandbox/inspection.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"

enum {
    ENTRY_ROOM = 32 * 1024, /* more than one entry takes */
    TABLE_MAX_BYTES = 1 << 20,
    CHUNK_BYTES = 256 * 1024,
    VALUE_MAX_BYTES = 4096,
    DEPTH_MAX = 32,
    PATH_BYTES = 4096,
    VALUES_MAX = 1024,
};

struct look {
    const struct inspection *what;
    struct buf *out;
    uint64_t deadline_us;
    size_t files, read_bytes;
    bool truncated;
    const char *comma;
    struct buf tcp, tcp6, local; /* tables of the sockets of the network namespace */
    bool found[VALUES_MAX];
    char path[PATH_BYTES]; /* below the folder */
};

/* Whether there is room and time for another entry. */
static bool may_go_on(struct look *look)
{
    if (clock_us() < look->deadline_us && look->out->len + ENTRY_ROOM < look->out->max && !look->out->failed)
        return true;
    look->truncated = true;
    return false;
}

static void put_string(struct look *look, const char *name, const char *text)
{
    (void)buf_printf(look->out, ",\"%s\":", name);
    (void)buf_json_string(look->out, text, strlen(text));
}

/* ---- processes ---- */

static void read_whole(int proc, pid_t pid, const char *name, struct buf *out)
{
    char path[64], chunk[4096];
    ssize_t got;

    (void)snprintf(path, sizeof path, "%d/%s", (int)pid, name);
    AUTO_FD int fd = openat(proc, path, O_RDONLY | O_CLOEXEC);
    while (fd >= 0 && (got = read(fd, chunk, sizeof chunk)) > 0) {
        if (buf_append(out, chunk, (size_t)got) < 0)
            break;
    }
}

/* Field n, from 0, of a line of blank-separated ones. */
static const char *field(const char *line, unsigned n)
{
    for (line += strspn(line, " "); n > 0; n--) {
        line += strcspn(line, " \n");
        line += strspn(line, " ");
    }
    return line;
}

/* The line of a table whose given field is this number; NULL when there is none. */
static const char *find_line(const struct buf *table, unsigned inode_field, unsigned long inode)
{
    const char *line = table->data;

    while (line) {
        if (strtoul(field(line, inode_field), NULL, 10) == inode)
            return line;
        line = strchr(line, '\n');
        line = line && line[1] ? line + 1 : NULL;
    }
    return NULL;
}

/* "0100007F:1F90", or four such words: the kernel prints words of the machine's order. */
static void put_peer(struct look *look, const char *hex, bool v6)
{
    uint32_t words[4] = { 0 };
    char digits[9], text[INET6_ADDRSTRLEN] = "", peer[80];

    for (size_t i = 0; i < (v6 ? 4U : 1U); i++, hex += 8) {
        (void)snprintf(digits, sizeof digits, "%.8s", hex);
        words[i] = (uint32_t)strtoul(digits, NULL, 16);
    }
    (void)inet_ntop(v6 ? AF_INET6 : AF_INET, words, text, sizeof text);
    (void)snprintf(peer, sizeof peer, "%s%s%s:%lu", v6 ? "[" : "", text, v6 ? "]" : "",
                   strtoul(*hex == ':' ? hex + 1 : hex, NULL, 16));
    put_string(look, "peer", peer);
}

static void put_socket(struct look *look, unsigned long inode)
{
    enum { ESTABLISHED = 1, LOCAL_CONNECTED = 3 };
    bool v6 = false, connected = false;
    const char *line = find_line(&look->tcp, 9, inode);

    if (!line) {
        line = find_line(&look->tcp6, 9, inode);
        v6 = line != NULL;
    }
    if (line) {
        connected = strtoul(field(line, 3), NULL, 16) == ESTABLISHED;
        if (connected)
            put_peer(look, field(line, 2), v6);
    } else {
        line = find_line(&look->local, 6, inode);
        connected = line && strtoul(field(line, 5), NULL, 16) == LOCAL_CONNECTED;
    }
    (void)buf_printf(look->out, ",\"connected\":%s", connected ? "true" : "false");
}

static void put_descriptor(struct look *look, int folder, const char *name, const char *comma)
{
    char target[PATH_BYTES];
    ssize_t len = readlinkat(folder, name, target, sizeof target - 1);
    const char *kind = "other";

    target[len > 0 ? len : 0] = '\0';
    if (strncmp(target, "socket:[", 8) == 0)
        kind = "socket";
    else if (strncmp(target, "pipe:[", 6) == 0)
        kind = "pipe";
    else if (target[0] == '/')
        kind = "file";
    (void)buf_printf(look->out, "%s{\"fd\":%lu,\"kind\":\"%s\"", comma, strtoul(name, NULL, 10), kind);
    put_string(look, "path", target);
    if (kind[0] == 's')
        put_socket(look, strtoul(target + 8, NULL, 10));
    (void)buf_putc(look->out, '}');
}

static DIR *open_folder(int at, const char *path)
{
    int fd = openat(at, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *folder = fd < 0 ? NULL : fdopendir(fd);

    if (fd >= 0 && !folder)
        (void)close(fd);
    return folder;
}

static void put_descriptors(struct look *look, pid_t pid)
{
    char path[32];
    unsigned count = 0;
    const struct dirent *entry;
    DIR *folder;

    (void)snprintf(path, sizeof path, "%d/fd", (int)pid);
    folder = open_folder(look->what->proc, path);
    (void)buf_puts(look->out, ",\"descriptors\":[");
    while (folder && (entry = readdir(folder))) {
        if (entry->d_name[0] == '.')
            continue;
        if (count == INSPECTION_DESCRIPTORS || !may_go_on(look)) {
            look->truncated = true;
            break;
        }
        put_descriptor(look, dirfd(folder), entry->d_name, count++ > 0 ? "," : "");
    }
    if (folder)
        (void)closedir(folder);
    (void)buf_puts(look->out, "]");
}

/* What follows the label in /proc/PID/status; "" when there is none. */
static const char *status_line(const struct buf *status, const char *label)
{
    const char *at = status->data ? strstr(status->data, label) : NULL;

    return at ? at + strlen(label) : "";
}

static void put_process(struct look *look, pid_t pid, const char *comma)
{
    AUTO_BUF struct buf status = BUF_INIT((size_t)64 * 1024), name = BUF_INIT(4096);
    const char *ids, *last;
    size_t len;

    read_whole(look->what->proc, pid, "status", &status);
    read_whole(look->what->proc, pid, "comm", &name);
    if (!status.data || !name.data)
        return; /* it has ended */
    ids = status_line(&status, "\nNSpid:");
    len = strcspn(ids, "\n");
    last = ids + len;
    while (last > ids && last[-1] != '\t' && last[-1] != ' ')
        last--;
    name.data[strcspn(name.data, "\n")] = '\0';
    (void)buf_printf(look->out, "%s{\"pid\":%lu,\"zombie\":%s,\"residentBytes\":%llu", comma,
                     strtoul(last, NULL, 10), *status_line(&status, "\nState:\t") == 'Z' ? "true" : "false",
                     strtoull(status_line(&status, "\nVmRSS:"), NULL, 10) * 1024);
    put_string(look, "name", name.data);
    put_descriptors(look, pid);
    (void)buf_putc(look->out, '}');
}

static void put_processes(struct look *look)
{
    const struct inspection *what = look->what;
    size_t i;

    if (what->pid_count > 0) {
        read_whole(what->proc, what->pids[0], "net/tcp", &look->tcp);
        read_whole(what->proc, what->pids[0], "net/tcp6", &look->tcp6);
        read_whole(what->proc, what->pids[0], "net/unix", &look->local);
    }
    (void)buf_puts(look->out, "{\"processes\":[");
    for (i = 0; i < what->pid_count && i < INSPECTION_PROCESSES && may_go_on(look); i++) {
        size_t before = look->out->len;

        put_process(look, what->pids[i], look->comma);
        if (look->out->len > before)
            look->comma = ",";
    }
    if (i < what->pid_count)
        look->truncated = true;
    (void)buf_puts(look->out, "]");
}

/* ---- files ---- */

static void search(struct look *look, const char *text, size_t len)
{
    for (size_t i = 0; i < look->what->value_count && i < VALUES_MAX; i++) {
        const char *value = look->what->values[i];

        if (!look->found[i] && memmem(text, len, value, strlen(value)))
            look->found[i] = true;
    }
}

/* Parts overlap, so that no value is missed between two. */
static void search_file(struct look *look, int fd)
{
    static char chunk[CHUNK_BYTES];
    size_t kept = 0;

    for (;;) {
        ssize_t got = read(fd, chunk + kept, sizeof chunk - kept);

        if (got <= 0)
            return;
        if (look->read_bytes + (size_t)got > INSPECTION_READ_BYTES || clock_us() >= look->deadline_us) {
            look->truncated = true;
            return;
        }
        look->read_bytes += (size_t)got;
        kept += (size_t)got;
        search(look, chunk, kept);
        if (kept > VALUE_MAX_BYTES) {
            memmove(chunk, chunk + kept - VALUE_MAX_BYTES, VALUE_MAX_BYTES);
            kept = VALUE_MAX_BYTES;
        }
    }
}

static int open_beneath(int at, const char *name, int flags)
{
    struct open_how how = {
        .flags = (unsigned)(flags | O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC),
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV,
    };

    return (int)syscall(SYS_openat2, at, name, &how, sizeof how);
}

static void search_entry(struct look *look, int at, const char *name, mode_t mode)
{
    char target[PATH_BYTES];
    struct stat status;

    memset(look->found, 0, sizeof look->found);
    search(look, look->path, strlen(look->path));
    if (S_ISLNK(mode)) {
        ssize_t len = readlinkat(at, name, target, sizeof target);

        search(look, target, len > 0 ? (size_t)len : 0);
    } else if (S_ISREG(mode)) {
        AUTO_FD int fd = open_beneath(at, name, 0);

        if (fd >= 0 && fstat(fd, &status) == 0 && S_ISREG(status.st_mode))
            search_file(look, fd);
    }
}

static void put_file(struct look *look, int at, const char *name, const struct stat *status)
{
    const char *comma = "";

    if (look->files == INSPECTION_FILES || !may_go_on(look)) {
        look->truncated = true;
        return;
    }
    search_entry(look, at, name, status->st_mode);
    (void)buf_printf(look->out, "%s{\"bytes\":%llu", look->files++ > 0 ? "," : "",
                     S_ISREG(status->st_mode) ? (unsigned long long)status->st_size : 0);
    put_string(look, "path", look->path);
    (void)buf_puts(look->out, ",\"values\":[");
    for (size_t i = 0; i < look->what->value_count && i < VALUES_MAX; i++) {
        if (look->found[i]) {
            (void)buf_printf(look->out, "%s%zu", comma, i);
            comma = ",";
        }
    }
    (void)buf_puts(look->out, "]}");
}

static void walk(struct look *look, int folder_fd, size_t path_len, unsigned depth);

static void visit(struct look *look, int at, const char *name, size_t path_len, unsigned depth)
{
    size_t len = strlen(name);
    struct stat status;

    if (path_len + len + 2 > sizeof look->path || fstatat(at, name, &status, AT_SYMLINK_NOFOLLOW) < 0)
        return;
    memcpy(look->path + path_len, name, len + 1);
    put_file(look, at, name, &status);
    if (!S_ISDIR(status.st_mode))
        return;
    if (depth == DEPTH_MAX) {
        look->truncated = true;
        return;
    }
    look->path[path_len + len] = '/';
    look->path[path_len + len + 1] = '\0';
    walk(look, open_beneath(at, name, O_DIRECTORY), path_len + len + 1, depth + 1);
}

/* folder_fd: taken. */
static void walk(struct look *look, int folder_fd, size_t path_len, unsigned depth)
{
    DIR *folder = folder_fd < 0 ? NULL : fdopendir(folder_fd);
    const struct dirent *entry;

    if (!folder) {
        if (folder_fd >= 0)
            (void)close(folder_fd);
        return;
    }
    while (look->files < INSPECTION_FILES && may_go_on(look) && (entry = readdir(folder))) {
        bool own = depth == 0 && strcmp(entry->d_name, "lost+found") == 0;

        if (!own && strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            visit(look, dirfd(folder), entry->d_name, path_len, depth);
    }
    if (look->files == INSPECTION_FILES)
        look->truncated = true;
    (void)closedir(folder);
}

void inspection_look(const struct inspection *inspection, struct buf *out)
{
    static struct look look;

    look = (struct look){
        .what = inspection,
        .out = out,
        .deadline_us = clock_us() + INSPECTION_TIME_MS * 1000ULL,
        .comma = "",
        .tcp = BUF_INIT(TABLE_MAX_BYTES),
        .tcp6 = BUF_INIT(TABLE_MAX_BYTES),
        .local = BUF_INIT(TABLE_MAX_BYTES),
    };
    put_processes(&look);
    (void)buf_puts(out, ",\"files\":[");
    if (inspection->tmp >= 0)
        walk(&look, open_beneath(inspection->tmp, ".", O_DIRECTORY), 0, 0);
    (void)buf_printf(out, "],\"truncated\":%s}", look.truncated ? "true" : "false");
    buf_done(&look.tcp);
    buf_done(&look.tcp6);
    buf_done(&look.local);
}
