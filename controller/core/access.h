/* Whose keys are let in: nodes' keys here, join tokens' keys in tokens.h, API keys in api_keys.h. All of it is kept
 * (RECORD_KEY, RECORD_API_KEY); a key counts from the moment its record is durable.
 *
 * Under trust = keys the link lets in nobody else, so what a stranger says is never parsed. Under trust = open it lets in
 * everybody but keys that are revoked, and a node has a record here only where it came by a token or was approved: a
 * controller that is switched from open to keys lets in those and no others. */
#ifndef CARAVAN_CONTROLLER_CORE_ACCESS_H
#define CARAVAN_CONTROLLER_CORE_ACCESS_H

#include "controller/core/state.h"

/* Bounds on what is kept. Revoked keys stay, and count. */
enum { ACCESS_KEYS_MAX = 2048, ACCESS_TOKENS_MAX = 64, ACCESS_API_KEYS_MAX = 64 };
enum { ACCESS_USES_MAX = 1024 };
#define ACCESS_TTL_MAX_MS (UINT64_C(30) * 24 * 3600 * 1000)

#define ACCESS_NOT_A_KEY "a key is 64 hexadecimal digits, as `caravan-agent --print-key` prints it"

bool access_is_allowed(const struct cluster *c, const char *key); /* a node's, durable, and not revoked */
bool access_is_revoked(const struct cluster *c, const char *key);
/* Why a hello by this key must be refused; NULL: nothing is against it. carried: by a neighbour, not by a link that the
 * key opened itself. */
const char *access_bars_hello(const struct cluster *c, const char *key, bool carried);

/* All below that take a step return 0 or -ENOMEM. */

/* CLUSTER_EV_APPROVE. */
int access_approve(struct step *s, const struct cluster_ev *ev);
/* Lets the key in once this step's commit is durable, to be pended as INTENT_ALLOW by the caller. */
int access_add(struct step *s, const char *key, const char *name);
/* INTENT_ALLOW. */
int access_allowed(struct step *s, const struct pending *p, bool ok);

/* Lets it in no more once this step's commit is durable: access_taken then. */
int access_take(struct step *s, const char *key, const char *name);
/* event: "revoke", "retire". */
int access_taken(struct step *s, const char *key, const char *event, bool ok);

int access_restore(struct step *s, const struct view_key *key);
/* All records were told: the link hears of all keys. */
int access_begin(struct step *s);
int access_view(const struct cluster *c, struct view *v);

/* ---- for the three rooms ----------------------------------------------------------------------------------------- */

/* Of a table sorted by key; NULL: none. */
struct access_key *access_find(const struct table *t, const char *key);
/* 64 hex digits, in lower case; false: it is no key, and ret is empty. */
bool access_key_read(const char *text, char ret[PROTO_KEY_MAX]);
/* At least 8 of them and at most 64. */
bool access_is_prefix(const char *text);
/* The first digits, as people are shown them. */
const char *access_short(const char *key, char buf[ID128_SHORT_TEXT]);
#define ACCESS_SHORT(key) access_short((key), (char[ID128_SHORT_TEXT]){0})

/* A new one that is being written as `as`; the caller sees to its commit. */
int access_key_new(struct step *s, struct table *t, const struct view_key *view, enum key_scope as);
/* A commit that wrote k as `as` is over. ret: whether k is still there: nothing is kept of it where nothing became durable. */
int access_key_written(struct step *s, struct table *t, struct access_key *k, enum key_scope as, bool ok, bool *ret);
/* For log and audit. event, from, to: static. */
int access_say(struct step *s, const char *id, const char *from, const char *to, const char *event, const char *text);
/* Why this key cannot be a node's: a stable word, with the sentence in why; NULL: nothing is against it. node: its id. */
const char *access_bars(const struct cluster *c, const char *key, const struct id128 *node, char *why, size_t size);

#endif
