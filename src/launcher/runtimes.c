#include "launcher/runtimes.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <limits.h>
#include <pwd.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/err.h"
#include "base/text.h"
#include "launcher/runtimes_priv.h"

static const struct known {
    const char *id, *prefix; /* prefix: what the version starts with */
    const char *client;
} known[] = {
    { "nodejs18.x", "18.", "node" },     { "nodejs20.x", "20.", "node" },
    { "nodejs22.x", "22.", "node" },     { "nodejs24.x", "24.", "node" },
    { "python3.9", "3.9.", "python" },   { "python3.10", "3.10.", "python" },
    { "python3.11", "3.11.", "python" }, { "python3.12", "3.12.", "python" },
    { "python3.13", "3.13.", "python" }, { "python3.14", "3.14.", "python" },
};
static const char *const provided[] = { "provided.al2", "provided.al2023" };
/* Several names may be one file; it is asked once. */
static const char *const names[] = { "node",       "nodejs",     "python3.9",  "python3.10", "python3.11",
                                     "python3.12", "python3.13", "python3.14", "python3",    "python" };

enum {
    KNOWN_COUNT = sizeof known / sizeof known[0],
    PROVIDED_COUNT = sizeof provided / sizeof provided[0],
    NAME_COUNT = sizeof names / sizeof names[0],
    SEEN_MAX = 64,        /* files asked in all */
    PROBE_LIMIT_MS = 5000 /* a cold page cache and 100 MB of Node */
};

struct runtimes {
    struct runtime all[KNOWN_COUNT + PROVIDED_COUNT]; /* the first count are set */
    size_t count;
};

/* The state of one search. Places are searched in order of preference: within one the highest version wins,
 * and what an earlier one gave stays. */
struct search {
    const struct runtimes_search *in;
    struct runtimes *out;
    unsigned place, place_of[KNOWN_COUNT];
    struct runtime found[KNOWN_COUNT];
    struct {
        dev_t dev;
        ino_t ino;
    } seen[SEEN_MAX];
    size_t seen_count;
};

static void runtime_done(struct runtime *runtime)
{
    free(runtime->path);
    free(runtime->inside);
    free(runtime->lang);
    free(runtime->lang_target);
    *runtime = (struct runtime){ 0 };
}

struct runtimes *runtimes_free(struct runtimes *runtimes)
{
    if (runtimes) {
        for (size_t i = 0; i < runtimes->count; i++)
            runtime_done(&runtimes->all[i]);
        free(runtimes);
    }
    return NULL;
}

DEFINE_AUTO_PTR(runtimes, runtimes_free)

/* Takes "v20.20.2\n" and "Python 3.12.1\n", and nothing that says more (PyPy does). */
static bool version_read(const char *answer, bool node, char out[static sizeof((struct runtime *)0)->version])
{
    const char *at = answer + (node ? 1 : strlen("Python "));
    size_t len = 0;

    if (!text_starts(answer, node ? "v" : "Python "))
        return false;
    while (isalnum((unsigned char)at[len]) || (at[len] && strchr(".+-", at[len])))
        len++;
    if (len == 0 || len >= sizeof((struct runtime *)0)->version || !text_equal(at + len, "\n"))
        return false;
    memcpy(out, at, len);
    out[len] = '\0';
    return true;
}

/* Compares number by number: 3.9.18 is before 3.10.0, and 3.14.0rc1 after 3.14.0, which serves as well. */
static int version_compare(const char *a, const char *b)
{
    while (*a && *b) {
        if (isdigit((unsigned char)*a) && isdigit((unsigned char)*b)) {
            char *a_end, *b_end;
            unsigned long x = strtoul(a, &a_end, 10), y = strtoul(b, &b_end, 10);

            if (x != y)
                return x < y ? -1 : 1;
            a = a_end;
            b = b_end;
        } else if (*a != *b) {
            return (unsigned char)*a < (unsigned char)*b ? -1 : 1;
        } else {
            a++;
            b++;
        }
    }
    return (*a != '\0') - (*b != '\0');
}

static int known_index(const char *version, bool node)
{
    for (int i = 0; i < KNOWN_COUNT; i++)
        if (text_equal(known[i].client, node ? "node" : "python") && text_starts(version, known[i].prefix))
            return i;
    return -1;
}

/* Joins up to three parts; false when they do not fit. */
static bool join(char out[static PATH_MAX], const char *a, const char *b, const char *c)
{
    int len = snprintf(out, PATH_MAX, "%s%s%s", a, b, c);

    return len >= 0 && len < PATH_MAX;
}

static bool exists_below(const char *prefix, const char *path)
{
    char joined[PATH_MAX];

    return join(joined, prefix, path, "") && access(joined, F_OK) == 0;
}

/* The folder above bin/, "" if the program does not lie in a bin/ or the folder is the root. */
static void prefix_of(const char *program, char out[static PATH_MAX])
{
    const char *name = strrchr(program, '/');
    size_t len = name ? (size_t)(name - program) : 0;

    out[0] = '\0';
    if (len > strlen("/bin") && strncmp(program + len - strlen("/bin"), "/bin", strlen("/bin")) == 0) {
        memcpy(out, program, len - strlen("/bin"));
        out[len - strlen("/bin")] = '\0';
    }
}

static bool is_home(const struct runtimes_search *in, const char *folder)
{
    return text_equal(folder, in->homes[0]) || text_equal(folder, in->homes[1]);
}

static bool is_usr_local(const struct runtimes_search *in, const char *folder)
{
    char local[PATH_MAX];

    return join(local, in->root, "usr/local", "") && text_equal(folder, local);
}

/* Whether the sandbox shows the program where it is: it shows /usr and what belongs to it, without
 * /usr/local. */
static bool is_system(const struct runtimes_search *in, const char *program)
{
    const char *below = text_starts(program, in->root) ? program + strlen(in->root) : "";

    return (text_starts(below, "usr/") && !text_starts(below, "usr/local/")) || text_starts(below, "bin/");
}

/* A folder that holds a whole Python: its standard library is found from where the program lies. */
static bool is_python_prefix(const struct runtimes_search *in, const char *prefix, const struct known *what)
{
    char library[PATH_MAX], library64[PATH_MAX];

    return *prefix && !is_home(in, prefix) && join(library, "/lib/", what->id, "/os.py") &&
           join(library64, "/lib64/", what->id, "/os.py") &&
           (exists_below(prefix, library) || exists_below(prefix, library64));
}

/* A folder with Node and maybe its libraries. Others hold the program among strangers, and it is mounted
 * alone. */
static bool is_node_prefix(const struct runtimes_search *in, const char *prefix)
{
    return *prefix && !is_home(in, prefix) && !is_usr_local(in, prefix) &&
           exists_below(prefix, "/include/node/node_version.h");
}

/* Sets the paths of ret; -ENOENT when the sandbox could not run the program, -ENOMEM. */
static int place_program(const struct runtimes_search *in, const struct known *what, const char *program,
                         struct runtime *ret)
{
    const bool node = text_equal(what->client, "node");
    const char *name = strrchr(program, '/') + 1;
    char prefix[PATH_MAX], inside[PATH_MAX];
    const char *lang = "", *target = "";

    prefix_of(program, prefix);
    if (is_system(in, program)) {
        (void)join(inside, "/", program + strlen(in->root), "");
    } else if (node ? is_node_prefix(in, prefix) : is_python_prefix(in, prefix, what)) {
        (void)join(inside, "/var/lang/bin/", name, "");
        lang = prefix;
        target = "/var/lang";
    } else if (node) {
        (void)join(inside, "/var/lang/bin/node", "", "");
        lang = program;
        target = inside;
    } else {
        return -ENOENT;
    }
    ret->path = strdup(program);
    ret->inside = strdup(inside);
    ret->lang = strdup(lang);
    ret->lang_target = strdup(target);
    return ret->path && ret->inside && ret->lang && ret->lang_target ? 0 : -ENOMEM;
}

/* Opens an ELF program that has not been asked yet; scripts (the shims of version managers) are no
 * interpreters. */
static int open_candidate(struct search *search, const char *program)
{
    AUTO_FD int fd = open(program, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
    struct stat info;
    char magic[4];

    if (fd < 0 || fstat(fd, &info) || !S_ISREG(info.st_mode) || !(info.st_mode & S_IXOTH))
        return -1;
    for (size_t i = 0; i < search->seen_count; i++)
        if (search->seen[i].dev == info.st_dev && search->seen[i].ino == info.st_ino)
            return -1;
    if (search->seen_count == SEEN_MAX || pread(fd, magic, sizeof magic, 0) != sizeof magic ||
        memcmp(magic, "\177ELF", sizeof magic) != 0)
        return -1;
    search->seen[search->seen_count].dev = info.st_dev;
    search->seen[search->seen_count++].ino = info.st_ino;
    return TAKE_FD(fd);
}

static int open_libraries(const struct runtimes_search *in, const char *program)
{
    char prefix[PATH_MAX], path[PATH_MAX];

    prefix_of(program, prefix);
    if (is_system(in, program) || !*prefix || !join(path, prefix, "/lib", ""))
        return -1;
    return open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
}

/* Puts the runtime into found unless there is a better one. Returns 0 or -ENOMEM. */
static int offer(struct search *search, int index, const char *version, const char *program)
{
    struct runtime *slot = &search->found[index];
    struct runtime fresh = { .client = known[index].client };

    if (slot->path &&
        (search->place_of[index] != search->place || version_compare(version, slot->version) <= 0))
        return 0;

    int result = place_program(search->in, &known[index], program, &fresh);
    if (result < 0) {
        runtime_done(&fresh);
        return result == -ENOENT ? 0 : result;
    }
    (void)snprintf(fresh.id, sizeof fresh.id, "%s", known[index].id);
    (void)snprintf(fresh.version, sizeof fresh.version, "%s", version);
    runtime_done(slot);
    *slot = fresh;
    search->place_of[index] = search->place;
    return 0;
}

static int try_program(struct search *search, const char *folder, const char *name)
{
    const bool node = text_starts(name, "node");
    char path[PATH_MAX], program[PATH_MAX], answer[RUNTIMES_ANSWER_BYTES];
    char version[sizeof((struct runtime *)0)->version];

    if (!join(path, folder, "/", name) || !realpath(path, program))
        return 0;

    AUTO_FD int program_fd = open_candidate(search, program);
    if (program_fd < 0)
        return 0;

    AUTO_FD int lib_fd = open_libraries(search->in, program);
    const struct runtimes_probe probe = {
        .program_fd = program_fd,
        .lib_fd = lib_fd,
        .name = name,
        .uid = search->in->probe_uid,
        .limit_ms = search->in->limit_ms,
    };
    if (runtimes_probe(&probe, answer) < 0 || !version_read(answer, node, version))
        return 0;

    int index = known_index(version, node);
    return index < 0 ? 0 : offer(search, index, version, program);
}

static int search_folder(struct search *search, const char *folder)
{
    int result = 0;

    for (size_t i = 0; i < NAME_COUNT && result == 0; i++)
        result = try_program(search, folder, names[i]);
    return result;
}

/* Searches the folders base/pattern, where only pattern's stars are special. */
static int search_pattern(struct search *search, const char *base, const char *pattern)
{
    AUTO_BUF struct buf escaped = BUF_INIT((size_t)2 * PATH_MAX);
    glob_t folders;
    int result = 0;

    for (const char *at = base; *at; at++)
        (void)buf_printf(&escaped, strchr("*?[\\", *at) ? "\\%c" : "%c", *at);
    (void)buf_puts(&escaped, pattern);
    if (escaped.failed)
        return -ENOMEM;
    if (glob(escaped.data, GLOB_ONLYDIR, NULL, &folders) == 0) {
        for (size_t i = 0; i < folders.gl_pathc && result == 0; i++)
            result = search_folder(search, folders.gl_pathv[i]);
        globfree(&folders);
    }
    return result;
}

static int search_patterns(struct search *search, const char *base, const char *const *patterns)
{
    int result = 0;

    for (; *patterns && result == 0; patterns++)
        result = search_pattern(search, base, *patterns);
    return result;
}

/* What the user put there for us: npm packages, unpacked archives, prefixes. */
static int search_data(struct search *search)
{
    static const char *const patterns[] = { "/runtimes/*/bin",
                                            "/runtimes/*/*/bin",
                                            "/runtimes/*/node_modules/node/bin",
                                            "/runtimes/*/node_modules/node-linux-*/bin",
                                            "/runtimes/*/node_modules/.bin",
                                            NULL };
    char link[64], base[PATH_MAX];

    if (search->in->data_fd < 0)
        return 0;
    (void)snprintf(link, sizeof link, "/proc/self/fd/%d", search->in->data_fd);
    return realpath(link, base) ? search_patterns(search, base, patterns) : 0;
}

static int search_home(struct search *search, const char *home)
{
    static const char *const patterns[] = { "/.pyenv/versions/*/bin",
                                            "/.nvm/versions/node/*/bin",
                                            "/.local/share/uv/python/*/bin",
                                            "/.local/share/mise/installs/*/*/bin",
                                            "/.local/share/fnm/node-versions/*/installation/bin",
                                            "/.asdf/installs/*/*/bin",
                                            NULL };

    return *home ? search_patterns(search, home, patterns) : 0;
}

static int search_path(struct search *search, const char *path)
{
    int result = 0;

    while (path && *path && result == 0) {
        size_t len = strcspn(path, ":");
        char folder[PATH_MAX];

        if (*path == '/' && len < sizeof folder) { /* relative folders are the caller's own business */
            memcpy(folder, path, len);
            folder[len] = '\0';
            result = search_folder(search, folder);
        }
        path += len + (path[len] == ':');
    }
    return result;
}

static int search_place(struct search *search, unsigned place)
{
    const struct runtimes_search *in = search->in;

    search->place = place;
    switch (place) {
    case 0:
        return search_data(search);
    case 1:
        return search_pattern(search, in->root, "usr/bin");
    case 2:
        return search_pattern(search, in->root, "usr/local/bin");
    case 3:
        return search_pattern(search, in->root, "opt/*/bin");
    case 4:
        return search_home(search, in->homes[0]);
    case 5:
        return search_home(search, in->homes[1]);
    default:
        return search_path(search, in->path);
    }
}

static int add_provided(struct runtimes *out)
{
    for (size_t i = 0; i < PROVIDED_COUNT; i++) {
        struct runtime *runtime = &out->all[out->count++];

        (void)snprintf(runtime->id, sizeof runtime->id, "%s", provided[i]);
        runtime->client = "";
        runtime->path = strdup("");
        runtime->inside = strdup("");
        runtime->lang = strdup("");
        runtime->lang_target = strdup("");
        if (!runtime->path || !runtime->inside || !runtime->lang || !runtime->lang_target)
            return -ENOMEM;
    }
    return 0;
}

int runtimes_search(const struct runtimes_search *in, struct runtimes **ret_runtimes, struct err *err)
{
    AUTO_PTR(runtimes) out = calloc(1, sizeof *out);
    struct search search = { .in = in };
    int result = out ? 0 : -ENOMEM;

    for (unsigned place = 0; place <= 6 && result == 0; place++)
        result = search_place(&search, place);
    for (size_t i = 0; i < KNOWN_COUNT; i++) {
        if (result == 0 && search.found[i].path)
            out->all[out->count++] = search.found[i];
        else
            runtime_done(&search.found[i]);
    }
    if (result == 0)
        result = add_provided(out);
    if (result < 0)
        return err_set(err, ERR_SYSTEM, -result, "search for interpreters");
    *ret_runtimes = TAKE_PTR(out);
    return 0;
}

/* Fills home, "" when there is no such user or folder. */
static void home_of(const char *user, char home[static PATH_MAX])
{
    char space[4096];
    struct passwd entry, *found = NULL;

    home[0] = '\0';
    if (!user || getpwnam_r(user, &entry, space, sizeof space, &found) || !found ||
        !realpath(found->pw_dir, home))
        home[0] = '\0';
}

int runtimes_find(int data_fd, unsigned probe_uid, struct runtimes **ret_runtimes, struct err *err)
{
    char root_home[PATH_MAX], user_home[PATH_MAX];
    const struct runtimes_search search = {
        .data_fd = data_fd,
        .probe_uid = probe_uid,
        .limit_ms = PROBE_LIMIT_MS,
        .root = "/",
        .homes = { root_home, user_home },
        .path = getenv("PATH"),
    };

    home_of("root", root_home);
    home_of(getenv("SUDO_USER"), user_home);
    return runtimes_search(&search, ret_runtimes, err);
}

const struct runtime *runtimes_get(const struct runtimes *runtimes, const char *id)
{
    for (size_t i = 0; i < runtimes->count; i++)
        if (text_equal(runtimes->all[i].id, id))
            return &runtimes->all[i];
    return NULL;
}

static void json_member(struct buf *out, const char *name, const char *value)
{
    (void)buf_json_string(out, name, strlen(name));
    (void)buf_putc(out, ':');
    (void)buf_json_string(out, value, strlen(value));
}

int runtimes_json(const struct runtimes *runtimes, struct buf *out)
{
    (void)buf_putc(out, '[');
    for (size_t i = 0; i < runtimes->count; i++) {
        const struct runtime *runtime = &runtimes->all[i];

        (void)buf_puts(out, i ? ",{" : "{");
        json_member(out, "id", runtime->id);
        (void)buf_putc(out, ',');
        json_member(out, "version", runtime->version);
        (void)buf_putc(out, ',');
        json_member(out, "path", runtime->path);
        (void)buf_putc(out, ',');
        json_member(out, "inside", runtime->inside);
        (void)buf_putc(out, '}');
    }
    (void)buf_puts(out, "]");
    return out->failed ? -EMSGSIZE : 0;
}
