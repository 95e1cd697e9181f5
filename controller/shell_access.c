/* Who may join, as far as the shell has a part in it: keys of agents go to the link. */
#include "controller/shell_state.h"

struct id128 shell_id_of_key(const char *key_hex)
{
    uint8_t key[CRYPTO_KEY_BYTES];

    return crypto_key_parse(key_hex, key) ? (struct id128){{0}} : crypto_node_id(key);
}

/* ---- keys of agents ---- */

void shell_allow(struct shell *s, const struct cluster_fx *fx)
{
    int r = link_allow(s->link, fx->key, fx->scope);

    if (r < 0)
        shell_give_up(s, "allow", r);
}

/* A key that is still let in though it was revoked is worse than a start anew. */
void shell_forbid(struct shell *s, const struct cluster_fx *fx)
{
    int r = link_forbid(s->link, fx->key);

    if (r < 0)
        shell_give_up(s, "forbid", r);
}
