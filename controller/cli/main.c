/* caravan: see cli.h. */
#include <signal.h>

#include "controller/cli/cli.h"

int main(int argc, char **argv)
{
    signal(SIGPIPE, SIG_IGN); /* the controller may go while we write to it */
    return (int)cli_main(argc, argv);
}
