/* Who asks, and may they? Decided from the API keys of a view, a request's head and the access that its route wants. No I/O. */
#ifndef CARAVAN_CONTROLLER_HTTP_AUTH_H
#define CARAVAN_CONTROLLER_HTTP_AUTH_H

#include <stdbool.h>
#include <stddef.h>

#include "controller/core/view.h"
#include "controller/http.h"

enum { HTTP_AUTH_KEY_MAX = 256 /* bytes of a key's text; ours have 51 */ };

/* What a request says of its sender. */
enum http_claim {
    HTTP_CLAIM_NONE = 1, /* no key */
    HTTP_CLAIM_UNKNOWN,  /* one that does not count, or several */
    HTTP_CLAIM_INFER,
    HTTP_CLAIM_READ,
    HTTP_CLAIM_ADMIN
};

enum http_verdict {
    HTTP_PASS = 1,
    HTTP_NO_KEY,     /* 401 */
    HTTP_WRONG_KEY,  /* 401 */
    HTTP_LESSER_KEY, /* 403 */
    HTTP_CLOSED,     /* 401: no key exists, and others than this host can reach us */
    HTTP_STARTING    /* 503: which keys there are is not known yet */
};

/* The key stands in `Authorization: Bearer` or `X-Api-Key`; in both, where it is the same. Another scheme of Authorization is
 * somebody else's business: a proxy's. v: NULL before the first. All of v's keys are compared, each in the same time. hash:
 * api_key_hash of the key; "" where there is none, or none that one could have. */
enum http_claim http_auth_claim(const struct view *v, const struct http_head *h, char hash[PROTO_KEY_MAX]);
/* What that hash stands for under another view. */
enum http_claim http_auth_claim_again(const struct view *v, const char *hash);
/* Have a and b the same keys? Either may be NULL. */
bool http_auth_same_keys(const struct view *a, const struct view *b);
/* Overwrites whatever in h could be a secret of the client's: nothing behind this point needs it. */
void http_auth_wipe(struct http_head *h);

/* route: NULL where nothing takes the request; then any key will do, so that a stranger learns nothing of what there is.
 * local: only this host can reach us, which lets everybody in for as long as no key exists. */
enum http_verdict http_auth_judge(const struct view *v, bool local, enum http_claim claim,
                                  const struct http_route *route);

bool http_claim_counts(enum http_claim c);
const char *http_claim_name(enum http_claim c); /* "infer", ...; "no" */

#endif
