#include "common/wire_keys.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/core/err.h"

/* l->n: it is not there. */
static size_t find(const struct key_list *l, const uint8_t *key)
{
    size_t i = 0;

    while (i < l->n && memcmp(l->key[i], key, sizeof(l->key[i])) != 0)
        i++;
    return i;
}

static int add(struct key_list *l, const uint8_t *key)
{
    uint8_t(*grown)[32];

    if (find(l, key) < l->n)
        return 0;
    grown = realloc(l->key, (l->n + 1) * sizeof(*grown));
    if (!grown)
        return err_raise(-ENOMEM);
    memcpy(grown[l->n++], key, sizeof(*grown));
    l->key = grown;
    return 0;
}

static void take_out(struct key_list *l, const uint8_t *key)
{
    size_t i = find(l, key);

    if (i < l->n)
        memmove(l->key[i], l->key[--l->n], sizeof(l->key[i]));
}

bool wire_keys_may_in(const struct wire_keys *k, const uint8_t *key)
{
    if (find(&k->forbidden, key) < k->forbidden.n)
        return false;
    return k->open || find(&k->allowed, key) < k->allowed.n;
}

int wire_keys_allow(struct wire_keys *k, const uint8_t *key)
{
    int r = add(&k->allowed, key);

    if (r < 0)
        return err_pass(r);
    take_out(&k->forbidden, key);
    return 0;
}

void wire_keys_disallow(struct wire_keys *k, const uint8_t *key)
{
    take_out(&k->allowed, key);
}

/* Where only those who are allowed may in, not to be among them is enough. */
int wire_keys_forbid(struct wire_keys *k, const uint8_t *key)
{
    int r = k->open ? add(&k->forbidden, key) : 0;

    if (r < 0)
        return err_pass(r);
    take_out(&k->allowed, key);
    return 0;
}

void wire_keys_clear(struct wire_keys *k)
{
    free(k->allowed.key);
    free(k->forbidden.key);
    *k = (struct wire_keys){.open = false};
}
