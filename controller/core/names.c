/* Words for people and JSON. */
#include "controller/core/view.h"

const char *node_state_name(enum node_state s)
{
    switch (s) {
    case NODE_UNKNOWN:
        return "unknown";
    case NODE_JOINING:
        return "joining";
    case NODE_READY:
        return "ready";
    case NODE_SUSPECT:
        return "suspect";
    case NODE_LOST:
        return "lost";
    case NODE_EVICTED:
        return "evicted";
    case NODE_STUCK:
        return "stuck";
    case NODE_DRAINING:
        return "draining";
    case NODE_DRAINED:
        return "drained";
    case NODE_RETIRED:
        return "retired";
    }
    return "unknown";
}

const char *instance_state_name(enum instance_state s)
{
    switch (s) {
    case INSTANCE_REQUESTED:
        return "requested";
    case INSTANCE_PLACING:
        return "placing";
    case INSTANCE_WAITING:
        return "waiting";
    case INSTANCE_LEASING:
        return "leasing";
    case INSTANCE_STARTING:
        return "starting";
    case INSTANCE_LOADING:
        return "loading";
    case INSTANCE_READY:
        return "ready";
    case INSTANCE_RECOVERING:
        return "recovering";
    case INSTANCE_DRAINING:
        return "draining";
    case INSTANCE_STOPPING:
        return "stopping";
    case INSTANCE_STOPPED:
        return "stopped";
    case INSTANCE_FAILED:
        return "failed";
    }
    return "unknown";
}

const char *task_state_name(enum task_state s)
{
    switch (s) {
    case TASK_PENDING:
        return "pending";
    case TASK_RUNNING:
        return "running";
    case TASK_COMPLETE:
        return "complete";
    case TASK_FAILED:
        return "failed";
    case TASK_REFUSED:
        return "refused";
    case TASK_CANCELLED:
        return "cancelled";
    }
    return "unknown";
}

const char *task_kind_name(enum task_kind k)
{
    switch (k) {
    case TASK_DEPLOY:
        return "deploy";
    case TASK_STOP:
        return "stop";
    case TASK_DRAIN:
        return "drain";
    }
    return "unknown";
}

const char *key_scope_name(enum key_scope s)
{
    switch (s) {
    case KEY_NODE:
        return "node";
    case KEY_JOIN:
        return "join";
    case KEY_REVOKED:
        return "revoked";
    }
    return "unknown";
}

const char *api_scope_name(enum api_scope s)
{
    switch (s) {
    case API_INFER:
        return "infer";
    case API_READ:
        return "read";
    case API_ADMIN:
        return "admin";
    }
    return "unknown";
}
