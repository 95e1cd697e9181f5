#!/bin/bash
# Sizing on real agents: bands under `spread`, memory under `fit`, `--nodes` both ways (cases 17 and 18), and a model that
# only fits because it is spread, started for real.
# shellcheck source=tests/lab/lib.sh
. "$(dirname "$0")/lib.sh"

lab_up 4
for gb in 1.9 2.0 9.9 10.1 12; do model "s$gb" --sparse $gb; done
model small --sparse 0.9
model one --sparse 1.0
controller 1
agents 4

ranks() { cv plan "$@" --json | jq '.plan.ranks | length'; }
while read -r gb want; do
    have=$(ranks "s$gb" --policy spread)
    [ "$have" = "$want" ] || fail "spread, $gb GB: $have nodes, not $want: $(cv plan "s$gb" --policy spread)"
done <<EOF
1.9 1
2.0 2
9.9 2
10.1 4
12 4
EOF
say "spread: 1.9, 2.0, 9.9, 10.1, 12 GB -> 1, 2, 2, 4, 4 nodes"

[ "$(cv plan small --nodes 2 --json | jq -c '[.plan.ranks[].node_name] | [length, (unique | length)]')" = "[2,2]" ] || fail "case 18: --nodes 2"
say "0.9 GB with --nodes 2: ranks on $(cv plan small --nodes 2 --json | jq -r '[.plan.ranks[].node_name] | join(", ")')"

# the same nodes, offering 4 GiB each
for i in 1 2 3 4; do end_program TERM $i caravan-agent; done
for i in 1 2 3 4; do agent $i --memory 4G; done
until_ok 60 nodes_ready 4
until_ok 20 nodes_say 'all(.nodes[]; .memory.limit_bytes == 4294967296)'
have=$(ranks s12 --policy fit)
[ "$have" = 4 ] || fail "fit, 12 GB on 4 x 4 GiB: $have nodes: $(cv plan s12)"
say "fit: 12 GB on nodes of 4 GiB -> 4"
# (what else takes memory on this machine changes nothing here, as it would for nodes that offer all that is free)
cv plan s12 --policy fit >"$WORK/p1"
cv plan s12 --policy fit >"$WORK/p2"
cmp "$WORK/p1" "$WORK/p2" || fail "the same inputs gave two plans"

# three nodes there, three needed
end_program TERM 4 caravan-agent
until_ok 60 nodes_say '[.nodes[] | select(.state == "ready")] | length == 3'
have=$(ranks s9.9 --policy fit)
[ "$have" = 3 ] || fail "a model that needs three nodes of three got $have: $(cv plan s9.9)"
say "9.9 GB on three nodes of 4 GiB -> 3"

for i in 1 2 3; do end_program TERM $i caravan-agent; done
for i in 1 2 3 4; do agent $i --memory 400M; done
until_ok 60 nodes_say '[.nodes[] | select(.state == "ready" and .memory.limit_bytes == 419430400)] | length == 4'
until_ok 60 nodes_ready 4
cv deploy one --ctx 512 --slots 1 || fail "1 GB on nodes of 400 MiB"
n=$(cv instances --json | jq '.instances[0].ranks | length')
[ "$n" = 4 ] || fail "1 GB on nodes of 400 MiB: $n ranks"
ask one "hello" 4 >/dev/null || fail "no answer"
say "1 GB runs on $n nodes of 400 MiB"
cv stop one
