/* Nodes and models for tests of placement: small descriptions, whole structures. */
#ifndef CARAVAN_TESTS_LIB_PLACE_WORLD_H
#define CARAVAN_TESTS_LIB_PLACE_WORLD_H

#include "controller/core/placement.h"
#include "tests/lib/gguf_image.h"

/* A ready CPU node "nI" with id I, this much free memory, the file and llama-server, build "b1". */
struct place_node world_node(uint8_t i, uint64_t free_bytes);
/* Adds a GPU to it; its CPU device goes. */
void world_gpu(struct place_node *n, const char *name, uint64_t free_bytes);
/* Facts of a model of this shape; shape: borrowed. */
struct model_facts world_model(const char *name, struct model_shape *shape, uint64_t size_bytes);
/* The shape that a sparse model of so many GB has: 32 equal layers of f16. Free with free(). */
struct model_shape *world_sparse(uint64_t size_bytes);

/* "n1:8 n2:8 n3:9": the layers per node in rank order, with the output's. buf: returned. */
char *world_layers(const struct plan *plan, char *buf, size_t size);
/* Is there a note with these words? */
int world_has_note(const struct plan *plan, const char *words);
void world_print(const struct plan *plan);

/* Every promise that a plan makes, whatever was asked: devices within their offers, layers in order and complete, a
 * layer on each rank, flags in order. "" or what is broken. */
const char *world_broken(const struct plan *plan, const struct model_facts *model, const struct place_node *nodes,
                         size_t n_nodes);

#endif
