#include "cli/guess.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "cli/cli_priv.h"
#include "cli/package.h"

static const char *const node_files[] = { "index", "app", "handler", "lambda", "main", NULL };
static const char *const node_ends[] = { ".mjs", ".js", ".cjs", NULL };
static const char *const node_handlers[] = { "handler", "lambdaHandler", "lambda_handler", NULL };
static const char *const python_files[] = { "lambda_function", "index", "app", "handler", "main", NULL };
static const char *const python_handlers[] = { "lambda_handler", "handler", NULL };

enum guess_kind guess_kind_of(const char *runtime)
{
    if (text_starts(runtime, "nodejs"))
        return GUESS_NODE;
    if (text_starts(runtime, "python"))
        return GUESS_PYTHON;
    return text_starts(runtime, "provided") ? GUESS_PROVIDED : GUESS_NONE;
}

static bool is_word_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '$';
}

/* The next place where word stands alone; NULL when there is none. */
static const char *find_word(const char *text, const char *word)
{
    size_t len = strlen(word);

    for (const char *at = text; (at = strstr(at, word)); at += len) {
        if ((at == text || !is_word_char(at[-1])) && !is_word_char(at[len]))
            return at;
    }
    return NULL;
}

/* "exports.handler = ", "export const handler", "module.exports = { handler }" and what bundlers make of
 * them. */
static bool node_exports(const char *text, const char *name)
{
    return (find_word(text, "exports") || find_word(text, "export")) && find_word(text, name);
}

/* "def handler(" or "handler = " at the start of a line. */
static bool python_defines(const char *text, const char *name)
{
    for (const char *line = text; line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL) {
        const char *at = line;
        size_t len = strlen(name);

        if (text_starts(at, "def "))
            at += 4 + strspn(at + 4, " ");
        if (strncmp(at, name, len) != 0)
            continue;
        at += len + strspn(at + len, " ");
        if (at[0] == '(' || (at[0] == '=' && at[1] != '=') || at[0] == ':')
            return true;
    }
    return false;
}

static bool find_in(const struct package_entry *entry, const char *const *names,
                    bool (*defines)(const char *, const char *), const char *module, struct guess *guess)
{
    for (size_t i = 0; entry && entry->content && names[i]; i++) {
        if (defines(entry->content, names[i]) && strlen(module) < 100) {
            (void)snprintf(guess->handler, sizeof guess->handler, "%s.%s", module, names[i]);
            return true;
        }
    }
    return false;
}

/* The file that package.json names as main, without its end. */
static bool find_main(const struct package_list *list, struct guess *guess)
{
    const struct package_entry *package = package_find(list, "package.json"), *entry = NULL;
    AUTO_JSON *json = package && package->content ? cJSON_Parse(package->content) : NULL;
    const char *name = json_text(json, "main", "index.js"), *dot;
    char module[100], file[110];

    if (text_starts(name, "./"))
        name += 2;
    dot = strrchr(name, '.');
    if (!json || strlen(name) >= sizeof module)
        return false;
    (void)snprintf(module, sizeof module, "%.*s", dot && dot > name ? (int)(dot - name) : (int)strlen(name),
                   name);
    entry = package_find(list, name);
    for (size_t i = 0; !entry && node_ends[i]; i++) {
        (void)snprintf(file, sizeof file, "%s%s", module, node_ends[i]);
        entry = package_find(list, file);
    }
    return find_in(entry, node_handlers, node_exports, module, guess);
}

static bool guess_node(const struct package_list *list, struct guess *guess)
{
    for (size_t i = 0; node_files[i]; i++) {
        for (size_t k = 0; node_ends[k]; k++) {
            char file[32];

            (void)snprintf(file, sizeof file, "%s%s", node_files[i], node_ends[k]);
            if (find_in(package_find(list, file), node_handlers, node_exports, node_files[i], guess))
                return true;
        }
    }
    return find_main(list, guess);
}

static bool guess_python(const struct package_list *list, struct guess *guess)
{
    for (size_t i = 0; python_files[i]; i++) {
        char file[32];

        (void)snprintf(file, sizeof file, "%s.py", python_files[i]);
        if (find_in(package_find(list, file), python_handlers, python_defines, python_files[i], guess))
            return true;
    }
    return false;
}

static bool guess_provided(const struct package_list *list, struct guess *guess)
{
    if (!package_find(list, "bootstrap"))
        return false;
    (void)snprintf(guess->handler, sizeof guess->handler, "bootstrap");
    return true;
}

/* "src/app.handler" is made for the language of src/app.*. */
static enum guess_kind kind_of_handler(const struct package_list *list, const char *handler)
{
    const char *slash = strrchr(handler, '/'), *dot = strchr(slash ? slash : handler, '.');
    int len = dot ? (int)(dot - handler) : (int)strlen(handler);
    char file[200];

    if (strlen(handler) > 128)
        return GUESS_NONE;
    for (size_t i = 0; node_ends[i]; i++) {
        (void)snprintf(file, sizeof file, "%.*s%s", len, handler, node_ends[i]);
        if (package_find(list, file))
            return GUESS_NODE;
    }
    /* Python's dots are folders, but for the last one. */
    dot = strrchr(handler, '.');
    (void)snprintf(file, sizeof file, "%.*s.py", dot ? (int)(dot - handler) : len, handler);
    for (char *c = file; c < file + strlen(file) - 3; c++) {
        if (*c == '.')
            *c = '/';
    }
    if (package_find(list, file))
        return GUESS_PYTHON;
    return package_find(list, "bootstrap") ? GUESS_PROVIDED : GUESS_NONE;
}

static int found_nothing(const struct package_list *list, enum guess_kind wanted, struct err *err)
{
    const char *nested = NULL;

    for (size_t i = 0; i < list->count && !nested; i++) {
        const char *slash = strchr(list->entries[i].name, '/');

        if (slash && !strchr(slash + 1, '/') && list->entries[i].content)
            nested = list->entries[i].name;
    }
    return err_set(err, ERR_INVALID, 0, "no handler was found%s%.100s. Looked at the top for %s%s%s",
                   nested ? "; there is " : "", nested ? nested : "",
                   wanted == GUESS_PYTHON || wanted == GUESS_PROVIDED
                       ? ""
                       : "index, app, handler, lambda, main .mjs/.js/.cjs that export handler; ",
                   wanted == GUESS_NODE || wanted == GUESS_PROVIDED
                       ? ""
                       : "lambda_function, index, app, handler, main .py with lambda_handler or handler; ",
                   wanted == GUESS_NODE || wanted == GUESS_PYTHON ? "" : "bootstrap");
}

int guess_package(const struct package_list *list, const char *handler, enum guess_kind wanted,
                  struct guess *ret_guess, struct err *err)
{
    static const struct {
        enum guess_kind kind;
        bool (*look)(const struct package_list *list, struct guess *guess);
    } kinds[] = {
        { GUESS_PROVIDED, guess_provided },
        { GUESS_NODE, guess_node },
        { GUESS_PYTHON, guess_python },
    };
    struct guess guess = { 0 };

    if (handler) {
        guess.kind = wanted != GUESS_NONE ? wanted : kind_of_handler(list, handler);
        if (guess.kind == GUESS_NONE)
            return err_set(err, ERR_INVALID, 0,
                           "no .mjs, .js, .cjs or .py file was found for the handler %.128s", handler);
        (void)snprintf(guess.handler, sizeof guess.handler, "%s", handler);
        *ret_guess = guess;
        return 0;
    }
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        if ((wanted == GUESS_NONE || wanted == kinds[i].kind) && kinds[i].look(list, &guess)) {
            guess.kind = kinds[i].kind;
            *ret_guess = guess;
            return 0;
        }
    }
    return found_nothing(list, wanted, err);
}
