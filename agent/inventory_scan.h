/* The models in a node's directories, read from their GGUF headers once and again only when a file has changed (path,
 * mtime, size, inode). No thread and no loop: inventory.c has those. */
#ifndef CARAVAN_AGENT_INVENTORY_SCAN_H
#define CARAVAN_AGENT_INVENTORY_SCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/core/protocol.h"

struct inventory_cache;

/* dir: borrowed as long as the cache lives; earlier directories win where two hold a model of the same name. */
int inventory_cache_new(const char *const *dir, size_t n_dirs, struct inventory_cache **ret);
void inventory_cache_destroy(struct inventory_cache **c);

struct inventory {
    size_t n_models;
    struct model_facts *model; /* sorted by name; shapes owned */
    size_t n_left_out;         /* beyond PROTO_MODELS_MAX */
};
void inventory_destroy(struct inventory **i);

/* Looks at every file. ret: owned; NULL where nothing has changed since the last call. A file that is no usable model is
 * listed with its problem; a directory that is not there has none. 0 or negative errno. */
int inventory_scan(struct inventory_cache *c, struct inventory **ret);

/* How many headers were read so far: for the test of the cache. */
uint64_t inventory_headers_read(const struct inventory_cache *c);

#endif
