#include "common/core/join_token.h"

#include "common/core/text.h"

void join_token_format(const struct join_token *t, char buf[JOIN_TOKEN_TEXT_MAX])
{
    (void)t;
    buf[0] = '\0';
}

int join_token_parse(const char *text, size_t n_bytes, struct join_token *ret, char *why, size_t why_size)
{
    (void)text;
    (void)n_bytes;
    (void)ret;
    text_format(why, why_size, "tokens cannot be read yet");
    return JOIN_TOKEN_E_INVALID;
}
