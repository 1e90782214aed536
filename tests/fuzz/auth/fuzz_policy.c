#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "auth/policy.h"
#include "base/cleanup.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct principal function = { .kind = PRINCIPAL_FUNCTION,
                                               .account = "123456789012",
                                               .arn =
                                                   "arn:aws:sts::123456789012:assumed-role/worker/caller" };
    struct policy_question question = { .principal = &function,
                                        .action = "lambda:InvokeFunction",
                                        .resource = "arn:aws:lambda:us-east-1:000000000000:function:echo",
                                        .function_url_auth_type = "AWS_IAM",
                                        .source_arn = "arn:aws:s3:::bucket",
                                        .source_account = "123456789012" };
    AUTO_FREE char *document = malloc(size + 1);

    if (!document)
        return 0;
    memcpy(document, data, size);
    document[size] = '\0';
    (void)policy_allows(document, &question);
    question.principal = NULL;
    question.service = "s3.amazonaws.com";
    (void)policy_allows(document, &question);
    return 0;
}
