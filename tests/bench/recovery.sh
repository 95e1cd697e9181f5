#!/bin/bash
# recovery: what is noticed and mended how fast, 20 runs of each, on four nodes with a model that loads in under a second.
# Each figure is the 95th percentile. `relaunch` is the moment at which the next epoch's coordinator is asked for: the
# instance's transition to `loading`, as /api/events tells it.
# shellcheck source=tests/bench/lib.sh
. "$(dirname "$0")/lib.sh"
rows=$1
runs=${CARAVAN_BENCH_RUNS:-20}
lab_up 5 # the controller has a machine of its own: any node may go
model tiny --layers 12 --embd 256 --heads 8 --kv-heads 2 --type q8_0 --ctx 4096
controller 5 --settle 2s
agents 4

# Lines of /api/events with the moment at which each came before it.
listen() {
    : >"$WORK/events"
    curl -sN -m 300 "$URL/api/events" > >(while IFS= read -r line; do echo "${EPOCHREALTIME/[.,]/} $line"; done >"$WORK/events") &
    listening=$!
    until_ok 10 test -s "$WORK/events"
}
deaf() {
    kill "$listening" 2>/dev/null || true
    wait "$listening" 2>/dev/null || true
}
# heard SECONDS PATTERN...: the moment of the first line after $t0 that has every one of the patterns
heard() {
    local limit=$1 end at
    shift
    end=$((SECONDS + limit))
    while :; do
        at=$(awk -v t0="$t0" 'BEGIN { n = ARGC; for (i = 2; i < n; i++) { p[i] = ARGV[i]; delete ARGV[i] } }
            $1 >= t0 { for (i = 2; i < n; i++) if (!index($0, p[i])) next; print $1; exit }' "$WORK/events" "$@")
        [ -z "$at" ] || break
        [ $SECONDS -lt $end ] || fail "not within $limit s: $* ($(instance))"
        sleep 0.02
    done
    echo "$at"
}
took() { echo "$t0 $1" | awk '{ printf "%.1f\n", ($2 - $1) / 1000 }' >>"$WORK/$2"; } # MOMENT FILE

generate() { stream "$WORK/stream" 3500; } # until it is cut or over
quiet() {
    [ -n "${streaming:-}" ] || return 0
    kill "$streaming" 2>/dev/null || true
    wait "$streaming" 2>/dev/null || true
    streaming=
}
# A clean slate for each run: attempts, backoff and exclusions of the run before must not count in this one.
fresh() {
    until_ok 90 nodes_ready 4
    cv stop tiny >/dev/null 2>&1 || true
    cv deploy tiny --nodes 2 --ctx 4096 --slots 1 >/dev/null
    until_ok 60 is tiny ready
}

worker_kill() {
    generate
    node=$(rank_node $((k % 2)))
    pid=$(serving "$node" rpc-server)
    t0=$(now_us)
    kill -KILL "$pid"
    took "$(heard 60 '"to":"loading"')" worker_kill
}
silent() {
    node=$(rank_node 1)
    t0=$(now_us)
    "$LAB" cut "$node"
    took "$(heard 60 '"machine":"node"' "\"id\":\"node$node\"" '"to":"lost"')" silent_lost
    took "$(heard 60 '"to":"loading"')" silent_relaunch
    "$LAB" uncut "$node"
}
crash() {
    generate
    node=$(rank_node 1)
    t0=$(now_us)
    "$LAB" halt "$node"
    took "$(heard 60 '"to":"loading"')" crash_relaunch
    "$LAB" boot "$node"
    agent "$node"
}
frozen() {
    generate
    node=$(rank_node 1)
    pid=$(serving "$node" rpc-server)
    t0=$(now_us)
    kill -STOP "$pid"
    took "$(heard 60 '"to":"loading"')" frozen_relaunch
    heard 1 "node$node" '"from":"ready"' >/dev/null # named
}
agent_adopt() {
    before=$(llama_pids 1 2 3 4)
    node=$(rank_node 0)
    kill -KILL "$(pid_of "$node" caravan-agent)"
    until_ok 20 gone "$node" caravan-agent
    t0=$(now_us)
    in_node "$node" "agent$node" "$BIN/caravan-agent" --config /dev/null --state-dir /run/node/agent --models "$MODELS" \
        --llama-dir "$LLAMA" --shim "$BIN/caravan-shim" --carrier "$CARRIER" --rank-transport "$TRANSPORT" --trust open --worker-threads 1
    took "$(heard 60 '"machine":"node"' "\"id\":\"node$node\"" '"to":"ready"')" agent_adopt
    after=$(llama_pids 1 2 3 4)
    [ "$before" = "$after" ] || fail "processes changed while an agent was away"
    is tiny ready || fail "not ready after its agent came back: $(instance)"
}
controller_restart() {
    kill -KILL "$(pid_of 5 caravan-controller)"
    until_ok 20 gone 5 caravan-controller
    t0=$(now_us)
    controller 5 --settle 2s
    until_ok 60 ask tiny hi 1
    took "$(now_us)" controller_first_answer
}

run() { # FUNCTION RUNS
    for k in $(seq 0 $(($2 - 1))); do
        fresh
        listen
        "$1"
        deaf
        quiet
    done
}
run worker_kill "$runs"
run silent "$runs"
run crash "$runs"
run frozen "$runs"
run agent_adopt "$runs"
for k in $(seq "$runs"); do
    [ "$k" != 1 ] || fresh
    controller_restart
done
bar() { row "$rows" "$1" ms "$WORK/$2" "$(quantile "$WORK/$2" 0.95)" "$3"; }
bar worker_kill_ms worker_kill 300
bar silent_lost_ms silent_lost 2000
bar silent_relaunch_ms silent_relaunch 4500
bar crash_relaunch_ms crash_relaunch 1000
bar frozen_relaunch_ms frozen_relaunch 12000
bar agent_adopt_ms agent_adopt 2000
bar controller_first_answer_ms controller_first_answer 2000
