#!/bin/bash
# What is left when machines go. Each block is a row of the README's table "When machines go".
# shellcheck source=tests/lab/lib.sh
. "$(dirname "$0")/lib.sh"

lab_up 4
model tiny --layers 12 --embd 256 --heads 8 --kv-heads 2 --type q8_0 --ctx 4096
model wide --layers 4 --embd 256 --heads 8 --kv-heads 2 --sparse 0.5 --ctx 512

reason() { instance "$1" | jq -r .reason; }
waits_for_room() { # NAME
    until_ok 90 is "$1" waiting
    [[ $(reason "$1") =~ [0-9]\ (GiB|MiB) ]] || fail "waiting does not say what is missing: $(reason "$1")"
    say "$1: $(reason "$1")"
}
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
        rm -rf "/run/cv-$CARAVAN_LAB/n$i/var/agent" "/run/cv-$CARAVAN_LAB/n$i/var/controller"
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
waits_for_room wide
"$LAB" boot 2
agent 2 --memory 1000M
until_ok 90 is wide ready
until_ok 90 is tiny ready
answers wide || fail "wide does not answer after node 2 came back"
answers tiny || fail "tiny does not answer after node 2 came back"

say "two nodes, the controller on node 1; node 1 goes and comes back: everything is there again, no command typed (case 23)"
"$LAB" crash 1
rm -f "$WORK/controller.pid" "$WORK/agent1.pid"
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
e=$(epoch there)
"$LAB" linkdown 1
until_ok 30 brake true
sleep 8 # longer than evict_after: what must not happen has had its time
[ "$(epoch there)" = "$e" ] || fail "the brake did not hold: $(instance there)"
for i in 2 3; do node_is $i suspect || fail "node $i is $(cv nodes)"; done
"$LAB" linkup 1
until_ok 60 brake false
until_ok 60 nodes_ready 3
until_ok 60 is there ready
answers there || fail "no answer after the cable was back"
end_all

say "four nodes, three really go and none comes back: the brake holds until it is lifted; then what fits is served, the rest waits"
controller 1 --settle 3s --brake-hold 8s
agent 1 --memory 1000M
until_ok 60 nodes_ready 1
cv plan tiny --ctx 512 --slots 1 --save "$WORK/here" >/dev/null # with node 1 alone
cv drain node1 >/dev/null
for i in 2 3 4; do agent $i --memory 1000M; done
until_ok 60 nodes_ready 3
cv deploy tiny --ctx 512 --slots 1 >/dev/null # on one of those that go
cv undrain node1 >/dev/null
until_ok 60 nodes_ready 4
cv deploy tiny --alias here --plan "$WORK/here" >/dev/null
cv deploy wide --ctx 512 --slots 1 >/dev/null # two nodes, or nowhere
before="$(epoch tiny) $(epoch here) $(epoch wide)"
for i in 2 3 4; do "$LAB" crash $i; done
until_ok 30 brake true
sleep 12 # longer than brake_hold: with nobody answering that alone proves nothing
brake true || fail "the brake was lifted by itself"
[ "$(epoch tiny) $(epoch here) $(epoch wide)" = "$before" ] || fail "the brake did not hold: $before, now $(cv instances)"
for i in 2 3 4; do node_is $i suspect || fail "node $i is not suspect: $(cv nodes)"; done
answers here || fail "what lies on the survivor alone does not answer under the brake"
cv nodes lift-brake
until_ok 30 brake false
for i in 2 3 4; do until_ok 60 node_is $i lost; done
until_ok 90 ready_after "${before%% *}"
[ "$(rank_node 0)" = 1 ] || fail "tiny is on node $(rank_node 0)"
answers tiny || fail "the survivor does not serve what fits it"
answers here || fail "what the survivor served before it does not serve any more"
waits_for_room wide

say "they come back: what waits is placed; three go again and one comes back: the brake lifts by itself"
for i in 2 3 4; do "$LAB" boot $i && agent $i --memory 1000M; done
until_ok 90 is wide ready
answers wide || fail "wide does not answer after the three came back"
for i in 2 3 4; do "$LAB" crash $i; done
until_ok 30 brake true
"$LAB" boot 2
agent 2 --memory 1000M
until_ok 60 brake false
for i in 3 4; do until_ok 60 node_is $i lost; done
until_ok 90 is wide ready
for name in tiny here wide; do answers $name || fail "$name does not answer on the two that are left"; done
