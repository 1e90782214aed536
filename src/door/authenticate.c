/* SigV4 for the door. */

#include <stdio.h>
#include <string.h>

#include "auth/sigv4.h"
#include "base/clock.h"
#include "door/door_priv.h"

enum { HEADERS_MAX = 128, SKEW_S = 300 };

/* A request in the words of sigv4.h; borrows from the exchange. */
struct question {
    struct sigv4_header headers[HEADERS_MAX];
    struct sigv4_request request;
    struct sigv4_expect expect;
};

static bool ask(const struct door *door, const struct http_request *request, struct question *question)
{
    if (request->header_count > HEADERS_MAX)
        return false;
    for (size_t i = 0; i < request->header_count; i++)
        question->headers[i] =
            (struct sigv4_header){ request->headers[i].name.at, request->headers[i].name.len,
                                   request->headers[i].value.at, request->headers[i].value.len };
    question->request = (struct sigv4_request){
        .method = request->method.at,
        .method_len = request->method.len,
        .path = request->path.at,
        .path_len = request->path.len,
        .query = request->query.at,
        .query_len = request->query.len,
        .headers = question->headers,
        .header_count = request->header_count,
        .body = request->body,
        .body_len = request->body_len,
    };
    question->expect = (struct sigv4_expect){
        .region = door->config.api_config->region,
        .service = "lambda",
        .now_ms = clock_wall_ms(),
        .skew_s = SKEW_S,
    };
    return true;
}

static void no_auth_principal(const struct door *door, struct principal *principal)
{
    *principal = (struct principal){ .kind = PRINCIPAL_NO_AUTH };
    (void)snprintf(principal->account, sizeof principal->account, "%s", door->config.api_config->account);
    (void)snprintf(principal->arn, sizeof principal->arn, "arn:aws:iam::%s:root", principal->account);
    (void)snprintf(principal->user_id, sizeof principal->user_id, "%s", principal->account);
}

static bool decided(struct door_auth *auth, enum sigv4_status status)
{
    if (status == SIGV4_OK)
        return true;
    (void)snprintf(auth->code, sizeof auth->code, "%s", sigv4_status_code(status));
    return false;
}

bool door_authenticate(const struct door *door, const struct http_exchange *x, struct door_auth *ret_auth)
{
    struct question question;
    enum sigv4_status status = SIGV4_MISSING;

    ret_auth->code[0] = ret_auth->message[0] = '\0';
    if (!ask(door, http_exchange_request(x), &question))
        return decided(ret_auth, SIGV4_INCOMPLETE);
    if (!door->config.no_auth || sigv4_is_signed(&question.request))
        status = sigv4_verify(&question.request, &question.expect, door->config.credentials,
                              &ret_auth->principal, ret_auth->message, sizeof ret_auth->message);
    if (!door->config.no_auth)
        return decided(ret_auth, status);
    /* Without need of a signature, one of a function still says who asks. */
    if (status != SIGV4_OK)
        no_auth_principal(door, &ret_auth->principal);
    return true;
}

bool door_may_authenticate(const struct door *door, const struct http_exchange *x, struct door_auth *ret_auth)
{
    struct question question;

    ret_auth->code[0] = ret_auth->message[0] = '\0';
    if (door->config.no_auth)
        return true;
    if (!ask(door, http_exchange_request(x), &question))
        return decided(ret_auth, SIGV4_INCOMPLETE);
    return decided(ret_auth, sigv4_check_head(&question.request, &question.expect, door->config.credentials,
                                              ret_auth->message, sizeof ret_auth->message));
}
