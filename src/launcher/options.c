#include <getopt.h>
#include <string.h>

#include "base/err.h"
#include "base/text.h"
#include "launcher/launcher.h"

enum option_id {
    OPT_DATA_FD = 1,
    OPT_WIRE_FD,
    OPT_SUPERVISOR_FD,
    OPT_INSTANCE,
    OPT_UID_BASE,
    OPT_SHARE,
    OPT_INIT,
    OPT_SPARE,
    OPT_MAX_SLOTS,
    OPT_MAX_MEMORY,
    OPT_ALLOW_HOST,
    OPT_DEBUG,
};

static const struct option options[] = {
    { "data-fd", required_argument, NULL, OPT_DATA_FD },
    { "wire-fd", required_argument, NULL, OPT_WIRE_FD },
    { "supervisor-fd", required_argument, NULL, OPT_SUPERVISOR_FD },
    { "instance", required_argument, NULL, OPT_INSTANCE },
    { "uid-base", required_argument, NULL, OPT_UID_BASE },
    { "share", required_argument, NULL, OPT_SHARE },
    { "init", required_argument, NULL, OPT_INIT },
    { "spare-slots", required_argument, NULL, OPT_SPARE },
    { "max-slots", required_argument, NULL, OPT_MAX_SLOTS },
    { "max-memory-mb", required_argument, NULL, OPT_MAX_MEMORY },
    { "allow-host", required_argument, NULL, OPT_ALLOW_HOST },
    { "debug", no_argument, NULL, OPT_DEBUG },
    { NULL, 0, NULL, 0 },
};

static bool number(const char *text, uint64_t min, uint64_t max, uint64_t *ret_value)
{
    return text_to_u64(text, strlen(text), max, ret_value) && *ret_value >= min;
}

/* The ids must not touch those of the system, nor run past what the kernel can count. */
static bool apply_number(struct launcher_config *config, int option, const char *text)
{
    static const struct {
        uint64_t min, max;
    } ranges[] = {
        [OPT_DATA_FD] = { 0, 65535 },
        [OPT_WIRE_FD] = { 0, 65535 },
        [OPT_SUPERVISOR_FD] = { 0, 65535 },
        [OPT_UID_BASE] = { 65536, UINT32_MAX - 131072 },
        [OPT_SPARE] = { 0, 4096 },
        [OPT_MAX_SLOTS] = { 1, 60000 },
        [OPT_MAX_MEMORY] = { 0, UINT64_C(1) << 30 },
    };
    uint64_t value;

    if (!number(text, ranges[option].min, ranges[option].max, &value))
        return false;
    if (option == OPT_DATA_FD)
        config->data_fd = (int)value;
    else if (option == OPT_WIRE_FD)
        config->wire_fd = (int)value;
    else if (option == OPT_SUPERVISOR_FD)
        config->supervisor_fd = (int)value;
    else if (option == OPT_UID_BASE)
        config->uid_base = (uint32_t)value;
    else if (option == OPT_SPARE)
        config->spare_slots = (unsigned)value;
    else if (option == OPT_MAX_SLOTS)
        config->max_slots = (unsigned)value;
    else
        config->max_memory_mb = value;
    return true;
}

static bool apply(struct launcher_config *config, int option, const char *text)
{
    switch (option) {
    case OPT_INSTANCE:
        config->instance = text;
        return strlen(text) == 8 && strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789") == 8;
    case OPT_SHARE:
        config->share = text;
        return *text != '\0';
    case OPT_INIT:
        config->init = text;
        return *text != '\0';
    case OPT_ALLOW_HOST:
        if (config->allow_host_count == LAUNCHER_MAX_ALLOW_HOSTS || !strchr(text, ':'))
            return false;
        config->allow_hosts[config->allow_host_count++] = text;
        return true;
    case OPT_DEBUG:
        config->debug = true;
        return true;
    default:
        return apply_number(config, option, text);
    }
}

int launcher_parse(int argc, char **argv, struct launcher_config *ret_config, struct err *err)
{
    struct launcher_config config = {
        .data_fd = -1, .wire_fd = -1, .supervisor_fd = -1, .spare_slots = 8, .max_slots = 4000
    };
    int option, index = 0;

    optind = 1;
    while ((option = getopt_long(argc, argv, "", options, &index)) != -1) {
        if (option == '?')
            return err_set(err, ERR_INVALID, 0, "unknown or incomplete option");
        if (!apply(&config, option, optarg))
            return err_set(err, ERR_INVALID, 0, "--%s: bad value '%s'", options[index].name, optarg);
    }
    if (optind != argc)
        return err_set(err, ERR_INVALID, 0, "unexpected argument '%s'", argv[optind]);
    if (config.data_fd < 0 || config.wire_fd < 0 || !config.instance || config.uid_base == 0 || !config.share)
        return err_set(
            err, ERR_INVALID, 0,
            "--data-fd, --wire-fd, --instance, --uid-base and --share are needed; this program is started by "
            "`irori serve`");
    if (config.spare_slots > config.max_slots)
        config.spare_slots = config.max_slots;
    *ret_config = config;
    return 0;
}
