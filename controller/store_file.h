/* Private to controller/store*.c: the file behind the store, and SQLite's results in our terms. */
#ifndef CARAVAN_CONTROLLER_STORE_FILE_H
#define CARAVAN_CONTROLLER_STORE_FILE_H

#include <stdbool.h>
#include <stddef.h>

#include "common/core/ids.h"

struct sqlite3;
struct sqlite3_stmt;
struct store_mark;

enum {
    STORE_APPLICATION_ID = 0x43727631, /* "Crv1", for file(1) and for us */
    STORE_PATH_MAX = 4096,
    STORE_CHECK_MS = 100, /* a store of ours is checked within this, a much larger one in part */
    STORE_CHECK_WHOLE = -1
};

/* Opens or makes the store at path, whose mark is held and written where it says nothing yet. ret: owned
 * (store_file_close). text: what is wrong, where STORE_E_DAMAGED, STORE_E_VERSION, STORE_E_MISSING or STORE_E_OTHER say no
 * more; else left alone. 0; STORE_E_*; negative errno. */
int store_file_open(const char *path, struct store_mark *mark, struct sqlite3 **ret, char *text, size_t size);

/* One sentence for r and text, and what to do. */
void store_file_explain(int r, const char *path, const char *text, char *why, size_t size);

/* The parts of it. look: is there a file, and may SQLite have it? check: is it whole, and whose? For at most check_ms:
 * beyond it, it is believed. text: as above. 0; STORE_E_*; negative errno. */
int store_file_look(const char *path, bool *ret_exists, char *text, size_t size);
int store_file_check(struct sqlite3 *db, int check_ms, struct id128 *ret_cluster, char *text, size_t size);

/* Several statements; the first number that sql yields. 0; STORE_E_*; negative errno. */
int store_file_exec(struct sqlite3 *db, const char *sql);
int store_file_number(struct sqlite3 *db, const char *sql, int64_t *ret);

/* rc: of the call that failed on db. A STORE_E_ outcome or a negative errno. */
int store_outcome(struct sqlite3 *db, int rc);
bool store_file_out_of_space(int error);

/* What root makes beside the store belongs to whom the directory of path belongs. 0, negative errno. */
int store_file_give_to_owner(int fd, const char *path);
/* The names in the directory of path are on the disk. 0, negative errno. */
int store_file_sync_directory(const char *path);

/* For CLEANUP. */
void store_file_close(struct sqlite3 **db);
void store_finalize(struct sqlite3_stmt **stmt);

#endif
