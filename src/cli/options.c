#include "cli/options.h"

#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/text.h"

static const struct option *find(const struct option_tables *tables, const char *name, size_t len,
                                 char letter)
{
    for (size_t i = 0; i < tables->own_count + tables->global_count; i++) {
        const struct option *option =
            i < tables->own_count ? &tables->own[i] : &tables->global[i - tables->own_count];

        if (letter ? option->letter == letter
                   : strlen(option->name) == len && memcmp(option->name, name, len) == 0)
            return option;
    }
    return NULL;
}

static int set_number(const struct option *option, const char *text, struct err *err)
{
    struct option_number *number = option->value;

    if (!text_to_u64(text, strlen(text), UINT32_MAX, &number->value))
        return err_set(err, ERR_INVALID, 0, "--%s needs a number, not '%.100s'", option->name, text);
    number->given = true;
    return 0;
}

static int set_list(const struct option *option, const char *text, struct err *err)
{
    struct option_list *list = option->value;

    if (list->count == OPTION_LIST_MAX)
        return err_set(err, ERR_INVALID, 0, "--%s was given more than %d times", option->name,
                       OPTION_LIST_MAX);
    list->items[list->count++] = text;
    return 0;
}

static int set(const struct option *option, const char *text, struct err *err)
{
    switch (option->kind) {
    case OPTION_FLAG:
        *(bool *)option->value = true;
        return 0;
    case OPTION_TEXT:
        *(const char **)option->value = text;
        return 0;
    case OPTION_NUMBER:
        return set_number(option, text, err);
    case OPTION_LIST:
        return set_list(option, text, err);
    }
    return 0;
}

/* One argument that begins with a dash. Returns how many arguments were used. */
static int parse_option(const struct option_tables *tables, int argc, char **argv, struct err *err)
{
    const char *argument = argv[0];
    bool is_long = argument[1] == '-';
    const char *name = argument + 2, *equals = is_long ? strchr(name, '=') : NULL;
    size_t len = equals ? (size_t)(equals - name) : strlen(name);
    const struct option *option = is_long ? find(tables, name, len, '\0') : find(tables, "", 0, argument[1]);
    const char *value = is_long ? (equals ? equals + 1 : NULL) : (argument[2] != '\0' ? argument + 2 : NULL);
    int result;

    if (!option)
        return err_set(err, ERR_INVALID, 0, "there is no option '%.100s'", argument);
    if (option->kind == OPTION_FLAG && value)
        return err_set(err, ERR_INVALID, 0, "--%s takes no value ('%.100s')", option->name, argument);
    if (option->kind == OPTION_FLAG || value) {
        result = set(option, value, err);
        return result < 0 ? result : 1;
    }
    if (argc < 2)
        return err_set(err, ERR_INVALID, 0, "--%s needs a value: --%s %s", option->name, option->name,
                       option->argument);
    result = set(option, argv[1], err);
    return result < 0 ? result : 2;
}

int options_parse(const struct option_tables *tables, int argc, char **argv, bool first_word_ends,
                  struct words *ret_words, struct err *err)
{
    bool only_words = false;
    int at = 0;

    ret_words->count = 0;
    while (at < argc) {
        /* A lone dash is standard input: a word. */
        bool is_option = !only_words && argv[at][0] == '-' && argv[at][1] != '\0';

        if (is_option && strcmp(argv[at], "--") == 0) {
            only_words = true;
            at++;
        } else if (is_option) {
            int used = parse_option(tables, argc - at, argv + at, err);

            if (used < 0)
                return used;
            at += used;
        } else if (first_word_ends) {
            return at;
        } else if (ret_words->count == WORDS_MAX) {
            return err_set(err, ERR_INVALID, 0, "more than %d arguments", WORDS_MAX);
        } else {
            ret_words->list[ret_words->count++] = argv[at++];
        }
    }
    return at;
}

void options_help(const struct option *options, size_t count, struct buf *out)
{
    for (size_t i = 0; i < count; i++) {
        char left[64], letter[5] = "    ";

        if (options[i].letter)
            (void)snprintf(letter, sizeof letter, "-%c, ", options[i].letter);
        (void)snprintf(left, sizeof left, "%s--%s%s%s", letter, options[i].name,
                       options[i].argument ? " " : "", options[i].argument ? options[i].argument : "");
        (void)buf_printf(out, "  %-28s %s\n", left, options[i].help);
    }
}
