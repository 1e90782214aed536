#include <stdlib.h>
#include <unistd.h>

#include "base/err.h"
#include "base/log.h"
#include "launcher/launcher.h"

int main(int argc, char **argv)
{
    struct launcher_config config;
    struct err err = { 0 };

    log_init("irori-launcher", LOG_INFO);
    if (launcher_parse(argc, argv, &config, &err) < 0) {
        log_error("%s", err.text);
        return EXIT_FAILURE;
    }
    if (config.debug)
        log_init("irori-launcher", LOG_DEBUG);
    if (geteuid() != 0) {
        log_error("must run as root: it makes namespaces, mounts and control groups");
        return EXIT_FAILURE;
    }
    if (launcher_run(&config, &err) < 0) {
        log_error("%s", err.text);
        return EXIT_FAILURE;
    }
    return EXIT_SUCCESS;
}
