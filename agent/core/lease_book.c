#include "agent/core/lease_book.h"

const struct lease_facts *lease_book_find(const struct lease_book *b, const struct id128 *instance, uint64_t epoch)
{
    for (size_t i = 0; i < b->n; i++) {
        if (b->lease[i].epoch == epoch && id128_equal(&b->lease[i].instance, instance))
            return &b->lease[i];
    }
    return NULL;
}

uint64_t lease_book_sum(const struct lease_book *b)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < b->n; i++) {
        if (__builtin_add_overflow(sum, b->lease[i].bytes, &sum))
            return UINT64_MAX;
    }
    return sum;
}

int lease_book_grant(struct lease_book *b, const struct id128 *instance, uint64_t epoch, uint64_t bytes,
                     uint64_t limit_bytes)
{
    uint64_t sum = lease_book_sum(b);

    if (lease_book_find(b, instance, epoch))
        return 0;
    if (limit_bytes && (sum > limit_bytes || bytes > limit_bytes - sum))
        return LEASE_E_LIMIT;
    if (b->n == LEASE_MAX)
        return LEASE_E_FULL;
    b->lease[b->n++] = (struct lease_facts){.instance = *instance, .epoch = epoch, .bytes = bytes};
    return 0;
}

void lease_book_release(struct lease_book *b, const struct id128 *instance, uint64_t up_to_epoch)
{
    size_t kept = 0;

    for (size_t i = 0; i < b->n; i++) {
        if (b->lease[i].epoch > up_to_epoch || !id128_equal(&b->lease[i].instance, instance))
            b->lease[kept++] = b->lease[i];
    }
    b->n = kept;
}
