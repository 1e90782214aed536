#pragma once

/* The INI format of AWS's credentials and config files. */

#include <stddef.h>

/** Called for each setting, and with key NULL at the end of each section. section is "" before the first
 * header and "profile x" as written. Texts borrowed for the call. */
typedef void (*ini_setting_fn)(const char *section, const char *key, const char *value, void *ctx);

/** Reads text: "[section]", "key = value", comments after '#' or ';' at the start of a line, indented lines
 * (nested settings) skipped, keys made lower case, blanks around names and values dropped. Lines that are
 * none of these, and sections or lines of more than 1,023 bytes, are skipped. */
void ini_read(const char *text, size_t len, ini_setting_fn setting, void *ctx);
