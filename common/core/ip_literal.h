/* Is that an IP address, and not a name? For cores, which have no inet_pton. */
#ifndef CARAVAN_COMMON_CORE_IP_LITERAL_H
#define CARAVAN_COMMON_CORE_IP_LITERAL_H

#include <stdbool.h>
#include <stddef.h>

/* text: n_bytes, need not be terminated. What inet_pton takes for AF_INET or AF_INET6, and nothing else. Pure. */
bool ip_literal(const char *text, size_t n_bytes);

#endif
