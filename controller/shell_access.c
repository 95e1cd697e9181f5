/* Who may join and who may ask, as far as the shell has a part in it: keys of agents go to the link, the key in admin.key to
 * the core. */
#include <stdio.h>
#include <string.h>

#include "common/clock.h"
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

/* ---- API keys ---- */

static bool any_kept(const struct shell *s)
{
    for (size_t i = 0; i < s->n_restored; i++)
        if (s->restored[i].kind == RECORD_API_KEY)
            return true;
    return false;
}

int shell_check_api_keys(struct shell *s, const struct shell_config *c, char *why, size_t why_size)
{
    s->admin = (struct view_api_key){.scope = API_ADMIN, .name = "admin", .made_wall_ms = clock_wall_ms()};
    memcpy(s->admin.hash, c->admin_hash, sizeof(s->admin.hash));
    s->needs_api_key = !c->http_is_local || *s->admin.hash;
    if (!s->needs_api_key || *s->admin.hash || any_kept(s))
        return 0;
    snprintf(why, why_size,
             "HTTP at %.63s would be open to everybody who reaches it, for there is no API key yet: run "
             "`caravan-controller init`, which makes one, or set http_listen = 127.0.0.1:8080",
             c->http_text);
    return SHELL_E_START;
}

void shell_tell_admin(struct shell *s)
{
    if (*s->admin.hash)
        shell_step(s, &(struct cluster_ev){.kind = CLUSTER_EV_API_KEY, .api_key = &s->admin});
}
