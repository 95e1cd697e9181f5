/* Writes the first inputs of fuzz_message into a directory: one message of each kind and variant. */
#include <stdio.h>
#include <stdlib.h>

#include "common/cleanup.h"
#include "common/message.h"
#include "tests/lib/messages.h"

static int write_seed(const char *dir, const struct message_sample *s)
{
    CLEANUP(message_destroy) struct message *m = message_sample_new(s);
    CLEANUP(cleanup_free) uint8_t *bytes = NULL;
    char path[4096];
    size_t n;
    FILE *f;
    int r;

    if (message_pack(m, &bytes, &n))
        return -1;
    snprintf(path, sizeof(path), "%s/%s", dir, s->name);
    f = fopen(path, "wb");
    if (!f)
        return -1;
    r = fwrite(bytes, 1, n, f) == n ? 0 : -1;
    return fclose(f) == 0 ? r : -1;
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: %s DIR\n", argv[0]);
        return 2;
    }
    for (const struct message_sample *s = message_samples; s->name; s++) {
        if (write_seed(argv[1], s)) {
            perror(s->name);
            return 1;
        }
    }
    return 0;
}
