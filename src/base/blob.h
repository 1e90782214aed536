#pragma once

/* Counted immutable bytes, shared on one thread without copying. */

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

struct blob {
    unsigned refs;
    size_t len;
    char data[]; /* len bytes and a NUL */
};

/* One reference for the caller; NULL without memory. */
static inline struct blob *blob_new(const void *data, size_t len)
{
    struct blob *blob = malloc(sizeof *blob + len + 1);

    if (!blob)
        return NULL;
    blob->refs = 1;
    blob->len = len;
    if (len > 0)
        memcpy(blob->data, data, len);
    blob->data[len] = '\0';
    return blob;
}

static inline struct blob *blob_ref(struct blob *blob)
{
    if (blob)
        blob->refs++;
    return blob;
}

/* Accepts NULL; returns NULL. */
static inline struct blob *blob_unref(struct blob *blob)
{
    if (blob && --blob->refs == 0)
        free(blob);
    return NULL;
}

/* As a release callback. */
static inline void blob_release(void *blob)
{
    (void)blob_unref(blob);
}
