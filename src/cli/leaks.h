#pragma once

/*
 * What one request has left for the next: compares answers, logs and what lies in environments. Pure.
 *
 * A is the event whose values must not come back, B the one that is sent after it. "Fresh" environments have
 * seen B only, the "used" one A and then B. Findings are objects in a cJSON array:
 *   {"kind","level":"leak"|"left"|"note","text" (a sentence), ...what it names}
 * Values of A and B stand in them with their middle masked.
 */

#include <stdbool.h>
#include <stddef.h>

#include <cjson/cJSON.h>

struct buf;

struct leak_value {
    char *text;
    char *from; /* JSON path in A */
    bool brief; /* too short to be looked for everywhere: it has no needle */
    bool known; /* stands in fresh environments, too: not A's */
};

/* A value as it may be written. */
struct leak_needle {
    char *text;
    const char *form; /* "", "base64", "URL-encoded" */
    size_t value;     /* index of it */
};

struct leak_values {
    struct leak_value *list;
    struct leak_needle *needles;
    size_t count, needle_count;
    struct leak_needle *hidden; /* of B: not looked for, but masked likewise */
    size_t hidden_count;
    bool truncated; /* there are more of them than can be looked for */
};

/** The scalar values of A that are long enough to be told from chance and do not stand in B. Returns 0 or
 * -ENOMEM. */
int leak_values_read(const cJSON *a, const cJSON *b, struct leak_values *ret_values);
void leak_values_done(struct leak_values *values);
/** Those that stand in this text are not A's. */
void leak_values_forget(struct leak_values *values, const char *text, size_t len);

/** Appends the text with its middle masked. */
void leak_mask(const char *text, struct buf *out);
/** Appends the text with all values in it masked; of a long one what is around the first of them. */
void leak_excerpt(const struct leak_values *values, const char *text, struct buf *out);

enum { LEAK_LEAVES_MAX = 5000 };
/** The scalars of an answer as an object {path: text}. JSON in strings and the body of an answer that is
 * base64 are looked into; what is no JSON is one leaf "$". NULL without memory; for the caller to delete. */
cJSON *leak_leaves(const char *body, size_t len);
cJSON *leak_leaves_of_event(const cJSON *event);
/** False when there were more of them than are kept. */
bool leak_leaves_are_all(const cJSON *leaves);
/** Whether the text is part of one of them. */
bool leak_stands_in(const cJSON *leaves, const char *text);

/** Values in an answer to B; body: the same as it came. */
void leak_in_answer(const struct leak_values *values, const cJSON *leaves, const char *body, size_t len,
                    cJSON *findings);
/** Values in a line that was logged after A was done. */
void leak_in_log(const struct leak_values *values, const char *line, cJSON *findings);
/** Values in files; the inspection was asked for values->needles. */
void leak_in_files(const struct leak_values *values, const cJSON *used, cJSON *findings);
/** Those values stand in files of fresh environments. */
void leak_forget_files(struct leak_values *values, const cJSON *fresh);

/** Where the answer of the used environment is another than those of two fresh ones that are equal. What
 * changes into a short value of A is a leak. */
void leak_differences(const struct leak_values *values, const cJSON *fresh, const cJSON *other,
                      const cJSON *used, cJSON *findings);
/** Values of two fresh environments that look random and are the same, and do not come from the event. */
void leak_shared_random(const cJSON *fresh, const cJSON *other, const cJSON *event, cJSON *findings);
/** Files, descriptors and processes that the used environment has more of. after_a: as it was before B. */
void leak_left(const struct leak_values *values, const cJSON *fresh, const cJSON *after_a, const cJSON *used,
               cJSON *findings);
/** What grows with each of B's: three inspections, with that many requests from one to the next. */
void leak_growth(const cJSON *first, const cJSON *second, const cJSON *third, unsigned requests,
                 cJSON *findings);

/** Whether a finding of that level is there. */
bool leak_any(const cJSON *findings, const char *level);
