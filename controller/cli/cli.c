#include "controller/cli/cli.h"

#include <locale.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "controller/cli/api.h"
#include "controller/cli/screen.h"

static const struct option_def common_options[] = {CLI_COMMON_OPTIONS, {.name = NULL}};

static const struct verb *const verbs[] = {
    &verb_nodes, &verb_models,  &verb_plan,     &verb_deploy, &verb_stop,   &verb_instances, &verb_chat, &verb_ask,
    &verb_drain, &verb_undrain, &verb_backends, &verb_tasks,  &verb_events, &verb_token,     &verb_keys, &verb_version,
};

enum { N_VERBS = sizeof(verbs) / sizeof(verbs[0]) };

enum cli_exit cli_complain(enum cli_exit code, const char *fmt, ...)
{
    CLEANUP(cleanup_free) char *text = NULL;
    va_list ap;

    va_start(ap, fmt);
    if (vasprintf(&text, fmt, ap) < 0)
        text = NULL;
    va_end(ap);
    fflush(stdout); /* in the order in which it happened */
    fprintf(stderr, "caravan: %s\n", text ? screen_clean(text) : "out of memory");
    return code;
}

/* ---- help --------------------------------------------------------------------------------------------------------- */

static void print_help(FILE *out)
{
    fprintf(out, "caravan: one model over several machines\n\nUsage: caravan VERB [OPTIONS] [WORDS]\n\nVerbs:\n");
    for (size_t i = 0; i < N_VERBS; i++)
        fprintf(out, "  %-10s %s\n", verbs[i]->name, verbs[i]->summary);
    fprintf(out, "\nOptions of every verb:\n");
    options_print_help(common_options, out);
    fprintf(out, "\ncaravan VERB --help says more of each.\n"
                 "Exit codes: 0 done, 1 failed, 2 usage, 3 refused, 4 controller not reached.\n");
}

static void print_verb_help(const struct verb *v, FILE *out)
{
    fprintf(out, "%s\n\nUsage: caravan %s [OPTIONS]%s%s\n\nOptions:\n", v->summary, v->name, *v->usage ? " " : "",
            v->usage);
    options_print_help(v->options, out);
}

/* ---- the command line --------------------------------------------------------------------------------------------- */

static const struct verb *find_verb(const char *name)
{
    for (size_t i = 0; i < N_VERBS; i++)
        if (strcmp(verbs[i]->name, name) == 0)
            return verbs[i];
    return NULL;
}

static enum cli_exit unknown_verb(const char *name)
{
    char list[256] = "";

    for (size_t i = 0; i < N_VERBS; i++)
        snprintf(list + strlen(list), sizeof(list) - strlen(list), "%s%s", i ? ", " : "", verbs[i]->name);
    return cli_complain(CLI_USAGE, "there is no verb \"%s\"; there are: %s", name, list);
}

static enum cli_exit exit_of_options(int r, const struct verb *v)
{
    switch (r) {
    case OPTIONS_E_HELP:
        if (v)
            print_verb_help(v, stdout);
        else
            print_help(stdout);
        return CLI_DONE;
    case OPTIONS_E_VERSION:
        printf("caravan " CARAVAN_VERSION "\n");
        return CLI_DONE;
    case OPTIONS_E_INVALID:
        return CLI_USAGE; /* it was said */
    }
    return cli_complain(CLI_FAILED, "out of memory");
}

/* Options may stand before, between and after words. Words move to the front of argv, from index 1. */
static int read_words(struct options *o, int argc, char **argv, int *ret_n_words)
{
    int at = 0, n_words = 0;

    while (at + 1 < argc) {
        int first, r = options_read_argv(o, argc - at, argv + at, &first);

        if (r)
            return r;
        at += first;
        if (at < argc)
            argv[1 + n_words++] = argv[at];
    }
    *ret_n_words = n_words;
    return 0;
}

static enum cli_exit check_words(const struct cli *c)
{
    const struct verb *v = c->verb;

    if (c->n_words < v->min_words)
        return cli_complain(CLI_USAGE, "%s needs %s: caravan %s %s", v->name,
                            v->min_words > 1 ? "more words" : "a word", v->name, v->usage);
    if (c->n_words > v->max_words)
        return cli_complain(CLI_USAGE, "%s has no use for \"%s\": caravan %s%s%s", v->name, c->word[v->max_words],
                            v->name, *v->usage ? " " : "", v->usage);
    if (c->n_rest && !v->takes_rest)
        return cli_complain(CLI_USAGE, "%s takes nothing after \"--\"", v->name);
    return CLI_DONE;
}

/* argv without the verb; what follows "--" was cut off. */
static enum cli_exit run_verb(const struct verb *v, int argc, char **argv, char **rest, int n_rest)
{
    CLEANUP(options_destroy) struct options *o = NULL;
    CLEANUP(api_destroy) struct api *api = NULL;
    struct cli c = {.verb = v, .word = argv + 1, .rest = rest, .n_rest = n_rest};
    struct api_access access;
    enum cli_exit e;
    int r;

    if (options_new(v->options, &o) < 0)
        return cli_complain(CLI_FAILED, "out of memory");
    r = options_read_env(o);
    if (!r)
        r = read_words(o, argc, argv, &c.n_words);
    if (r)
        return exit_of_options(r, v);
    c.options = o;
    c.json = options_bool(o, CLI_OPTION_JSON);
    e = check_words(&c);
    if (e)
        return e;
    access = (struct api_access){.key_file = options_string(o, CLI_OPTION_KEY_FILE),
                                 .key_file_named = options_is_set(o, CLI_OPTION_KEY_FILE),
                                 .ca_file = options_string(o, CLI_OPTION_CA_FILE)};
    e = api_new(options_string(o, CLI_OPTION_CONTROLLER), &access, &api);
    if (e)
        return e;
    c.api = api;
    return v->run(&c);
}

enum cli_exit cli_main(int argc, char **argv)
{
    CLEANUP(options_destroy) struct options *o = NULL;
    const struct verb *v;
    int n_before = 1, verb_at = argc, r;
    enum cli_exit e;

    setlocale(LC_CTYPE, "C.UTF-8"); /* for the width of characters, wherever we run */
    while (n_before < argc && strcmp(argv[n_before], "--") != 0)
        n_before++;
    if (options_new(common_options, &o) < 0)
        return cli_complain(CLI_FAILED, "out of memory");
    r = options_read_argv(o, n_before, argv, &verb_at);
    if (r)
        return exit_of_options(r, NULL);
    if (verb_at >= n_before) {
        print_help(stderr);
        return CLI_USAGE;
    }
    v = find_verb(argv[verb_at]);
    if (!v)
        return unknown_verb(argv[verb_at]);
    for (int i = verb_at; i + 1 < n_before; i++)
        argv[i] = argv[i + 1];
    e = run_verb(v, n_before - 1, argv, argv + n_before + 1, n_before < argc ? argc - n_before - 1 : 0);
    if (fflush(stdout) != 0 && !e)
        return cli_complain(CLI_FAILED, "cannot write to standard output");
    return e;
}
