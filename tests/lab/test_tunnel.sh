#!/bin/bash
# The rank tunnel under an instance of four ranks: nothing of llama.cpp listens to the network; streams and new requests need
# no agent; a link that is out for ten seconds costs no token; whatever ends a stream for good is named and mended.
# shellcheck source=tests/lab/lib.sh
. "$(dirname "$0")/lib.sh"

lab_up 5 # the controller has a machine of its own
model tiny --layers 12 --embd 256 --heads 8 --kv-heads 2 --type q8_0 --ctx 4096
controller 5 --settle 3s --evict-after 30s
agents 4
cv deploy tiny --nodes 4 --ctx 4096 --slots 2 >/dev/null

# ---- where what listens ----

listeners() { # NODE PROGRAM: the addresses that it listens on
    "$LAB" netexec "$1" ss -Hltnp | grep "\"$2\"" | awk '{ print $4 }' | sed 's/:[0-9]*$//' | sort -u
}
for node in 1 2 3 4; do
    [ "$(listeners $node rpc-server)" = 127.0.0.1 ] || fail "the workers of node $node listen on: $(listeners $node rpc-server)"
    runs $node caravan-carrier || fail "node $node has no carrier"
done
[ "$(listeners "$(rank_node 0)" llama-server)" = 127.0.0.1 ] || fail "the coordinator listens on the network"
answers tiny || fail "no answer"

# ---- what each rank did is told ----

until_ok 10 instances_say '[.instances[0].ranks[].flow | select(.from_bytes > 0 and .graphs > 4 and .blind == null)] | length == 4'
cv instances --ranks

# ---- without agents ----

whole() { grep -q 'data: \[DONE\]' "$1" && ! grep -q '"error"' "$1"; }
e=$(epoch tiny)
before=$(llama_pids 1 2 3 4)
carriers=$(for node in 1 2 3 4; do pid_of $node caravan-carrier; done)
stream "$WORK/s1" 400
for node in 1 2 3 4; do kill -KILL "$(pid_of $node caravan-agent)"; done
wait "$streaming" || fail "curl: $(cat "$WORK/s1.err")"
whole "$WORK/s1" || fail "the stream did not survive its agents: $(tail -n 3 "$WORK/s1")"
for node in 1 2 3 4; do until_ok 20 gone $node caravan-agent; done
answers tiny || fail "with every agent dead a new request was not answered"
say "every agent killed: $(chunks "$WORK/s1") pieces came whole, and a new request was answered"
for node in 1 2 3 4; do agent $node; done
until_ok 60 nodes_say '[.nodes[] | select(.state == "ready")] | length == 4'
until_ok 60 is tiny ready
[ "$(epoch tiny)" = "$e" ] || fail "it cost an epoch: $(reason_of "$e")"
[ "$before" = "$(llama_pids 1 2 3 4)" ] || fail "processes changed"
[ "$carriers" = "$(for node in 1 2 3 4; do pid_of $node caravan-carrier; done)" ] || fail "carriers changed"

# ---- a link that is out for ten seconds ----

stream "$WORK/s2" 600
"$LAB" cut "$(rank_node 2)"
sleep 10 # that long it is out: nothing of it can be awaited
n=$(chunks "$WORK/s2")
"$LAB" uncut "$(rank_node 2)"
until_ok 30 grew "$WORK/s2" "$n"
wait "$streaming" || fail "curl: $(cat "$WORK/s2.err")"
whole "$WORK/s2" || fail "the stream did not survive the cut: $(tail -n 3 "$WORK/s2")"
[ "$(epoch tiny)" = "$e" ] || fail "a link that was out for 10 s cost an epoch: $(reason_of "$e")"
text_of() { sed -n 's/^data: //p' "$1" | grep -v DONE | jq -rj '.choices[0].delta.content // ""'; }
stream "$WORK/s3" 600
wait "$streaming"
cmp <(text_of "$WORK/s2") <(text_of "$WORK/s3") || fail "the answer is another one after the cut"
say "a link out for 10 s: no epoch, no token lost"

# ---- what ends it ----

node=$(rank_node 1)
kill -KILL "$(pid_of "$node" caravan-carrier)"
mended "$e" "rank 1 on node$node"
[[ $(reason_of "$e") =~ carrier ]] || fail "it is not told that a carrier ended: $(reason_of "$e")"

e=$(epoch tiny)
stream "$WORK/s4" 3000
node=$(rank_node 3)
kill -STOP "$(serving "$node" rpc-server)"
mended "$e" "rank 3 on node$node"
wait "$streaming" || true
grep -q '"error"' "$WORK/s4" || fail "the cut stream has no error event"

# eviction frees the worker at once: a machine that is gone does not occupy those that were its ranks
e=$(epoch tiny)
cv stop tiny >/dev/null
until_ok 60 nodes_ready 4
cv deploy tiny --nodes 2 --ctx 4096 --slots 2 >/dev/null
e=$(epoch tiny)
node=$(rank_node 0) other=$(rank_node 1)
worker=$(serving "$other" rpc-server)
"$LAB" crash "$node"
until_ok 120 ready_after "$e"
kill -0 "$worker" || fail "the worker that a dead coordinator held had to be ended"
answers tiny || fail "no answer after the crash of a coordinator's machine"
say "a coordinator's machine gone: $(reason_of "$e"); its rank's worker lives on"
"$LAB" boot "$node"
agent "$node"

cv stop tiny >/dev/null
no_coordinator 1 2 3 4
for n in 1 2 3 4; do until_ok 20 gone $n caravan-carrier; done
until_ok 60 nodes_ready 4
