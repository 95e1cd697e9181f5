/* Under which names the server may be asked, and from which pages. A page of somebody else's that makes its own name point
 * here (DNS rebinding) is the same site to the browser, which then lets it do all that the user may: it is known by that
 * name in Host alone. Pure. */
#ifndef CARAVAN_CONTROLLER_HTTP_NAMES_H
#define CARAVAN_CONTROLLER_HTTP_NAMES_H

#include <stdbool.h>
#include <stddef.h>

struct http_head;

struct http_names {
    char host[256];             /* this machine's; "" where it is not known */
    const char *const *allowed; /* NAME or NAME:PORT, borrowed */
    size_t n_allowed;
};

/* Is text (HOST or HOST:PORT) an IP literal, localhost, this machine's name, that with .local, or an allowed one? No name
 * can be pointed here that an IP literal has not. */
bool http_names_host(const struct http_names *names, const char *text);
/* May it stand in `allowed`? */
bool http_names_valid(const char *text);

/* Was h sent by a page from elsewhere? By Origin, which browsers send with all that changes something, and by
 * Sec-Fetch-Site, which they send with the rest. */
bool http_names_foreign(const struct http_names *names, const struct http_head *h);
/* The Origin of h where that is one of ours; NULL: it has none, or another. */
const char *http_names_origin(const struct http_names *names, const struct http_head *h);

#endif
