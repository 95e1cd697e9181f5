#!/bin/bash
# What is left when machines go. Each block is a row of the README's table "When machines go".
# shellcheck source=tests/lab/lib.sh
. "$(dirname "$0")/lib.sh"

lab_up 4
model tiny --layers 12 --embd 256 --heads 8 --kv-heads 2 --type q8_0 --ctx 4096
model wide --layers 4 --embd 256 --heads 8 --kv-heads 2 --sparse 0.5 --ctx 512

one() { cv instances --json | jq -c --arg n "$1" '[.instances[] | select(.name == $n and .state != "stopped")][0]'; }
is() { [ "$(one "$1" | jq -r .state)" = "$2" ]; }
node_is() { [ "$(cv nodes --json | jq -r --arg n "node$1" '.nodes[] | select(.name == $n) | .state')" = "$2" ]; }
answers() { [ -n "$(ask "$1" hello 4)" ]; }
brake() { [ "$(cv nodes --json | jq -r .brake.on)" = "$1" ]; }
end_all() {
    local f pid
    for f in "$WORK"/*.pid; do
        pid=$(cat "$f")
        kill -TERM "$pid" 2>/dev/null || true
        until_ok 20 sh -c "! kill -0 $pid 2>/dev/null"
        rm -f "$f"
    done
    for i in 1 2 3 4; do
        "$LAB" crash $i
        rm -rf "/run/cv-$CARAVAN_LAB/n$i/var/agent" "/run/cv-$CARAVAN_LAB/n$i/var/controller" "/run/cv-$CARAVAN_LAB/n$i/var/http-port"
        "$LAB" boot $i
    done
}

say "two nodes, the controller on node 1; node 2 goes: node 1 serves alone what fits it, and waits with what does not"
controller 1 --settle 3s
agent 1 --memory 1000M
agent 2 --memory 1000M
until_ok 60 nodes_ready 2
cv deploy tiny --nodes 2 --ctx 512 --slots 1 >/dev/null
cv deploy wide --ctx 512 --slots 1 >/dev/null # half a GiB: on both, or nowhere
"$LAB" crash 2
until_ok 60 node_is 2 lost
brake false || fail "one node of one is no mass loss"
until_ok 90 is wide waiting
[[ $(one wide | jq -r .reason) =~ [0-9]\ (GiB|MiB) ]] || fail "waiting does not say what is missing: $(one wide | jq -r .reason)"
say "wide: $(one wide | jq -r .reason)"
"$LAB" boot 2
agent 2 --memory 1000M
until_ok 90 is wide ready
until_ok 90 is tiny ready
answers wide || fail "wide does not answer after node 2 came back"
answers tiny || fail "tiny does not answer after node 2 came back"

say "two nodes, the controller on node 1; node 1 goes and comes back: everything is there again, no command typed (case 23)"
"$LAB" crash 1
rm -f "$WORK/controller.pid" "$WORK/agent1.pid" "/run/cv-$CARAVAN_LAB/n1/var/http-port"
"$LAB" boot 1
controller 1 --settle 3s
agent 1 --memory 1000M
until_ok 90 is tiny ready
until_ok 90 is wide ready
answers tiny || fail "tiny does not answer after node 1 came back"
end_all

say "three nodes, the controller's cable is out: the brake holds, its own node serves on; the cable is back: all is as before"
controller 1 --settle 3s --evict-after 4s
for i in 1 2 3; do agent $i; done
until_ok 60 nodes_ready 3
cv deploy tiny --nodes 1 --ctx 512 --slots 1 --alias here >/dev/null
cv deploy tiny --nodes 2 --ctx 512 --slots 1 --alias there >/dev/null
e=$(one there | jq -r .epoch)
"$LAB" linkdown 1
until_ok 30 brake true
sleep 8 # longer than evict_after: what must not happen has had its time
[ "$(one there | jq -r .epoch)" = "$e" ] || fail "the brake did not hold: $(one there)"
for i in 2 3; do node_is $i suspect || fail "node $i is $(cv nodes)"; done
"$LAB" linkup 1
until_ok 60 brake false
until_ok 60 nodes_ready 3
until_ok 60 is there ready
answers there || fail "no answer after the cable was back"
end_all

say "four nodes, three really go: the brake holds, then lifts; the survivor serves what fits it"
controller 1 --settle 3s --brake-hold 15s
for i in 1 2 3 4; do agent $i; done
until_ok 60 nodes_ready 4
cv deploy tiny --nodes 4 --ctx 512 --slots 1 >/dev/null
"$LAB" crash 3 && "$LAB" crash 4
until_ok 30 brake true
e=$(one tiny | jq -r .epoch)
sleep 5 # a part of brake_hold in which nothing may be decided
[ "$(one tiny | jq -r .epoch)" = "$e" ] || fail "the brake did not hold"
until_ok 60 brake false
until_ok 60 node_is 3 lost
cv stop tiny >/dev/null
cv deploy tiny --ctx 512 --slots 1 >/dev/null
answers tiny || fail "the survivors do not serve"
