#pragma once

/* Which runtime and handler a package is made for, by looking at its files. Pure. */

struct cli;
struct err;
struct package_list;

enum guess_kind { GUESS_NONE, GUESS_NODE, GUESS_PYTHON, GUESS_PROVIDED };
struct guess {
    enum guess_kind kind;
    char handler[129];
};

/** handler NULL: found, too; else only the kind is guessed, from the file that it names. wanted restricts to
 * a kind (GUESS_NONE: any). On failure err says what was looked for. */
int guess_package(const struct package_list *list, const char *handler, enum guess_kind wanted,
                  struct guess *ret_guess, struct err *err);
/** The kind of a runtime id: "nodejs22.x", "python3.12", "provided.al2023"; GUESS_NONE for others. */
enum guess_kind guess_kind_of(const char *runtime);
