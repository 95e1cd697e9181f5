#!/bin/bash
# Deaths in mid-generation. Every agent killed: the stream ends whole and each restarted agent adopts its children (case 03).
# A worker killed: the instance leaves `ready` at once, and task, event and command line name rank, node and signal.
# shellcheck source=tests/lab/lib.sh
. "$(dirname "$0")/lib.sh"

lab_up 3
model tiny --layers 12 --embd 256 --heads 8 --kv-heads 2 --type q8_0 --ctx 4096
controller 1
agents 3
cv deploy tiny --nodes 3 --ctx 4096 --slots 1 >/dev/null

stream() { # stream FILE TOKENS
    jq -n --argjson n "$2" '{model: "tiny", stream: true, messages: [{role: "user", content: "go"}], max_tokens: $n, temperature: 0}' |
        curl -sSN -m 300 -d @- "$URL/v1/chat/completions" >"$1" 2>"$1.err" &
}
tokens() { grep -c '"content":"' "$1" || true; }

stream "$WORK/stream" 2000
streaming=$!
until_ok 60 sh -c "[ \$(grep -c content '$WORK/stream') -gt 20 ]"
before=$(for i in 1 2 3; do pid_of $i rpc-server; pid_of $i llama-server; done | sort)
for i in 1 2 3; do
    kill -KILL "$(pid_of $i caravan-agent)"
    until_ok 20 gone $i caravan-agent
done
t0=$(date +%s%N)
for i in 1 2 3; do agent $i; done
adopted() { [ "$(cv nodes --json | jq '[.nodes[] | select(.state == "ready") | .units[] | select(.adopted and .state == "running" and .instance != null)] | length')" = 4 ]; }
until_ok 60 adopted
say "3 agents restarted, 4 children adopted and reported after $((($(date +%s%N) - t0) / 1000000)) ms (sanitizer build)"
kill -0 $streaming 2>/dev/null || fail "the stream was over before the agents were back: a longer one is needed"
wait $streaming || fail "the stream was cut: $(tail -c 300 "$WORK/stream")"
tail -n 3 "$WORK/stream" | grep -q '^data: \[DONE\]' || fail "the stream has no end"
[ "$(tokens "$WORK/stream")" -ge 1990 ] || fail "$(tokens "$WORK/stream") tokens"
after=$(for i in 1 2 3; do pid_of $i rpc-server; pid_of $i llama-server; done | sort)
[ "$before" = "$after" ] || fail "processes changed: $before / $after"
[ "$(cv instances --json | jq -r '.instances[0].state')" = ready ] || fail "not ready after the agents came back"

stream "$WORK/stream2" 3000
streaming=$!
until_ok 60 sh -c "[ \$(grep -c content '$WORK/stream2') -gt 20 ]"
kill -KILL "$(pid_of 2 rpc-server)"
lost() { cv instances --json | jq -e '.instances[] | select(.name == "tiny") | .state == "failed"'; }
until_ok 60 lost
reason=$(cv instances --json | jq -r '.instances[0].reason')
[[ $reason =~ rank\ [0-2].*node2.*(signal\ 9|SIGKILL) ]] || fail "the reason is \"$reason\""
cv instances | grep -q 'SIGKILL' || fail "caravan instances does not say why: $(cv instances)"
wait $streaming || true
grep -q '"error"' "$WORK/stream2" || fail "the cut stream has no error event: $(tail -c 300 "$WORK/stream2")"
# nothing of the epoch is left: the other workers are empty and idle again, the killed one is back
until_ok 60 nodes_ready 3
idle() { [ "$(cv nodes --json | jq '[.nodes[].units[] | select(.standing and .state == "running" and .instance == null)] | length')" = 3 ]; }
until_ok 60 idle
for i in 1 2 3; do [ -z "$(pid_of $i llama-server)" ] || fail "a coordinator is left on node $i"; done
say "worker killed: $reason"
cv deploy tiny --nodes 3 --ctx 512 --slots 1 >/dev/null || fail "the cluster cannot start the model again"

# a worker killed while nobody asks (case 14)
kill -KILL "$(pid_of 3 rpc-server)"
until_ok 60 lost
say "killed while idle: $(cv instances --json | jq -r '.instances[0].reason')"
