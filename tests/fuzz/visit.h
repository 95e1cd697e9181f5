/* A stranger at a Unix socket of ours: connects, says all it has to say in two pieces, hangs up. */
#ifndef CARAVAN_TESTS_FUZZ_VISIT_H
#define CARAVAN_TESTS_FUZZ_VISIT_H

#include <stddef.h>
#include <stdint.h>
#include <sys/un.h>

struct event_base;

/* place: bound and listened at. The loop runs until nothing is due. Returns the number of bytes that were answered, of which
 * the first ones lie in buf. */
size_t visit(struct event_base *base, const struct sockaddr_un *place, const uint8_t *data, size_t n, char *buf,
             size_t size);

#endif
