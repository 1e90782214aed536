/* What a START is to see: code, runtime client, interpreter, SDK, /tmp. */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "launcher/launcher_priv.h"
#include "launcher/runtimes.h"
#include "sandbox/skeleton.h"

/* Returns 0, also for a negative descriptor that says -ENOENT and may be missing. */
static int add(struct husk_mounts *mounts, enum control_place place, int fd)
{
    if (fd < 0)
        return fd;
    mounts->fds[mounts->count] = fd;
    mounts->places[mounts->count++] = (uint8_t)place;
    return 0;
}

static int add_optional(struct husk_mounts *mounts, enum control_place place, int fd)
{
    int r = add(mounts, place, fd);

    return r == -ENOENT ? 0 : r;
}

static int add_client(struct launcher *launcher, const struct runtime *runtime, struct husk_mounts *mounts)
{
    char path[64];
    int r;

    if (!*runtime->client)
        return 0;
    (void)snprintf(path, sizeof path, "runtimes/%s", runtime->client);
    r = add(mounts, CONTROL_AT_RUNTIME, skeleton_bind(launcher->share, path));
    /* Installed by `irori runtimes sdk`, also while we run. */
    if (r == 0 && strcmp(runtime->client, "node") == 0)
        r = add_optional(mounts, CONTROL_AT_NODE_SDK, skeleton_bind(launcher->data, "sdk/node/node_modules"));
    else if (r == 0 && strcmp(runtime->client, "python") == 0)
        r = add_optional(mounts, CONTROL_AT_PYTHON_SDK, skeleton_bind(launcher->data, "sdk/python"));
    return r;
}

/* Made by irorid, from what the function itself has sent; it may be gone by now. */
static int add_code_cache(struct launcher *launcher, const struct wire_start *start,
                          struct husk_mounts *mounts)
{
    char path[128];

    if (!(start->flags & WIRE_START_CODE_CACHE))
        return 0;
    (void)snprintf(path, sizeof path, "code-cache/%u-%s-%s", start->uid_index, start->code, start->runtime);
    return add_optional(mounts, CONTROL_AT_CODE_CACHE, skeleton_bind(launcher->data, path));
}

int mounts_open(struct launcher *launcher, const struct wire_start *start, int volume_mount,
                struct husk_mounts *ret_mounts, enum wire_failure *ret_failure, struct err *err)
{
    const struct runtime *runtime = runtimes_get(launcher->runtimes, start->runtime);
    int code, r;

    ret_mounts->count = 0;
    (void)add(ret_mounts, CONTROL_AT_TMP, volume_mount); /* taken, whatever happens */
    if (!runtime) {
        *ret_failure = WIRE_FAIL_NO_RUNTIME;
        return err_set(err, ERR_NOT_FOUND, 0, "this machine has no interpreter for %s", start->runtime);
    }
    code = *start->code ? skeleton_bind(launcher->code, start->code) : -1;
    if (code == -ENOENT)
        *ret_failure = WIRE_FAIL_NO_CODE;
    r = *start->code ? add(ret_mounts, CONTROL_AT_TASK, code) : 0;
    if (r < 0)
        return err_set(err, ERR_NOT_FOUND, -r, "code %.12s", start->code);
    r = add_client(launcher, runtime, ret_mounts);
    if (r == 0 && strcmp(runtime->client, "node") == 0)
        r = add_code_cache(launcher, start, ret_mounts);
    if (r < 0)
        return err_set(err, ERR_SYSTEM, -r, "runtime client of %s", start->runtime);
    r = add_optional(ret_mounts, CONTROL_AT_LANG, skeleton_lang_mount(launcher->skeleton, start->runtime));
    return r < 0 ? err_set(err, ERR_SYSTEM, -r, "interpreter of %s", start->runtime) : 0;
}
