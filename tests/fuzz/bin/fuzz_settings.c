#include <stddef.h>
#include <stdint.h>

#include "bin/settings.h"

/* A config file may hold anything. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct settings settings;
    struct err err = { 0 };

    settings_init(&settings);
    (void)settings_parse_file(&settings, (const char *)data, size, &err);
    settings_done(&settings);
    return 0;
}
