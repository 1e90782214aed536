#include "cli/keys.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "auth/ini.h"
#include "base/text.h"
#include "cli/cli_priv.h"

enum { MAX_FILE_BYTES = 1024 * 1024 };

static const char default_data[] = "/var/lib/irori";

struct reading {
    const char *profile;
    struct keys keys;
    bool complete;
};

static void copy(char *to, size_t size, const char *value)
{
    if (strlen(value) < size)
        (void)snprintf(to, size, "%s", value);
}

static void on_setting(const char *section, const char *key, const char *value, void *ctx)
{
    struct reading *reading = ctx;
    struct keys *keys = &reading->keys;

    if (strcmp(section, reading->profile) != 0)
        return;
    if (!key)
        reading->complete = keys->access_key[0] != '\0' && keys->secret[0] != '\0';
    else if (strcmp(key, "aws_access_key_id") == 0)
        copy(keys->access_key, sizeof keys->access_key, value);
    else if (strcmp(key, "aws_secret_access_key") == 0)
        copy(keys->secret, sizeof keys->secret, value);
    else if (strcmp(key, "aws_session_token") == 0)
        copy(keys->token, sizeof keys->token, value);
    else if (strcmp(key, "region") == 0)
        copy(keys->region, sizeof keys->region, value);
}

int keys_read(const char *text, const char *profile, struct keys *ret_keys)
{
    const char *const wanted[] = { profile ? profile : "irori", profile ? NULL : "default" };

    for (size_t i = 0; i < 2 && wanted[i]; i++) {
        struct reading reading = { .profile = wanted[i] };

        ini_read(text, strlen(text), on_setting, &reading);
        if (reading.complete) {
            *ret_keys = reading.keys;
            return 0;
        }
    }
    return -ENOENT;
}

/* Returns the file's text, or NULL with errno. */
static char *read_text(const char *path)
{
    AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    AUTO_BUF struct buf text = BUF_INIT(MAX_FILE_BYTES);
    char chunk[4096];
    ssize_t got = 0;

    if (fd < 0)
        return NULL;
    while ((got = read(fd, chunk, sizeof chunk)) > 0)
        (void)buf_append(&text, chunk, (size_t)got);
    if (got < 0 || text.failed) {
        errno = got < 0 ? errno : EFBIG;
        return NULL;
    }
    return buf_take(&text, NULL);
}

/* DIR/credentials. Returns -ENOENT, without an err, when it is not there. */
static int from_data(struct cli *cli, const char *data, struct keys *keys, struct err *err)
{
    AUTO_FREE char *text = NULL;
    char path[400];
    int result;

    (void)snprintf(path, sizeof path, "%.380s/credentials", data);
    text = read_text(path);
    if (!text && (errno == ENOENT || errno == ENOTDIR))
        return -ENOENT;
    if (!text) {
        result = err_set(err, ERR_DENIED, errno, "cannot read %s", path);
        if (result == -EACCES)
            cli_hint(
                cli,
                "the keys are their owner's alone. Run this with sudo, or give yourself a copy%s:\n"
                "  mkdir -p ~/.aws && sudo sed -n '/^\\[irori\\]/,$p' %s >> ~/.aws/credentials && chmod 600 "
                "~/.aws/credentials",
                cli->data ? " and leave out --data" : "", path);
        return result;
    }
    if (keys_read(text, NULL, keys) < 0)
        return err_set(err, ERR_INVALID, 0, "%s has no profile [irori] or [default] with a key pair", path);
    keys->own_file = true;
    (void)snprintf(keys->source, sizeof keys->source, "%s", path);
    return 0;
}

static bool from_environment(struct keys *keys)
{
    const char *access_key = getenv("AWS_ACCESS_KEY_ID"), *secret = getenv("AWS_SECRET_ACCESS_KEY");
    const char *token = getenv("AWS_SESSION_TOKEN");

    if (!access_key || !secret || access_key[0] == '\0' || secret[0] == '\0')
        return false;
    copy(keys->access_key, sizeof keys->access_key, access_key);
    copy(keys->secret, sizeof keys->secret, secret);
    copy(keys->token, sizeof keys->token, token ? token : "");
    copy(keys->source, sizeof keys->source, "the environment (AWS_ACCESS_KEY_ID)");
    return true;
}

/* The file that the AWS tools use. Returns -ENOENT, without an err, when it gives nothing. */
static int from_shared_file(struct keys *keys, struct err *err)
{
    const char *given = getenv("AWS_SHARED_CREDENTIALS_FILE"), *home = getenv("HOME"),
               *profile = getenv("AWS_PROFILE");
    AUTO_FREE char *text = NULL;
    char path[400];
    int result;

    if (profile && profile[0] == '\0')
        profile = NULL;
    if (given && given[0] != '\0')
        (void)snprintf(path, sizeof path, "%.390s", given);
    else
        (void)snprintf(path, sizeof path, "%.370s/.aws/credentials", home ? home : "");
    text = read_text(path);
    result = text ? keys_read(text, profile, keys) : -ENOENT;
    if (result < 0 && profile)
        return err_set(err, ERR_NOT_FOUND, 0,
                       "there is no profile '%.64s' (AWS_PROFILE) with a key pair in %.200s", profile, path);
    if (result == 0)
        (void)snprintf(keys->source, sizeof keys->source, "%s", path);
    return result;
}

static int without_data(struct cli *cli, struct keys *keys, struct err *err)
{
    int result;

    if (from_environment(keys))
        return 0;
    result = from_shared_file(keys, err);
    if (result != -ENOENT || err->code != ERR_NONE)
        return result;
    result = from_data(cli, default_data, keys, err);
    return result == -ENOENT ? 0 : result;
}

int keys_find(struct cli *cli, struct keys *ret_keys, struct err *err)
{
    struct keys keys = { 0 };
    int result;

    if (cli->data) {
        result = from_data(cli, cli->data, &keys, err);
        if (result == -ENOENT && err->code == ERR_NONE) {
            cli_hint(cli, "the server makes it when it starts: sudo irori serve --data %s", cli->data);
            result = err_set(err, ERR_NOT_FOUND, 0, "there is no %.250s/credentials", cli->data);
        }
    } else {
        result = without_data(cli, &keys, err);
    }
    if (result == 0)
        *ret_keys = keys;
    return result;
}
