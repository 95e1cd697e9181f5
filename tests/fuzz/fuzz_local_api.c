/* Whoever may ask an agent on its own machine, over its Unix socket. The last byte says which of two: one that was told
 * something by a controller, or one that was not. */
#include <event2/event.h>
#include <string.h>

#include "agent/local_api.h"
#include "tests/fuzz/support.h"
#include "tests/fuzz/visit.h"

static struct event_base *base;
static struct local_api *api[2];
static struct sockaddr_un place[2];

void fuzz_setup(void)
{
    struct snapshot s = {.nodes = strdup("{\"nodes\":[]}"), .instances = strdup("{}")};

    base = event_base_new();
    if (!base || !s.nodes || !s.instances)
        abort();
    for (int i = 0; i < 2; i++) {
        place[i].sun_family = AF_UNIX;
        snprintf(place[i].sun_path, sizeof(place[i].sun_path), "%s/%d.sock", fuzz_dir(), i);
        if (local_api_new(base, place[i].sun_path, &api[i]))
            abort();
    }
    local_api_take(api[0], &s);
}

void fuzz_one(const uint8_t *data, size_t size)
{
    char answer[256];
    size_t n = visit(base, &place[size ? data[size - 1] & 1 : 0], data, size, answer, sizeof(answer));

    FUZZ_CHECK(!n || (n >= 16 && memcmp(answer, "HTTP/1.1 ", 9) == 0));
}
