#pragma once

/* Random identifiers from the kernel's generator. Abort if it fails: an
 * identifier that repeats would be worse than no program. Not for use on both
 * sides of a fork() without exec. */

#include <stddef.h>

enum { UUID_BYTES = 37 };

void id_random(void *out, size_t len);
void id_uuid(char out[UUID_BYTES]); /* version 4, lower case */
/** len characters of alphabet and a NUL; alphabet has 2 to 256 characters. */
void id_text(const char *alphabet, size_t len, char *out);
