#include "zip_writer.h"

#include <string.h>

static void put(struct buf *out, uint64_t value, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++)
        (void)buf_putc(out, (char)(value >> (8 * i) & 255));
}

static uint32_t crc32_of(const char *data, size_t len)
{
    uint32_t crc = 0xffffffff;

    for (size_t i = 0; i < len; i++) {
        crc ^= (unsigned char)data[i];
        for (int k = 0; k < 8; k++)
            crc = crc & 1 ? crc >> 1 ^ 0xedb88320 : crc >> 1;
    }
    return ~crc;
}

static void put_common(struct buf *out, const struct zip_entry *entry, size_t name_len, size_t len)
{
    const char *data = entry->data ? entry->data : "";

    put(out, entry->flags, 2);
    put(out, entry->method, 2);
    put(out, 0, 4); /* time */
    put(out, crc32_of(data, len) ^ entry->wrong_crc, 4);
    put(out, len, 4);
    put(out, len, 4);
    put(out, name_len, 2);
    put(out, 0, 2); /* extra */
}

static size_t name_length(const struct zip_entry *entry)
{
    return entry->name_len ? entry->name_len : strlen(entry->name);
}

static size_t data_length(const struct zip_entry *entry)
{
    return entry->data_len ? entry->data_len : entry->data ? strlen(entry->data) : 0;
}

void zip_write(struct buf *out, const struct zip_entry *entries, size_t count)
{
    struct buf directory = BUF_INIT((size_t)64 * 1048576);
    size_t start;

    for (size_t i = 0; i < count; i++) {
        const struct zip_entry *entry = &entries[i];
        size_t offset = out->len, name_len = name_length(entry), len = data_length(entry);

        put(out, 0x04034b50, 4);
        put(out, 20, 2);
        put_common(out, entry, name_len, len);
        (void)buf_append(out, entry->name, name_len);
        (void)buf_append(out, entry->data ? entry->data : "", len);
        put(&directory, 0x02014b50, 4);
        put(&directory, entry->mode ? 0x031e : 0x0014, 2);
        put(&directory, 20, 2);
        put_common(&directory, entry, name_len, len);
        put(&directory, 0, 2 + 2 + 2); /* comment, disk, internal */
        put(&directory, (uint64_t)entry->mode << 16, 4);
        put(&directory, offset, 4);
        (void)buf_append(&directory, entry->name, name_len);
    }
    start = out->len;
    (void)buf_append(out, directory.data ? directory.data : "", directory.len);
    put(out, 0x06054b50, 4);
    put(out, 0, 4);
    put(out, count & 0xffff, 2);
    put(out, count & 0xffff, 2);
    put(out, directory.len, 4);
    put(out, start, 4);
    put(out, 0, 2);
    buf_done(&directory);
}
