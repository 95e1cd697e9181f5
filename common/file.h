/* Bytes of an open file, all of them: what read and write may do in part, and again after a signal, is done here. */
#ifndef CARAVAN_COMMON_FILE_H
#define CARAVAN_COMMON_FILE_H

#include "common/core/gguf.h"

/* Exactly n bytes at offset. 0, or a negative errno: -EIO where the file ends before them. */
int file_read_at(int fd, uint64_t offset, void *buf, size_t n);

/* All n bytes, at the file's own place. 0, or a negative errno; then some may have been written. */
int file_write(int fd, const void *buf, size_t n);

/* For readers of GGUF. *fd: borrowed; it, and where it stands, stay as long as the source is used, but it may be opened
 * after this. size_bytes: of the file. */
struct gguf_source file_gguf_source(const int *fd, uint64_t size_bytes);

#endif
