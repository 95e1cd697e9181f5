#!/bin/bash
# Cables, silent links, one-way cuts, and machines that go. Lost is not evicted: a link that is out for 1, 3 or 10 s costs
# nothing where the model's load takes long (here: evict_after = 15s); one that is out for good costs one recovery.
# shellcheck source=tests/lab/lib.sh
. "$(dirname "$0")/lib.sh"

lab_up 4
model tiny --layers 12 --embd 256 --heads 8 --kv-heads 2 --type q8_0 --ctx 4096
controller 1 --settle 3s --evict-after 15s
agents 4
cv deploy tiny --nodes 2 --ctx 4096 --slots 1 >/dev/null

# far: a node of the instance that the controller does not run on
far() { instance | jq -r '[.plan.ranks[].node_name | select(. != "node1")][0]' | tr -d '[:lower:]'; }

e=$(epoch tiny)
for out in 1 3 10; do
    node=$(far)
    stream "$WORK/s$out" 3900
    "$LAB" linkdown "$node"
    sleep "$out" # the fault itself
    "$LAB" linkup "$node"
    until_ok 60 grew "$WORK/s$out" $(($(chunks "$WORK/s$out") + 5))
    until_ok 60 node_is "$node" ready
    [ "$(epoch tiny)" = "$e" ] || fail "a link that was out for $out s cost an epoch: $(instance)"
    kill "$streaming" 2>/dev/null || true
    wait "$streaming" || true
    say "link out for $out s: same epoch, tokens went on"
done

# out for a minute: lost, evicted, served elsewhere; what is left on it ends when it is back
node=$(far)
"$LAB" linkdown "$node"
until_ok 30 node_is "$node" lost
[ "$(epoch tiny)" = "$e" ] || fail "lost alone cost an epoch"
until_ok 90 ready_after "$e"
instance | jq -e --arg n "node$node" '[.plan.ranks[].node_name] | index($n) == null' >/dev/null || fail "placed on the node that is away: $(instance)"
answers tiny || fail "no answer"
"$LAB" linkup "$node"
until_ok 60 node_is "$node" ready
until_ok 60 nodes_ready 4
say "link out for good: $(instance | jq -r '.tried[-1].text')"

# one way only: what the node says no longer reaches the controller; a neighbour carries for it, and nothing is recovered
e=$(epoch tiny)
node=$(far)
"$LAB" oneway "$node" 1
until_ok 60 node_says "node$node" '.state == "ready" and (.via // "") != ""'
cv nodes | grep -q 'via node' || fail "caravan nodes does not say who carries: $(cv nodes)"
say "one-way cut: $(cv nodes --json | jq -r --arg n "node$node" '.nodes[] | select(.name == $n) | "\(.state) (via \(.via))"')"
"$LAB" heal
until_ok 60 node_says "node$node" '.state == "ready" and (.via // "") == ""'

# without a controller, any agent answers what was known, and says how old it is
"$LAB" partition "1" "2 3 4"
known() { "$LAB" exec 3 "$BIN/caravan" nodes --controller http://10.77.0.11:8080 >"$WORK/offline" 2>&1 </dev/null; }
until_ok 60 known
grep -q node2 "$WORK/offline" || fail "$(cat "$WORK/offline")"
"$LAB" heal
until_ok 60 nodes_ready 4

# power loss of a member, and back
e=$(epoch tiny)
until_ok 60 ready_after 0
node=$(far)
"$LAB" crash "$node"
until_ok 90 ready_after "$e"
"$LAB" boot "$node"
agent "$node"
until_ok 60 nodes_ready 4
answers tiny || fail "no answer after power loss"
say "power loss: $(instance | jq -r '.tried[-1].text')"
