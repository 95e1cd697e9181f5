#!/bin/bash
# Deaths in mid-generation. Every agent killed: the stream ends whole and each restarted agent adopts its children (case 03).
# A worker killed: the next epoch serves, and what was tried names rank, node and signal.
# shellcheck source=tests/lab/lib.sh
. "$(dirname "$0")/lib.sh"

lab_up 3
model tiny --layers 12 --embd 256 --heads 8 --kv-heads 2 --type q8_0 --ctx 4096
controller 1
agents 3
cv deploy tiny --nodes 3 --ctx 4096 --slots 1 >/dev/null

tokens() { grep -c '"content":"' "$1" || true; }

stream "$WORK/stream" 2000
before=$(llama_pids 1 2 3)
for i in 1 2 3; do end_program KILL $i caravan-agent; done
t0=$(date +%s%N)
for i in 1 2 3; do agent $i; done
children=4 # a coordinator and three workers; and a carrier on each node
[ "$TRANSPORT" = direct ] || children=7
adopted() { nodes_say '[.nodes[] | select(.state == "ready") | .units[] | select(.adopted and .state == "running" and .instance != null)] | length == '$children; }
until_ok 60 adopted
say "3 agents restarted, $children children adopted and reported after $((($(date +%s%N) - t0) / 1000000)) ms (sanitizer build)"
kill -0 "$streaming" 2>/dev/null || fail "the stream was over before the agents were back: a longer one is needed"
wait "$streaming" || fail "the stream was cut: $(tail -c 300 "$WORK/stream")"
tail -n 3 "$WORK/stream" | grep -q '^data: \[DONE\]' || fail "the stream has no end"
[ "$(tokens "$WORK/stream")" -ge 1990 ] || fail "$(tokens "$WORK/stream") tokens"
[ "$before" = "$(llama_pids 1 2 3)" ] || fail "processes changed: $before / $(llama_pids 1 2 3)"
is tiny ready || fail "not ready after the agents came back"

stream "$WORK/stream2" 3000
e=$(epoch tiny)
kill -KILL "$(pid_of 2 rpc-server)"
mended "$e" 'rank [0-2].*node2.*(signal 9|SIGKILL)'
wait "$streaming" || true
grep -q '"error"' "$WORK/stream2" || fail "the cut stream has no error event: $(tail -c 300 "$WORK/stream2")"

# a worker killed while nobody asks (case 14): mended before anybody does
e=$(epoch tiny)
kill -KILL "$(pid_of 3 rpc-server)"
mended "$e" 'node3'
cv stop tiny >/dev/null
until_ok 60 nodes_ready 3
idle() { nodes_say '[.nodes[].units[] | select(.standing and .state == "running" and .instance == null)] | length == 3'; }
until_ok 60 idle
no_coordinator 1 2 3
