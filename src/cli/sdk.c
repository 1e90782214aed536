#include "cli/sdk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/id.h"
#include "base/text.h"
#include "cli/cli_priv.h"
#include "cli/runtime_ids.h"

enum { MAX_ARGUMENTS = 48, MAX_TREE_DEPTH = 100 };

/* AWS bundles every client; these are the ones that functions commonly use. Others belong into the function's
 * package. */
static const char *const node_packages[] = {
    "@aws-sdk/client-s3",
    "@aws-sdk/client-dynamodb",
    "@aws-sdk/lib-dynamodb",
    "@aws-sdk/util-dynamodb",
    "@aws-sdk/client-sqs",
    "@aws-sdk/client-sns",
    "@aws-sdk/client-lambda",
    "@aws-sdk/client-secrets-manager",
    "@aws-sdk/client-ssm",
    "@aws-sdk/client-sts",
    "@aws-sdk/client-eventbridge",
    "@aws-sdk/client-cloudwatch-logs",
    "@aws-sdk/client-kinesis",
    "@aws-sdk/client-sfn",
    "@aws-sdk/client-ses",
    "@aws-sdk/client-cognito-identity-provider",
    "@aws-sdk/client-rds-data",
    "@aws-sdk/s3-request-presigner",
    NULL,
};
static const char *const python_packages[] = { "boto3", NULL };

/* The last file written: a folder that has it is whole. */
static const char marker[] = ".irori-sdk";

struct install {
    struct cli *cli;
    int sdk_fd;
    char sdk[PATH_MAX];       /* DIR/sdk */
    char temporary[PATH_MAX]; /* DIR/sdk/.new-... */
    char temporary_name[32];
    const cJSON *runtimes;
    char python_version[16]; /* "3.9": what the packages must run on */
};

extern char **environ;

/* Runs a program with its output on standard error (quiet: nowhere). Returns its exit status, or negative
 * errno. */
static int run_program(const char *const *arguments, bool quiet)
{
    posix_spawn_file_actions_t actions;
    pid_t child = -1;
    int result, status = 0;

    if (posix_spawn_file_actions_init(&actions) != 0)
        return -ENOMEM;
    (void)posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    if (quiet) {
        (void)posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
        (void)posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
    } else {
        (void)posix_spawn_file_actions_adddup2(&actions, STDERR_FILENO, STDOUT_FILENO);
    }
    /* posix_spawnp() takes the arguments without const but does not change them. */
    result = posix_spawnp(&child, arguments[0], &actions, NULL, (char *const *)(uintptr_t)arguments, environ);
    (void)posix_spawn_file_actions_destroy(&actions);
    if (result != 0)
        return -result;
    while (waitpid(child, &status, 0) < 0) {
        if (errno != EINTR)
            return -errno;
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static int remove_tree(int dir_fd, const char *name, unsigned depth)
{
    AUTO_FD int fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    int again = fd < 0 ? -1 : dup(fd);
    DIR *folder = again < 0 ? NULL : fdopendir(again);
    const struct dirent *entry;

    if (!folder)
        return unlinkat(dir_fd, name, 0) < 0 ? -errno : 0;
    while (depth < MAX_TREE_DEPTH && (entry = readdir(folder))) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            (void)remove_tree(fd, entry->d_name, depth + 1);
    }
    (void)closedir(folder);
    return unlinkat(dir_fd, name, AT_REMOVEDIR) < 0 ? -errno : 0;
}

static bool is_installed(const struct install *install, const char *language)
{
    char path[64];

    (void)snprintf(path, sizeof path, "%s/%s", language, marker);
    return faccessat(install->sdk_fd, path, F_OK, 0) == 0;
}

static int begin_temporary(struct install *install, struct err *err)
{
    char random[13];

    id_text("abcdefghijklmnopqrstuvwxyz", sizeof random - 1, random);
    (void)snprintf(install->temporary_name, sizeof install->temporary_name, ".new-%s", random);
    if (snprintf(install->temporary, sizeof install->temporary, "%s/%s", install->sdk,
                 install->temporary_name) >= (int)sizeof install->temporary)
        return err_set(err, ERR_INVALID, 0, "the data folder's path is too long");
    if (mkdirat(install->sdk_fd, install->temporary_name, 0755) < 0)
        return err_set(err, ERR_SYSTEM, errno, "make a folder in %.200s", install->sdk);
    return 0;
}

/* Swaps the finished folder in; what was there before goes. */
static int finish_temporary(struct install *install, const char *inner, const char *language, struct err *err)
{
    char path[64];
    int fd;

    (void)snprintf(path, sizeof path, "%s/%s%s%s", install->temporary_name, inner,
                   inner[0] != '\0' ? "/" : "", marker);
    fd = openat(install->sdk_fd, path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0)
        return err_set(err, ERR_SYSTEM, errno, "write %s", path);
    (void)close(fd);
    (void)snprintf(path, sizeof path, "%s%s%s", install->temporary_name, inner[0] != '\0' ? "/" : "", inner);
    if (renameat2(install->sdk_fd, path, install->sdk_fd, language, RENAME_EXCHANGE) < 0 &&
        renameat(install->sdk_fd, path, install->sdk_fd, language) < 0)
        return err_set(err, ERR_SYSTEM, errno, "put %.100s/%s in place", install->sdk, language);
    return 0;
}

/* An interpreter whose pip works; a venv in the temporary folder gives one where there is none. */
static int find_pip(const struct install *install, char *out, size_t size)
{
    static const char *const candidates[] = { "python3",    "/usr/bin/python3", "python3.13",
                                              "python3.12", "python3.11",       "python3.10",
                                              "python3.9",  "python3.14",       NULL };
    char venv[PATH_MAX];

    for (size_t i = 0; candidates[i]; i++) {
        const char *const arguments[] = { candidates[i], "-m", "pip", "--version", NULL };

        if (run_program(arguments, true) == 0) {
            (void)snprintf(out, size, "%s", candidates[i]);
            return 0;
        }
    }
    if (snprintf(venv, sizeof venv, "%s/venv", install->temporary) >= (int)sizeof venv)
        return -ENAMETOOLONG;
    for (size_t i = 0; candidates[i]; i++) {
        const char *const arguments[] = { candidates[i], "-m", "venv", venv, NULL };

        if (run_program(arguments, true) == 0)
            return snprintf(out, size, "%s/bin/python", venv) < (int)size ? 0 : -ENAMETOOLONG;
    }
    return -ENOENT;
}

/* The oldest Python that functions can have here: what it can run, all can. */
static void oldest_python(struct install *install)
{
    (void)snprintf(install->python_version, sizeof install->python_version, "3.9");
    for (size_t i = 0; runtime_ids[i]; i++) {
        if (text_starts(runtime_ids[i], "python") && runtime_listed(install->runtimes, runtime_ids[i])) {
            (void)snprintf(install->python_version, sizeof install->python_version, "%s", runtime_ids[i] + 6);
            return;
        }
    }
}

/* Functions cannot write beside the files, so what is not compiled now would be compiled at every cold start.
 * Not all files compile under all versions, and without this all still works: its failure is no failure. */
static void compile_python(const struct install *install, const char *target)
{
    for (size_t i = 0; runtime_ids[i]; i++) {
        const cJSON *entry = runtime_entry(install->runtimes, runtime_ids[i]);
        const char *python = json_text(entry, "path", "");
        const char *const arguments[] = { python, "-m", "compileall", "-q", target, NULL };

        if (!text_starts(runtime_ids[i], "python") || python[0] == '\0')
            continue;
        cli_note(install->cli, "Compiling for %s", runtime_ids[i]);
        (void)run_program(arguments, true);
    }
}

static int install_python(struct install *install, struct err *err)
{
    const char *arguments[MAX_ARGUMENTS] = { NULL };
    char python[PATH_MAX], target[PATH_MAX];
    size_t count = 0;
    int result;

    if (find_pip(install, python, sizeof python) < 0) {
        cli_hint(install->cli, "install pip: sudo apt-get install python3-pip");
        return err_set(err, ERR_NOT_FOUND, 0, "no Python with pip or venv was found");
    }
    oldest_python(install);
    if (snprintf(target, sizeof target, "%s/python", install->temporary) >= (int)sizeof target)
        return err_set(err, ERR_INVALID, 0, "the data folder's path is too long");
    {
        const char *const first[] = { python,
                                      "-m",
                                      "pip",
                                      "install",
                                      "--disable-pip-version-check",
                                      "--no-input",
                                      "--upgrade",
                                      "--only-binary=:all:",
                                      "--python-version",
                                      install->python_version,
                                      "--target",
                                      target,
                                      NULL };

        for (size_t i = 0; first[i]; i++)
            arguments[count++] = first[i];
    }
    for (size_t i = 0; python_packages[i]; i++)
        arguments[count++] = python_packages[i];
    result = run_program(arguments, !install->cli->terminal_err);
    if (result != 0)
        return err_set(err, ERR_SYSTEM, result < 0 ? -result : 0, "pip failed (exit status %d)", result);
    compile_python(install, target);
    return finish_temporary(install, "python", "python", err);
}

static int install_node(struct install *install, struct err *err)
{
    const char *arguments[MAX_ARGUMENTS] = { "npm", "install", "--prefix", install->temporary, "--no-audit",
                                             "--no-fund", "--no-package-lock", "--omit=dev",
                                             /* Else a registry out of reach is tried for many minutes. */
                                             "--fetch-timeout=30000", "--fetch-retries=1", NULL };
    size_t count = 10;
    int result;

    for (size_t i = 0; node_packages[i]; i++)
        arguments[count++] = node_packages[i];
    result = run_program(arguments, !install->cli->terminal_err);
    if (result == -ENOENT) {
        cli_hint(install->cli, "install npm: sudo apt-get install npm");
        return err_set(err, ERR_NOT_FOUND, 0, "npm was not found");
    }
    if (result != 0)
        return err_set(err, ERR_SYSTEM, result < 0 ? -result : 0, "npm failed (exit status %d)", result);
    return finish_temporary(install, "", "node", err);
}

static int install_language(struct install *install, const char *language, bool again, cJSON *result,
                            struct err *err)
{
    int outcome;

    if (!again && is_installed(install, language)) {
        cli_note(install->cli, "The SDK for %s is there already (--again installs it anew)", language);
        (void)cJSON_AddStringToObject(result, language, "present");
        return 0;
    }
    cli_note(install->cli, "Installing the SDK for %s", language);
    outcome = begin_temporary(install, err);
    if (outcome == 0)
        outcome = strcmp(language, "python") == 0 ? install_python(install, err) : install_node(install, err);
    if (install->temporary_name[0] != '\0')
        (void)remove_tree(install->sdk_fd, install->temporary_name, 0);
    if (outcome < 0)
        return err_wrap(err, "SDK for %s", language);
    (void)cJSON_AddStringToObject(result, language, "installed");
    return 0;
}

/* What an interrupted run left. */
static void sweep(const struct install *install)
{
    int fd = dup(install->sdk_fd);
    DIR *folder = fd < 0 ? NULL : fdopendir(fd);
    const struct dirent *entry;

    while (folder && (entry = readdir(folder))) {
        if (text_starts(entry->d_name, ".new-"))
            (void)remove_tree(install->sdk_fd, entry->d_name, 0);
    }
    if (folder)
        (void)closedir(folder);
}

int sdk_install(struct cli *cli, const char *data, bool again, const cJSON *runtimes, cJSON *result,
                struct err *err)
{
    struct install install = { .cli = cli, .sdk_fd = -1, .runtimes = runtimes };
    AUTO_FREE char *real = realpath(data, NULL);
    AUTO_FD int fd = -1;
    int outcome;

    if (!real)
        return err_set(err, ERR_NOT_FOUND, errno, "the data folder %.200s", data);
    /* Functions run as other users and must be able to read it. */
    (void)umask(022);
    if (snprintf(install.sdk, sizeof install.sdk, "%s/sdk", real) >= (int)sizeof install.sdk)
        return err_set(err, ERR_INVALID, 0, "the data folder's path is too long");
    if (mkdir(install.sdk, 0755) < 0 && errno != EEXIST) {
        if (errno == EACCES)
            cli_hint(cli, "run it with sudo: the data folder is the server's");
        return err_set(err, ERR_SYSTEM, errno, "make %.250s", install.sdk);
    }
    fd = open(install.sdk, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return err_set(err, ERR_SYSTEM, errno, "open %.250s", install.sdk);
    install.sdk_fd = fd;
    sweep(&install);
    outcome = install_language(&install, "python", again, result, err);
    return outcome < 0 ? outcome : install_language(&install, "node", again, result, err);
}
