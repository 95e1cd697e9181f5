#include "agent/endpoint.h"

#include <string.h>

#include "common/core/parse.h"

bool endpoint_parse(const char *text, size_t n_bytes, char ret_addr[PROTO_ADDR_MAX], uint16_t *ret_port)
{
    const char *colon = memrchr(text, ':', n_bytes), *addr = text, *end = colon;
    char digits[8];
    uint64_t port;
    size_t n = colon ? (size_t)(text + n_bytes - colon - 1) : 0;

    if (!n || n >= sizeof(digits))
        return false;
    memcpy(digits, colon + 1, n);
    digits[n] = '\0';
    if (!parse_uint(digits, 1, UINT16_MAX, &port))
        return false;
    if (end - addr >= 2 && addr[0] == '[' && end[-1] == ']') {
        addr++;
        end--;
    }
    if (end == addr || end - addr >= PROTO_ADDR_MAX)
        return false;
    memcpy(ret_addr, addr, (size_t)(end - addr));
    ret_addr[end - addr] = '\0';
    *ret_port = (uint16_t)port;
    return true;
}
