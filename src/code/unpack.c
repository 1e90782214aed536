#include "code/unpack_priv.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <locale.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "base/text.h"

enum { COPY_BYTES = 65536 };

struct unpack {
    struct archive *archive; /* owned */
    int tree_fd;
    struct zip_facts facts;
    uint64_t bytes, inodes;
    char copy[COPY_BYTES];
    struct err *err;
};

/* The archive is no valid zip. */
static enum code_status malformed(struct unpack *un, const char *what)
{
    (void)err_set(un->err, ERR_INVALID, 0, "%s", what ? what : "the archive is broken");
    return CODE_NOT_ZIP;
}

/* The archive is valid and holds what may not be in a package. */
static enum code_status refused(struct unpack *un, const char *path, const char *what)
{
    (void)err_set(un->err, ERR_DENIED, 0, "entry '%.200s' %s", path, what);
    return CODE_NOT_ZIP;
}

static enum code_status broken_system(struct unpack *un, const char *path)
{
    (void)err_set(un->err, ERR_SYSTEM, errno, "cannot unpack '%.200s'", path);
    return CODE_SYSTEM;
}

/* Never follows a link and never leaves dir_fd, whatever the folder holds. Linux 5.6. */
static int open_beneath(int dir_fd, const char *name, int flags, mode_t mode)
{
    struct open_how how = { .flags = (unsigned)(flags | O_CLOEXEC | O_NOFOLLOW),
                            .mode = mode,
                            .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS };

    return (int)syscall(SYS_openat2, dir_fd, name, &how, sizeof how);
}

bool unpack_next_component(const char **at, char *ret_component, size_t size)
{
    for (;;) {
        const char *start = *at + strspn(*at, "/");
        size_t len = strcspn(start, "/");

        *at = start + len;
        if (len == 0)
            return false;
        if (len == 1 && start[0] == '.')
            continue;
        if (len >= size)
            len = size - 1;
        memcpy(ret_component, start, len);
        ret_component[len] = '\0';
        return true;
    }
}

const char *unpack_path_fault(const char *path)
{
    unsigned depth = 0;

    if (strlen(path) > UNPACK_MAX_PATH)
        return "has a name that is too long";
    if (path[0] == '/')
        return "has an absolute path";
    if (strchr(path, '\\'))
        return "has a backslash in its name (make the archive with '/' between folders)";
    if (((path[0] | 32) >= 'a' && (path[0] | 32) <= 'z') && path[1] == ':')
        return "starts with a drive letter";
    for (const char *at = path; *at; at += strspn(at, "/")) {
        size_t len = strcspn(at, "/");

        if (len == 2 && at[0] == '.' && at[1] == '.')
            return "leaves the package";
        if (len > UNPACK_MAX_COMPONENT)
            return "has a name that is too long";
        if (++depth > UNPACK_MAX_DEPTH)
            return "lies too deep";
        at += len;
    }
    return NULL;
}

/* ".." is allowed only at the front, where the folders passed are real ones: behind a name it could undo
 * another link. */
bool unpack_link_is_inside(const struct link_path *link)
{
    const char *at = link->target;
    char component[UNPACK_MAX_COMPONENT + 1];
    unsigned up = 0;
    bool named = false;

    if (at[0] == '/' || at[0] == '\0' || strlen(at) >= UNPACK_MAX_PATH)
        return false;
    while (unpack_next_component(&at, component, sizeof component)) {
        if (strcmp(component, "..") != 0)
            named = true;
        else if (named || ++up > link->depth)
            return false;
    }
    return true;
}

static enum code_status count_inode(struct unpack *un, const char *path)
{
    return ++un->inodes > UNPACK_MAX_ENTRIES ? refused(un, path, "is one of too many files and folders")
                                             : CODE_OK;
}

/* Opens the folder name in parent, making it if it is missing. */
static enum code_status enter_folder(struct unpack *un, int parent, const char *name, const char *path,
                                     int *ret_fd)
{
    bool made = mkdirat(parent, name, 0755) == 0;
    enum code_status status = made ? count_inode(un, path) : CODE_OK;
    int fd;

    if (status != CODE_OK)
        return status;
    if (!made && errno != EEXIST)
        return broken_system(un, path);
    fd = open_beneath(parent, name, O_RDONLY | O_DIRECTORY, 0);
    if (fd < 0)
        return errno == ELOOP || errno == ENOTDIR ? refused(un, path, "goes through a link or a file")
                                                  : broken_system(un, path);
    /* The umask has taken bits away. */
    if (made && fchmod(fd, 0755) < 0) {
        (void)close(fd);
        return broken_system(un, path);
    }
    *ret_fd = fd;
    return CODE_OK;
}

struct place {
    int parent_fd; /* owned */
    unsigned depth;
    char name[UNPACK_MAX_COMPONENT + 1]; /* "" for the root itself */
};

/* Makes all folders of path but the last component and opens the innermost. */
static enum code_status find_place(struct unpack *un, const char *path, struct place *ret_place)
{
    const char *at = path;
    struct place place = { .parent_fd = fcntl(un->tree_fd, F_DUPFD_CLOEXEC, 3) };
    char next[UNPACK_MAX_COMPONENT + 1];

    if (place.parent_fd < 0)
        return broken_system(un, path);
    if (!unpack_next_component(&at, place.name, sizeof place.name))
        place.name[0] = '\0';
    while (place.name[0] && unpack_next_component(&at, next, sizeof next)) {
        int fd;
        enum code_status status = enter_folder(un, place.parent_fd, place.name, path, &fd);

        (void)close(place.parent_fd);
        if (status != CODE_OK)
            return status;
        place.parent_fd = fd;
        place.depth++;
        memcpy(place.name, next, sizeof next);
    }
    *ret_place = place;
    return CODE_OK;
}

/* A second entry of the same name replaces a file by a file; anything else is an attack or an accident. */
static enum code_status clear_way(struct unpack *un, const struct place *place, const char *path)
{
    struct stat st;

    if (fstatat(place->parent_fd, place->name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? CODE_OK : broken_system(un, path);
    if (!S_ISREG(st.st_mode))
        return refused(un, path, "stands where a folder or a link is already");
    return unlinkat(place->parent_fd, place->name, 0) < 0 ? broken_system(un, path) : CODE_OK;
}

static enum code_status copy_data(struct unpack *un, int fd, const char *path)
{
    for (;;) {
        la_ssize_t got = archive_read_data(un->archive, un->copy, sizeof un->copy);

        if (got < 0) /* also a wrong checksum, which libarchive calls a warning */
            return malformed(un, archive_error_string(un->archive));
        if (got == 0)
            return CODE_OK;
        un->bytes += (uint64_t)got;
        if (un->bytes > UNPACK_MAX_UNZIPPED) {
            (void)err_set(un->err, ERR_LIMIT, 0, "the files take more than %d bytes", UNPACK_MAX_UNZIPPED);
            return CODE_UNZIPPED_TOO_BIG;
        }
        for (la_ssize_t done = 0; done < got;) {
            ssize_t step = write(fd, un->copy + done, (size_t)(got - done));

            if (step < 0 && errno != EINTR)
                return broken_system(un, path);
            done += step > 0 ? step : 0;
        }
    }
}

static mode_t file_mode(const struct unpack *un, const struct place *place, struct archive_entry *entry)
{
    mode_t mode = (archive_entry_perm(entry) & 0755) | 0444;

    /* Archives made on Windows have no modes, and a bootstrap that cannot be started is of no use. */
    if (un->facts.plain_bootstrap && place->depth == 0 && strcmp(place->name, "bootstrap") == 0)
        mode |= 0111;
    return mode | 0200;
}

static enum code_status put_file(struct unpack *un, const struct place *place, struct archive_entry *entry,
                                 const char *path)
{
    enum code_status status = clear_way(un, place, path);
    AUTO_FD int fd = -1;

    if (status == CODE_OK)
        status = count_inode(un, path);
    if (status != CODE_OK)
        return status;
    fd = open_beneath(place->parent_fd, place->name, O_WRONLY | O_CREAT | O_EXCL, 0600);
    if (fd < 0)
        return broken_system(un, path);
    status = copy_data(un, fd, path);
    if (status == CODE_OK && fchmod(fd, file_mode(un, place, entry)) < 0)
        return broken_system(un, path);
    return status;
}

static enum code_status put_link(struct unpack *un, const struct place *place, struct archive_entry *entry,
                                 const char *path)
{
    const char *target = archive_entry_symlink(entry);
    enum code_status status;

    if (!target || !unpack_link_is_inside(&(struct link_path){ .depth = place->depth, .target = target }))
        return refused(un, path, "is a link that points outside the package");
    status = count_inode(un, path);
    if (status != CODE_OK)
        return status;
    if (symlinkat(target, place->parent_fd, place->name) < 0)
        return errno == EEXIST ? refused(un, path, "is a link where something is already")
                               : broken_system(un, path);
    return CODE_OK;
}

static enum code_status put_folder(struct unpack *un, const struct place *place, const char *path)
{
    AUTO_FD int fd = -1;

    return enter_folder(un, place->parent_fd, place->name, path, &fd);
}

static enum code_status put_entry(struct unpack *un, struct archive_entry *entry)
{
    const char *path = archive_entry_pathname(entry);
    const char *fault = path ? unpack_path_fault(path) : NULL;
    struct place place;
    enum code_status status;

    if (!path)
        return malformed(un, "an entry has no readable name");
    if (fault)
        return refused(un, path, fault);
    if (archive_entry_is_encrypted(entry))
        return refused(un, path, "is encrypted");
    if (archive_entry_hardlink(entry))
        return refused(un, path, "is a hard link");
    status = find_place(un, path, &place);
    if (status != CODE_OK)
        return status;
    if (place.name[0] == '\0')
        status = archive_entry_filetype(entry) == AE_IFDIR ? CODE_OK : refused(un, path, "has no name");
    else if (archive_entry_filetype(entry) == AE_IFDIR)
        status = put_folder(un, &place, path);
    else if (archive_entry_filetype(entry) == AE_IFLNK)
        status = put_link(un, &place, entry, path);
    else if (archive_entry_filetype(entry) == AE_IFREG)
        status = put_file(un, &place, entry, path);
    else
        status = refused(un, path, "is neither a file, a folder nor a link");
    (void)close(place.parent_fd);
    return status;
}

static enum code_status put_all(struct unpack *un, const void *archive, size_t len)
{
    struct archive_entry *entry;
    uint64_t entries = 0;

    if (archive_read_support_format_zip_seekable(un->archive) != ARCHIVE_OK ||
        archive_read_open_memory(un->archive, archive, len) != ARCHIVE_OK)
        return malformed(un, archive_error_string(un->archive));
    for (;;) {
        int result = archive_read_next_header(un->archive, &entry);
        enum code_status status;

        if (result == ARCHIVE_EOF)
            return CODE_OK;
        if (result != ARCHIVE_OK)
            return malformed(un, archive_error_string(un->archive));
        if (++entries > UNPACK_MAX_ENTRIES)
            return refused(un, "...", "is one of too many");
        status = put_entry(un, entry);
        if (status != CODE_OK)
            return status;
    }
}

enum code_status unpack_zip(int tree_fd, const void *archive, size_t len, struct err *err)
{
    AUTO_FREE struct unpack *un = calloc(1, sizeof *un);
    enum code_status status;
    locale_t utf8, before;

    if (!un) {
        (void)err_set(err, ERR_SYSTEM, ENOMEM, "cannot unpack");
        return CODE_SYSTEM;
    }
    un->err = err;
    un->tree_fd = tree_fd;
    status = zip_scan(archive, len, &un->facts, err);
    if (status != CODE_OK)
        return status;
    un->archive = archive_read_new();
    /* libarchive turns names into the locale's encoding; ours must be UTF-8 whatever the process runs in. */
    utf8 = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0);
    before = utf8 ? uselocale(utf8) : (locale_t)0;
    status = un->archive ? put_all(un, archive, len) : broken_system(un, "");
    (void)archive_read_free(un->archive);
    if (utf8) {
        (void)uselocale(before);
        freelocale(utf8);
    }
    return status;
}
