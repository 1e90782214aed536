#pragma once

/* The version of a runtime as clients see it: in configurations and in logs. */

struct buf;

/**
 * Appends "arn:aws:lambda:REGION::runtime:" and 64 hexadecimal digits that stay the same for a runtime
 * ("nodejs20.x"), as clients compare them; nothing hides behind them. A failure shows in out->failed.
 */
void runtime_version_arn(const char *runtime, const char *region, struct buf *out);
