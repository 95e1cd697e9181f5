/* For the programs that write first inputs (seeds_NAME DIR). */
#ifndef CARAVAN_TESTS_FUZZ_SEEDS_H
#define CARAVAN_TESTS_FUZZ_SEEDS_H

#include <stddef.h>

/* Writes DIR/NAME. What goes wrong ends the program with a word. */
void seed_write(const char *dir, const char *name, const void *bytes, size_t n_bytes);
/* Of a program's arguments the one directory. */
const char *seed_dir(int argc, char **argv);

#endif
