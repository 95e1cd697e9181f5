#!/bin/bash
# Processes that die, stop, or hang under an instance that serves: it is named and mended, and nothing else is touched.
# Cases 09, 11, 12, 14. (Links and machines: test_recover_network.sh; memory and disks: test_recover_limits.sh.)
# shellcheck source=tests/lab/lib.sh
. "$(dirname "$0")/lib.sh"

lab_up 3
model tiny --layers 12 --embd 256 --heads 8 --kv-heads 2 --type q8_0 --ctx 4096
controller 1 --settle 3s
agents 3
cv deploy tiny --nodes 2 --ctx 4096 --slots 2 >/dev/null

# whole_again EPOCH PATTERN: mended, and each node is ready for what comes next
whole_again() {
    mended "$@"
    until_ok 60 nodes_ready 3
}
# (six ends in a row within five minutes of ready would be given up, and rightly so)
afresh() {
    cv stop tiny >/dev/null
    cv deploy tiny --nodes 2 --ctx 4096 --slots 2 >/dev/null
}

# kill -9 of each member, asked and idle
for rank in 0 1; do
    e=$(epoch tiny)
    stream "$WORK/s$rank" 3000
    kill -KILL "$(serving "$(rank_node $rank)" rpc-server)"
    whole_again "$e" "rank $rank on node$(rank_node $rank)?.*SIGKILL"
    wait "$streaming" || true
    grep -q '"error"' "$WORK/s$rank" || fail "the cut stream has no error event"
done
e=$(epoch tiny)
kill -KILL "$(serving "$(rank_node 1)" rpc-server)"
whole_again "$e" 'rank 1 on node.*SIGKILL'
e=$(epoch tiny)
kill -KILL "$(pid_of "$(rank_node 0)" llama-server)"
whole_again "$e" 'coordinator on node.*SIGKILL'

afresh

# a worker that stands still (case 11): named within some ten seconds; one that goes on in time is left alone
e=$(epoch tiny)
stream "$WORK/paused" 3000
pid=$(serving "$(rank_node 1)" rpc-server)
kill -STOP "$pid"
stopped() { nodes_say '[.nodes[].units[] | select(.proc_state == "T")] | length == 1'; }
until_ok 20 stopped
kill -CONT "$pid"
until_ok 30 grew "$WORK/paused" $(($(chunks "$WORK/paused") + 20))
[ "$(epoch tiny)" = "$e" ] || fail "a worker that was stopped for a moment cost an epoch"
kill -STOP "$pid"
until_ok 60 sh -c "! kill -0 $pid"
whole_again "$e" "rank 1 on node.*(hung|stopped|no CPU|unread)"
wait "$streaming" || true

# an idle worker that is stopped is a fact, and nothing more; a coordinator that is stopped while asked is named
e=$(epoch tiny)
pid=$(serving "$(rank_node 1)" rpc-server)
kill -STOP "$pid"
until_ok 20 stopped
kill -CONT "$pid"
pid=$(pid_of "$(rank_node 0)" llama-server)
stream "$WORK/held" 3000
kill -STOP "$pid"
whole_again "$e" 'coordinator'
wait "$streaming" || true

afresh

# the controller killed: everything runs on, is adopted, and answers
e=$(epoch tiny)
before=$(llama_pids 1 2 3)
stream "$WORK/through" 3000
end_program KILL 1 caravan-controller
wait "$streaming" || true
controller 1 --settle 3s
until_ok 60 is tiny ready
[ "$(epoch tiny)" = "$e" ] || fail "the restart of the controller cost an epoch"
answers tiny || fail "no answer after the restart of the controller"
[ "$before" = "$(llama_pids 1 2 3)" ] || fail "the restart of the controller changed processes: $before / $(llama_pids 1 2 3)"

# somebody takes the port of a worker that died while its agent was away: the next one takes another
node=$(rank_node 1)
e=$(epoch tiny)
end_program KILL "$node" caravan-agent
kill -KILL "$(serving "$node" rpc-server)"
until_ok 20 gone "$node" rpc-server
in_node "$node" thief python3 -m http.server 20052
until_ok 20 grep -q Serving "$WORK/thief.log"
agent "$node"
whole_again "$e" 'rank' # by its agent, or by the reset that its coordinator saw before
cv stop tiny >/dev/null
no_coordinator 1 2 3
until_ok 60 nodes_ready 3
