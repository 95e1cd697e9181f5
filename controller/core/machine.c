#include "controller/core/machine.h"

const char *verdict_name(enum verdict v)
{
    switch (v) {
    case GO:
        return "go";
    case REFUSE:
        return "refuse";
    case IGNORE:
        return "ignore";
    case UNDECIDED:
        break;
    }
    return "undecided";
}
