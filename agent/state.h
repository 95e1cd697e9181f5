/* The agent's state directory: bound to one machine, used by one agent, and what it keeps in it.
 *
 *   machine-id   whose it is
 *   lock         held while an agent runs
 *   identity     the node's key (common/crypto)
 *   epochs       the newest epoch of each instance that this node has seen, with its lease
 *   controllers  keys of controllers that were met first under trust = open
 *   cluster      the one that this node has joined, and its controllers (agent/state_cluster)
 *   units/       records of children (agent/process)
 *   tensors/     indexes of models' files (agent/tensor_room), for carriers */
#ifndef CARAVAN_AGENT_STATE_H
#define CARAVAN_AGENT_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/core/agent.h"
#include "agent/state_cluster.h"
#include "common/crypto.h"

struct state_dir;

enum { STATE_E_IN_USE = 1 /* another agent runs on it */ };

/* Makes DIR (0700) if need be. A directory that belongs to another machine (a cloned image) is moved to DIR.OLDID with
 * one warn line, and a new one is made. root: "", or a folder with etc/machine-id (tests). Without a machine-id a random
 * one is kept. 0, STATE_E_IN_USE, negative errno. */
int state_dir_open(const char *dir, const char *root, struct state_dir **ret);
void state_dir_close(struct state_dir **s);
const char *state_dir_path(const struct state_dir *s); /* absolute */

/* Borrowed until the next write. A file that cannot be read in part is told by one warn line; what can be read counts. */
size_t state_dir_epochs(const struct state_dir *s, const struct agent_epoch **ret);
/* On disk, synced, when it returns 0. Else negative errno, and the file is as it was. */
int state_dir_write_epoch(struct state_dir *s, const struct agent_epoch *epoch);

/* Keys pinned under trust = open. One that could not be written (negative errno) counts all the same, as long as this
 * agent runs. */
size_t state_dir_pins(const struct state_dir *s, const uint8_t (**ret)[CRYPTO_KEY_BYTES]);
int state_dir_pin(struct state_dir *s, const uint8_t key[CRYPTO_KEY_BYTES]);

/* The cluster that this node has joined; its id is zero: none. A file that is damaged, or that others may write, is told by
 * one warn line and counts as none. Borrowed until the next write. */
const struct state_cluster *state_dir_cluster(const struct state_dir *s);
/* Replaces it whole. On disk, synced, when it returns 0. Else negative errno, and the file is as it was. */
int state_dir_write_cluster(struct state_dir *s, const struct state_cluster *c);

/* Pure: a line of the epochs file. */
enum { STATE_EPOCH_LINE_MAX = 96 };
size_t state_epoch_format(const struct agent_epoch *e, char buf[STATE_EPOCH_LINE_MAX]);
bool state_epoch_parse(const char *line, size_t n_bytes, struct agent_epoch *ret);

#endif
