/* mdns_probe: common/mdns.h by hand and for lab scripts.
 *
 *   mdns_probe [--publish NAME TYPE PORT] TYPE...
 *
 * Prints "running yes|no", "+ NAME TYPE ADDR PORT KEY=VALUE..." and "- NAME TYPE ADDR". Standard input: a line of KEY=VALUE...
 * sets the TXT, "withdraw" and "publish" do that, the end of it ends the program. */
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/mdns.h"

struct probe {
    struct event_base *base;
    struct mdns *mdns;
    const char *name, *type;
    uint16_t port;
    struct mdns_txt txt[MDNS_TXT_MAX];
    size_t n_txt;
    char line[4096];
    size_t n_line;
};

static void on_service(void *ctx, const struct mdns_service *s)
{
    (void)ctx;
    printf("%c %s %s %s", s->gone ? '-' : '+', s->name, s->type, s->addr);
    if (!s->gone)
        printf(" %u", s->port);
    for (size_t i = 0; i < s->n_txt && !s->gone; i++)
        printf(" %s=%s", s->txt[i].key, s->txt[i].value);
    printf("\n");
}

static void on_state(void *ctx, bool running)
{
    (void)ctx;
    printf("running %s\n", running ? "yes" : "no");
}

static void publish(struct probe *p)
{
    if (p->name && mdns_publish(p->mdns, "probe", p->name, p->type, p->port, p->txt, p->n_txt) < 0)
        fprintf(stderr, "mdns_probe: cannot publish\n");
}

static void set_txt(struct probe *p, char *line)
{
    p->n_txt = 0;
    for (char *pair = strtok(line, " "); pair && p->n_txt < MDNS_TXT_MAX; pair = strtok(NULL, " ")) {
        struct mdns_txt *txt = &p->txt[p->n_txt++];
        char *value = strchr(pair, '=');

        if (value)
            *value++ = '\0';
        snprintf(txt->key, sizeof(txt->key), "%s", pair);
        snprintf(txt->value, sizeof(txt->value), "%s", value ? value : "");
    }
}

static void on_line(struct probe *p, char *line)
{
    if (strcmp(line, "withdraw") == 0) {
        mdns_withdraw(p->mdns, "probe");
        return;
    }
    if (strcmp(line, "publish") != 0)
        set_txt(p, line);
    publish(p);
}

static void on_input(evutil_socket_t fd, short what, void *arg)
{
    struct probe *p = arg;
    ssize_t n = read(fd, p->line + p->n_line, sizeof(p->line) - p->n_line);
    char *end;

    (void)what;
    if (n <= 0) {
        event_base_loopbreak(p->base);
        return;
    }
    p->n_line += (size_t)n;
    while ((end = memchr(p->line, '\n', p->n_line))) {
        size_t n_used = (size_t)(end - p->line) + 1;

        *end = '\0';
        on_line(p, p->line);
        p->n_line -= n_used;
        memmove(p->line, p->line + n_used, p->n_line);
    }
}

int main(int argc, char **argv)
{
    struct probe p = {0};
    const struct mdns_callbacks cb = {on_service, on_state, &p};
    const char *none = NULL;
    struct event *input;
    int first = 1;

    if (argc > 4 && strcmp(argv[1], "--publish") == 0) {
        p.name = argv[2];
        p.type = argv[3];
        p.port = (uint16_t)atoi(argv[4]);
        first = 5;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    p.base = event_base_new();
    if (!p.base || mdns_new(p.base, first < argc ? (const char *const *)argv + first : &none, &cb, &p.mdns) < 0)
        return 1;
    publish(&p);
    input = event_new(p.base, STDIN_FILENO, EV_READ | EV_PERSIST, on_input, &p);
    if (!input || event_add(input, NULL) < 0)
        return 1;
    event_base_dispatch(p.base);
    event_free(input);
    mdns_destroy(&p.mdns);
    event_base_free(p.base);
    return 0;
}
