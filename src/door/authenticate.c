/* SigV4 for the door. */

#include <stdio.h>
#include <string.h>

#include "auth/sigv4.h"
#include "base/clock.h"
#include "door/door_priv.h"

enum { HEADERS_MAX = 128, SKEW_S = 300 };

static void no_auth_principal(const struct door *door, struct principal *principal)
{
    *principal = (struct principal){ .kind = PRINCIPAL_NO_AUTH };
    (void)snprintf(principal->account, sizeof principal->account, "%s", door->config.api_config->account);
    (void)snprintf(principal->arn, sizeof principal->arn, "arn:aws:iam::%s:root", principal->account);
    (void)snprintf(principal->user_id, sizeof principal->user_id, "%s", principal->account);
}

bool door_authenticate(struct door *door, struct http_exchange *x, struct door_auth *ret_auth)
{
    const struct http_request *request = http_exchange_request(x);
    struct sigv4_header headers[HEADERS_MAX];
    struct sigv4_request signed_request = {
        .method = request->method.at,
        .method_len = request->method.len,
        .path = request->path.at,
        .path_len = request->path.len,
        .query = request->query.at,
        .query_len = request->query.len,
        .headers = headers,
        .header_count = request->header_count,
        .body = request->body,
        .body_len = request->body_len,
    };
    struct sigv4_expect expect = {
        .region = door->config.api_config->region,
        .service = "lambda",
        .now_ms = clock_wall_ms(),
        .skew_s = SKEW_S,
    };
    enum sigv4_status status;

    ret_auth->code[0] = ret_auth->message[0] = '\0';
    if (request->header_count > HEADERS_MAX)
        return false;
    for (size_t i = 0; i < request->header_count; i++)
        headers[i] = (struct sigv4_header){ request->headers[i].name.at, request->headers[i].name.len,
                                            request->headers[i].value.at, request->headers[i].value.len };
    /* Without need of a signature, one of a function still says who asks. */
    if (door->config.no_auth) {
        status = sigv4_is_signed(&signed_request)
                     ? sigv4_verify(&signed_request, &expect, door->config.credentials, &ret_auth->principal,
                                    ret_auth->message, sizeof ret_auth->message)
                     : SIGV4_MISSING;
        if (status != SIGV4_OK)
            no_auth_principal(door, &ret_auth->principal);
        return true;
    }
    status = sigv4_verify(&signed_request, &expect, door->config.credentials, &ret_auth->principal,
                          ret_auth->message, sizeof ret_auth->message);
    if (status == SIGV4_OK)
        return true;
    (void)snprintf(ret_auth->code, sizeof ret_auth->code, "%s", sigv4_status_code(status));
    return false;
}
