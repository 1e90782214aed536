#include "bin/settings.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/text.h"

enum { CONFIG_MAX_BYTES = 256 * 1024 };

enum setting_type { TYPE_TEXT, TYPE_NUMBER, TYPE_SWITCH, TYPE_LIST };

struct setting {
    const char *name;
    enum setting_type type;
    size_t offset, size;  /* in struct settings; size of a text */
    uint64_t min, max;    /* of a number */
    const char *argument; /* in help */
    const char *help;
    bool flag_only; /* has no sense in the file */
};

#define TEXT(field)               TYPE_TEXT, offsetof(struct settings, field), sizeof(((struct settings *)0)->field), 0, 0
#define NUMBER(field, min_, max_) TYPE_NUMBER, offsetof(struct settings, field), 0, (min_), (max_)
#define SWITCH(field)             TYPE_SWITCH, offsetof(struct settings, field), 0, 0, 0

/* clang-format off */
static const struct setting table[] = {
    { "account-concurrency", NUMBER(account_concurrency, 1, 1000000), "N", "invocations at once, all functions together (default 1000)", false },
    { "account-id", TEXT(account_id), "ID", "12 digits that ARNs carry (default 000000000000)", false },
    { "allow-host", TYPE_LIST, 0, 0, 0, 0, "HOST:PORT", "a TCP service on this host or a private network that functions may reach; repeatable", false },
    { "busy-poll-us", NUMBER(busy_poll_us, 0, 1000), "N", "while one caller waits, look so long for the next message before sleeping (default 200)", false },
    { "code-cache-max-mb", NUMBER(code_cache_max_mb, 0, 1048576), "N", "keep so much of what Node has compiled of functions' code; 0 = nothing (default 256)", false },
    { "config", TEXT(config), "FILE", "read settings from FILE: lines of name = value", true },
    { "data", TEXT(data), "DIR", "where everything is kept (default /var/lib/irori)", false },
    { "debug", SWITCH(debug), "", "log more", false },
    { "freeze-after-ms", NUMBER(freeze_after_ms, 0, 86400000), "N", "freeze an environment that has been idle so long (default 100)", false },
    { "idle-timeout-ms", NUMBER(idle_timeout_ms, 1, 86400000), "N", "end an environment that has been idle so long (default 300000)", false },
    { "listen", TEXT(listen), "HOST:PORT", "where to listen (default 127.0.0.1:9000)", false },
    { "log-deleted", NUMBER(log_deleted, 0, 1000000), "N", "deleted functions whose logs are kept (default 32)", false },
    { "log-max-mb", NUMBER(log_max_mb, 1, 1048576), "N", "function logs to keep, per function (default 64)", false },
    { "max-environments", NUMBER(max_environments, 1, 8192), "N", "environments at once (default 2048)", false },
    { "max-memory-mb", NUMBER(max_memory_mb, 64, 16777216), "N", "memory of all environments together (default three quarters of the machine)", false },
    { "no-auth", SWITCH(no_auth), "", "take unsigned requests; only when listening on a loopback address", false },
    { "region", TEXT(region), "NAME", "region that ARNs carry and signatures name (default us-east-1)", false },
    { "spare-slots", NUMBER(spare_slots, 0, 512), "N", "slots to keep prepared (default 8)", false },
    { "template-idle-ms", NUMBER(template_idle_ms, 0, 86400000), "N", "end a template that no function has been able to use for so long (default 600000)", false },
    { "templates", SWITCH(templates), "on|off", "clone environments from initialised processes where that is possible (default on)", false },
};
/* clang-format on */

static uint64_t default_memory_mb(void)
{
    long pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGESIZE);

    return pages > 0 && size > 0 ? (uint64_t)pages * (uint64_t)size / (1 << 20) / 4 * 3 : 1024;
}

void settings_init(struct settings *settings)
{
    *settings = (struct settings){
        .listen = "127.0.0.1:9000",
        .data = "/var/lib/irori",
        .region = "us-east-1",
        .account_id = "000000000000",
        .idle_timeout_ms = 300000,
        .freeze_after_ms = 100,
        .max_memory_mb = default_memory_mb(),
        .account_concurrency = 1000,
        .max_environments = 2048,
        .spare_slots = 8,
        .log_max_mb = 64,
        .code_cache_max_mb = 256,
        .log_deleted = 32,
        .busy_poll_us = 200,
        .template_idle_ms = 600000,
        .templates = true,
    };
}

static const struct setting *find(const char *name, size_t len)
{
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        if (strlen(table[i].name) == len && memcmp(table[i].name, name, len) == 0)
            return &table[i];
    }
    return NULL;
}

static int set_number(struct settings *settings, const struct setting *setting, const char *value,
                      struct err *err)
{
    uint64_t number;

    if (!text_to_u64(value, strlen(value), setting->max, &number) || number < setting->min)
        return err_set(err, ERR_INVALID, 0, "%s: '%s' is not a whole number from %llu to %llu", setting->name,
                       value, (unsigned long long)setting->min, (unsigned long long)setting->max);
    memcpy((char *)settings + setting->offset, &number, sizeof number);
    return 0;
}

static bool switch_word(const char *word, bool *ret_on)
{
    static const char *const words[2][4] = { { "false", "no", "off", "0" }, { "true", "yes", "on", "1" } };

    for (size_t i = 0; i < 8; i++) {
        if (text_equal(word, words[i / 4][i % 4])) {
            *ret_on = i >= 4;
            return true;
        }
    }
    return false;
}

static int set_switch(struct settings *settings, const struct setting *setting, const char *value,
                      struct err *err)
{
    bool on = true;

    if (value && !switch_word(value, &on))
        return err_set(err, ERR_INVALID, 0, "%s: '%s' is neither true nor false", setting->name, value);
    memcpy((char *)settings + setting->offset, &on, sizeof on);
    return 0;
}

static int set(struct settings *settings, const struct setting *setting, const char *value, struct err *err)
{
    switch (setting->type) {
    case TYPE_NUMBER:
        return set_number(settings, setting, value, err);
    case TYPE_SWITCH:
        return set_switch(settings, setting, value, err);
    case TYPE_LIST:
        if (settings->allow_host_count == SETTINGS_ALLOW_HOSTS_MAX)
            return err_set(err, ERR_LIMIT, 0, "%s: at most %d of them", setting->name,
                           SETTINGS_ALLOW_HOSTS_MAX);
        settings->allow_host[settings->allow_host_count] = strdup(value);
        if (!settings->allow_host[settings->allow_host_count])
            return err_set(err, ERR_SYSTEM, ENOMEM, "%s", setting->name);
        settings->allow_host_count++;
        return 0;
    case TYPE_TEXT:
        break;
    }
    if (strlen(value) >= setting->size || !*value)
        return err_set(err, ERR_INVALID, 0, "%s: the value is empty or longer than %zu bytes", setting->name,
                       setting->size - 1);
    memcpy((char *)settings + setting->offset, value, strlen(value) + 1);
    return 0;
}

static size_t trim(const char **text, size_t len)
{
    while (len > 0 && isspace((unsigned char)**text)) {
        (*text)++;
        len--;
    }
    while (len > 0 && isspace((unsigned char)(*text)[len - 1]))
        len--;
    return len;
}

static int parse_line(struct settings *settings, const char *line, size_t len, unsigned number,
                      struct err *err)
{
    const char *equal, *name = line, *value;
    const struct setting *setting;
    size_t name_len, value_len;
    AUTO_FREE char *copy = NULL;

    len = trim(&name, len);
    if (len == 0 || *name == '#')
        return 0;
    equal = memchr(name, '=', len);
    if (!equal)
        return err_set(err, ERR_INVALID, 0, "line %u: write it as name = value", number);
    value = equal + 1;
    value_len = trim(&value, (size_t)(name + len - value));
    name_len = trim(&name, (size_t)(equal - name));
    setting = find(name, name_len);
    if (!setting || setting->flag_only)
        return err_set(err, ERR_INVALID, 0, "line %u: there is no setting '%.*s'; see irori serve --help",
                       number, (int)(name_len < 64 ? name_len : 64), name);
    copy = strndup(value, value_len);
    if (!copy)
        return err_set(err, ERR_SYSTEM, ENOMEM, "line %u", number);
    if (set(settings, setting, copy, err) < 0)
        return err_wrap(err, "line %u", number);
    return 0;
}

int settings_parse_file(struct settings *settings, const char *text, size_t len, struct err *err)
{
    const char *end = text + len;
    unsigned number = 1;

    for (const char *line = text; line < end; number++) {
        const char *stop = memchr(line, '\n', (size_t)(end - line));
        size_t size = (size_t)((stop ? stop : end) - line);
        int result = parse_line(settings, line, size, number, err);

        if (result < 0)
            return result;
        line += size + 1;
    }
    return 0;
}

static int read_file(struct settings *settings, const char *path, struct err *err)
{
    AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
    AUTO_FREE char *text = malloc(CONFIG_MAX_BYTES);
    ssize_t len;

    if (fd < 0 || !text)
        return err_set(err, ERR_INVALID, errno, "config file '%s'", path);
    len = read(fd, text, CONFIG_MAX_BYTES);
    if (len < 0 || len == CONFIG_MAX_BYTES)
        return err_set(err, ERR_INVALID, len < 0 ? errno : EFBIG, "config file '%s'", path);
    if (settings_parse_file(settings, text, (size_t)len, err) < 0)
        return err_wrap(err, "config file '%s'", path);
    return 0;
}

/* One flag at argv[i]; *ret_used is how many words it took. */
static int read_flag(struct settings *settings, int argc, char **argv, int i, int *ret_used, struct err *err)
{
    const char *name = argv[i], *equal = strchr(name, '=');
    const struct setting *setting;
    size_t len = equal ? (size_t)(equal - name) : strlen(name);
    bool on;

    *ret_used = 1;
    if (!text_starts(name, "--"))
        return err_set(err, ERR_INVALID, 0, "'%s' is not a flag; see irori serve --help", name);
    setting = find(name + 2, len - 2);
    if (!setting)
        return err_set(err, ERR_INVALID, 0, "there is no flag '%.*s'; see irori serve --help", (int)len,
                       name);
    if (equal)
        return set(settings, setting, equal + 1, err);
    if (setting->type == TYPE_SWITCH) {
        /* There are no words beside flags, so one that reads like a switch's value is one. */
        *ret_used = i + 1 < argc && switch_word(argv[i + 1], &on) ? 2 : 1;
        return set_switch(settings, setting, *ret_used == 2 ? argv[i + 1] : NULL, err);
    }
    if (i + 1 >= argc)
        return err_set(err, ERR_INVALID, 0, "--%s needs a value: --%s %s", setting->name, setting->name,
                       setting->argument);
    *ret_used = 2;
    return set(settings, setting, argv[i + 1], err);
}

static const char *config_path(int argc, char **argv, int first)
{
    for (int i = first; i < argc; i++) {
        if (text_equal(argv[i], "--config") && i + 1 < argc)
            return argv[i + 1];
        if (text_starts(argv[i], "--config="))
            return argv[i] + strlen("--config=");
    }
    return NULL;
}

static int check(const struct settings *settings, struct err *err)
{
    char host[128];
    unsigned port;

    if (settings_split_listen(settings->listen, host, sizeof host, &port, err) < 0)
        return -EINVAL;
    if (strlen(settings->account_id) != 12 || strspn(settings->account_id, "0123456789") != 12)
        return err_set(err, ERR_INVALID, 0, "account-id: '%s' is not 12 digits", settings->account_id);
    if (strspn(settings->region, "abcdefghijklmnopqrstuvwxyz0123456789-") != strlen(settings->region))
        return err_set(err, ERR_INVALID, 0, "region: '%s' has other characters than a-z, 0-9 and '-'",
                       settings->region);
    if (settings->no_auth && !settings_is_loopback(host))
        return err_set(
            err, ERR_DENIED, 0,
            "--no-auth is refused, because '%s' is not a loopback address: anybody could run code here. "
            "Listen on 127.0.0.1, or leave --no-auth out",
            host);
    return 0;
}

int settings_read(struct settings *settings, int argc, char **argv, int first, struct err *err)
{
    const char *path = config_path(argc, argv, first);

    for (int i = first; i < argc; i++) {
        if (text_equal(argv[i], "--help") || text_equal(argv[i], "-h")) {
            settings_print_help();
            return 1;
        }
    }
    if (path && read_file(settings, path, err) < 0)
        return -EINVAL;
    for (int i = first, used; i < argc; i += used) {
        if (read_flag(settings, argc, argv, i, &used, err) < 0)
            return -EINVAL;
    }
    return check(settings, err);
}

void settings_print_help(void)
{
    (void)printf("Usage: irori serve [--listen HOST:PORT] [--data DIR] [--config FILE] [...]\n\n"
                 "Runs the server in the foreground, as root; it logs on stderr and stops on SIGTERM.\n\n"
                 "Settings (the config file takes the same names, as lines of name = value):\n");
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        char left[64];

        (void)snprintf(left, sizeof left, "--%s %s", table[i].name, table[i].argument);
        (void)printf("  %-26s %s\n", left, table[i].help);
    }
}

int settings_split_listen(const char *listen, char *host, size_t host_size, unsigned *ret_port,
                          struct err *err)
{
    const char *colon = strrchr(listen, ':');
    const char *start = listen, *end = colon;
    uint64_t port;

    if (!colon || !text_to_u64(colon + 1, strlen(colon + 1), 65535, &port))
        return err_set(err, ERR_INVALID, 0, "listen: write '%s' as HOST:PORT, for instance 127.0.0.1:9000",
                       listen);
    if (*start == '[' && end > start && end[-1] == ']') {
        start++;
        end--;
    }
    if (end <= start || (size_t)(end - start) >= host_size)
        return err_set(err, ERR_INVALID, 0, "listen: '%s' has no host; write for instance 127.0.0.1:9000",
                       listen);
    memcpy(host, start, (size_t)(end - start));
    host[end - start] = '\0';
    *ret_port = (unsigned)port;
    return 0;
}

bool settings_is_loopback(const char *host)
{
    struct in_addr address;

    /* Not by its beginning: 127.example.org is a name that may lead anywhere. */
    if (inet_pton(AF_INET, host, &address) == 1)
        return ntohl(address.s_addr) >> 24 == 127;
    return text_equal(host, "::1") || text_equal(host, "localhost");
}

void settings_done(struct settings *settings)
{
    for (size_t i = 0; i < settings->allow_host_count; i++)
        free(settings->allow_host[i]);
    settings->allow_host_count = 0;
}
