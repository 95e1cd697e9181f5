#include "common/startup.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

void startup_begin(void)
{
    sigset_t none;
    int fd;

    do /* the lowest free number each time; without O_CLOEXEC, as children expect theirs */
        fd = open("/dev/null", O_RDWR);
    while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd >= 0)
        close(fd);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGCHLD, SIG_DFL);
    signal(SIGPIPE, SIG_IGN);
}
