/* First inputs of fuzz_message: one message of each kind and variant. (The golden files are others.) */
#include <stdlib.h>

#include "common/cleanup.h"
#include "common/message.h"
#include "tests/fuzz/seeds.h"
#include "tests/lib/messages.h"

int main(int argc, char **argv)
{
    const char *dir = seed_dir(argc, argv);

    for (const struct message_sample *s = message_samples; s->name; s++) {
        CLEANUP(message_destroy) struct message *m = message_sample_new(s);
        CLEANUP(cleanup_free) uint8_t *bytes = NULL;
        size_t n;

        if (message_pack(m, &bytes, &n))
            return 1;
        seed_write(dir, s->name, bytes, n);
    }
    return 0;
}
