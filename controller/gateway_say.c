/* The sentences with which the gateway refuses, and the error that ends a stream: whom, which node, why. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "controller/gateway_state.h"

static void say(struct gateway_refusal *r, int status, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

static void say(struct gateway_refusal *r, int status, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(r->text, sizeof(r->text), fmt, ap);
    va_end(ap);
    r->status = status;
}

/* Names, as many as fit. */
struct names {
    size_t used;
    bool cut;
    char text[PROTO_TEXT_MAX];
};

static void add_name(struct names *names, const char *name)
{
    const char *between = names->used ? ", " : "";
    size_t n = strlen(between) + strlen(name);

    names->cut = names->cut || names->used + n + sizeof(", ...") > sizeof(names->text);
    if (names->cut)
        return;
    sprintf(names->text + names->used, "%s%s", between, name);
    names->used += n;
}

/* What a request may say, each once: one that moves has two instances. */
static void list_names(const struct view *v, struct names *ret)
{
    *ret = (struct names){.text = "none"};
    for (size_t i = 0; i < v->n_instances; i++)
        if (v->instance[i].state != INSTANCE_STOPPED && view_find_instance(v, v->instance[i].name) == &v->instance[i])
            add_name(ret, v->instance[i].name);
    for (size_t i = 0; i < v->n_served; i++)
        if (!view_find_instance(v, v->served[i].name))
            add_name(ret, v->served[i].name);
    for (size_t i = 0; i < v->n_models; i++)
        if (!view_find_instance(v, v->model[i].name) && !view_find_served(v, v->model[i].name) && !*v->model[i].problem)
            add_name(ret, v->model[i].name);
    if (ret->cut)
        strcpy(ret->text + ret->used, ", ...");
}

static const struct view_model *find_model(const struct view *v, const char *name)
{
    for (size_t i = 0; i < v->n_models; i++)
        if (strcmp(v->model[i].name, name) == 0)
            return &v->model[i];
    return NULL;
}

static void say_not_found(const struct view *v, const char *model, struct gateway_refusal *r)
{
    const struct view_served *served = view_find_served(v, model);
    const struct view_model *m = find_model(v, served ? served->model : model);
    struct names names;

    if (m && *m->problem) {
        say(r, 404, "model \"%s\" cannot be used: %s", model, m->problem);
        return;
    }
    if (m || served) {
        r->retry_after_s = GATEWAY_RETRY_AFTER_S;
        say(r, 503, "model \"%s\" is not running: caravan deploy %s", model, model);
        return;
    }
    if (v->settling) {
        r->retry_after_s = GATEWAY_RETRY_AFTER_S;
        say(r, 503, "model \"%.127s\" is not known yet: nodes are still joining", model);
        return;
    }
    list_names(v, &names);
    say(r, 404, "model \"%.127s\" not found; there is: %s", model, names.text);
}

static uint64_t retry_after_s(const struct view_instance *in)
{
    uint64_t eta_s = in->eta_ms == UINT64_MAX ? GATEWAY_RETRY_AFTER_S : in->eta_ms / 1000 + 1;

    return eta_s < 3600 ? eta_s : 3600;
}

static void say_failed(const struct view_instance *in, struct gateway_refusal *r)
{
    bool alias = strcmp(in->name, in->model) != 0;

    say(r, 503, "model \"%s\" has failed: %s; start it again: caravan deploy %s%s%s", in->name,
        *in->reason ? in->reason : "no reason is known", in->model, alias ? " --alias " : "", alias ? in->name : "");
}

static void say_not_ready(const struct view_instance *in, int failure, struct gateway_refusal *r)
{
    if (in->state == INSTANCE_LOADING)
        say(r, 503, "model \"%s\" is loading (%u %%)", in->name, in->progress_permille / 10);
    else if (in->state == INSTANCE_READY && failure)
        say(r, 503, "model \"%s\" cannot be reached: %s", in->name, upstream_failure_text(failure));
    else if (in->state == INSTANCE_READY)
        say(r, 503, "model \"%s\" is busy with requests that may have made it fail: try again", in->name);
    else
        say(r, 503, "model \"%s\" is %s%s%s", in->name, instance_state_name(in->state), *in->reason ? ": " : "",
            in->reason);
}

static const struct view_instance *find(const struct view *v, const struct id128 *instance)
{
    for (size_t i = 0; i < v->n_instances; i++)
        if (id128_equal(&v->instance[i].id, instance))
            return &v->instance[i];
    return NULL;
}

/* Why that epoch is over, in the leader's words; "" where it has not said. */
static const char *reason_of(const struct view_instance *in, uint64_t epoch)
{
    for (size_t k = in->n_tried; k--;)
        if (in->tried[k].epoch == epoch)
            return in->tried[k].text;
    return in->epoch == epoch ? in->reason : "";
}

static void say_lost(const struct view *v, const struct admission_decision *d, const char *name, int failure,
                     struct gateway_refusal *r)
{
    const struct view_instance *in = find(v, &d->instance);
    const char *reason = in ? reason_of(in, d->epoch) : "";

    say(r, 502, "instance \"%s\" (epoch %" PRIu64 ") failed: %s%s%s%s", in ? in->name : name, d->epoch,
        failure ? upstream_failure_text(failure) : "it was ended under this request", *reason ? " (" : "", reason,
        *reason ? ")" : "");
}

static void say_not_started(const struct view *v, const struct admission_decision *d, const char *model,
                            struct gateway_refusal *r)
{
    if (strcmp(d->code, "not_found") == 0 || strcmp(d->code, "manual") == 0) {
        say_not_found(v, model, r);
        return;
    }
    r->retry_after_s = r->retry_after_s ? r->retry_after_s : GATEWAY_RETRY_AFTER_S;
    say(r, 503, "model \"%.127s\" cannot be started: %.511s", model, d->text);
}

/* In the words of the phase in which its time was over. */
static void say_timed_out(const struct view *v, const struct admission_decision *d, const char *model,
                          struct gateway_refusal *r)
{
    char where[PROTO_TEXT_MAX];

    if (d->computing)
        snprintf(where, sizeof(where), "its prompt is being computed");
    else
        gateway_say_waiting(v, model, 0, where, sizeof(where));
    say(r, 504, "model \"%.127s\" has not answered in the %" PRIu64 " s that this request gave: %s", model,
        (d->waited_ms + 500) / 1000, where);
}

void gateway_say(const struct view *v, const struct admission_decision *d, const char *model, int failure,
                 struct gateway_refusal *ret)
{
    const struct view_instance *in = view_find_instance(v, model);

    *ret = (struct gateway_refusal){.status = 503};
    if (in && d->refusal != ADMISSION_LOST && d->refusal != ADMISSION_POISON)
        ret->retry_after_s = retry_after_s(in);
    switch (d->refusal) {
    case ADMISSION_NOT_READY:
        if (in)
            say_not_ready(in, failure, ret);
        else
            say_not_found(v, model, ret);
        return;
    case ADMISSION_FAILED:
        if (in)
            say_failed(in, ret);
        else
            say_not_found(v, model, ret);
        return;
    case ADMISSION_NOT_FOUND:
        say_not_found(v, model, ret);
        return;
    case ADMISSION_NOT_STARTED:
        say_not_started(v, d, model, ret);
        return;
    case ADMISSION_TIMED_OUT:
        say_timed_out(v, d, model, ret);
        return;
    case ADMISSION_FULL:
        ret->retry_after_s = ret->retry_after_s ? ret->retry_after_s : GATEWAY_RETRY_AFTER_S;
        say(ret, 429, "too many requests wait for model \"%.127s\" already: try again later", model);
        return;
    case ADMISSION_POISON:
        ret->type = "coordinator_aborted";
        say(ret, 502, "this very request made the coordinator of model \"%.127s\" abort: it is refused for %d minutes",
            model, ADMISSION_POISON_MS / 60000);
        return;
    case ADMISSION_LOST:
        say_lost(v, d, model, failure, ret);
        return;
    }
}
