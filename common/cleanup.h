/* Destroys a local on every way out of its scope: CLEANUP(lease_destroy) struct lease *l = NULL;
 * The function takes the address of the variable and must accept NULL and half-built objects. */
#ifndef CARAVAN_COMMON_CLEANUP_H
#define CARAVAN_COMMON_CLEANUP_H

#include <dirent.h>
#include <stdlib.h>
#include <unistd.h>

#define CLEANUP(fn) __attribute__((cleanup(fn)))

/* For plain malloc'ed memory of any type: CLEANUP(cleanup_free) char *s = NULL; */
static inline void cleanup_free(void *p)
{
    free(*(void **)p);
}

/* For a file descriptor; -1 is nothing. */
static inline void cleanup_close(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

/* NULL is nothing. */
static inline void cleanup_closedir(DIR **d)
{
    if (*d)
        closedir(*d);
    *d = NULL;
}

#endif
