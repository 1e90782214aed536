/* Answers, lines and inspections as a hostile function would make them: no secret stands in what is told. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "cli/cli_priv.h"
#include "cli/leaks.h"

static const char secret[] = "alice-secret";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The input is a fresh answer, another one and the used one's, each ended by a NUL. */
static void compare(const struct leak_values *values, const char *texts[3], cJSON *findings)
{
    cJSON *leaves[3], *json[3];

    for (size_t i = 0; i < 3; i++) {
        leaves[i] = leak_leaves(texts[i], strlen(texts[i]));
        json[i] = cJSON_Parse(texts[i]);
    }
    leak_in_answer(values, leaves[2], texts[2], strlen(texts[2]), findings);
    leak_in_log(values, texts[2], findings);
    leak_in_files(values, json[2], findings);
    leak_differences(values, leaves[0], leaves[1], leaves[2], findings);
    leak_left(values, json[0], json[1], json[2], findings);
    leak_growth(json[0], json[1], json[2], 1, findings);
    for (size_t i = 0; i < 3; i++) {
        cJSON_Delete(leaves[i]);
        cJSON_Delete(json[i]);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO_JSON *a = cJSON_Parse("{\"x\":\"alice-secret\",\"y\":\"a=b&c d\",\"z\":\"eve\"}"),
              *b = cJSON_Parse("{}");
    AUTO_JSON *findings = cJSON_CreateArray();
    AUTO_FREE char *copy = malloc(size + 3), *told = NULL;
    const char *texts[3];
    struct leak_values values;

    if (!copy || leak_values_read(a, b, &values) < 0)
        return 0;
    if (size > 0)
        memcpy(copy, data, size);
    memset(copy + size, 0, 3);
    texts[0] = copy;
    for (size_t i = 1; i < 3; i++) {
        const char *end = texts[i - 1] + strlen(texts[i - 1]);

        texts[i] = end < copy + size ? end + 1 : end;
    }
    compare(&values, texts, findings);
    told = cJSON_PrintUnformatted(findings);
    if (told && strstr(told, secret))
        abort();
    leak_values_done(&values);
    return 0;
}
