#include "base/id.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

static void from_kernel(void *out, size_t len)
{
    unsigned char *p = out;

    while (len > 0) {
        ssize_t got = getrandom(p, len, 0);

        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            abort();
        p += got;
        len -= (size_t)got;
    }
}

/* Several identifiers are made per request, so they share one call to the kernel. Used bytes are wiped. */
void id_random(void *out, size_t len)
{
    static _Thread_local unsigned char pool[512];
    static _Thread_local size_t left;

    if (len > sizeof pool / 4) {
        from_kernel(out, len);
        return;
    }
    if (left < len) {
        from_kernel(pool, sizeof pool);
        left = sizeof pool;
    }
    left -= len;
    memcpy(out, pool + left, len);
    explicit_bzero(pool + left, len);
}

void id_uuid(char out[UUID_BYTES])
{
    static const char digits[] = "0123456789abcdef";
    unsigned char r[16];

    id_random(r, sizeof r);
    r[6] = (unsigned char)((r[6] & 0x0f) | 0x40);
    r[8] = (unsigned char)((r[8] & 0x3f) | 0x80);
    for (size_t i = 0; i < sizeof r; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            *out++ = '-';
        *out++ = digits[r[i] >> 4];
        *out++ = digits[r[i] & 15];
    }
    *out = '\0';
}

void id_text(const char *alphabet, size_t len, char *out)
{
    size_t size = strlen(alphabet);
    unsigned limit = (unsigned)(256 - 256 % size);

    for (size_t i = 0; i < len;) {
        unsigned char r;

        id_random(&r, 1);
        if (r < limit)
            out[i++] = alphabet[r % size];
    }
    out[len] = '\0';
}
