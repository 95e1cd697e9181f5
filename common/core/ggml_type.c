#include "common/core/ggml_type.h"

#include <stddef.h>
#include <string.h>

static const struct ggml_type types[] = {
    [0] = {"f32", 1, 4, true},          [1] = {"f16", 1, 2, true},          [2] = {"q4_0", 32, 18, true},
    [3] = {"q4_1", 32, 20, true},       [6] = {"q5_0", 32, 22, true},       [7] = {"q5_1", 32, 24, true},
    [8] = {"q8_0", 32, 34, true},       [9] = {"q8_1", 32, 36, false},      [10] = {"q2_K", 256, 84, false},
    [11] = {"q3_K", 256, 110, false},   [12] = {"q4_K", 256, 144, false},   [13] = {"q5_K", 256, 176, false},
    [14] = {"q6_K", 256, 210, false},   [15] = {"q8_K", 256, 292, false},   [16] = {"iq2_xxs", 256, 66, false},
    [17] = {"iq2_xs", 256, 74, false},  [18] = {"iq3_xxs", 256, 98, false}, [19] = {"iq1_s", 256, 50, false},
    [20] = {"iq4_nl", 32, 18, true},    [21] = {"iq3_s", 256, 110, false},  [22] = {"iq2_s", 256, 82, false},
    [23] = {"iq4_xs", 256, 136, false}, [24] = {"i8", 1, 1, false},         [25] = {"i16", 1, 2, false},
    [26] = {"i32", 1, 4, false},        [27] = {"i64", 1, 8, false},        [28] = {"f64", 1, 8, false},
    [29] = {"iq1_m", 256, 56, false},   [30] = {"bf16", 1, 2, true},        [34] = {"tq1_0", 256, 54, false},
    [35] = {"tq2_0", 256, 66, false},   [39] = {"mxfp4", 32, 17, false},    [40] = {"nvfp4", 64, 36, false},
    [41] = {"q1_0", 128, 18, false},    [42] = {"q2_0", 64, 18, false},
};

enum { N_TYPES = sizeof(types) / sizeof(types[0]) };

const struct ggml_type *ggml_type_find(uint32_t id)
{
    return id < N_TYPES && types[id].name ? &types[id] : NULL;
}

bool ggml_type_was_removed(uint32_t id)
{
    return id < N_TYPES && !types[id].name;
}

int32_t ggml_type_id(const char *name)
{
    for (int32_t i = 0; i < N_TYPES; i++) {
        if (types[i].name && strcmp(types[i].name, name) == 0)
            return i;
    }
    return -1;
}
