#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "auth/ini.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void on_setting(const char *section, const char *key, const char *value, void *ctx)
{
    size_t *total = ctx;

    *total += strlen(section) + (key ? strlen(key) + strlen(value) : 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t total = 0;

    ini_read((const char *)data, size, on_setting, &total);
    return 0;
}
