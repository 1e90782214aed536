/* The program people call: `irori serve` and the command line. */

#include <stdio.h>
#include <string.h>

#include "bin/serve.h"
#include "cli/cli.h"

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "serve") == 0)
        return serve_main(argc, argv);
    return cli_main(argc, argv);
}
