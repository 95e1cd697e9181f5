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
epoch=$(cv instances --json | jq -r '.instances[0].epoch')
kill -KILL "$(pid_of 2 rpc-server)"
mended() { cv instances --json | jq -e --argjson e "$1" '.instances[] | select(.name == "tiny") | .state == "ready" and .epoch > $e'; }
why() { cv instances --json | jq -r '.instances[] | select(.name == "tiny") | .tried[-1].text'; }
epoch() { cv instances --json | jq -r '.instances[] | select(.name == "tiny") | .epoch'; }
until_ok 90 mended "$epoch"
[[ $(why) =~ rank\ [0-2].*node2.*(signal\ 9|SIGKILL) ]] || fail "the reason is \"$(why)\""
wait $streaming || true
grep -q '"error"' "$WORK/stream2" || fail "the cut stream has no error event: $(tail -c 300 "$WORK/stream2")"
say "worker killed: $(why)"

# a worker killed while nobody asks (case 14): mended before anybody does
epoch=$(epoch)
kill -KILL "$(pid_of 3 rpc-server)"
until_ok 90 mended "$epoch"
[ -n "$(ask tiny hello 4)" ] || fail "no answer after a worker was killed while idle"
say "killed while idle: $(why)"
cv stop tiny >/dev/null
until_ok 60 nodes_ready 3
idle() { [ "$(cv nodes --json | jq '[.nodes[].units[] | select(.standing and .state == "running" and .instance == null)] | length')" = 3 ]; }
until_ok 60 idle
for i in 1 2 3; do [ -z "$(pid_of $i llama-server)" ] || fail "a coordinator is left on node $i"; done
