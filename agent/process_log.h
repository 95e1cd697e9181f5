/* A child's output file: kept bounded while somebody else writes to it, and its last words for people. */
#ifndef CARAVAN_AGENT_PROCESS_LOG_H
#define CARAVAN_AGENT_PROCESS_LOG_H

#include <stddef.h>
#include <stdint.h>

/* Gives the blocks before the newest keep_bytes back to the file system; offsets stay, so that readers and the O_APPEND
 * writer notice nothing. Where holes cannot be punched the file is emptied at twice keep_bytes. 0 or negative errno. */
int process_log_bound(const char *path, uint64_t keep_bytes);

/* The last lines that matter (of errors, else simply the last), joined by " | ", valid UTF-8 without control bytes,
 * always terminated. What rpc-server says of its clients is left out; empty where nothing else was said since. Pure. */
void process_log_tail(const char *text, size_t n_bytes, char *ret, size_t size);

/* The same of a file; empty where it cannot be read. */
void process_log_tail_file(const char *path, char *ret, size_t size);

#endif
