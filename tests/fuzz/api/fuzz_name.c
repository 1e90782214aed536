#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/api.h"
#include "base/cleanup.h"

/* First line: a function's name; the rest, if there is one, a qualifier. What is accepted is short and of
 * harmless letters. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct api_config config = { .region = "us-east-1", .account = "000000000000" };
    AUTO_FREE char *text = strndup((const char *)data, size);
    char *line = text ? strchr(text, '\n') : NULL;

    if (!text)
        return 0;
    if (line)
        *line++ = '\0';
    for (int rule = API_NAME_FN140; rule <= API_NAME_URL; rule++) {
        struct api_response response = { .file_fd = -1 };
        struct api_reference reference;

        if (api_resolve(&config, (enum api_name_rule)rule, text, line, &reference, &response)) {
            if (!reference.name[0] || strpbrk(reference.name, "/:%\"\n ") ||
                strpbrk(reference.qualifier, "/:%\"\n "))
                abort();
        } else if (response.status < 400 || response.body.len == 0) {
            abort();
        }
        buf_done(&response.body);
    }
    return 0;
}
