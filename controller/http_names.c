#include "controller/http_names.h"

#include <arpa/inet.h>
#include <string.h>
#include <strings.h>

#include "controller/http_strict.h"

enum { NAME_MAX_BYTES = 256 };

/* The host of "HOST:PORT", without brackets and the root's dot, and whether it stood in brackets. */
static bool cut_host(const char *text, char host[NAME_MAX_BYTES], bool *ret_v6)
{
    const char *end;
    size_t n;

    *ret_v6 = *text == '[';
    text += *ret_v6;
    end = *ret_v6 ? strchr(text, ']') : text + strcspn(text, ":");
    if (!end || end == text || end - text >= NAME_MAX_BYTES)
        return false;
    n = (size_t)(end - text);
    memcpy(host, text, n);
    host[n] = '\0';
    end += *ret_v6;
    if (*end == ':' && (!end[1] || strlen(end + 1) > 5 || end[1 + strspn(end + 1, "0123456789")]))
        return false;
    if (*end && *end != ':')
        return false;
    if (!*ret_v6 && n > 1 && host[n - 1] == '.')
        host[n - 1] = '\0';
    return true;
}

static bool is_ip(const char *host, bool v6)
{
    unsigned char address[16];

    return inet_pton(v6 ? AF_INET6 : AF_INET, host, address) == 1;
}

/* NAME, the first label of it, or that with .local. */
static bool is_own_name(const char *own, const char *host)
{
    size_t n = strcspn(own, ".");

    if (!*own)
        return false;
    if (strcasecmp(own, host) == 0)
        return true;
    return strncasecmp(own, host, n) == 0 && (!host[n] || strcasecmp(host + n, ".local") == 0);
}

/* With a port an allowed name is good for that port alone. */
static bool is_allowed(const struct http_names *names, const char *text, const char *host)
{
    for (size_t i = 0; i < names->n_allowed; i++)
        if (strcasecmp(names->allowed[i], text) == 0 || strcasecmp(names->allowed[i], host) == 0)
            return true;
    return false;
}

bool http_names_host(const struct http_names *names, const char *text)
{
    char host[NAME_MAX_BYTES];
    bool v6;

    if (!cut_host(text, host, &v6))
        return false;
    if (v6 || is_ip(host, false))
        return is_ip(host, v6);
    return strcasecmp(host, "localhost") == 0 || is_own_name(names->host, host) || is_allowed(names, text, host);
}

bool http_names_valid(const char *text)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._:[]";
    char host[NAME_MAX_BYTES];
    bool v6;

    return !text[strspn(text, letters)] && cut_host(text, host, &v6);
}

/* What an origin has behind "http://" or "https://"; NULL: it is another, "null" for example. */
static const char *authority_of(const char *origin)
{
    if (strncasecmp(origin, "http://", 7) == 0)
        return origin + 7;
    return strncasecmp(origin, "https://", 8) == 0 ? origin + 8 : NULL;
}

/* The very one asked, port and all: what another port of this machine serves is somebody else's. */
static bool is_own_origin(const struct http_names *names, const struct http_head *h, const char *origin)
{
    const char *authority = authority_of(origin);
    char host[NAME_MAX_BYTES];
    bool v6;

    if (!authority || !cut_host(authority, host, &v6))
        return false;
    return strcasecmp(authority, h->host) == 0 || is_allowed(names, authority, host);
}

bool http_names_foreign(const struct http_names *names, const struct http_head *h)
{
    const char *site = http_head_field(h, "Sec-Fetch-Site");
    bool named = false;

    for (size_t i = 0; i < h->n_fields; i++) {
        if (strcasecmp(h->field[i].name, "Origin") != 0)
            continue;
        if (!is_own_origin(names, h, h->field[i].value))
            return true;
        named = true;
    }
    return !named && site && strcasecmp(site, "cross-site") == 0;
}

const char *http_names_origin(const struct http_names *names, const struct http_head *h)
{
    const char *origin = http_head_field(h, "Origin");

    return origin && is_own_origin(names, h, origin) ? origin : NULL;
}
