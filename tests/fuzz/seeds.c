#include "tests/fuzz/seeds.h"

#include <stdio.h>
#include <stdlib.h>

void seed_write(const char *dir, const char *name, const void *bytes, size_t n_bytes)
{
    char path[4096];
    FILE *f;

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    f = fopen(path, "wb");
    if (!f || fwrite(bytes, 1, n_bytes, f) != n_bytes || fclose(f) != 0) {
        perror(path);
        exit(1);
    }
}

const char *seed_dir(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: %s DIR\n", argv[0]);
        exit(2);
    }
    return argv[1];
}
