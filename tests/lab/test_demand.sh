#!/bin/bash
# What comes and goes because of requests alone: replicas that share them and stand in for each other, a model that is unloaded
# when nobody asks for it, and models that make room for each other. Cases 04, 09.
# shellcheck source=tests/lab/lib.sh
. "$(dirname "$0")/lib.sh"
callers() { python3 "$ROOT/tests/lab/callers.py" "$1" "$URL" "${@:2}"; }
starts() { curl -sf "$URL/metrics" | sed -n 's/^caravan_coordinator_starts_total //p'; }
holds() { jq -e "$2" "$1" >/dev/null || fail "$2 does not hold: $(cut -c1-1000 "$1")"; }
answered() { # NAME
    callers ask 1 "$1" >"$WORK/one"
    holds "$WORK/one" '.status == {"200": 1} and .cut == 0'
}
every() { instances_say "[.instances[] | select(.name == \"$1\" and .state != \"stopped\")] | $2"; } # NAME FILTER
stopped() { every "$1" 'length == 0'; }
# stream_of NAME FILE TOKENS: in the background, as $streaming; has begun
stream_of() {
    chat "$1" go "$3" | jq '. + {stream: true, ignore_eos: true}' |
        curl -sSN -m 200 -d @- "$URL/v1/chat/completions" >"$2" 2>"$2.err" &
    streaming=$!
    until_ok 60 grew "$2" 10
}
whole() { # FILE
    wait "$streaming" || fail "the stream: $(cat "$1.err")"
    grep -q '^data: \[DONE\]' "$1" || fail "the stream was cut: $(tail -n 3 "$1")"
}

lab_up 2
model tiny --layers 12 --embd 256 --heads 8 --kv-heads 2 --type q8_0 --ctx 8192
for name in left right kept; do model $name --layers 4 --embd 1024 --heads 8 --kv-heads 2 --type f16 --ctx 8192; done
cat >"$WORK/models.conf" <<CONF
[twins]
file = tiny
context = 2048
slots = 2
replicas = 2
[brief]
file = tiny
context = 8192
slots = 1
ttl = 3s
[kept]
context = 512
pinned = yes
[left]
nodes = 1
context = 4096
slots = 1
[right]
nodes = 1
context = 4096
slots = 1
CONF
controller 1 --models-conf "$WORK/models.conf"
for i in 1 2; do agent $i --memory "${CARAVAN_LAB_MEMORY:-300M}"; done
until_ok 60 nodes_ready 2

say "replicas"
answered twins
[ "$(starts)" -le 2 ] || fail "$(starts) coordinators were started"
until_ok 60 every twins '(map(.state) == ["ready", "ready"]) and ([.[].plan.ranks[0].node_name] | unique | length) == 2'
[ "$(starts)" = 2 ] || fail "$(starts) coordinators were started"
callers ask 40 twins --at-once 4 --tokens 200 --say "$WORK/came" >"$WORK/shared" &
asking=$!
until_ok 60 every twins 'all(.in_flight > 0)'
until_ok 60 grep -q 200 "$WORK/came"
for p in $(pid_of 2 llama-server); do kill -KILL "$p"; done
wait $asking || fail "the callers"
holds "$WORK/shared" '.status == {"200": 40} and .cut == 0'
until_ok 90 every twins 'map(.state) == ["ready", "ready"]'
cv stop twins >/dev/null

say "ttl"
answered brief
began=$(starts) asked=$SECONDS
stream_of brief "$WORK/long" 8000
while [ $((SECONDS - asked)) -le 6 ]; do sleep 0.2; done # twice its ttl: a time in which nothing is to happen
until_ok 20 grew "$WORK/long" "$(chunks "$WORK/long")"
[ "$(starts)" = "$began" ] || fail "it was started again"
every brief 'map(.leaving) == [false]' || fail "it leaves while it is asked"
kill "$streaming"
wait "$streaming" || true
until_ok 30 stopped brief
[[ $(cv instances --json | jq -r '.instances[] | select(.name == "brief") | .reason') =~ idle\ for\ 3\ s ]] || fail "it does not say why it went"
until_ok 20 gone 1 llama-server
until_ok 20 gone 2 llama-server
answered brief
[ "$(starts)" = $((began + 1)) ] || fail "it was not started again"
until_ok 30 stopped brief

say "room for one more than the pinned one"
answered kept
answered left
answered right
every left 'length == 0' || fail "left and right both fit"
stream_of right "$WORK/busy" 400
callers ask 2 left --streams >"$WORK/waited" &
asking=$!
until_ok 20 every left 'map(.state) == ["waiting"]'
every right 'map(.state) == ["ready"]' || fail "right does not stay while it answers"
whole "$WORK/busy"
wait $asking || fail "the callers"
holds "$WORK/waited" '.status == {"200": 2} and .cut == 0'
stopped right || fail "right is still there"
every kept 'map([.state, .epoch]) == [["ready", 1]]' || fail "what is pinned was touched"
