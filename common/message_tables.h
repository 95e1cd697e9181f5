/* One table per struct of common/core/protocol.h names each field that goes over the wire once, with its bounds. Private to
 * common/message.c. */
#ifndef CARAVAN_COMMON_MESSAGE_TABLES_H
#define CARAVAN_COMMON_MESSAGE_TABLES_H

#include "common/message_map.h"

extern const struct map message_envelope_map, message_hello_map, message_welcome_map, message_report_map,
    message_model_map, message_shape_map, message_unit_map, message_event_map, message_result_map,
    message_take_lease_map, message_start_worker_map, message_start_coordinator_map, message_stop_map, message_peer_map,
    message_neighbours_map, message_snapshot_map, message_health_map, message_relay_map, message_ping_map,
    message_join_map, message_joined_map;

#endif
