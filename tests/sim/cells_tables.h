/* For cells.c alone: the tables as each core names them (their private headers cannot be read together). */
#ifndef CARAVAN_TESTS_SIM_CELLS_TABLES_H
#define CARAVAN_TESTS_SIM_CELLS_TABLES_H

#include "tests/sim/cells.h"

extern const struct cells_table cells_node_table, cells_instance_table, cells_task_table, cells_process_table;

#endif
