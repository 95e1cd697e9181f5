/* Private to fanout_request*.c: a fan-out's body while it is read. */
#ifndef CARAVAN_CONTROLLER_FANOUT_READER_H
#define CARAVAN_CONTROLLER_FANOUT_READER_H

#include "controller/fanout_fields.h"
#include "controller/fanout_request.h"

struct fanout_reader {
    struct fanout_request *request;
    const json_t *root;
    char model[PROTO_MODEL_MAX]; /* of all who name none; empty: not said */
    uint64_t member_timeout_ms;  /* of all who say none */
    struct fanout_fields fields;
};

/* What a prompt could not be made of (r: of fanout_prompt_*), as a refusal; what: that should have stood in it. */
int fanout_say_prompt(struct fanout_reader *rd, int r, const char *what);

/* question: the messages with context and documents; borrowed. 0, FANOUT_E_*, -ENOMEM. */
int fanout_read_members(struct fanout_reader *rd, json_t *question);
/* After the members. */
int fanout_read_synthesis(struct fanout_reader *rd, json_t *question);

#endif
