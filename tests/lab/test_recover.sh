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

one() { cv instances --json | jq -c '.instances[] | select(.name == "tiny")'; }
epoch() { one | jq -r .epoch; }
ready_after() { one | jq -e --argjson e "$1" '.state == "ready" and .epoch > $e'; }
rank_node() { one | jq -r ".plan.ranks[$1].node_name" | tr -d '[:lower:]'; }
largest() { # NODE PROGRAM: the process that serves, not an idle one
    local p
    for p in $(pid_of "$1" "$2"); do
        echo "$(awk '/^RssAnon/ { print $2 }' "/proc/$p/status") $p"
    done | sort -n | tail -n 1 | cut -d' ' -f2
}
stream() { # FILE TOKENS
    jq -n --argjson n "$2" '{model: "tiny", stream: true, messages: [{role: "user", content: "go"}], max_tokens: $n, temperature: 0}' |
        curl -sSN -m 200 -d @- "$URL/v1/chat/completions" >"$1" 2>"$1.err" &
    streaming=$!
    until_ok 60 sh -c "[ \$(grep -c content '$1') -gt 10 ]"
}
reason_of() { # EPOCH: why that one ended
    one | jq -r --argjson e "$1" '.tried[] | select(.epoch == $e) | "\(.code): \(.text)"'
}
# mended EPOCH PATTERN: the next epoch serves, and the old one's end is told by PATTERN
mended() {
    until_ok 90 ready_after "$1"
    [[ $(reason_of "$1") =~ $2 ]] || fail "the reason of epoch $1 is \"$(reason_of "$1")\", not like \"$2\""
    [ -n "$(ask tiny hello 4)" ] || fail "no answer after epoch $1"
    until_ok 60 nodes_ready 3
    say "mended: $(reason_of "$1")"
}

# (six ends in a row within five minutes of ready would be given up, and rightly so)
afresh() {
    cv stop tiny >/dev/null
    cv deploy tiny --nodes 2 --ctx 4096 --slots 2 >/dev/null
}

# kill -9 of each member, asked and idle
for rank in 0 1; do
    e=$(epoch)
    stream "$WORK/s$rank" 3000
    kill -KILL "$(largest "$(rank_node $rank)" rpc-server)"
    mended "$e" "rank $rank on node$(rank_node $rank)?.*SIGKILL"
    wait "$streaming" || true
    grep -q '"error"' "$WORK/s$rank" || fail "the cut stream has no error event"
done
e=$(epoch)
kill -KILL "$(largest "$(rank_node 1)" rpc-server)"
mended "$e" 'rank 1 on node.*SIGKILL'
e=$(epoch)
kill -KILL "$(pid_of "$(rank_node 0)" llama-server)"
mended "$e" 'coordinator on node.*SIGKILL'

afresh

# a worker that stands still (case 11): named within some ten seconds; one that goes on in time is left alone
e=$(epoch)
stream "$WORK/paused" 3000
pid=$(largest "$(rank_node 1)" rpc-server)
kill -STOP "$pid"
stopped() { cv nodes --json | jq -e '[.nodes[].units[] | select(.proc_state == "T")] | length == 1'; }
until_ok 20 stopped
kill -CONT "$pid"
before=$(grep -c content "$WORK/paused")
until_ok 30 sh -c "[ \$(grep -c content '$WORK/paused') -gt $((before + 20)) ]"
[ "$(epoch)" = "$e" ] || fail "a worker that was stopped for a moment cost an epoch"
kill -STOP "$pid"
until_ok 60 sh -c "! kill -0 $pid"
mended "$e" "rank 1 on node.*(hung|stopped|no CPU|unread)"
wait "$streaming" || true

# an idle worker that is stopped is a fact, and nothing more; a coordinator that is stopped while asked is named
e=$(epoch)
pid=$(largest "$(rank_node 1)" rpc-server)
kill -STOP "$pid"
until_ok 20 stopped
kill -CONT "$pid"
pid=$(pid_of "$(rank_node 0)" llama-server)
stream "$WORK/held" 3000
kill -STOP "$pid"
mended "$e" 'coordinator'
wait "$streaming" || true

afresh

# the controller killed: everything runs on, is adopted, and answers
e=$(epoch)
before=$(for i in 1 2 3; do pid_of $i rpc-server; pid_of $i llama-server; done | sort)
stream "$WORK/through" 3000
kill -KILL "$(pid_of 1 caravan-controller)"
until_ok 20 gone 1 caravan-controller
wait "$streaming" || true
rm -f "/run/cv-$CARAVAN_LAB/n1/var/http-port"
controller 1 --settle 3s
until_ok 60 sh -c "[ -n \"\$($BIN/caravan instances --json | jq -r '.instances[] | select(.name == \"tiny\" and .state == \"ready\") | .epoch')\" ]"
[ "$(epoch)" = "$e" ] || fail "the restart of the controller cost an epoch"
[ -n "$(ask tiny hello 4)" ] || fail "no answer after the restart of the controller"
after=$(for i in 1 2 3; do pid_of $i rpc-server; pid_of $i llama-server; done | sort)
[ "$before" = "$after" ] || fail "the restart of the controller changed processes: $before / $after"

# somebody takes the port of a worker that died while its agent was away: the next one takes another
node=$(rank_node 1)
e=$(epoch)
kill -KILL "$(pid_of "$node" caravan-agent)"
until_ok 20 gone "$node" caravan-agent
kill -KILL "$(largest "$node" rpc-server)"
until_ok 20 gone "$node" rpc-server
in_node "$node" thief python3 -m http.server 20052
until_ok 20 grep -q Serving "$WORK/thief.log"
agent "$node"
mended "$e" 'rank' # by its agent, or by the reset that its coordinator saw before
cv stop tiny >/dev/null
for i in 1 2 3; do [ -z "$(pid_of $i llama-server)" ] || fail "a coordinator is left on node $i"; done
until_ok 60 nodes_ready 3
