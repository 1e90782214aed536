#pragma once

/* The schema as a list of steps; PRAGMA user_version says how many a database has taken. A step that was
 * published never changes: a change is a new step. */

enum { SCHEMA_STEP_COUNT = 2 };
extern const char *const schema_steps[SCHEMA_STEP_COUNT];
