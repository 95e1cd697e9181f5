/* Sizes as people read them: files in decimal GB (as the bands of placement are), memory in binary GiB. */
#ifndef CARAVAN_COMMON_CORE_UNITS_H
#define CARAVAN_COMMON_CORE_UNITS_H

#include <stdint.h>

enum { UNITS_TEXT = 32 /* with NUL */ };

/* "11.98 GB", "206 MB", "12 kB", "7 B"; rounded to nearest. buf: UNITS_TEXT bytes. Returns buf. */
char *units_file(uint64_t bytes, char *buf);
/* "4.1 GiB", "400 MiB", "12 KiB", "7 B"; rounded up, so that what is asked for is never too little. Returns buf. */
char *units_memory(uint64_t bytes, char *buf);

/* For one expression: printf("%s", UNITS_FILE(n)). */
#define UNITS_FILE(bytes)   units_file((bytes), (char[UNITS_TEXT]){0})
#define UNITS_MEMORY(bytes) units_memory((bytes), (char[UNITS_TEXT]){0})

#endif
