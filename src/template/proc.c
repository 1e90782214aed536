#include "template/proc.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* NOLINTBEGIN(cert-err34-c): the kernel wrote these texts, and its numbers fit their types. */

/* The line behind "\nname" or at the beginning of text; NULL when there is none. */
static const char *field(const char *text, const char *name)
{
    size_t len = strlen(name);

    while (text) {
        if (strncmp(text, name, len) == 0)
            return text + len;
        text = strchr(text, '\n');
        text = text ? text + 1 : NULL;
    }
    return NULL;
}

static bool hex_field(const char *text, const char *name, uint64_t *ret_value)
{
    const char *at = field(text, name);

    return at && sscanf(at, "%" SCNx64, ret_value) == 1;
}

/* 0 when the field is missing: a thread that ends has no memory. */
static uint64_t kilobytes(const char *text, const char *name)
{
    const char *at = field(text, name);
    uint64_t value;

    return at && sscanf(at, "%" SCNu64 " kB", &value) == 1 ? value : 0;
}

/* The last of the numbers on the line. */
static bool innermost(const char *line, uint64_t *ret_value)
{
    const char *end = line + strcspn(line, "\n");
    bool found = false;

    while (line < end) {
        char *next;
        unsigned long long value = strtoull(line, &next, 10);

        if (next == line || next > end)
            break;
        *ret_value = value;
        found = true;
        line = next;
    }
    return found;
}

static void copy_line(const char *line, char *out, size_t size)
{
    size_t skip = line ? strspn(line, " \t") : 0, len = line ? strcspn(line + skip, "\n") : 0;

    out[0] = '\0';
    if (!line || len >= size)
        return;
    memcpy(out, line + skip, len);
    out[len] = '\0';
}

bool proc_parse_status(const char *text, struct proc_status *ret_status)
{
    struct proc_status status = { 0 };
    const char *ns = field(text, "NSpid:"), *uid = field(text, "Uid:"), *gid = field(text, "Gid:");
    const char *mode = field(text, "Seccomp:"), *features = field(text, "x86_Thread_features:");
    uint64_t pending, shared, effective, permitted;

    if (!ns || !innermost(ns, &status.tid) || !uid || sscanf(uid, "%u", &status.uid) != 1 || !gid ||
        sscanf(gid, "%u", &status.gid) != 1 || !mode || sscanf(mode, "%u", &status.seccomp) != 1 ||
        !hex_field(text, "SigPnd:", &pending) || !hex_field(text, "ShdPnd:", &shared) ||
        !hex_field(text, "SigBlk:", &status.blocked) || !hex_field(text, "CapEff:", &effective) ||
        !hex_field(text, "CapPrm:", &permitted))
        return false;
    status.anonymous_kb = kilobytes(text, "RssAnon:") + kilobytes(text, "VmSwap:");
    status.pending = pending | shared;
    status.capabilities = effective | permitted;
    if (features) {
        size_t len = strcspn(features, "\n");

        status.shadow_stack = memmem(features, len, "shstk", 5) != NULL;
    }
    copy_line(field(text, "Cpus_allowed:"), status.processors, sizeof status.processors);
    *ret_status = status;
    return true;
}

/* "7f..-7f.. rw-p 00000000 00:00 0   [name]" */
static bool parse_area(const char *line, size_t len, struct proc_area *area)
{
    char permissions[5];
    int name = 0;

    if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %4s %*x %*x:%*x %*u %n", &area->start, &area->end, permissions,
               &name) != 3 ||
        strlen(permissions) != 4)
        return false;
    area->writable = permissions[1] == 'w';
    area->shared = permissions[3] == 's';
    area->dontfork = area->device = area->may_write = false;
    if (name == 0 || (size_t)name > len)
        name = (int)len;
    area->name = line + name;
    area->name_len = len - (size_t)name;
    return true;
}

static bool has_flag(const char *flags, size_t len, const char *flag)
{
    for (size_t at = 0; at + 2 <= len; at++) {
        if (memcmp(flags + at, flag, 2) == 0 && (at == 0 || flags[at - 1] == ' ') &&
            (at + 2 == len || flags[at + 2] == ' '))
            return true;
    }
    return false;
}

bool proc_parse_smaps(const char *text, bool (*each)(const struct proc_area *area, void *ctx), void *ctx)
{
    struct proc_area area = { 0 };
    bool in_area = false;

    while (*text) {
        size_t len = strcspn(text, "\n");
        bool is_field = text[0] >= 'A' && text[0] <= 'Z';

        if (!is_field) {
            if (in_area || !parse_area(text, len, &area))
                return false; /* an area without flags: this kernel does not say what is needed */
            in_area = true;
        } else if (in_area && strncmp(text, "VmFlags:", 8) == 0) {
            area.dontfork = has_flag(text + 8, len - 8, "dc");
            area.may_write = has_flag(text + 8, len - 8, "mw");
            area.device = has_flag(text + 8, len - 8, "pf") || has_flag(text + 8, len - 8, "io");
            if (!each(&area, ctx))
                return false;
            in_area = false;
        } else if (!in_area) {
            return false;
        }
        text += len;
        text += *text == '\n';
    }
    return !in_area;
}

static bool add_watch(const char *line, struct proc_fdinfo *info)
{
    struct proc_watch watch = { 0 };
    const char *inode = strstr(line, " ino:");

    if (info->watch_count == PROC_MAX_WATCHES) {
        info->too_many = true;
        return true;
    }
    if (sscanf(line, "tfd: %d events: %" SCNx32 " data: %" SCNx64, &watch.fd, &watch.events, &watch.data) !=
        3)
        return false;
    if (inode && (size_t)(inode - line) < strcspn(line, "\n"))
        (void)sscanf(inode + 5, "%" SCNx64, &watch.inode);
    info->watches[info->watch_count++] = watch;
    return true;
}

static bool parse_timer(const char *text, struct proc_fdinfo *info)
{
    const char *value = field(text, "it_value:"), *interval = field(text, "it_interval:");

    const char *ticks = field(text, "ticks:");

    return sscanf(field(text, "clockid:"), "%" SCNu32, &info->clock) == 1 && value && interval && ticks &&
           sscanf(ticks, "%" SCNu64, &info->ticks) == 1 &&
           sscanf(value, " (%" SCNu64 ", %" SCNu64 ")", &info->times[2], &info->times[3]) == 2 &&
           sscanf(interval, " (%" SCNu64 ", %" SCNu64 ")", &info->times[0], &info->times[1]) == 2;
}

bool proc_parse_fdinfo(const char *text, struct proc_fdinfo *ret_info)
{
    const char *flags = field(text, "flags:"), *position = field(text, "pos:"), *line = text;
    const char *semaphore = field(text, "eventfd-semaphore:");

    memset(ret_info, 0, offsetof(struct proc_fdinfo, watches));
    ret_info->watch_count = 0;
    ret_info->too_many = false;
    if (!flags || sscanf(flags, "%" SCNo32, &ret_info->flags) != 1 || !position ||
        sscanf(position, "%" SCNu64, &ret_info->position) != 1)
        return false;
    (void)hex_field(text, "eventfd-count:", &ret_info->count);
    ret_info->semaphore = -1;
    if (semaphore)
        (void)sscanf(semaphore, "%d", &ret_info->semaphore);
    ret_info->locked = field(text, "lock:") != NULL;
    if (field(text, "clockid:") && !parse_timer(text, ret_info))
        return false;
    while (line && *line) {
        if (strncmp(line, "tfd:", 4) == 0 && !add_watch(line, ret_info))
            return false;
        line = strchr(line, '\n');
        line = line ? line + 1 : NULL;
    }
    return true;
}

enum proc_fd_kind proc_fd_kind(const char *link)
{
    static const struct {
        const char *link;
        enum proc_fd_kind kind;
    } kinds[] = {
        { "anon_inode:[eventpoll]", PROC_FD_EPOLL },
        { "anon_inode:[eventfd]", PROC_FD_EVENTFD },
        { "anon_inode:[timerfd]", PROC_FD_TIMERFD },
    };

    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (strcmp(link, kinds[i].link) == 0)
            return kinds[i].kind;
    }
    return PROC_FD_OTHER;
}

uint64_t proc_link_inode(const char *link, const char *type)
{
    size_t len = strlen(type);
    uint64_t inode;

    return strncmp(link, type, len) == 0 && sscanf(link + len, ":[%" SCNu64 "]", &inode) == 1 ? inode : 0;
}

/* NOLINTEND(cert-err34-c) */
