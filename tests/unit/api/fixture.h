#pragma once

/* A control API on a fresh data folder, and requests as boto3 sends them. */

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>

#include "api/api.h"

struct fixture {
    char folder[64];
    int data_fd, code_fd;
    struct api *api;
    struct api_config config;
    struct principal principal;
    struct api_response response; /* of the last request */
    cJSON *json;                  /* its body; NULL when empty */
};

extern const char fixture_zip[]; /* base64 of a package with index.mjs and bootstrap */
extern const char fixture_zip2[];

/** Opens (again): the data folder stays the same from the first call on. */
void fixture_open(struct fixture *fixture);
void fixture_close(struct fixture *fixture);
/** Removes the folder, too. */
void fixture_done(struct fixture *fixture);

/** One request; path may hold '?' and a query. body NULL: none. Returns the status. */
int fixture_request(struct fixture *fixture, const char *method, const char *path, const char *body);
/** Settles what the last request asked to be settled. */
void fixture_settle(struct fixture *fixture, const char *name);
/** A function of this name, settled; members: JSON members to add, with a leading comma, or "". */
void fixture_function(struct fixture *fixture, const char *name, const char *members);
/** A text of the last answer by dotted path, "(absent)" when there is none. */
const char *fixture_text(const struct fixture *fixture, const char *path);
/** A number, -1 when absent. */
double fixture_number(const struct fixture *fixture, const char *path);
bool fixture_has(const struct fixture *fixture, const char *path);
/** "message" or "Message" of the last answer. */
const char *fixture_message(const struct fixture *fixture);

/** The last answer is this error. */
void expect_error(struct fixture *fixture, int status, const char *type, const char *message);
