/* Zero transfer in a carrier: what a coordinator asks for by hash, the worker is given out of this node's own file of the
 * model. A feeding is the filter (common/relay.h) of one stream; its files belong to all streams of a carrier.
 *
 * What has no index yet is not fed from. A file that turns out to be another one than was indexed, be it by its identity or
 * by its bytes, is said in one log line and not used again by this carrier; what was asked for comes over the network. */
#ifndef CARAVAN_AGENT_CARRIER_FEEDING_H
#define CARAVAN_AGENT_CARRIER_FEEDING_H

#include <stddef.h>
#include <stdint.h>

#include "common/core/protocol.h"
#include "common/core/rpc_frames.h"
#include "common/relay.h"

struct feeding_files;

/* path: the model's files; borrowed, as index_dir (agent/carrier/tensor_store.h). Nothing is opened before the first question:
 * headers take a while to read, and the index of a model that has just come may be done by then. ret: owned. 0; -ENOMEM. */
int feeding_files_new(char (*path)[PROTO_PATH_MAX], size_t n_files, const char *index_dir, struct feeding_files **ret);
/* After all feedings of it. NULL is fine. */
void feeding_files_destroy(struct feeding_files **f);

struct feeding;

/* files, sensor: borrowed. sensor: of the same stream, and told of what the relay's calls `came` and `sent` are told of:
 * BACK is what the worker is asked, OUT what it answers. ret: owned. 0; -ENOMEM. */
int feeding_new(struct feeding_files *files, const struct rpc_frames *sensor, struct feeding **ret);
void feeding_destroy(struct feeding **f); /* after its relay; NULL is fine */

struct relay_filter feeding_filter(struct feeding *f); /* f: borrowed by it */

struct feeding_counts {
    uint64_t n_fed;   /* tensors */
    uint64_t n_wrong; /* were not what was asked for in the end: they came over the network then */
    uint64_t n_not_here;
    uint64_t fed_bytes; /* of tensors, the worker was given out of files; of wrong ones too */
};
struct feeding_counts feeding_counts(const struct feeding *f);

/* v: of the sensor, which sees what the worker is asked and says. Afterwards it is what has crossed the network, as the
 * coordinator's end sees it. */
void feeding_as_carried(const struct feeding *f, struct rpc_figures *v);

#endif
