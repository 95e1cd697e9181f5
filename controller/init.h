/* What a controller needs before its first start. What was done, or why not, is said to people. */
#ifndef CARAVAN_CONTROLLER_INIT_H
#define CARAVAN_CONTROLLER_INIT_H

#include "common/crypto.h"

/* `caravan-controller init`: state directory, identity and admin key. What is there is left as it is, so it may be run
 * twice. As root it works as the user `caravan-controller`, where that exists and the directory is new or this user's: the
 * process is this user's afterwards. Returns an exit status. */
int init_run(const char *dir);

/* The same pieces for a start. 0, or -1: it was said why not. */
int init_make_dir(const char *dir);
int init_load_identity(const char *dir, struct identity *ret);

#endif
