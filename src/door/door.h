#pragma once

/*
 * The front door: one HTTP server for the Lambda API, Invoke, function URLs and Irori's own few paths under
 * /_irori/. Runs on the loop thread; the control API goes to workers, and there too the signatures of its
 * large bodies. Invoke's (6 MB at most) are verified on the loop.
 */

#include <stdbool.h>
#include <uv.h>

struct api;
struct api_config;
struct credentials;
struct door;
struct err;
struct fn_version;
struct sched;

struct door_config {
    uv_loop_t *loop;
    struct api *api;
    const struct api_config *api_config; /* region, account, scheme, port */
    struct sched *sched;
    struct credentials *credentials;
    int logs_fd;  /* of DIR/logs */
    bool no_auth; /* requests need no signature */
};

/** listener: taken. Returns NULL with err set on failure; then the listener was closed. */
struct door *door_new(const struct door_config *config, int listener, struct err *err);
/** The machine and its runtimes, as READY says; copied. */
void door_set_machine(struct door *door, const char *json);
/** The scheduler's on_snapshot_tried(). */
void door_snapshot_tried(struct door *door, const struct fn_version *version, const char *failure);
/** Stops accepting and closes; on_closed when nothing is under way any more. */
void door_close(struct door *door, void (*on_closed)(void *ctx), void *ctx);
/** After on_closed. */
struct door *door_free(struct door *door);
