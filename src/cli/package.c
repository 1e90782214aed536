#include "cli/package.h"

#include <errno.h>
#include <fcntl.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <archive.h>
#include <archive_entry.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "cli/cli_priv.h"
#include "cli/walk.h"

enum { CHUNK_BYTES = 64 * 1024 };

static la_ssize_t on_write(struct archive *archive, void *ctx, const void *data, size_t size)
{
    if (buf_append(ctx, data, size) < 0) {
        archive_set_error(archive, EFBIG, "the zip is too large");
        return -1;
    }
    return (la_ssize_t)size;
}

static int archive_failed(struct archive *archive, const struct buf *out, const char *path, struct err *err)
{
    const char *text = archive_error_string(archive);

    if (out->failed)
        return err_set(err, ERR_LIMIT, 0,
                       "the code is larger than %d bytes when zipped, Lambda's limit for an upload",
                       PACKAGE_MAX_ZIP_BYTES);
    return err_set(err, ERR_SYSTEM, 0, "zip %.200s: %s", path, text ? text : "unknown error");
}

static int write_content(struct archive *archive, int folder_fd, const struct walk_entry *entry,
                         const struct buf *out, struct err *err)
{
    AUTO_FD int fd = openat(folder_fd, entry->path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    AUTO_FREE char *chunk = malloc(CHUNK_BYTES);
    off_t left = entry->size;

    if (fd < 0)
        return err_set(err, ERR_SYSTEM, errno, "open %.250s", entry->path);
    if (!chunk)
        return err_set(err, ERR_SYSTEM, ENOMEM, "zip");
    while (left > 0) {
        ssize_t got = read(fd, chunk, left < CHUNK_BYTES ? (size_t)left : CHUNK_BYTES);

        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return err_set(err, ERR_SYSTEM, got < 0 ? errno : 0, "%.250s %s", entry->path,
                           got < 0 ? "cannot be read" : "became shorter while it was read");
        if (archive_write_data(archive, chunk, (size_t)got) != got)
            return archive_failed(archive, out, entry->path, err);
        left -= got;
    }
    return 0;
}

/* Times are left out: libarchive then writes the zip format's first day, whatever the time zone. */
static int write_entry(struct archive *archive, int folder_fd, const struct walk_entry *from,
                       const struct buf *out, struct err *err)
{
    struct archive_entry *entry = archive_entry_new();
    bool runs = S_ISDIR(from->mode) || (from->mode & 0111) != 0;
    int result = 0;

    if (!entry)
        return err_set(err, ERR_SYSTEM, ENOMEM, "zip");
    archive_entry_set_pathname(entry, from->path);
    archive_entry_set_filetype(entry, from->mode & S_IFMT);
    archive_entry_set_perm(entry, S_ISLNK(from->mode) ? 0777 : runs ? 0755 : 0644);
    archive_entry_set_size(entry, S_ISREG(from->mode) ? from->size : 0);
    if (from->target)
        archive_entry_set_symlink(entry, from->target);
    if (archive_write_header(archive, entry) != ARCHIVE_OK)
        result = archive_failed(archive, out, from->path, err);
    archive_entry_free(entry);
    return result == 0 && S_ISREG(from->mode) ? write_content(archive, folder_fd, from, out, err) : result;
}

static int zip_entries(const struct walk *walk, int folder_fd, struct buf *out, struct err *err)
{
    struct archive *archive = archive_write_new();
    int result = 0;

    if (!archive)
        return err_set(err, ERR_SYSTEM, ENOMEM, "zip");
    /* Without padding to a tape's block. */
    if (archive_write_set_format_zip(archive) != ARCHIVE_OK ||
        archive_write_set_bytes_in_last_block(archive, 1) != ARCHIVE_OK ||
        archive_write_open(archive, out, NULL, on_write, NULL) != ARCHIVE_OK)
        result = archive_failed(archive, out, "", err);
    for (size_t i = 0; i < walk->count && result == 0; i++)
        result = write_entry(archive, folder_fd, &walk->entries[i], out, err);
    if (result == 0 && archive_write_close(archive) != ARCHIVE_OK)
        result = archive_failed(archive, out, "", err);
    (void)archive_write_free(archive);
    return result;
}

/* libarchive takes the encoding of names from the locale; that of the caller must not change the zip. */
static locale_t enter_utf8(locale_t *ret_before)
{
    locale_t utf8 = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0);

    *ret_before = utf8 != (locale_t)0 ? uselocale(utf8) : (locale_t)0;
    return utf8;
}

static void leave_utf8(locale_t utf8, locale_t before)
{
    if (utf8 == (locale_t)0)
        return;
    (void)uselocale(before);
    freelocale(utf8);
}

static int zip_folder(struct cli *cli, int folder_fd, struct buf *out, struct err *err)
{
    struct walk walk = { 0 };
    int result = walk_folder(folder_fd, &walk, err);
    locale_t before, utf8;

    if (result == 0 && walk.count == 0)
        result = err_set(err, ERR_INVALID, 0, "the folder is empty");
    if (result == 0) {
        cli_note(cli, "Zipping %zu files, %.1f MB", walk.count, (double)walk.total / 1e6);
        utf8 = enter_utf8(&before);
        result = zip_entries(&walk, folder_fd, out, err);
        leave_utf8(utf8, before);
    }
    walk_done(&walk);
    return result;
}

static int read_zip(int fd, off_t size, struct buf *out, struct err *err)
{
    if (size > PACKAGE_MAX_ZIP_BYTES)
        return err_set(err, ERR_LIMIT, 0, "the file is larger than %d bytes, Lambda's limit for an upload",
                       PACKAGE_MAX_ZIP_BYTES);
    if (buf_reserve(out, (size_t)size) < 0)
        return err_set(err, ERR_SYSTEM, ENOMEM, "zip");
    while (out->len < (size_t)size) {
        ssize_t got = read(fd, out->data + out->len, (size_t)size - out->len);

        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return err_set(err, ERR_SYSTEM, got < 0 ? errno : 0, "the file cannot be read");
        out->len += (size_t)got;
    }
    if (out->len < 4 || memcmp(out->data, "PK", 2) != 0)
        return err_set(err, ERR_INVALID, 0, "the file is no zip");
    return 0;
}

int package_read(struct cli *cli, const char *path, struct buf *out, struct err *err)
{
    AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    struct stat info;
    int result;

    if (fd < 0 || fstat(fd, &info) < 0)
        return err_set(err, ERR_NOT_FOUND, errno, "open %.250s", path);
    if (S_ISDIR(info.st_mode))
        result = zip_folder(cli, fd, out, err);
    else if (S_ISREG(info.st_mode))
        result = read_zip(fd, info.st_size, out, err);
    else
        result = err_set(err, ERR_INVALID, 0, "it is neither a folder nor a zip file");
    return result < 0 ? err_wrap(err, "%.100s", path) : 0;
}

void package_list_done(struct package_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        free(list->entries[i].name);
        free(list->entries[i].content);
    }
    free(list->entries);
    *list = (struct package_list){ 0 };
}

const struct package_entry *package_find(const struct package_list *list, const char *name)
{
    for (size_t i = 0; i < list->count; i++) {
        if (strcmp(list->entries[i].name, name) == 0)
            return &list->entries[i];
    }
    return NULL;
}

static bool is_source(const char *name)
{
    static const char *const ends[] = { ".js", ".mjs", ".cjs", ".py", ".json" };
    size_t len = strlen(name);

    if (strncmp(name, "node_modules/", 13) == 0)
        return false;
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
        size_t end = strlen(ends[i]);

        if (len > end && strcmp(name + len - end, ends[i]) == 0)
            return strcmp(ends[i], ".json") != 0 || strcmp(name, "package.json") == 0;
    }
    return false;
}

/* Top-level sources, and those one folder below: package.json's main may name one of them. */
static bool worth_looking(const char *name)
{
    const char *slash = strchr(name, '/');

    return is_source(name) && (!slash || !strchr(slash + 1, '/'));
}

static char *read_content(struct archive *archive, int64_t size)
{
    size_t most = size > 0 && size < PACKAGE_MAX_LOOK_BYTES ? (size_t)size : PACKAGE_MAX_LOOK_BYTES;
    char *content = malloc(most + 1);
    size_t got = 0;

    while (content && got < most) {
        la_ssize_t part = archive_read_data(archive, content + got, most - got);

        if (part <= 0)
            break;
        got += (size_t)part;
    }
    if (content)
        content[got] = '\0';
    return content;
}

static int list_entry_of(struct archive *archive, struct archive_entry *entry, struct package_list *list)
{
    const char *name = archive_entry_pathname(entry);

    if (!name || archive_entry_filetype(entry) != AE_IFREG || list->count >= PACKAGE_MAX_ENTRIES)
        return 0;
    while (name[0] == '.' && name[1] == '/')
        name += 2;
    if (list->count == list->room) {
        size_t room = list->room ? list->room * 2 : 64;
        struct package_entry *entries = realloc(list->entries, room * sizeof *entries);

        if (!entries)
            return -ENOMEM;
        list->entries = entries;
        list->room = room;
    }
    list->entries[list->count] = (struct package_entry){
        .name = strdup(name),
        .content = worth_looking(name) ? read_content(archive, archive_entry_size(entry)) : NULL
    };
    return list->entries[list->count++].name ? 0 : -ENOMEM;
}

static int list_entries(struct archive *archive, const struct buf *zip, struct package_list *list,
                        struct err *err)
{
    struct archive_entry *entry = NULL;
    int result = 0, status = ARCHIVE_FATAL;

    (void)archive_read_support_format_zip_seekable(archive);
    if (archive_read_open_memory(archive, zip->data, zip->len) == ARCHIVE_OK) {
        while (result == 0 && (status = archive_read_next_header(archive, &entry)) >= ARCHIVE_WARN &&
               status != ARCHIVE_EOF)
            result = list_entry_of(archive, entry, list);
    }
    if (result < 0)
        return err_set(err, ERR_SYSTEM, -result, "zip");
    if (status != ARCHIVE_EOF)
        return err_set(err, ERR_INVALID, 0, "the zip cannot be read: %s",
                       archive_error_string(archive) ? archive_error_string(archive) : "unknown error");
    return 0;
}

int package_look(const struct buf *zip, struct package_list *ret_list, struct err *err)
{
    struct archive *archive = archive_read_new();
    locale_t before, utf8;
    int result;

    *ret_list = (struct package_list){ 0 };
    if (!archive)
        return err_set(err, ERR_SYSTEM, ENOMEM, "zip");
    utf8 = enter_utf8(&before);
    result = list_entries(archive, zip, ret_list, err);
    (void)archive_read_free(archive);
    leave_utf8(utf8, before);
    if (result < 0)
        package_list_done(ret_list);
    return result;
}
