#include "code/unpack_priv.h"

#include <string.h>
#include <sys/stat.h>

#include "base/err.h"

/*
 * Reads the central directory only (PKWARE APPNOTE 4.3). libarchive decides what is unpacked; this pass sees
 * what its interface hides: NUL in names, the system an entry was made on, the compression method, and the
 * count up front.
 *
 * record            signature   size  used here
 * end               06054b50    22    10: entries, 16: offset of the first header
 * zip64 locator     07064b50    20     8: offset of the zip64 end; directly before the end
 * zip64 end         06064b50    56    32: entries, 48: offset
 * central header    02014b50    46     5: made on, 8: flags, 10: method, 28/30/32: lengths, 38: attributes
 */
enum {
    END_SIZE = 22,
    LOCATOR_SIZE = 20,
    END64_SIZE = 56,
    HEADER_SIZE = 46,
    COMMENT_MAX = 65535,
    MADE_ON_UNIX = 3,
    FLAG_ENCRYPTED = 1,
    FLAG_STRONG = 0x40,
    METHOD_STORED = 0,
    METHOD_DEFLATE = 8,
};

static uint64_t little(const unsigned char *at, unsigned bytes)
{
    uint64_t value = 0;

    for (unsigned i = bytes; i > 0; i--)
        value = value << 8 | at[i - 1];
    return value;
}

static const unsigned char *find_end(const unsigned char *data, size_t len)
{
    size_t lowest = len > END_SIZE + COMMENT_MAX ? len - END_SIZE - COMMENT_MAX : 0;

    if (len < END_SIZE)
        return NULL;
    for (size_t at = len - END_SIZE;; at--) {
        if (memcmp(data + at, "PK\5\6", 4) == 0)
            return data + at;
        if (at == lowest)
            return NULL;
    }
}

struct directory {
    uint64_t entries, offset;
};

static bool read_end(const unsigned char *data, size_t len, struct directory *ret_directory)
{
    const unsigned char *end = find_end(data, len), *locator;
    uint64_t end64;

    if (!end)
        return false;
    *ret_directory = (struct directory){ .entries = little(end + 10, 2), .offset = little(end + 16, 4) };
    if (end - data < LOCATOR_SIZE)
        return true;
    locator = end - LOCATOR_SIZE;
    if (memcmp(locator, "PK\6\7", 4) != 0)
        return true;
    end64 = little(locator + 8, 8);
    if (end64 > len || len - end64 < END64_SIZE || memcmp(data + end64, "PK\6\6", 4) != 0)
        return false;
    *ret_directory =
        (struct directory){ .entries = little(data + end64 + 32, 8), .offset = little(data + end64 + 48, 8) };
    return true;
}

static const char *header_fault(const unsigned char *header, size_t name_len)
{
    uint64_t flags = little(header + 8, 2), method = little(header + 10, 2);
    uint64_t type = little(header + 38, 4) >> 16 & S_IFMT;

    if (flags & (FLAG_ENCRYPTED | FLAG_STRONG))
        return "is encrypted";
    if (method != METHOD_STORED && method != METHOD_DEFLATE)
        return "uses a compression method other than stored and deflate";
    if (memchr(header + HEADER_SIZE, '\0', name_len))
        return "has a NUL in its name";
    /* libarchive would unpack a device or a fifo as an empty file. */
    if (header[5] == MADE_ON_UNIX && type != 0 && type != S_IFREG && type != S_IFDIR && type != S_IFLNK)
        return "is neither a file, a folder nor a link";
    /* libarchive would take it for a slash. */
    if (memchr(header + HEADER_SIZE, '\\', name_len))
        return "has a backslash in its name (make the archive with '/' between folders)";
    return NULL;
}

static bool is_plain_bootstrap(const unsigned char *header, size_t name_len)
{
    uint64_t mode = little(header + 38, 4) >> 16;

    return name_len == strlen("bootstrap") && memcmp(header + HEADER_SIZE, "bootstrap", name_len) == 0 &&
           (header[5] != MADE_ON_UNIX || mode == 0);
}

static enum code_status walk(const unsigned char *data, size_t len, size_t at, struct zip_facts *facts,
                             struct err *err)
{
    while (len - at >= HEADER_SIZE && memcmp(data + at, "PK\1\2", 4) == 0) {
        const unsigned char *header = data + at;
        size_t name_len = (size_t)little(header + 28, 2);
        size_t size =
            HEADER_SIZE + name_len + (size_t)little(header + 30, 2) + (size_t)little(header + 32, 2);
        const char *fault;

        if (size > len - at) {
            (void)err_set(err, ERR_INVALID, 0, "the archive's directory is cut");
            return CODE_NOT_ZIP;
        }
        fault = header_fault(header, name_len);
        if (fault) {
            (void)err_set(err, ERR_DENIED, 0, "entry '%.*s' %s", (int)(name_len < 200 ? name_len : 200),
                          (const char *)header + HEADER_SIZE, fault);
            return CODE_NOT_ZIP;
        }
        facts->plain_bootstrap |= is_plain_bootstrap(header, name_len);
        facts->entries++;
        if (facts->entries > UNPACK_MAX_ENTRIES)
            break;
        at += size;
    }
    return CODE_OK;
}

enum code_status zip_scan(const void *archive, size_t len, struct zip_facts *ret_facts, struct err *err)
{
    struct zip_facts facts = { 0 };
    struct directory directory;
    enum code_status status;

    if (!read_end(archive, len, &directory)) {
        (void)err_set(err, ERR_INVALID, 0, "the archive has no zip directory");
        return CODE_NOT_ZIP;
    }
    /* Data in front of the archive (self-extracting ones) shifts all offsets; then the entries are not looked
     * at here. */
    status = directory.offset <= len ? walk(archive, len, (size_t)directory.offset, &facts, err) : CODE_OK;
    if (status != CODE_OK)
        return status;
    if (facts.entries > UNPACK_MAX_ENTRIES || directory.entries > UNPACK_MAX_ENTRIES) {
        (void)err_set(err, ERR_DENIED, 0, "the archive holds more than %d entries", UNPACK_MAX_ENTRIES);
        return CODE_NOT_ZIP;
    }
    *ret_facts = facts;
    return CODE_OK;
}
