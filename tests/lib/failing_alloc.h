/* Fails the n-th allocation of a core. Include after <stdlib.h>, then include the core's sources: they are compiled
 * into the test with these macros, and the linker leaves the library's copies out. */
#ifndef CARAVAN_TESTS_LIB_FAILING_ALLOC_H
#define CARAVAN_TESTS_LIB_FAILING_ALLOC_H

#include <stdbool.h>
#include <stdlib.h>

static long allocs_until_failure = -1; /* -1: none fails */

static inline bool alloc_fails(void)
{
    if (allocs_until_failure < 0)
        return false;
    return allocs_until_failure-- == 0;
}

#define malloc(n)       (alloc_fails() ? NULL : malloc(n))
#define calloc(n, size) (alloc_fails() ? NULL : calloc((n), (size)))

#endif
