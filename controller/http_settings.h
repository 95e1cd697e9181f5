/* The options of HTTP beyond where it listens. */
#ifndef CARAVAN_CONTROLLER_HTTP_SETTINGS_H
#define CARAVAN_CONTROLLER_HTTP_SETTINGS_H

#include "common/options.h"
#include "controller/http_names.h"

struct tls;

struct http_settings {
    struct http_names names;
    bool metrics_open;
    struct tls *tls; /* owned; NULL: none */
};

enum { HTTP_SETTINGS_E_INVALID = 1 /* why says which key, and what to do */ };

/* o: of controller_options, must outlive *ret. 0, HTTP_SETTINGS_E_INVALID, -ENOMEM. */
int http_settings_read(const struct options *o, struct http_settings *ret, char *why, size_t why_size);
void http_settings_clear(struct http_settings *s);

#endif
