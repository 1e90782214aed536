#include "sandbox/skeleton.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/err.h"

struct skeleton {
    int top;  /* the tmpfs; also its mount */
    int root; /* top/root */
    int lang; /* top/lang */
};

static const char *const folders[] = {
    "usr",
    "etc",
    "etc/ssl",
    "etc/ssl/certs",
    "etc/pki",
    "etc/pki/tls",
    "etc/pki/tls/certs",
    "etc/pki/ca-trust",
    "etc/alternatives",
    "dev",
    "proc",
    "tmp",
    "run",
    "opt",
    "var",
    "var/task",
    "var/runtime",
    "var/lang",
    "var/empty",
    "var/tmp",
    "home",
    "root",
    "mnt",
};

static const struct {
    const char *path, *target;
} links[] = {
    { "node_modules",
      "/var/runtime/node_modules" }, /* ES modules do not heed NODE_PATH; they look in every parent folder */
    { "var/node_modules", "/var/runtime" }, /* as NODE_PATH names it: for what the client itself brings */
    { "dev/fd", "/proc/self/fd" },
    { "dev/stdin", "/proc/self/fd/0" },
    { "dev/stdout", "/proc/self/fd/1" },
    { "dev/stderr", "/proc/self/fd/2" },
    { "etc/localtime", "/usr/share/zoneinfo/UTC" },
    { "etc/os-release", "/usr/lib/os-release" },
    { "etc/mtab", "/proc/self/mounts" },
    { "etc/pki/tls/certs/ca-bundle.crt",
      "/etc/ssl/certs/ca-certificates.crt" }, /* where Amazon Linux has it */
};

static const struct {
    const char *name;
    unsigned minor;
} devices[] = { { "null", 3 }, { "zero", 5 }, { "full", 7 }, { "random", 8 }, { "urandom", 9 } };

/* Copied from the host where they are: what the C library, OpenSSL and the loader of shared libraries need.
 */
static const char *const copies[] = { "/etc/ld.so.cache", "/etc/ssl/openssl.cnf", "/etc/protocols",
                                      "/etc/services",    "/etc/gai.conf",        "/etc/rpc",
                                      "/etc/mime.types" };

/* Bound read-only where they are. */
static const char *const binds[] = { "/etc/ssl/certs", "/etc/pki/ca-trust" };

/* What belongs to the host's own administration or packages, not to the system that functions may rely on. */
static const char *const hidden[] = { "usr/local", "usr/src", "usr/games", "usr/lib/node_modules",
                                      "usr/lib/python3/dist-packages" };

static int bind_path(int folder, const char *name, unsigned flags)
{
    struct mount_attr attr = { .attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV };
    int fd = open_tree(folder, name, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | flags);

    if (fd < 0)
        return -errno;
    if (mount_setattr(fd, "", AT_EMPTY_PATH, &attr, sizeof attr) < 0) {
        int r = -errno;

        (void)close(fd);
        return r;
    }
    return fd;
}

int skeleton_bind(int folder, const char *name)
{
    struct open_how how = { .flags = O_PATH | O_DIRECTORY | O_CLOEXEC,
                            .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS };
    AUTO_FD int path = (int)syscall(SYS_openat2, folder, name, &how, sizeof how);

    return path < 0 ? -errno : bind_path(path, "", AT_EMPTY_PATH);
}

/* Mounts source (of the folder source_dir) read-only at folder/target, which must be there. */
static int bind_at(int source_dir, const char *source, int folder, const char *target)
{
    AUTO_FD int fd = bind_path(source_dir, source, 0);

    if (fd < 0)
        return fd;
    return move_mount(fd, "", folder, target, MOVE_MOUNT_F_EMPTY_PATH) < 0 ? -errno : 0;
}

static int write_file(int folder, const char *name, const char *text)
{
    AUTO_FD int fd = openat(folder, name, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC | O_NOFOLLOW, 0644);
    size_t len = strlen(text);

    if (fd < 0)
        return -errno;
    return write(fd, text, len) == (ssize_t)len ? 0 : -EIO;
}

/* A file that the host lacks is no failure. */
static int copy_file(const char *path, int root)
{
    AUTO_FD int from = open(path, O_RDONLY | O_CLOEXEC);
    char block[16384];
    ssize_t n;

    if (from < 0)
        return 0;
    AUTO_FD int to = openat(root, path + 1, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC | O_NOFOLLOW, 0644);
    if (to < 0)
        return -errno;
    while ((n = read(from, block, sizeof block)) > 0) {
        if (write(to, block, (size_t)n) != n)
            return -EIO;
    }
    return n < 0 ? -errno : 0;
}

/* Links of /usr/bin often go through it. */
static int copy_alternatives(int root)
{
    DIR *dir = opendir("/etc/alternatives");
    int r = 0;

    if (!dir)
        return 0;
    for (const struct dirent *entry; r == 0 && (entry = readdir(dir));) {
        char target[512], path[300];
        ssize_t n = readlinkat(dirfd(dir), entry->d_name, target, sizeof target - 1);

        if (n < 0)
            continue;
        target[n] = '\0';
        (void)snprintf(path, sizeof path, "etc/alternatives/%s", entry->d_name);
        if (symlinkat(target, root, path) < 0)
            r = -errno;
    }
    (void)closedir(dir);
    return r;
}

/* /bin, /lib and their like: links into /usr, or folders of their own on older systems. */
static int add_top_level(int root)
{
    static const char *const names[] = { "bin", "sbin", "lib", "lib32", "lib64", "libx32" };

    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char path[16], target[128];
        ssize_t n;
        int r;

        (void)snprintf(path, sizeof path, "/%s", names[i]);
        n = readlink(path, target, sizeof target - 1);
        if (n >= 0) {
            target[n] = '\0';
            if (symlinkat(target, root, names[i]) < 0)
                return -errno;
        } else if (errno == EINVAL) {
            r = mkdirat(root, names[i], 0755) < 0 ? -errno : bind_at(AT_FDCWD, path, root, names[i]);
            if (r < 0)
                return r;
        }
    }
    return 0;
}

static int add_etc(int root, const struct skeleton_config *config)
{
    char passwd[256], group[128];
    const struct {
        const char *name, *text;
    } files[] = {
        { "etc/passwd", passwd },
        { "etc/group", group },
        { "etc/hosts", config->hosts },
        { "etc/resolv.conf", config->resolv_conf },
        { "etc/nsswitch.conf",
          "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\nnetworks: files\n"
          "protocols: files\nservices: files\nethers: files\nrpc: files\n" },
        { "etc/timezone", "Etc/UTC\n" },
        { "etc/host.conf", "multi on\n" },
    };
    int r = 0;

    (void)snprintf(passwd, sizeof passwd,
                   "root:x:0:0:root:/root:/sbin/nologin\n"
                   "nobody:x:65534:65534:nobody:/nonexistent:/sbin/nologin\n"
                   "sbx_user1051:x:%u:%u::/home/sbx_user1051:/sbin/nologin\n",
                   config->uid, config->gid);
    (void)snprintf(group, sizeof group, "root:x:0:\nnogroup:x:65534:\nsbx_user1051:x:%u:\n", config->gid);
    for (size_t i = 0; r == 0 && i < sizeof files / sizeof *files; i++)
        r = write_file(root, files[i].name, files[i].text);
    for (size_t i = 0; r == 0 && i < sizeof copies / sizeof *copies; i++)
        r = copy_file(copies[i], root);
    if (r == 0)
        r = copy_alternatives(root);
    return r;
}

static int add_devices(int root)
{
    for (size_t i = 0; i < sizeof devices / sizeof *devices; i++) {
        char path[32];

        (void)snprintf(path, sizeof path, "dev/%s", devices[i].name);
        if (mknodat(root, path, S_IFCHR | 0666, makedev(1, devices[i].minor)) < 0 ||
            fchmodat(root, path, 0666, 0) < 0)
            return -errno;
    }
    return 0;
}

/* Covers folder/name, when it is a folder, with the empty one. */
static int hide(int root, int folder, const char *name)
{
    struct stat status;
    int r;

    if (fstatat(folder, name, &status, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISDIR(status.st_mode))
        return 0;
    r = bind_at(root, "var/empty", folder, name);
    return r;
}

static int fill_root(int root, const struct skeleton_config *config)
{
    int r = 0;

    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
        if (mkdirat(root, folders[i], 0755) < 0)
            return -errno;
    }
    for (size_t i = 0; i < sizeof links / sizeof *links; i++) {
        if (symlinkat(links[i].target, root, links[i].path) < 0)
            return -errno;
    }
    r = bind_at(AT_FDCWD, "/usr", root, "usr");
    if (r == 0)
        r = add_top_level(root);
    if (r == 0)
        r = add_etc(root, config);
    if (r == 0)
        r = add_devices(root);
    for (size_t i = 0; r == 0 && i < sizeof binds / sizeof *binds; i++) {
        r = bind_at(AT_FDCWD, binds[i], root, binds[i] + 1);
        if (r == -ENOENT)
            r = 0;
    }
    for (size_t i = 0; r == 0 && i < sizeof hidden / sizeof *hidden; i++)
        r = hide(root, root, hidden[i]);
    return r;
}

/* ------------------------------------------------------------------ public */

static int mount_tmpfs(int place)
{
    AUTO_FD int context = fsopen("tmpfs", FSOPEN_CLOEXEC);
    AUTO_FD int fd = -1;

    if (context < 0 || fsconfig(context, FSCONFIG_SET_STRING, "mode", "0755", 0) < 0 ||
        fsconfig(context, FSCONFIG_SET_STRING, "size", "16m", 0) < 0 ||
        fsconfig(context, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
        return -errno;
    fd = fsmount(context, FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID);
    if (fd < 0 || move_mount(fd, "", place, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0)
        return -errno;
    return TAKE_FD(fd);
}

static int make_folder(int parent, const char *name)
{
    int fd;

    if (mkdirat(parent, name, 0755) < 0 && errno != EEXIST)
        return -errno;
    fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    return fd < 0 ? -errno : fd;
}

int skeleton_open(int place, const struct skeleton_config *config, struct skeleton **ret_skeleton,
                  struct err *err)
{
    struct skeleton *skeleton = malloc(sizeof *skeleton);
    mode_t mask;
    int r;

    if (!skeleton)
        return err_set(err, ERR_SYSTEM, ENOMEM, "root of the sandboxes");
    skeleton->root = skeleton->lang = -1;
    skeleton->top = r = mount_tmpfs(place);
    mask = umask(022);
    if (r >= 0)
        skeleton->root = r = make_folder(skeleton->top, "root");
    if (r >= 0)
        skeleton->lang = r = make_folder(skeleton->top, "lang");
    if (r >= 0)
        r = fill_root(skeleton->root, config);
    (void)umask(mask);
    if (r < 0) {
        (void)skeleton_close(skeleton);
        return err_set(err, ERR_SYSTEM, -r, "building the root of the sandboxes%s",
                       r == -ENOSYS ? " (Linux 5.12 or newer is needed)" : "");
    }
    *ret_skeleton = skeleton;
    return 0;
}

/* Installed packages of the host: PREFIX/lib/python3.*\/site-packages, PREFIX/lib/node_modules. */
static int hide_packages(const struct skeleton *skeleton, int lang)
{
    AUTO_FD int lib = openat(lang, "lib", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    int copy = lib < 0 ? -1 : openat(lib, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = copy < 0 ? NULL : fdopendir(copy);
    int r;

    if (!dir)
        return 0;
    r = hide(skeleton->root, lib, "node_modules");
    for (const struct dirent *entry; r == 0 && (entry = readdir(dir));) {
        char path[300];

        if (strncmp(entry->d_name, "python", 6) != 0)
            continue;
        (void)snprintf(path, sizeof path, "%s/site-packages", entry->d_name);
        r = hide(skeleton->root, lib, path);
        (void)snprintf(path, sizeof path, "%s/dist-packages", entry->d_name);
        if (r == 0)
            r = hide(skeleton->root, lib, path);
    }
    (void)closedir(dir);
    return r;
}

static int add_whole_lang(const struct skeleton *skeleton, const char *id, const char *source)
{
    AUTO_FD int lang = -1;
    int r = bind_at(AT_FDCWD, source, skeleton->lang, id);

    if (r < 0)
        return r;
    lang = openat(skeleton->lang, id, O_RDONLY | O_DIRECTORY | O_CLOEXEC); /* now what is mounted there */
    return lang < 0 ? -errno : hide_packages(skeleton, lang);
}

/* rest: where below /var/lang, "bin/node". */
static int add_lang_file(int folder, const char *source, const char *rest)
{
    const char *slash = strchr(rest, '/');
    char part[64];

    AUTO_FD int below = -1;
    if (slash) {
        (void)snprintf(part, sizeof part, "%.*s", (int)(slash - rest), rest);
        below = make_folder(folder, part);
        return below < 0 ? below : add_lang_file(below, source, slash + 1);
    }
    below = openat(folder, rest, O_CREAT | O_RDONLY | O_CLOEXEC | O_NOFOLLOW, 0755);
    return below < 0 ? -errno : bind_at(AT_FDCWD, source, folder, rest);
}

int skeleton_add_lang(struct skeleton *skeleton, const char *id, const char *source, const char *target,
                      struct err *err)
{
    static const char prefix[] = "/var/lang";
    int r = -EINVAL;

    AUTO_FD int folder = make_folder(skeleton->lang, id);
    if (folder < 0)
        r = folder;
    else if (strcmp(target, prefix) == 0)
        r = add_whole_lang(skeleton, id, source);
    else if (strncmp(target, "/var/lang/", sizeof prefix) == 0)
        r = add_lang_file(folder, source, target + sizeof prefix);
    return r < 0 ? err_set(err, ERR_SYSTEM, -r, "interpreter of %s from %s", id, source) : 0;
}

int skeleton_seal(struct skeleton *skeleton, struct err *err)
{
    struct mount_attr attr = { .attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID };

    if (mount_setattr(skeleton->top, "", AT_EMPTY_PATH, &attr, sizeof attr) < 0)
        return err_set(err, ERR_SYSTEM, errno, "making the root of the sandboxes read-only");
    return 0;
}

int skeleton_root(const struct skeleton *skeleton)
{
    return skeleton->root;
}

int skeleton_lang_mount(const struct skeleton *skeleton, const char *id)
{
    int fd = open_tree(skeleton->lang, id, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);

    return fd < 0 ? -errno : fd;
}

struct skeleton *skeleton_close(struct skeleton *skeleton)
{
    char path[32];

    if (!skeleton)
        return NULL;
    if (skeleton->top >= 0) {
        (void)snprintf(path, sizeof path, "/proc/self/fd/%d", skeleton->top);
        (void)umount2(path, MNT_DETACH);
        (void)close(skeleton->top);
    }
    if (skeleton->root >= 0)
        (void)close(skeleton->root);
    if (skeleton->lang >= 0)
        (void)close(skeleton->lang);
    free(skeleton);
    return NULL;
}
