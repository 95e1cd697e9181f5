/* What all targets share. A target defines fuzz_one; libFuzzer's own functions are in support.c.
 *
 * Some inputs are given twice, the second time with one allocation that fails: what is allocated by foreign bytes must also
 * be given back when there is no more. */
#ifndef CARAVAN_TESTS_FUZZ_SUPPORT_H
#define CARAVAN_TESTS_FUZZ_SUPPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* One input; data: borrowed, exactly size bytes long (one more is an error that the sanitizer sees). */
void fuzz_one(const uint8_t *data, size_t size);
/* Once, before the first input. A target may define it. */
void fuzz_setup(void) __attribute__((weak));

/* Whether an allocation was made to fail while this input was tried: outcomes prove nothing then. */
bool fuzz_memory_failed(void);

/* What must hold for every input. Ends the program, so that libFuzzer keeps the input. (Standard error is the programs'
 * own, and goes nowhere: tests/fuzz/play.) */
#define FUZZ_CHECK(condition)                                                                     \
    do {                                                                                          \
        if (!(condition) && !fuzz_memory_failed()) {                                              \
            dprintf(STDOUT_FILENO, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #condition); \
            abort();                                                                              \
        }                                                                                         \
    } while (0)

/* Bytes as a string: cut at the first NUL. Owned (free); memory that is short ends the program. */
char *fuzz_string(const uint8_t *data, size_t size);

/* A directory for this run, the same each time; gone with all in it when the program ends. */
const char *fuzz_dir(void);

#endif
