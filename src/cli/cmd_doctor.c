#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/text.h"
#include "cli/cli_priv.h"
#include "cli/client.h"
#include "cli/functions.h"
#include "cli/leak_report.h"
#include "cli/runtime_ids.h"

enum verdict { GOOD, WARNING, BAD };

struct doctor {
    struct cli *cli;
    cJSON *checks;
    bool bad;
};

static void report(struct doctor *doctor, enum verdict verdict, const char *name, const char *text,
                   const char *fix)
{
    static const char *const words[] = { "ok", "warn", "fail" };
    static const enum cli_colour colours[] = { COLOUR_GREEN, COLOUR_YELLOW, COLOUR_RED };
    bool colour = doctor->cli->colour_out;
    cJSON *check = cJSON_CreateObject();

    doctor->bad = doctor->bad || verdict == BAD;
    (void)cJSON_AddStringToObject(check, "name", name);
    (void)cJSON_AddStringToObject(check, "status", words[verdict]);
    (void)cJSON_AddStringToObject(check, "text", text);
    if (fix)
        (void)cJSON_AddStringToObject(check, "fix", fix);
    (void)cJSON_AddItemToArray(doctor->checks, check);
    if (doctor->cli->json)
        return;
    (void)printf("%s%-5s%s %-12s %s\n", cli_colour(colour, colours[verdict]), words[verdict],
                 cli_plain(colour), name, text);
    if (fix)
        (void)printf("      %-12s -> %s\n", "", fix);
}

/* err and the cli's hint become a check. */
static void report_error(struct doctor *doctor, enum verdict verdict, const char *name, const struct err *err)
{
    report(doctor, verdict, name, err->text, doctor->cli->hint[0] != '\0' ? doctor->cli->hint : NULL);
    doctor->cli->hint[0] = '\0';
}

static bool check_server(struct doctor *doctor)
{
    struct request request = { .method = "GET", .path = "/health", .no_signature = true, .timeout_s = 10 };
    const char *endpoint = "", *region = "", *source = "";
    AUTO_RESPONSE response = { 0 };
    struct err err = { 0 };
    char text[400];

    if (client_describe(doctor->cli, &endpoint, &region, &source, &err) < 0) {
        report_error(doctor, BAD, "credentials", &err);
        return false;
    }
    if (client_send(doctor->cli, &request, &response, &err) < 0) {
        report_error(doctor, BAD, "server", &err);
        return false;
    }
    (void)snprintf(text, sizeof text, "%s answers%s", endpoint,
                   response.status == 200 ? " and is ready" : "");
    if (response.status == 200)
        report(doctor, GOOD, "server", text, NULL);
    else
        report(doctor, BAD, "server", text, "it is starting, or it is no Irori server: look at its messages");
    return response.status == 200;
}

/* A signed call that changes nothing. */
static bool check_credentials(struct doctor *doctor)
{
    struct request request = { .method = "GET", .path = "/2015-03-31/functions", .query = "MaxItems=1" };
    const char *endpoint = "", *region = "", *source = "";
    struct err err = { 0 };
    char text[700];

    if (client_call(doctor->cli, &request, NULL, &err) < 0) {
        report_error(doctor, BAD, "credentials", &err);
        return false;
    }
    (void)client_describe(doctor->cli, &endpoint, &region, &source, &err);
    (void)snprintf(text, sizeof text, "%s%s, region %s",
                   source[0] != '\0' ? "those of " : "none, and the server needs none", source, region);
    report(doctor, GOOD, "credentials", text, NULL);
    return true;
}

static void check_runtimes(struct doctor *doctor)
{
    AUTO_BUF struct buf text = BUF_INIT(4096);
    AUTO_JSON *json = NULL;
    struct err err = { 0 };
    bool node = false, python = false;

    if (server_runtimes(doctor->cli, &json, &err) < 0) {
        report_error(doctor, WARNING, "runtimes", &err);
        return;
    }
    for (size_t i = 0; runtime_ids[i]; i++) {
        if (!runtime_listed(json, runtime_ids[i]))
            continue;
        node = node || text_starts(runtime_ids[i], "nodejs");
        python = python || text_starts(runtime_ids[i], "python");
        (void)buf_printf(&text, "%s%s", text.len > 0 ? ", " : "", runtime_ids[i]);
    }
    report(doctor, node && python ? GOOD : WARNING, "runtimes", text.data ? text.data : "none",
           node && python ? NULL : "irori runtimes tells how to add Node and Python");
}

/* Only a server on this machine runs on this kernel. */
static void check_kernel(struct doctor *doctor)
{
    struct utsname name;
    unsigned long major = 0, minor = 0;
    char text[256], *rest = NULL;

    if (uname(&name) < 0)
        return;
    major = strtoul(name.release, &rest, 10);
    minor = rest && *rest == '.' ? strtoul(rest + 1, NULL, 10) : 0;
    (void)snprintf(text, sizeof text, "Linux %.64s, %.32s", name.release, name.machine);
    /* openat2() is of 5.6, the clone into a cgroup of 5.7, close_range() of 5.9, mount_setattr() of 5.12. */
    if (major < 5 || (major == 5 && minor < 12))
        report(doctor, BAD, "kernel", text, "Irori needs Linux 5.12 or newer: update the kernel");
    else if (strcmp(name.machine, "x86_64") != 0)
        report(doctor, BAD, "kernel", text, "Irori runs on x86_64");
    else
        report(doctor, GOOD, "kernel", text, NULL);
}

static bool file_holds(const char *path, const char *word)
{
    AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
    char text[16 * 1024];
    ssize_t got = fd < 0 ? -1 : read(fd, text, sizeof text - 1);

    if (got < 0)
        return false;
    text[got] = '\0';
    return strstr(text, word) != NULL;
}

static void check_cgroups(struct doctor *doctor)
{
    static const char fix[] = "mount the cgroup controllers cpu, memory, pids and freezer (systemd does)";
    struct statfs info = { 0 };
    bool v2 = statfs("/sys/fs/cgroup", &info) == 0 && info.f_type == CGROUP2_SUPER_MAGIC;
    bool v2_has = file_holds("/sys/fs/cgroup/cgroup.controllers", "memory") &&
                  file_holds("/sys/fs/cgroup/cgroup.controllers", "cpu") &&
                  file_holds("/sys/fs/cgroup/cgroup.controllers", "pids");
    bool v1_has = access("/sys/fs/cgroup/memory", F_OK) == 0 && access("/sys/fs/cgroup/cpu", F_OK) == 0;

    if (v2 && (info.f_flags & ST_RDONLY))
        report(doctor, BAD, "cgroups", "version 2, mounted read-only",
               "in a container: start it with --privileged --cgroupns=private");
    else if (v2 && v2_has)
        report(doctor, GOOD, "cgroups", "version 2 with cpu and memory", NULL);
    else if (v2)
        report(doctor, BAD, "cgroups", "version 2 without one of cpu, memory and pids",
               "hand these controllers down to this group, or start the kernel without cgroup_disable=");
    else if (v1_has)
        report(doctor, GOOD, "cgroups", "version 1 with cpu and memory", NULL);
    else
        report(doctor, BAD, "cgroups", "the controllers cpu and memory are not there", fix);
}

static void check_features(struct doctor *doctor)
{
    static const struct {
        const char *name, *path, *fix;
    } namespaces[] = {
        { "pid", "/proc/self/ns/pid", NULL },       { "mount", "/proc/self/ns/mnt", NULL },
        { "net", "/proc/self/ns/net", NULL },       { "user", "/proc/self/ns/user", NULL },
        { "ipc", "/proc/self/ns/ipc", NULL },       { "uts", "/proc/self/ns/uts", NULL },
        { "cgroup", "/proc/self/ns/cgroup", NULL },
    };
    char missing[128] = "";

    for (size_t i = 0; i < sizeof namespaces / sizeof namespaces[0]; i++) {
        size_t used = strlen(missing);

        if (access(namespaces[i].path, F_OK) < 0)
            (void)snprintf(missing + used, sizeof missing - used, "%s ", namespaces[i].name);
    }
    if (missing[0] != '\0')
        report(doctor, BAD, "namespaces", missing,
               "the kernel was built without these: use the distribution's own kernel");
    else
        report(doctor, GOOD, "namespaces", "all there", NULL);
    if (file_holds("/proc/filesystems", "overlay"))
        report(doctor, GOOD, "overlayfs", "there", NULL);
    else
        report(doctor, WARNING, "overlayfs", "not loaded", "sudo modprobe overlay");
    if (file_holds("/proc/self/status", "Seccomp:"))
        report(doctor, GOOD, "seccomp", "there", NULL);
    else
        report(doctor, BAD, "seccomp", "the kernel has none", "use the distribution's own kernel");
}

static bool program_exists(const char *name)
{
    static const char *const folders[] = {
        "/usr/sbin", "/sbin", "/usr/bin", "/bin", "/usr/local/sbin", NULL
    };
    char path[128];

    for (size_t i = 0; folders[i]; i++) {
        (void)snprintf(path, sizeof path, "%s/%s", folders[i], name);
        if (access(path, X_OK) == 0)
            return true;
    }
    return false;
}

static void check_programs(struct doctor *doctor)
{
    if (program_exists("nft"))
        report(doctor, GOOD, "nftables", "there", NULL);
    else
        report(doctor, WARNING, "nftables", "the program nft was not found", "sudo apt-get install nftables");
    if (access("/dev/loop-control", F_OK) == 0)
        report(doctor, GOOD, "loop", "there", NULL);
    else
        report(doctor, WARNING, "loop", "no /dev/loop-control: /tmp of functions cannot be disk images",
               "sudo modprobe loop");
}

static int check_machine(struct cli *cli)
{
    AUTO_JSON *json = cJSON_CreateObject();
    struct doctor doctor = { .cli = cli, .checks = cJSON_AddArrayToObject(json, "checks") };

    check_kernel(&doctor);
    check_cgroups(&doctor);
    check_features(&doctor);
    check_programs(&doctor);
    if (check_server(&doctor) && check_credentials(&doctor))
        check_runtimes(&doctor);
    (void)cJSON_AddBoolToObject(json, "healthy", !doctor.bad);
    if (cli->json)
        (void)cli_print_json(json);
    else
        (void)printf("\n%s\n", doctor.bad ? "Something is wrong: see above." : "All is well.");
    return doctor.bad ? EXIT_FAILED : EXIT_OK;
}

static int run(struct cli *cli, int argc, char **argv)
{
    struct option_list events = { 0 };
    struct leak_options leak = { .events = &events };
    const struct option options[] = {
        { "event", 0, OPTION_LIST, &events, "FILE", "event A, then B: JSON files (else made-up requests)" },
        { "qualifier", 'q', OPTION_TEXT, &leak.qualifier, "NAME", "a version or alias" },
        { "tenant-id", 0, OPTION_TEXT, &leak.tenant_id, "ID", "the tenant, for functions that have them" },
        { "yes", 'y', OPTION_FLAG, &leak.yes, NULL, "do not ask" },
    };
    struct words words;
    int status =
        cli_begin(cli, &(struct cli_use){ &cmd_doctor, options, sizeof options / sizeof options[0], 0, 1 },
                  argc, argv, &words);

    if (status >= 0)
        return status;
    if (words.count == 0 && (events.count > 0 || leak.qualifier || leak.tenant_id))
        return cli_misuse(cli, &cmd_doctor, "which function? Its name is missing");
    if (events.count != 0 && events.count != 2)
        return cli_misuse(cli, &cmd_doctor, "give --event twice: for A and for B");
    if (words.count == 0)
        return check_machine(cli);
    leak.name = words.list[0];
    return leak_report(cli, &leak);
}

const struct cli_command cmd_doctor = {
    .name = "doctor",
    .usage =
        "irori doctor [NAME [--event A.json --event B.json] [--qualifier NAME] [--tenant-id ID] [--yes]]",
    .summary =
        "check server, credentials, runtimes and kernel; with NAME, what requests leave for each other",
    .details =
        "Without NAME the exit status is 1 when something keeps Irori from working.\n\n"
        "With the name of a function it really calls it, a dozen times: event A and then B in one\n"
        "environment, B alone in fresh ones; and tells what A left for B: values in its answer, log or\n"
        "/tmp, files, descriptors, processes, memory. The exit status is 1 when a value of A reached B's\n"
        "answer or log, 0 when not, 2 when it could not be told.",
    .run = run,
};
