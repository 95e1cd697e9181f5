#!/bin/bash
# A worker with two devices: the plan gives each its layers, --device and -ts count devices, the log proves both.
# shellcheck source=tests/lab/lib.sh
. "$(dirname "$0")/lib.sh"

lab_up 2
model tiny --layers 11 --embd 256 --heads 8 --kv-heads 2 --type q8_0
controller 1
agent 1 --worker-devices CPU,CPU
agent 2
until_ok 60 nodes_ready 2
cv deploy tiny --nodes 2 --ctx 512 --slots 1
cv instances --json >"$WORK/i"
[ "$(jq -c '[.instances[0].plan.ranks[] | [.node_name, (.devices | length)]] | sort' "$WORK/i")" = '[["node1",2],["node2",1]]' ] || fail "plan: $(jq -c .instances[0].plan.ranks "$WORK/i")"
[ "$(jq '[.instances[0].plan.ranks[].devices[].n_layers] | add' "$WORK/i")" = 12 ] || fail "layers do not sum to 12"
[ "$(jq '[.instances[0].ranks[] | select(.proven)] | length' "$WORK/i")" = 2 ] || fail "not proven"
[ -n "$(ask tiny hello 8)" ] || fail "no answer"
say "devices and layers: $(jq -c '[.instances[0].plan.ranks[].devices[] | [.flag, .n_layers]]' "$WORK/i")"
cv stop tiny
