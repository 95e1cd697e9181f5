#!/bin/bash
# join: an agent's start (which is before its advert) until `caravan nodes` shows it ready. 20 joins of a node whose
# avahi-daemon runs; state directory new each time, so that key and first contact are counted too.
# shellcheck source=tests/bench/lib.sh
. "$(dirname "$0")/lib.sh"
rows=$1
lab_up 2
controller 1
for i in $(seq 20); do
    t0=$(now_us)
    agent 2 --state-dir "/run/node/agent$i" --name "bench$i"
    until_ok 60 sh -c "'$BIN/caravan' nodes --json | grep -q '\"bench$i\"'"
    until_ok 60 sh -c "'$BIN/caravan' nodes --json | jq -e '.nodes[] | select(.name == \"bench$i\" and .state == \"ready\")'"
    echo $((($(now_us) - t0) / 1000)) >>"$WORK/join"
    kill -TERM "$(pid_of 2 caravan-agent)"
    for p in $(pid_of 2 rpc-server); do kill -KILL "$p"; done
    until_ok 20 gone 2 caravan-agent
done
row "$rows" advert_visible_ms ms "$WORK/join" "$(quantile "$WORK/join" 0.95)" 2000
