#include "controller/cli/key.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"

static bool is_this_host(const char *host)
{
    struct in6_addr six;
    struct in_addr four;

    if (inet_pton(AF_INET, host, &four) == 1)
        return ntohl(four.s_addr) >> 24 == 127;
    return strcmp(host, "localhost") == 0 || (inet_pton(AF_INET6, host, &six) == 1 && IN6_IS_ADDR_LOOPBACK(&six));
}

/* The first line of a small file. 0 or negative errno. */
static int read_line(const char *path, char key[KEY_SIZE])
{
    CLEANUP(cleanup_close) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    ssize_t n = fd < 0 ? -1 : read(fd, key, KEY_SIZE - 1);

    if (n < 0)
        return -errno;
    key[n] = '\0';
    key[strcspn(key, "\r\n")] = '\0';
    return *key ? 0 : -ENODATA;
}

enum cli_exit key_find(const struct api_access *access, const char *host, char key[KEY_SIZE])
{
    const char *given = getenv("CARAVAN_API_KEY");
    int r = 0;

    *key = '\0';
    if (given && strlen(given) >= KEY_SIZE)
        return cli_complain(CLI_USAGE, "what CARAVAN_API_KEY holds is no API key");
    if (given && *given)
        memcpy(key, given, strlen(given) + 1);
    else if (access->key_file_named || is_this_host(host))
        r = read_line(access->key_file, key);
    if (r < 0 && access->key_file_named)
        return cli_complain(CLI_USAGE, "the API key in %s cannot be read: %s", access->key_file, strerror(-r));
    if (r < 0)
        *key = '\0';
    return CLI_DONE;
}
