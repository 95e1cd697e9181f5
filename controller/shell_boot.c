/* What models.conf wants served from the start: asked for when its model appears, again each 30 s while it is refused. */
#include <inttypes.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "controller/shell_state.h"

enum { BOOT_RETRY_MS = 30000 };

static bool is_there(const struct view *v, const char *model)
{
    for (size_t i = 0; i < v->n_models; i++)
        if (strcmp(v->model[i].name, model) == 0)
            return !*v->model[i].problem;
    return false;
}

/* Asks for each section that is to be served and whose model has appeared. */
void shell_boot_ask(struct shell *s, const struct view *v)
{
    uint64_t now_ms = clock_now_ms();

    for (size_t i = 0; i < s->models->n; i++) {
        const struct models_conf_entry *e = &s->models->entry[i];
        struct cluster_ev ev = {
            .kind = CLUSTER_EV_DEPLOY, .request_id = SHELL_BOOT_REQUEST | i, .request = &e->request};

        if (e->start != MODELS_START_BOOT || s->boot[i].state != BOOT_WAITS || now_ms < s->boot[i].next_ms ||
            !is_there(v, e->request.model))
            continue;
        s->boot[i].state = BOOT_ASKED;
        ev.new_instance = crypto_random_id();
        shell_tell_later(s, &ev);
    }
}

void shell_boot_answer(struct shell *s, uint64_t request_id, const struct cluster_answer *a)
{
    size_t i = request_id & ~SHELL_BOOT_REQUEST;
    struct boot *b = &s->boot[i];
    const char *section = s->models->entry[i].section;

    if (a->accepted) {
        b->state = BOOT_DONE;
        log_info("models_conf.deployed", "model=%s task=%" PRIu64, LOG_STR(section), a->task_id);
        return;
    }
    b->state = BOOT_WAITS;
    b->next_ms = clock_now_ms() + BOOT_RETRY_MS;
    log_warn("models_conf.refused", "model=%s code=%s text=%s", LOG_STR(section), a->code, LOG_STR(a->text));
}
