/* Builds the list of effects of one step, and the one commit that carries all its records. */
#ifndef CARAVAN_CONTROLLER_CORE_EFFECTS_H
#define CARAVAN_CONTROLLER_CORE_EFFECTS_H

#include "controller/core/state.h"

/* All return 0 or -ENOMEM. */

/* An empty one of ours to an agent; NULL: no memory. */
struct message *message_to(const struct step *s, enum message_kind kind);

/* m: consumed on every path; goes nowhere where the key is revoked. addr: which of the key's links is meant; empty: any, or by way of whoever carries for it. */
int fx_send(struct step *s, const char *key, const char *addr, struct message **m);

/* To the node with that key by way of the carrier. m: consumed on every path. */
int fx_relay(struct step *s, const struct node *carrier, const char *key, struct message **m);

/* What a machine decided: t with its verdict and text (the cause's, else the cell's sentence); a refusal is counted. */
int fx_verdict(struct step *s, struct cluster_transition *t, enum verdict verdict, const char *sentence,
               const struct cause *cause, uint64_t *refused);
int fx_warm_up(struct step *s, const struct instance *i);
/* We knock ourselves. */
int fx_knock(struct step *s, const struct peer_facts *at, uint64_t token);

/* The link lets the key in from now on, or not any more: the last that is said to it. */
int fx_allow(struct step *s, const char *key, enum key_scope scope);
int fx_forbid(struct step *s, const char *key);

/* request_id 0: nobody waits for it. Answers now, or where token is not 0 once that is durable (and refuses should it not become so). */
int fx_answer(struct step *s, uint64_t token, uint64_t request_id, const struct cluster_answer *answer);
int fx_refuse(struct step *s, uint64_t request_id, const char *code, const char *text);

/* To be written by this step's commit, as it is when the step ends; `as`: in that state instead (0: as it is). */
int record_instance(struct step *s, const struct instance *i, enum instance_state as, bool gone);
int record_task(struct step *s, const struct task *t, bool gone);
/* An operator's word on it; deleted where there is none any more. */
int record_node(struct step *s, const struct node *n);
int record_key(struct step *s, const struct access_key *k, bool gone);
int record_api_key(struct step *s, const struct access_api_key *k, bool gone);

/* The token of this step's commit. */
uint64_t step_token(struct step *s);

/* Goes on with intent once this step's commit is durable. */
int step_then(struct step *s, enum intent intent, const struct instance *i, uint64_t task);
int step_then_node(struct step *s, enum intent intent, const struct node *n);
/* n: may be NULL. */
int step_then_key(struct step *s, enum intent intent, const struct node *n, const char *key, const char *by);

/* For effects.c: the records of the step's commit. */
int fx_fill_commit(const struct step *s, struct cluster_fx *fx);

/* Ends the list: the commit, if anything is to be written, and CHANGED. */
int fx_finish(struct step *s);

#endif
