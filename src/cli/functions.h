#pragma once

/* Calls of the Lambda API that several commands make. */

#include <stdbool.h>

#include <cjson/cJSON.h>

struct buf;
struct cli;
struct err;

/** GetFunctionConfiguration. Returns -1 with err->code ERR_NOT_FOUND when there is no such function. */
int function_get(struct cli *cli, const char *name, cJSON **ret_json, struct err *err);

/** Waits until the function is Active and its last update Successful, at most five minutes. ret_json (may be
 * NULL) gets the configuration. */
int function_wait(struct cli *cli, const char *name, cJSON **ret_json, struct err *err);

/** GetFunctionUrlConfig; ret_json gets NULL when there is none. */
int function_url_get(struct cli *cli, const char *name, cJSON **ret_json, struct err *err);
/** Makes the function's URL public: URL config with AuthType NONE, and the statement that lets everybody in.
 * Does nothing that is done already. Appends the URL. */
int function_url_open(struct cli *cli, const char *name, struct buf *ret_url, struct err *err);
int function_url_close(struct cli *cli, const char *name, struct err *err);

/** Gives a function a tag (value NULL: takes it away) unless it is so already; *ret_changed says whether. */
int function_tag(struct cli *cli, const char *arn, const char *key, const char *value, bool *ret_changed,
                 struct err *err);

/** The ids of the runtimes that the server has, as {"runtimes":[{"id":..}]}. */
int server_runtimes(struct cli *cli, cJSON **ret_json, struct err *err);

enum { FUNCTION_NAME_BYTES = 65 };
/** True for 1 to 64 characters of [A-Za-z0-9-_]. */
bool function_name_ok(const char *name);
