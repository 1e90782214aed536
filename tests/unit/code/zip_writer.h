#pragma once

/* Writes zip archives byte by byte, also such as no packer makes. All entries are stored, not compressed. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

struct zip_entry {
    const char *name;
    size_t name_len; /* 0: strlen(name) */
    const char *data;
    size_t data_len; /* 0: strlen(data) */
    uint32_t mode;   /* with file type; 0: made on Windows */
    uint16_t flags, method;
    bool wrong_crc;
};
void zip_write(struct buf *out, const struct zip_entry *entries, size_t count);
