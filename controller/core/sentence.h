/* Parts of the sentences that people are shown, for bounded buffers; beside common/core/text.h. */
#ifndef CARAVAN_CONTROLLER_CORE_SENTENCE_H
#define CARAVAN_CONTROLLER_CORE_SENTENCE_H

#include <stddef.h>
#include <stdint.h>

#include "common/core/protocol.h"

/* Appends to what is there, as text_format does. */
void sentence_add(char *buf, size_t size, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* How a process ended: "killed by signal 9 (SIGKILL)", "exited with code 1", "gone, nobody saw how". */
void sentence_exit(char *buf, size_t size, const struct exit_facts *exit);

/* "73.36 MiB"; "0 MiB". */
void sentence_mib(char *buf, size_t size, uint64_t bytes);

#endif
