# Sourced by deploy/quickstart: starts and ends its nodes, either as namespaces (tests/lab/cluster.sh) or, where these
# cannot be made, as addresses 127.0.0.2, 127.0.0.3 ... of this machine. Uses $cluster, $state, $logs,
# $models (a folder), $bin and $llama.
# shellcheck shell=bash disable=SC2154

nodes_mode() { cat "$state/mode" 2>/dev/null; }

nodes_up() { # N
    local why
    echo "$bin" >"$state/bin"
    if why=$("$cluster" possible 2>&1); then
        echo lab >"$state/mode"
        quietly "the namespaces could not be made" "$logs/cluster.log" "$cluster" up "$1"
    else
        echo loopback >"$state/mode"
        nodes_why=${why#cluster.sh: }
    fi
}

nodes_describe() {
    if [ "$(nodes_mode)" = lab ]; then
        echo "namespaces, each with its own network, D-Bus and avahi-daemon"
    else
        printf 'addresses 127.0.0.2, .3 ... of this machine: %s\n' "$nodes_why"
        note "left out: discovery by mDNS (the join token names the controller), separate networks"
    fi
}

# Every node would offer the memory of this one machine: each gets its share, with something left for the rest.
nodes_memory() { # N
    awk -v n="$1" '/^MemAvailable:/ { printf "%dM", $2 / 1024 * 0.9 / n }' /proc/meminfo
}

nodes_dir() { # NODE: its private directory, as this script sees it
    if [ "$(nodes_mode)" = lab ]; then
        echo "/run/cv-$CARAVAN_LAB/n$1/var"
    else
        echo "$state/node$1"
    fi
}

nodes_log() { # controller|NODE
    if [ "$1" = controller ]; then
        echo "$(nodes_dir 1)/controller.log"
    else
        echo "$(nodes_dir "$1")/agent.log"
    fi
}

# nodes_spawn NODE LOG COMMAND...: in the background, in a session of its own, without the terminal
nodes_spawn() {
    local node=$1 log=$2
    shift 2
    if [ "$(nodes_mode)" = lab ]; then
        "$cluster" exec "$node" setsid -f "$@" >"$log" 2>&1 </dev/null
    else
        # no system bus: what these nodes advertise is nothing for the real network
        DBUS_SYSTEM_BUS_ADDRESS=unix:path=/nonexistent setsid "$@" >"$log" 2>&1 </dev/null &
        echo $! >>"$state/pids"
        disown
    fi
}

# The controller runs on node 1, but its HTTP socket is the host's, for a browser and for `caravan`. Its state directory is
# made here, for whoever runs this: `init` would give a new one to the user that the service runs as.
nodes_start_controller() {
    local dir common
    dir=$(nodes_dir 1)
    mkdir -p "$dir/controller" && chmod 700 "$dir/controller"
    common=(--config /dev/null --models-conf /dev/null --name quickstart)
    "$bin/caravan-controller" init --config /dev/null --state-dir "$dir/controller" >"$logs/init.log" 2>&1 ||
        fail "the controller could not be set up" "$logs/init.log"
    if [ "$(nodes_mode)" = lab ]; then
        "$cluster" hostexec 1 setsid -f "$bin/deploy/caravan-listenfd" --port 8080 --port-file /run/node/http-port -- \
            nsenter --net=/proc/1/ns/net -- \
            "$bin/caravan-controller" "${common[@]}" --state-dir /run/node/controller \
            >"$(nodes_log controller)" 2>&1 </dev/null
    else
        nodes_spawn 1 "$(nodes_log controller)" "$bin/deploy/caravan-listenfd" --port 8080 --port-file "$dir/http-port" -- \
            "$bin/caravan-controller" "${common[@]}" --state-dir "$dir/controller" --listen 127.0.0.1
    fi
    await_file "$dir/http-port" || fail "the controller did not start" "$(nodes_log controller)"
    cp "$dir/http-port" "$state/http-port"
    CARAVAN_CONTROLLER=$(url)
    CARAVAN_API_KEY=$(nodes_api_key)
    export CARAVAN_CONTROLLER CARAVAN_API_KEY
}

nodes_api_key() { cat "$(nodes_dir 1)/controller/admin.key"; }

await_file() {
    local _
    for _ in $(seq 250); do
        [ -s "$1" ] && return 0
        sleep 0.02
    done
    return 1
}

# One token lets all of them in. Each finds it in a file of its own, so that no command line has it.
nodes_make_token() { # N
    local node token
    await_answer || fail "the controller does not answer" "$(nodes_log controller)"
    token=$(caravan token create --uses "$1" 2>"$logs/token.log") || fail "there is no join token" "$logs/token.log"
    for node in $(seq "$1"); do
        mkdir -p "$(nodes_dir "$node")"
        (umask 077 && printf '%s\n' "$token" >"$(nodes_dir "$node")/join.token")
    done
}

nodes_forget_token() { # N: it is used up
    local node
    for node in $(seq "$1"); do
        rm -f "$(nodes_dir "$node")/join.token"
    done
}

# It is up before its store is read.
await_answer() {
    local _
    for _ in $(seq 250); do
        caravan version >/dev/null 2>&1 && return 0
        sleep 0.02
    done
    return 1
}

nodes_start_agents() { # N
    local node common
    nodes_make_token "$1"
    common=(--config /dev/null --models "$models" --llama-dir "$llama" --shim "$bin/caravan-shim"
        --memory "$(nodes_memory "$1")" --worker-threads $(($(nproc) > $1 ? $(nproc) / $1 : 1)))
    if [ "$(nodes_mode)" = lab ]; then
        for node in $(seq "$1"); do
            nodes_spawn "$node" "$(nodes_log "$node")" "$bin/caravan-agent" "${common[@]}" --name "node$node" \
                --state-dir /run/node/agent --socket /run/node/agent.sock --join @/run/node/join.token
        done
        return
    fi
    for node in $(seq "$1"); do
        # (one machine has one set of ports, so each node gets some of its own)
        nodes_spawn "$node" "$(nodes_log "$node")" "$bin/caravan-agent" "${common[@]}" --name "node$node" \
            --state-dir "$(nodes_dir "$node")/agent" --socket "$(nodes_dir "$node")/agent.sock" \
            --join "@$(nodes_dir "$node")/join.token" \
            --address "127.0.0.$((node + 1))" \
            --worker-ports $((20042 + 10 * node))-$((20051 + 10 * node)) \
            --coordinator-ports $((18070 + 10 * node))-$((18079 + 10 * node)) \
            --carrier-ports $((7430 + 10 * node))-$((7439 + 10 * node))
    done
}

nodes_collect_logs() { # DIR: what is worth reading of each node, before it goes
    local node dir
    for node in $(seq 16); do
        dir=$(nodes_dir "$node")
        [ -d "$dir" ] || continue
        mkdir -p "$1/node$node"
        (cd "$dir" && find . -name '*.log' -o -path '*/units/*/log') | while read -r log; do
            mkdir -p "$1/node$node/$(dirname "$log")"
            cp "$dir/$log" "$1/node$node/$log"
        done
    done
    [ ! -e "$1/node1/controller.log" ] || mv "$1/node1/controller.log" "$1/controller.log"
}

# Ends everything, whatever state it is in.
nodes_down() {
    case $(nodes_mode) in
    lab) "$cluster" down ;;
    loopback) nodes_end_loopback ;;
    esac
}

ours() { # PID: is it still one of our daemons? (the number may be another's by now)
    grep -q '^caravan-' "/proc/$1/comm" 2>/dev/null
}

nodes_end_loopback() {
    local pid dir pids=() _
    while read -r pid; do
        ours "$pid" && pids+=("$pid")
    done 2>/dev/null <"$state/pids"
    [ "${#pids[@]}" = 0 ] || kill "${pids[@]}" 2>/dev/null
    for pid in "${pids[@]}"; do
        for _ in $(seq 100); do
            ours "$pid" || break
            sleep 0.05
        done
        ours "$pid" && kill -9 "$pid" 2>/dev/null
    done
    # agents leave their children running; these are ended by what was recorded of them
    for dir in "$state"/node*/agent; do
        [ ! -d "$dir" ] || "$(cat "$state/bin")/caravan-agent" --config /dev/null --state-dir "$dir" --purge >/dev/null 2>&1 </dev/null
    done
}
