#include "controller/api_names.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

enum { NEAR_NAMES = 5 };

static char fold(char c)
{
    return (char)tolower((unsigned char)c);
}

/* Levenshtein distance without regard to case, over the first 64 bytes. */
static unsigned int distance(const char *a, const char *b)
{
    size_t n_a = strnlen(a, 64), n_b = strnlen(b, 64);
    unsigned int row[65];

    for (size_t j = 0; j <= n_b; j++)
        row[j] = (unsigned int)j;
    for (size_t i = 1; i <= n_a; i++) {
        unsigned int diagonal = row[0]++;

        for (size_t j = 1; j <= n_b; j++) {
            unsigned int swap = diagonal + (fold(a[i - 1]) != fold(b[j - 1]));
            unsigned int best = row[j] < row[j - 1] ? row[j] + 1 : row[j - 1] + 1;

            diagonal = row[j];
            row[j] = best < swap ? best : swap;
        }
    }
    return row[n_b];
}

char *api_near_names(const struct view *v, const char *wanted, char *buf, size_t size)
{
    bool taken[PROTO_MODELS_MAX] = {false};
    size_t n = v->n_models < PROTO_MODELS_MAX ? v->n_models : PROTO_MODELS_MAX, used = 0;

    snprintf(buf, size, "none");
    for (size_t k = 0; k < NEAR_NAMES && k < n; k++) {
        size_t best = n;
        unsigned int best_distance = 0;

        for (size_t i = 0; i < n; i++) {
            unsigned int d = distance(wanted, v->model[i].name);

            d = strcasestr(v->model[i].name, wanted) ? d / 8 : d;
            if (!taken[i] && (best == n || d < best_distance)) {
                best = i;
                best_distance = d;
            }
        }
        taken[best] = true;
        used += (size_t)snprintf(buf + used, size - used, "%s%s", k ? ", " : "", v->model[best].name);
        if (used >= size)
            break;
    }
    return buf;
}
