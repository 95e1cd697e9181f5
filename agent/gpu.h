/* Devices: their names as llama.cpp has them, and the figures of NVIDIA's as the driver's library (NVML) says. NVML is
 * loaded at run time; that there is none is the normal case. */
#ifndef CARAVAN_AGENT_GPU_H
#define CARAVAN_AGENT_GPU_H

#include <stddef.h>
#include <stdint.h>

#include "common/core/protocol.h"

struct gpu;

enum { GPU_E_ABSENT = 1 };

/* Children must be started with this, so that CUDA counts devices as NVML does. */
#define GPU_ENVIRONMENT "CUDA_DEVICE_ORDER=PCI_BUS_ID"

/* library: NULL: libnvidia-ml.so.1. 0; GPU_E_ABSENT (no library, no driver); -ENOMEM. */
int gpu_new(const char *library, struct gpu **ret);
void gpu_destroy(struct gpu **g);

/* Memory, utilization and temperature now of those devices that are called CUDA<n>; the others stay as they are.
 * CUDA_VISIBLE_DEVICES is obeyed. A device whose memory is the host's becomes DEVICE_UNIFIED with host_free_bytes. */
void gpu_read(struct gpu *g, uint64_t host_free_bytes, struct device_facts *device, size_t n);

/* What `llama-server --list-devices` printed: "  CUDA0: NVIDIA H200 (143167 MiB, 142000 MiB free)". Lines of another
 * form are passed over; at most max are taken, the number of which is returned. Pure. */
size_t gpu_list_parse(const char *text, size_t n_bytes, struct device_facts *ret, size_t max);

#endif
