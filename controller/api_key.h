/* An API key: its text is known to whoever uses it, and here for as long as it takes to say it once; what is kept is a hash.
 * And admin.key of the state directory, the one key that lies in a file, for `caravan` on the controller's machine. */
#ifndef CARAVAN_CONTROLLER_API_KEY_H
#define CARAVAN_CONTROLLER_API_KEY_H

#include <stddef.h>

#include "common/core/protocol.h"

/* "caravan_" and 32 random bytes as URL-safe base64 without padding; with NUL. */
enum { API_KEY_TEXT = 8 + 43 + 1 };
#define API_KEY_FILE "admin.key"

/* text: a secret, wiped by the caller when it was said. */
void api_key_new(char text[API_KEY_TEXT]);
void api_key_hash(const char *text, char hash[PROTO_KEY_MAX]);

enum {
    API_KEY_E_NONE = 1, /* there is no such file */
    API_KEY_E_BAD_FILE, /* why says what and what to do */
    API_KEY_E_EXISTS
};
/* The key of dir/admin.key. text: as above, set on success only. 0, API_KEY_E_NONE, API_KEY_E_BAD_FILE, negative errno. */
int api_key_read_file(const char *dir, char text[API_KEY_TEXT], char *why, size_t why_size);
/* Makes dir/admin.key, mode 0600, with a new key; one that is there stays as it is, whatever it holds. 0,
 * API_KEY_E_EXISTS, negative errno. */
int api_key_make_file(const char *dir);

#endif
