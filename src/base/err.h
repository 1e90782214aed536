#pragma once

/*
 * What went wrong, for the caller: a code to act on and a text to show.
 *
 * The object lives on the caller's stack and owns no memory, so it needs no
 * release, cannot leak, and can be copied over the wire to another process.
 */

enum err_code {
    ERR_NONE = 0,
    ERR_INVALID,   /* the caller's input; HTTP 400 */
    ERR_NOT_FOUND, /* HTTP 404 */
    ERR_CONFLICT,  /* the object's state forbids it; HTTP 409 */
    ERR_DENIED,    /* not allowed; HTTP 403 */
    ERR_LIMIT,     /* a configured limit; HTTP 429 or 413 */
    ERR_SYSTEM,    /* ours or the kernel's; HTTP 500 */
};

struct err {
    enum err_code code;
    int sys;        /* errno at the failure, or 0 */
    char text[360]; /* outermost context first, NUL-terminated, maybe cut */
};

/** Fills err (unless NULL) and returns the value to return: -sys, or -EINVAL
 * when sys is 0. sys is errno (> 0) or 0; when it is set, ": <strerror>" is
 * appended to the text. */
int err_set(struct err *err, enum err_code code, int sys, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/** Puts "context: " in front of err's text (unless NULL). Returns negative, for
 * `return err_wrap(...)`: -err->sys, or -EINVAL when that is 0. */
int err_wrap(struct err *err, const char *format, ...) __attribute__((format(printf, 2, 3)));
