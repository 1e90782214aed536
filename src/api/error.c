#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "api/api_priv.h"
#include "base/text.h"

enum { MESSAGE_BYTES = 65536 };

/* Spec 1.1. upper: the member is "Message"; bare: a fault of the framework, which has no "Type". */
static const struct exception {
    const char *name;
    int status;
    bool upper, bare;
} exceptions[] = {
    { "InvalidParameterValueException", 400, false, false },
    { "ValidationException", 400, false, true },
    { "SerializationException", 400, false, true },
    { "UnknownOperationException", 404, false, true },
    { "RequestEntityTooLargeException", 413, false, true },
    { "ResourceNotFoundException", 404, true, false },
    { "ResourceConflictException", 409, false, false },
    { "ResourceInUseException", 400, true, false },
    { "ResourceNotReadyException", 502, false, false },
    { "PreconditionFailedException", 412, false, false },
    { "TooManyRequestsException", 429, false, false },
    { "ServiceException", 500, true, false },
    { "ServiceUnavailableException", 503, true, false },
    { "AccessDeniedException", 403, true, true },
    { "CodeStorageExceededException", 400, false, false },
    { "PolicyLengthExceededException", 400, false, false },
    { "PublicPolicyException", 400, true, false },
    { "AliasLimitExceededException", 400, false, false },
    { "ProvisionedConcurrencyConfigNotFoundException", 404, false, false },
    { "CodeSigningConfigNotFoundException", 404, true, false },
    { "CodeVerificationFailedException", 400, true, false },
    { "InvalidCodeSignatureException", 400, true, false },
    { "InvalidRequestContentException", 400, false, false },
    { "InvalidRuntimeException", 502, true, false },
    { "InvalidZipFileException", 502, true, false },
    { "RequestTooLargeException", 413, false, false },
    { "SerializedRequestEntityTooLargeException", 413, false, false },
    { "UnsupportedMediaTypeException", 415, false, false },
    { "ServiceQuotaExceededException", 402, true, false },
    { "RecursiveInvocationException", 400, true, false },
    { "NoPublishedVersionException", 400, true, false },
    { "ModeNotSupportedException", 400, false, false },
    { "SnapStartException", 400, true, false },
    { "SnapStartTimeoutException", 408, true, false },
    { "SnapStartNotReadyException", 409, true, false },
    { "MissingAuthenticationTokenException", 403, false, true },
    { "IncompleteSignatureException", 403, false, true },
    { "UnrecognizedClientException", 403, false, true },
    { "InvalidSignatureException", 403, false, true },
    { "ExpiredTokenException", 403, false, true },
};

static const struct exception *find_exception(const char *name)
{
    for (size_t i = 0; i < sizeof exceptions / sizeof exceptions[0]; i++) {
        if (strcmp(exceptions[i].name, name) == 0)
            return &exceptions[i];
    }
    return NULL;
}

int api_error_status(const char *exception)
{
    const struct exception *found = find_exception(exception);

    return found ? found->status : 500;
}

static void put_body(const char *exception, const char *message, const char *reason, bool typed,
                     struct buf *out)
{
    const struct exception *found = find_exception(exception);

    (void)buf_putc(out, '{');
    if (typed)
        (void)buf_printf(out, "\"Type\":\"%s\",", api_error_status(exception) < 500 ? "User" : "Service");
    (void)buf_printf(out, "\"%s\":", found && found->upper ? "Message" : "message");
    (void)buf_json_string(out, message, strlen(message));
    if (reason) {
        (void)buf_puts(out, ",\"Reason\":");
        (void)buf_json_string(out, reason, strlen(reason));
    }
    (void)buf_putc(out, '}');
}

void api_error_body(const char *exception, const char *message, const char *reason, struct buf *out)
{
    const struct exception *found = find_exception(exception);

    put_body(exception, message, reason, !found || !found->bare, out);
}

__attribute__((format(printf, 4, 0))) static void answer(struct api_response *response, const char *exception,
                                                         bool typed, const char *format, va_list args)
{
    struct buf message = BUF_INIT(MESSAGE_BYTES);

    (void)buf_vprintf(&message, format, args);
    buf_done(&response->body);
    response->body = BUF_INIT((size_t)2 * MESSAGE_BYTES);
    response->status = api_error_status(exception);
    response->content_type = NULL;
    (void)snprintf(response->error_type, sizeof response->error_type, "%s", exception);
    put_body(exception, message.data ? message.data : "", NULL, typed, &response->body);
    buf_done(&message);
}

void api_error(struct api_response *response, const char *exception, const char *format, ...)
{
    const struct exception *found = find_exception(exception);
    va_list args;

    va_start(args, format);
    answer(response, exception, !found || !found->bare, format, args);
    va_end(args);
}

void api_error_untyped(struct api_response *response, const char *exception, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    answer(response, exception, false, format, args);
    va_end(args);
}
