#include "agent/carrier_routes.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "common/core/text.h"

enum { LOCAL_MAX = 24 /* "127.0.0.1:65535" */ };

static size_t local_text(const struct control_route *r, char buf[LOCAL_MAX])
{
    return (size_t)snprintf(buf, LOCAL_MAX, "127.0.0.1:%u", (unsigned)r->port);
}

static const struct control_route *route_of(const struct control_answer *carrier, int32_t rank)
{
    for (size_t i = 0; i < carrier->n_routes; i++)
        if (carrier->route[i].rank == rank)
            return &carrier->route[i];
    return NULL;
}

bool carrier_routes_apply(const struct control_answer *carrier, struct coordinator_spec *spec)
{
    for (size_t i = 0; i < spec->n_routes; i++) {
        const struct control_route *r = route_of(carrier, spec->route[i].rank);

        if (!r)
            return false;
        local_text(r, spec->endpoint[i]);
    }
    return true;
}

/* The route whose own port stands at the beginning of text, and nothing longer does; NULL: none. */
static const struct control_route *named_at(const struct control_answer *carrier, const char *text, size_t *ret_n)
{
    char local[LOCAL_MAX];

    for (size_t i = 0; i < carrier->n_routes; i++) {
        size_t n = local_text(&carrier->route[i], local);

        if (!strncmp(text, local, n) && !isdigit((unsigned char)text[n])) {
            *ret_n = n;
            return &carrier->route[i];
        }
    }
    return NULL;
}

void carrier_routes_name_buffers(const struct control_answer *carrier, struct agent_event_facts *facts)
{
    for (size_t i = 0; i < facts->n_buffers; i++) {
        char *endpoint = facts->buffers[i].endpoint;
        size_t n;
        const struct control_route *r = named_at(carrier, endpoint, &n);

        if (r && !endpoint[n])
            text_copy(endpoint, sizeof(facts->buffers[i].endpoint), r->endpoint);
    }
}

void carrier_routes_name_text(const struct control_answer *carrier, char *text, size_t size)
{
    char named[PROTO_TEXT_MAX];
    size_t used = 0;

    for (const char *p = text; *p && used < sizeof(named) - 1;) {
        size_t n = 0;
        const struct control_route *r = named_at(carrier, p, &n);

        if (r) {
            used += (size_t)snprintf(named + used, sizeof(named) - used, "%s", r->endpoint);
            p += n;
        } else {
            named[used++] = *p++;
        }
    }
    named[used < sizeof(named) ? used : sizeof(named) - 1] = '\0';
    text_copy(text, size, named);
}
