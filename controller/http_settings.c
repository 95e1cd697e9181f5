#include "controller/http_settings.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/core/err.h"
#include "common/tls.h"
#include "controller/options.h"

static int read_names(const struct options *o, struct http_names *names, char *why, size_t why_size)
{
    if (gethostname(names->host, sizeof(names->host) - 1) < 0)
        names->host[0] = '\0';
    names->n_allowed = options_list(o, CONTROLLER_OPT_HTTP_HOSTS, &names->allowed);
    for (size_t i = 0; i < names->n_allowed; i++)
        if (!http_names_valid(names->allowed[i])) {
            snprintf(why, why_size, "http_hosts: \"%s\" is no NAME or NAME:PORT", names->allowed[i]);
            return HTTP_SETTINGS_E_INVALID;
        }
    return 0;
}

static int read_tls(const struct options *o, struct tls **ret, char *why, size_t why_size)
{
    const char *cert = options_string(o, CONTROLLER_OPT_HTTP_TLS_CERT),
               *key = options_string(o, CONTROLLER_OPT_HTTP_TLS_KEY);
    int r;

    if (!cert && !key)
        return 0;
    if (!cert || !key) {
        snprintf(why, why_size, "%s is set and %s is not: TLS needs both", cert ? "http_tls_cert" : "http_tls_key",
                 cert ? "http_tls_key" : "http_tls_cert");
        return HTTP_SETTINGS_E_INVALID;
    }
    r = tls_server_new(cert, key, ret, why, why_size);
    return r == TLS_E_FILE ? HTTP_SETTINGS_E_INVALID : r < 0 ? err_pass(r) : 0;
}

int http_settings_read(const struct options *o, struct http_settings *ret, char *why, size_t why_size)
{
    int r;

    *ret = (struct http_settings){.metrics_open = options_bool(o, CONTROLLER_OPT_METRICS_OPEN)};
    r = read_names(o, &ret->names, why, why_size);
    if (!r)
        r = read_tls(o, &ret->tls, why, why_size);
    return r < 0 ? err_pass(r) : r;
}

void http_settings_clear(struct http_settings *s)
{
    tls_destroy(&s->tls);
}
