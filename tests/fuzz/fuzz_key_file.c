/* Files that hold a secret: the API key in admin.key, as the controller and as `caravan` reads it, and a node's identity. What
 * is taken is exactly what was made, and lies in a file that is its user's alone.
 *
 * The first byte says what lies there: 1, what others may read too; 2, a link to a good one; 3, a folder; 4, nothing; any other byte: a
 * file as it should be. The rest is what it holds. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "common/cleanup.h"
#include "common/crypto.h"
#include "controller/api_key.h"
#include "controller/cli/key.h"
#include "tests/fuzz/support.h"

enum place { PLACE_GOOD, PLACE_SHARED, PLACE_LINK, PLACE_FOLDER, PLACE_EMPTY, N_PLACES };
static char folder[N_PLACES][64];
static int good = -1, shared = -1; /* the files that are some */

/* In each folder both are the same, so that it is written once. */
static void make(enum place place, const char *path, const char *again)
{
    char target[128];
    int r = 0;

    switch (place) {
    case PLACE_GOOD:
        good = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        r = link(path, again);
        break;
    case PLACE_SHARED:
        shared = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0604);
        r = link(path, again);
        break;
    case PLACE_LINK:
        snprintf(target, sizeof(target), "%s/" API_KEY_FILE, folder[PLACE_GOOD]);
        r = symlink(target, path) | symlink(target, again);
        break;
    case PLACE_FOLDER:
        r = mkdir(path, 0700) | mkdir(again, 0700);
        break;
    case PLACE_EMPTY:
    case N_PLACES:
        break;
    }
    if (r < 0)
        abort();
}

void fuzz_setup(void)
{
    char path[128], again[128];

    unsetenv("CARAVAN_API_KEY");
    umask(0);
    for (int p = 0; p < N_PLACES; p++) {
        snprintf(folder[p], sizeof(folder[p]), "%s/%d", fuzz_dir(), p);
        snprintf(path, sizeof(path), "%s/" API_KEY_FILE, folder[p]);
        snprintf(again, sizeof(again), "%s/identity", folder[p]);
        if (mkdir(folder[p], 0700) < 0)
            abort();
        make((enum place)p, path, again);
    }
}

static void put(enum place place, const uint8_t *data, size_t n)
{
    int fd = place == PLACE_SHARED ? shared : good;

    if (pwrite(fd, data, n, 0) != (ssize_t)n || ftruncate(fd, (off_t)n) < 0)
        abort();
}

static void check_api_key(enum place place, const uint8_t *data, size_t n)
{
    char text[API_KEY_TEXT] = "", why[256] = "";
    int r = api_key_read_file(folder[place], text, why, sizeof(why));

    FUZZ_CHECK((r == API_KEY_E_NONE) == (place == PLACE_EMPTY) && (r == API_KEY_E_BAD_FILE) == (*why != '\0'));
    FUZZ_CHECK(r >= 0);
    if (r)
        return;
    FUZZ_CHECK(place == PLACE_GOOD && n == API_KEY_TEXT && data[n - 1] == '\n');
    FUZZ_CHECK(strlen(text) == n - 1 && memcmp(text, data, n - 1) == 0 && strncmp(text, "caravan_", 8) == 0);
}

/* The command line takes any word for a key: one of a later version may look different. But it is one line. */
static void check_cli(enum place place, bool named, const char *host)
{
    char path[128], text[KEY_SIZE];
    const struct api_access access = {.key_file = path, .key_file_named = named};
    enum cli_exit e;

    snprintf(path, sizeof(path), "%s/" API_KEY_FILE, folder[place]);
    e = key_find(&access, host, text);
    FUZZ_CHECK(e == CLI_DONE || (named && e == CLI_USAGE));
    if (e == CLI_DONE)
        FUZZ_CHECK(strnlen(text, sizeof(text)) < sizeof(text) && !strpbrk(text, "\r\n"));
    if (!named && strcmp(host, "192.0.2.1") == 0)
        FUZZ_CHECK(!*text);
}

static void check_identity(enum place place, const uint8_t *data, size_t n)
{
    CLEANUP(crypto_identity_clear) struct identity id = {.public_key = {0}};
    char hex[CRYPTO_KEY_HEX];
    int r = place == PLACE_EMPTY ? CRYPTO_E_BAD_KEY_FILE : crypto_identity_load(folder[place], &id);

    FUZZ_CHECK(r == 0 || r == CRYPTO_E_BAD_KEY_FILE);
    if (r)
        return;
    FUZZ_CHECK(place == PLACE_GOOD && memmem(data, n, crypto_key_format(id.public_key, hex), sizeof(hex) - 1));
    FUZZ_CHECK(memmem(data, n, crypto_key_format(id.secret_key, hex), sizeof(hex) - 1));
}

void fuzz_one(const uint8_t *data, size_t size)
{
    enum place place;

    if (!size)
        return;
    place = data[0] >= '1' && data[0] <= '4' ? (enum place)(data[0] - '0') : PLACE_GOOD;
    put(place, data + 1, size - 1);
    check_api_key(place, data + 1, size - 1);
    check_cli(place, size & 1, size & 2 ? "localhost" : "192.0.2.1");
    check_identity(place, data + 1, size - 1);
}
