/* Placement when memory runs out: -ENOMEM at each allocation, nothing returned, nothing leaked. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>

#include "tests/lib/failing_alloc.h"

#include "controller/core/placement.c"

#include "tests/lib/place_world.h"

static void test_compute(void **state)
{
    struct model_shape *shape = world_sparse(900000000);
    struct model_facts model = world_model("model", shape, 900000000);
    struct place_node node[3];
    struct place_request req = {.nodes = 2};
    int r = -ENOMEM;
    long n;

    (void)state;
    for (uint8_t i = 0; i < 3; i++)
        node[i] = world_node((uint8_t)(i + 1), UINT64_C(8) << 30);
    for (n = 0; r == -ENOMEM; n++) {
        struct plan *plan = NULL;

        allocs_until_failure = n;
        r = place_compute(&req, &model, node, 3, &plan);
        assert_true(r == -ENOMEM || r == 0);
        assert_true((r == 0) == (plan != NULL));
        free(plan);
    }
    assert_int_equal(n, 6); /* nodes, offers, two orders, plan; then none is left */
    allocs_until_failure = -1;
    free(shape);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_compute),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
