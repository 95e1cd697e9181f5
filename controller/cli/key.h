/* Which API key goes with what is asked. */
#ifndef CARAVAN_CONTROLLER_CLI_KEY_H
#define CARAVAN_CONTROLLER_CLI_KEY_H

#include "controller/cli/api.h"

enum { KEY_SIZE = 4096 /* of a key's text, with NUL; the controller takes far less */ };

/* The key in CARAVAN_API_KEY of the environment, else that in access->key_file. host: whom it is for; the key that nobody
 * named is this host's controller's and must not go to whatever answers somewhere else. key: "" where there is none; a
 * secret, for the caller to wipe. CLI_DONE, CLI_USAGE. */
enum cli_exit key_find(const struct api_access *access, const char *host, char key[KEY_SIZE]);

#endif
