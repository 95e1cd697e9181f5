#include "common/httpc_head.h"

#include <errno.h>
#include <event2/buffer.h>
#include <string.h>
#include <strings.h>

#include "common/core/err.h"
#include "common/core/http_parse.h"

static bool is_ours(const char *name)
{
    static const char *const ours[] = {"Host", "Content-Length", "Connection", "Transfer-Encoding"};

    for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++)
        if (strcasecmp(name, ours[i]) == 0)
            return true;
    return false;
}

bool httpc_head_is_valid(const struct httpc_spec *spec, const struct httpc_spec *where)
{
    if (!http_is_token(spec->method) || !http_is_target(spec->target) || !http_is_target(where->host))
        return false;
    for (size_t i = 0; i < spec->n_headers; i++)
        if (!http_is_token(spec->header[i].name) || !http_is_field_value(spec->header[i].value))
            return false;
    return true;
}

int httpc_head_write(struct evbuffer *out, const struct httpc_spec *spec, const struct httpc_spec *where)
{
    const char *const format =
        strchr(where->host, ':') ? "%s %s HTTP/1.1\r\nHost: [%s]:%u\r\n%s" : "%s %s HTTP/1.1\r\nHost: %s:%u\r\n%s";
    const bool has_body = spec->n_body_bytes || strcmp(spec->method, "POST") == 0 || strcmp(spec->method, "PUT") == 0;
    int failed = 0;

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    failed |= evbuffer_add_printf(out, format, spec->method, spec->target, where->host, where->port,
                                  spec->place ? "" : "Connection: close\r\n") < 0;
#pragma GCC diagnostic pop
    if (has_body)
        failed |= evbuffer_add_printf(out, "Content-Length: %zu\r\n", spec->n_body_bytes) < 0;
    for (size_t i = 0; i < spec->n_headers; i++)
        if (!is_ours(spec->header[i].name))
            failed |= evbuffer_add_printf(out, "%s: %s\r\n", spec->header[i].name, spec->header[i].value) < 0;
    failed |= evbuffer_add(out, "\r\n", 2) < 0;
    if (spec->n_body_bytes)
        failed |= evbuffer_add(out, spec->body, spec->n_body_bytes) < 0;
    return failed ? err_raise(-ENOMEM) : 0;
}
