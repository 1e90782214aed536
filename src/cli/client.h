#pragma once

/* Signed requests to the server. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cjson/cJSON.h>

#include "base/buf.h"

struct cli;
struct client;
struct err;

struct client *client_free(struct client *client);

enum { CLIENT_HEADERS = 4 };
struct request {
    const char *method, *path; /* path encoded */
    const char *query;         /* encoded, without '?'; or NULL */
    const void *body;          /* borrowed; NULL: none */
    size_t body_len;
    const char *headers[CLIENT_HEADERS]; /* "Name: value"; or NULL */
    bool progress;                       /* show the upload on a terminal */
    bool no_signature;                   /* for /health */
    unsigned timeout_s;                  /* 0: 60 */
};

struct response {
    int status;
    struct buf body;
    char error_type[65], function_error[65], executed_version[65], environment[40];
    struct buf log_result; /* base64 */
};
void response_done(struct response *response);
#define AUTO_RESPONSE __attribute__((cleanup(response_done))) struct response

/** Sends and waits for the whole answer, whatever its status. */
int client_send(struct cli *cli, const struct request *request, struct response *ret_response,
                struct err *err);
/** The same, where a status of 300 or more is an error: ERR_NOT_FOUND for 404, ERR_CONFLICT for 409,
 * ERR_DENIED for 403. ret_json (may be NULL) gets the parsed body, NULL for an empty one; the caller deletes
 * it. */
int client_call(struct cli *cli, const struct request *request, cJSON **ret_json, struct err *err);
/** The error of an answer of status 300 or more. */
int client_error(struct cli *cli, const struct response *response, struct err *err);
/** Where requests go, and with whose keys: for the doctor. Makes the client. Borrowed. */
int client_describe(struct cli *cli, const char **ret_endpoint, const char **ret_region,
                    const char **ret_source, struct err *err);

/** Appends text percent-encoded for a path segment or a query value. */
void client_encode(const char *text, struct buf *out);
/** Appends prefix, the encoded name and suffix. Returns out->data, NULL when out failed. */
const char *client_path(struct buf *out, const char *prefix, const char *name, const char *suffix);

enum { CLIENT_TENANT_BYTES = 1024 };
/** Appends the header that names a tenant. */
int client_tenant_header(const char *tenant_id, struct buf *out, struct err *err);
