#include "controller/cli/council.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#include "common/cleanup.h"
#include "controller/cli/json_get.h"

#define SYNTHESIS "synthesis"

enum { MEMBER_MODEL, MEMBER_SYSTEM, MEMBER_TEMPERATURE, MEMBER_MAX_TOKENS, MEMBER_TIMEOUT };

static const struct option_def table[] = {
    {.name = "model", .type = OPTION_STRING, .help = "Whom it asks."},
    {.name = "system", .type = OPTION_STRING, .help = "Who it is."},
    {.name = "temperature", .type = OPTION_STRING, .help = "From 0 on."},
    {.name = "max_tokens", .type = OPTION_UINT, .min = 1, .max = 1000000, .help = "Its answer ends after so many."},
    {.name = "timeout", .type = OPTION_DURATION_MS, .min = 100, .max = 86400000, .help = "How long it may take."},
    {.name = NULL},
};

struct reader {
    const char *path;
    json_t *members, *synthesis;
};

static int put_temperature(const struct reader *rd, unsigned line, const char *text, json_t *o)
{
    char *end;
    double t;

    errno = 0;
    t = strtod(text, &end);
    if (end == text || *end || errno || !isfinite(t) || t < 0) {
        cli_complain(CLI_USAGE, "%s:%u: temperature '%s' must be a number from 0 on", rd->path, line, text);
        return OPTIONS_E_INVALID;
    }
    return json_object_set_new(o, "temperature", json_real(t)) < 0 ? -ENOMEM : 0;
}

static int put_text(const struct options *v, size_t index, json_t *o)
{
    const char *text = options_string(v, index);

    if (!text)
        return 0;
    return json_object_set_new(o, table[index].name, json_string(text)) < 0 ? -EILSEQ : 0;
}

static int put_all(const struct reader *rd, unsigned line, const struct options *v, json_t *o)
{
    const char *temperature = options_string(v, MEMBER_TEMPERATURE);
    int r = put_text(v, MEMBER_MODEL, o);

    if (!r)
        r = put_text(v, MEMBER_SYSTEM, o);
    if (!r && temperature)
        r = put_temperature(rd, line, temperature, o);
    if (!r && options_is_set(v, MEMBER_MAX_TOKENS))
        r = json_object_set_new(o, "max_tokens", json_integer((json_int_t)options_uint(v, MEMBER_MAX_TOKENS)));
    if (!r && options_is_set(v, MEMBER_TIMEOUT))
        r = json_object_set_new(o, "timeout", json_real((double)options_uint(v, MEMBER_TIMEOUT) / 1000));
    return r;
}

static int on_section(void *ctx, const char *name, unsigned line, struct options **values)
{
    CLEANUP(options_destroy) struct options *v = *values;
    bool synthesis = strcmp(name, SYNTHESIS) == 0;
    json_t *o = synthesis ? json_object() : json_pack("{s:s}", "name", name);
    struct reader *rd = ctx;
    int r;

    *values = NULL;
    if (!o)
        return -EILSEQ;
    if (synthesis)
        rd->synthesis = o;
    else if (json_array_append_new(rd->members, o) < 0)
        return -ENOMEM;
    r = put_all(rd, line, v, o);
    if (r == -EILSEQ) {
        cli_complain(CLI_USAGE, "%s:%u: [%s] is not UTF-8", rd->path, line, name);
        return OPTIONS_E_INVALID;
    }
    return r;
}

enum cli_exit council_read(const char *path, json_t **ret)
{
    struct reader rd = {.path = path, .members = json_array()};
    CLEANUP(json_release) json_t *request = json_pack("{s:o}", "members", rd.members);
    int r = request ? options_read_sections(table, path, true, on_section, &rd) : -ENOMEM;

    if (request && rd.synthesis && json_object_set_new(request, SYNTHESIS, rd.synthesis) < 0)
        r = -ENOMEM;
    if (r == OPTIONS_E_INVALID)
        return CLI_USAGE; /* it was said */
    if (r)
        return cli_complain(CLI_FAILED, "%s: %s", path, strerror(-r));
    if (!json_array_size(rd.members))
        return cli_complain(CLI_USAGE, "%s: a council has members: [NAME] begins one", path);
    *ret = request;
    request = NULL;
    return CLI_DONE;
}
