/* From the coordinator's start to the proof: do the ranks hold what the plan says, does it move, how far is it. */
#ifndef CARAVAN_CONTROLLER_CORE_LOADING_H
#define CARAVAN_CONTROLLER_CORE_LOADING_H

#include "controller/core/state.h"

enum {
    PROOF_MS = 5000,               /* from listening until the log must have shown every buffer */
    PROOF_TOLERANCE_BYTES = 11534, /* 0.011 MiB: the log rounds to 0.01 */
    LOAD_GROWTH_BYTES = 64 * 1024  /* less than that is not movement */
};

/* All that take a step return 0 or -ENOMEM; the caller has said step_instance. */

/* The coordinator runs, by the agent's answer or by its first sign of life. */
int loading_started(struct step *s, struct instance *i, const char *addr, uint16_t port);
int loading_event(struct step *s, struct instance *i, const struct agent_event_facts *ev);
/* A process of the epoch as a report shows it. */
void loading_sample(struct step *s, struct instance *i, const struct unit_facts *u);
/* What carriers tell of this rank has changed. */
void loading_flow(struct step *s, struct instance *i, size_t rank);
int loading_warmed(struct step *s, struct instance *i, bool ok, const char *text);
/* One of stall_ms, proof_ms, warm_ms has passed. */
int loading_timed_out(struct step *s, struct instance *i);

/* Whether rank r was seen to hold what the plan gives it. */
bool loading_proven(const struct instance *i, size_t r);
uint64_t loading_planned_bytes(const struct instance *i, size_t r);
/* Of what the plan gives it: what came over its flow, else what its process holds. */
uint64_t loading_loaded_bytes(const struct instance *i, size_t r);
/* "loading: 103 MiB of 206 MiB, 40 MiB of it from the nodes' own files". Empty where carriers do not tell. */
void loading_text(const struct instance *i, char *buf, size_t size);
/* 0..1000, and the time that the rest takes at the rate so far (UINT64_MAX: unknown). */
uint32_t loading_progress(const struct instance *i, uint64_t now_ms, uint64_t *eta_ms);

#endif
