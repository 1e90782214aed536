#pragma once

/* The command line, but for `serve`, which the program starts itself. */

/** argv as main() got it. Returns the exit status: 0, 1 for a failure, 2 for a wrong use. */
int cli_main(int argc, char **argv);
