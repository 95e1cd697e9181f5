#!/bin/bash
# recovery: what is noticed and mended how fast. worker_kill_ms: kill -9 of a worker in mid-generation until /api/events says
# that its instance left `ready`; 20 kills, of each rank in turn. (What follows the noticing is measured once it is built.)
# shellcheck source=tests/bench/lib.sh
. "$(dirname "$0")/lib.sh"
rows=$1
lab_up 3
model tiny --layers 12 --embd 256 --heads 8 --kv-heads 2 --type q8_0 --ctx 4096
controller 1
agents 3
idle() { [ "$(cv nodes --json | jq '[.nodes[].units[] | select(.standing and .state == "running" and .instance == null)] | length')" = 3 ]; }
for k in $(seq 0 19); do
    until_ok 60 idle
    cv deploy tiny --nodes 3 --ctx 4096 --slots 1 >/dev/null
    jq -n '{model: "tiny", stream: true, messages: [{role: "user", content: "go"}], max_tokens: 3500, temperature: 0}' |
        curl -sSN -m 60 -d @- "$URL/v1/chat/completions" >"$WORK/stream" 2>/dev/null &
    asking=$!
    : >"$WORK/events"
    # (the moment at which each line came, beside it)
    curl -sN -m 60 "$URL/api/events" > >(while IFS= read -r line; do echo "${EPOCHREALTIME/[.,]/} $line"; done >"$WORK/events") &
    listening=$!
    until_ok 60 sh -c "[ \$(grep -c content '$WORK/stream') -gt 10 ]"
    node=$(cv instances --json | jq -r ".instances[] | select(.state == \"ready\") | .plan.ranks[$((k % 3))].node_name")
    pid=$(pid_of "${node#node}" rpc-server)
    t0=$(now_us)
    kill -KILL "$pid"
    until_ok 60 grep -q '"from":"ready"' "$WORK/events"
    t1=$(grep -m1 '"from":"ready"' "$WORK/events" | cut -d' ' -f1)
    echo "$t0 $t1" | awk '{ printf "%.1f\n", ($2 - $1) / 1000 }' >>"$WORK/kill"
    kill "$listening"
    wait $asking $listening 2>/dev/null || true
    cv stop tiny >/dev/null 2>&1 || true
done
row "$rows" worker_kill_ms ms "$WORK/kill" "$(quantile "$WORK/kill" 0.5)" 100
