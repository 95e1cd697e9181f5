/* Which client that asks for no stream gets an answer put together from one. */
#include <string.h>

#include "common/core/err.h"
#include "controller/gateway_state.h"

int gateway_assembly(const char *path, const struct body_peek *peek, struct passage_spec *spec, char **ret_body,
                     struct assemble **ret)
{
    size_t n;
    int r;

    if (!peek || peek->stream || strcmp(path, "/v1/chat/completions") != 0)
        return 0;
    r = assemble_request(spec->body, spec->n_body_bytes, ret_body, &n);
    if (r)
        return r == ASSEMBLE_E_OTHER ? 0 : err_fold(r);
    spec->said = spec->body;
    spec->n_said_bytes = spec->n_body_bytes;
    spec->body = *ret_body;
    spec->n_body_bytes = n;
    r = assemble_new(ret);
    return r < 0 ? err_pass(r) : 0;
}

const char *gateway_say_not_whole(int r)
{
    switch (r) {
    case ASSEMBLE_E_TOO_LARGE:
        return "the answer is longer than 16 MiB: ask for it as a stream";
    case ASSEMBLE_E_STRANGE:
        return "the coordinator's answer could not be read";
    case ASSEMBLE_E_CUT:
        return "the coordinator's answer ended too early";
    }
    return "out of memory";
}
