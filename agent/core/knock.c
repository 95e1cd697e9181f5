/* Knocks that a leader asks for, as a witness: is that node there? They are of no instance, may come in numbers when
 * several nodes fall silent at once, and change nothing here; so they are answered and not remembered: one that comes
 * again is knocked again. */
#include "agent/core/state.h"
#include "common/core/text.h"

static const char *sentence(enum knock_outcome outcome)
{
    switch (outcome) {
    case KNOCK_ANSWERED:
        return "Its agent answered.";
    case KNOCK_REFUSED:
        return "Its kernel answered, its agent did not.";
    case KNOCK_UNANSWERED:
        return "Nothing there answered.";
    case KNOCK_NO_CARRIER:
        return "Nothing answered, but this node's own link is down: that says nothing about the other one.";
    }
    return "This agent does not know what that means.";
}

void knock_begin(struct step *st, const struct command_key *key, const struct peer_facts *at)
{
    struct state *s = st->s;
    struct agent_fx *fx;

    for (size_t i = 0; i < s->n_knocks; i++) {
        if (command_key_equal(&s->knock[i].key, key))
            return;
    }
    if (s->n_knocks == AGENT_KNOCKS_MAX) {
        command_answer(st, key, RESULT_REFUSED, "busy", "This node knocks at %d others already.", AGENT_KNOCKS_MAX);
        return;
    }
    s->knock[s->n_knocks++] =
        (struct knock){.key = *key, .token = ++s->last_token, .due_ms = st->now_ms + AGENT_KNOCK_MS};
    fx = effects_add(&st->fx, AGENT_FX_KNOCK);
    if (!fx)
        return;
    fx->token = s->last_token;
    fx->peer = effects_copy(&st->fx, at, sizeof(*at));
}

static struct command_key take(struct state *s, size_t i)
{
    const struct command_key key = s->knock[i].key;

    s->knock[i] = s->knock[--s->n_knocks];
    return key;
}

void knock_on_found(struct step *st, uint64_t token, enum knock_outcome outcome)
{
    for (size_t i = st->s->n_knocks; i-- > 0;) {
        if (st->s->knock[i].token == token) {
            const struct command_key key = take(st->s, i);

            command_answer(st, &key, RESULT_DONE, knock_outcome_name(outcome), "%s", sentence(outcome));
        }
    }
}

/* Not an outcome: a knock that was lost here must never count as one that nobody answered. */
void knock_on_due(struct step *st)
{
    for (size_t i = st->s->n_knocks; i-- > 0;) {
        if (st->now_ms >= st->s->knock[i].due_ms) {
            const struct command_key key = take(st->s, i);

            command_answer(st, &key, RESULT_FAILED, "knock_lost", "This node's knock did not come back.");
        }
    }
}

void knock_on_resumed(struct step *st)
{
    for (size_t i = 0; i < st->s->n_knocks; i++)
        st->s->knock[i].due_ms = st->now_ms + AGENT_KNOCK_MS;
}

uint64_t knock_due_ms(const struct state *s)
{
    uint64_t due = UINT64_MAX;

    for (size_t i = 0; i < s->n_knocks; i++) {
        if (s->knock[i].due_ms < due)
            due = s->knock[i].due_ms;
    }
    return due;
}
