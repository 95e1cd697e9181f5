/* Beside cluster_harness.h: nodes with several models, of which one fills a node, and instances of one rank each, which
 * come up and go one by one. */
#ifndef CARAVAN_TESTS_UNIT_SERVING_HARNESS_H
#define CARAVAN_TESTS_UNIT_SERVING_HARNESS_H

#include "controller/core/instances.h"
#include "tests/unit/cluster_harness.h"

#define MIB (1024ull * 1024)

/* "m" is small; "a", "b" and "c" take a node of 8 GiB each. */
static const char *const serving_models[] = {"m", "a", "b", "c"};

static inline struct message *models_of(int node)
{
    const size_t n = sizeof(serving_models) / sizeof(serving_models[0]);
    struct message *m = report_of(node);
    struct report *r = m->report;

    free(r->model[0].shape);
    free(r->model);
    r->model = calloc(n, sizeof(*r->model));
    assert_non_null(r->model);
    for (r->n_models = 0; r->n_models < n; r->n_models++) {
        struct model_facts *f = &r->model[r->n_models];

        fill_model(f, serving_models[r->n_models]);
        for (size_t l = 0; l < 16 && r->n_models; l++)
            f->shape->layer[l].weight_bytes = 300 * MIB;
    }
    return m;
}

static inline void serve_join(int node)
{
    size_t used = strlen(w.log);

    hello(node);
    hear(node, models_of(node));
    w.log[used] = '\0';
}

/* n nodes, and the first ten seconds are over, in which some might still come. */
static inline void serve_open(const struct served *served, size_t n_served, enum served_start others, int n)
{
    struct cluster_config config = world_config();

    config.served = served;
    config.n_served = n_served;
    config.others = others;
    world_open_with(&config);
    begin();
    for (int node = 1; node <= n; node++)
        serve_join(node);
}

/* Nodes 1..n report on. */
static inline void serve_pass(uint64_t ms, int n)
{
    for (uint64_t t = 0; t < ms; t += 500) {
        pass(ms - t < 500 ? ms - t : 500);
        for (int node = 1; node <= n; node++)
            hear(node, models_of(node));
    }
}

static inline void settle(int n)
{
    serve_pass(10500, n);
    quiet();
}

static inline void ensure(uint64_t request_id, const char *name)
{
    struct cluster_ev ev = {.kind = CLUSTER_EV_ENSURE, .request_id = request_id, .target = name};

    ev.new_instance = id_of(100 + (int)request_id);
    step(&ev);
}

static inline struct instance *the(const struct id128 *id)
{
    struct instance *i = instance_find(w.c, id);

    assert_non_null(i);
    return i;
}

/* The k-th of that name that has not ended, oldest first; NULL: there are not so many. */
static inline struct instance *live(const char *name, size_t k)
{
    for (size_t n = 0; n < w.c->instances.n; n++) {
        struct instance *i = CLUSTER_INSTANCE(w.c, n);

        if (!instance_state_ended(i->state) && !strcmp(i->name, name) && !k--)
            return i;
    }
    return NULL;
}

static inline size_t n_live(const char *name)
{
    size_t n = 0;

    while (live(name, n))
        n++;
    return n;
}

static inline int node_of_instance(const struct id128 *id)
{
    return the(id)->plan->rank[0].node.b[0];
}

static inline void of_instance(struct message *m, const struct id128 *id)
{
    int node = node_of_instance(id);

    for (size_t u = 0; u < w.n_units[node]; u++) {
        if (w.unit[node][u].role == UNIT_COORDINATOR && id128_equal(&w.unit[node][u].instance, id))
            m->event->unit = w.unit[node][u];
    }
    m->instance = *id;
    m->epoch = the(id)->epoch;
}

/* From its lease to `ready`; its plan is durable. */
static inline void bring_up(struct id128 id)
{
    int node = node_of_instance(&id);
    struct message *m;

    done(node, COMMAND_LEASE);
    done(node, COMMAND_START_WORKER);
    done(node, COMMAND_START_COORDINATOR);
    m = event_of(node, AGENT_EVENT_RANK_BUFFERS, UNIT_COORDINATOR);
    of_instance(m, &id);
    m->event->n_buffers = 1;
    snprintf(m->event->buffers[0].endpoint, sizeof(m->event->buffers[0].endpoint), "%s",
             the(&id)->run.rank[0].endpoint);
    m->event->buffers[0].model_bytes = the(&id)->plan->rank[0].device[0].weight_bytes;
    m->event->buffers[0].kv_bytes = 3 * MIB;
    hear(node, m);
    m = event_of(node, AGENT_EVENT_LISTENING, UNIT_COORDINATOR);
    of_instance(m, &id);
    hear(node, m);
    step(&(struct cluster_ev){.kind = CLUSTER_EV_WARMED, .instance = id, .epoch = the(&id)->epoch, .ok = true});
    commit();
    assert_int_equal(the(&id)->state, INSTANCE_READY);
}

/* Its node has ended it. */
static inline void bring_down(struct id128 id)
{
    for (size_t k = 0; k < w.n_asked; k++) {
        struct asked a = w.asked[k];
        size_t n = 0;

        if (a.m.command.kind != COMMAND_STOP || !id128_equal(&a.m.instance, &id))
            continue;
        memmove(&w.asked[k], &w.asked[k + 1], (--w.n_asked - k) * sizeof(w.asked[0]));
        for (size_t u = 0; u < w.n_units[a.node]; u++) {
            if (!id128_equal(&w.unit[a.node][u].instance, &id))
                w.unit[a.node][n++] = w.unit[a.node][u];
        }
        w.n_units[a.node] = n;
        hear(a.node, result_of(&a, RESULT_DONE, "", ""));
        commit();
        return;
    }
    fail_msg("nobody was told to end it; so far:\n%s", w.log);
}

static inline void asked(struct id128 id, uint32_t in_flight)
{
    step(&(struct cluster_ev){.kind = CLUSTER_EV_TRAFFIC,
                              .instance = id,
                              .epoch = the(&id)->epoch,
                              .traffic = {.in_flight = in_flight, .progress = w.now}});
}

/* Tokens come of it all the while. */
static inline void serve_busy(uint64_t ms, struct id128 id, int n)
{
    for (uint64_t t = 0; t < ms; t += 5000) {
        asked(id, 1);
        serve_pass(5000, n);
    }
}

static inline struct served section_of(const char *name, const char *model, enum served_start start)
{
    struct served s = {.start = start};

    snprintf(s.section, sizeof(s.section), "%s", name);
    snprintf(s.name, sizeof(s.name), "%s", name);
    snprintf(s.request.model, sizeof(s.request.model), "%s", model);
    if (strcmp(name, model) != 0)
        snprintf(s.request.alias, sizeof(s.request.alias), "%s", name);
    return s;
}

#endif
