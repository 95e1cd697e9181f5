/* Private to controller/store.c: the file behind the store, and SQLite's results in our terms. */
#ifndef CARAVAN_CONTROLLER_STORE_FILE_H
#define CARAVAN_CONTROLLER_STORE_FILE_H

#include <stddef.h>

struct sqlite3;
struct sqlite3_stmt;

/* Opens or makes the store at path, for us alone. ret: owned (sqlite3_close). text: what is wrong, where STORE_E_DAMAGED or
 * STORE_E_VERSION say no more; else left alone. 0; STORE_E_*; negative errno. */
int store_file_open(const char *path, struct sqlite3 **ret, char *text, size_t size);

/* One sentence for r and text, and what to do. */
void store_file_explain(int r, const char *path, const char *text, char *why, size_t size);

/* rc: of the call that failed on db. A STORE_E_ outcome or a negative errno. */
int store_outcome(struct sqlite3 *db, int rc);

/* For CLEANUP. */
void store_finalize(struct sqlite3_stmt **stmt);

#endif
