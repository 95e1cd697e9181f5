/* A model's file is opened only where it really lies in one of the node's model directories. */
#ifndef CARAVAN_AGENT_MODEL_PATH_H
#define CARAVAN_AGENT_MODEL_PATH_H

#include <stddef.h>

#include "common/core/protocol.h"

enum {
    MODEL_PATH_E_OUTSIDE = 1, /* a link that leads out of all the directories */
    MODEL_PATH_E_NO_FILE,     /* not there, or no plain file */
    MODEL_PATH_E_TOO_MANY
};

/* path: made of one of the directories and the name of a file in it. A link is followed as far as it stays in them, and
 * what is judged is the file that is open then, not its name. *ret_fd: owned, for reading. 0; MODEL_PATH_E_...; negative
 * errno. */
int model_path_open(const char *path, const char *const *dir, size_t n_dirs, int *ret_fd);

/* Looks at every file of a model, of which path is the first. 0; otherwise as model_path_open, of the first that is not
 * as it should be, and its name in ret_file (GGUF_FILE_MAX). */
int model_path_check(const char *path, const char *const *dir, size_t n_dirs, char *ret_file);

/* The same, and names them in their order. ret: owned. MODEL_PATH_E_TOO_MANY: more than max. */
int model_path_files(const char *path, const char *const *dir, size_t n_dirs, size_t max, char (**ret)[PROTO_PATH_MAX],
                     size_t *ret_n);

#endif
