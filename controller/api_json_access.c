/* GET /api/tokens and /api/keys: who may join and who may ask. Nothing of it is secret. */
#include "controller/api_json.h"
#include "controller/api_json_put.h"

static json_t *token_json(const struct view_key *k)
{
    json_t *o = json_object();
    int bad = json_put_text(o, "key", k->key);

    bad |= json_put_uint(o, "uses_left", k->uses_left);
    bad |= json_put_uint(o, "made_wall_ms", k->made_wall_ms);
    bad |= json_put_uint(o, "expires_wall_ms", k->expires_wall_ms);
    return whole(o, bad);
}

json_t *api_json_tokens(const struct view *v)
{
    json_t *o = json_object(), *list = json_array();
    int bad = json_put(o, "tokens", list);

    for (size_t i = 0; !bad && i < v->n_keys; i++)
        if (v->key[i].scope == KEY_JOIN)
            bad |= append(list, token_json(&v->key[i]));
    return whole(o, bad);
}

static json_t *key_json(const struct view_api_key *k)
{
    json_t *o = json_object();
    int bad = json_put_text(o, "name", k->name);

    bad |= json_put_text(o, "scope", api_scope_name(k->scope));
    bad |= json_put_uint(o, "made_wall_ms", k->made_wall_ms);
    return whole(o, bad);
}

json_t *api_json_keys(const struct view *v)
{
    json_t *o = json_object(), *list = json_array();
    int bad = json_put(o, "keys", list);

    for (size_t i = 0; !bad && i < v->n_api_keys; i++)
        bad |= append(list, key_json(&v->api_key[i]));
    return whole(o, bad);
}
