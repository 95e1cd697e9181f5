#include "controller/core/served.h"

const char *served_start_name(enum served_start s)
{
    static const char *const names[] = {[SERVED_MANUAL] = "manual", [SERVED_DEMAND] = "demand", [SERVED_BOOT] = "boot"};

    return s >= SERVED_MANUAL && s <= SERVED_BOOT ? names[s] : "manual";
}
