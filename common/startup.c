#include "common/startup.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

/* Sanitizers look for leaks by tracing their own process, which this would forbid. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { KEEP_DUMPABLE = 1 };
#else
enum { KEEP_DUMPABLE = 0 };
#endif

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
    if (!KEEP_DUMPABLE)
        prctl(PR_SET_DUMPABLE, 0);
}
