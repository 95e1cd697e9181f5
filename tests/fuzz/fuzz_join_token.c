/* A join token as somebody pasted it: it is refused with a sentence, or it is one that can be written and read again. */
#include <string.h>

#include "common/core/join_token.h"
#include "tests/fuzz/support.h"

static bool same(const struct join_token *a, const struct join_token *b)
{
    if (!id128_equal(&a->cluster, &b->cluster) || memcmp(a->seed, b->seed, sizeof(a->seed)) != 0 ||
        a->n_controllers != b->n_controllers)
        return false;
    for (size_t i = 0; i < a->n_controllers; i++)
        if (memcmp(a->controller[i].key, b->controller[i].key, sizeof(a->controller[i].key)) != 0 ||
            a->controller[i].port != b->controller[i].port || strcmp(a->controller[i].addr, b->controller[i].addr) != 0)
            return false;
    return true;
}

void fuzz_one(const uint8_t *data, size_t size)
{
    struct join_token t = {.n_controllers = 0}, back = {.n_controllers = 0};
    char text[JOIN_TOKEN_TEXT_MAX], why[256] = "";
    int r = join_token_parse((const char *)data, size, &t, why, sizeof(why));

    FUZZ_CHECK(r == 0 || (r == JOIN_TOKEN_E_INVALID && why[0] && strnlen(why, sizeof(why)) < sizeof(why)));
    if (r)
        return;
    FUZZ_CHECK(t.n_controllers >= 1 && t.n_controllers <= JOIN_TOKEN_CONTROLLERS_MAX);
    for (size_t i = 0; i < t.n_controllers; i++)
        FUZZ_CHECK(t.controller[i].port && strnlen(t.controller[i].addr, PROTO_ADDR_MAX) < PROTO_ADDR_MAX);
    join_token_format(&t, text);
    FUZZ_CHECK(join_token_parse(text, strlen(text), &back, why, sizeof(why)) == 0 && same(&t, &back));
}
