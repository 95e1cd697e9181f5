#!/bin/bash
# Many callers of models that nobody has deployed: one start for all who wait, equal answers or equal errors, and nothing left of
# those who leave. Cases 01, 02, 05, 10. (What comes and goes by itself: test_demand.sh.)
# shellcheck source=tests/lab/lib.sh
. "$(dirname "$0")/lib.sh"
export ASAN_OPTIONS=quarantine_size_mb=0:thread_local_quarantine_size_kb=0 # what is freed is to count as free
ABANDONED=1000
callers() { python3 "$ROOT/tests/lab/callers.py" "$1" "$URL" "${@:2}"; }
starts() { curl -sf "$URL/metrics" | sed -n 's/^caravan_coordinator_starts_total //p'; }
holds() { jq -e "$2" "$1" >/dev/null || fail "$2 does not hold: $(cut -c1-1000 "$1")"; }
# asked STARTS ARGUMENT...: that many callers, and how many coordinators that was to start
asked() {
    local before
    before=$(starts)
    callers ask "${@:2}" >"$WORK/came"
    holds "$WORK/came" '.cut == 0'
    [ "$(starts)" = $((before + $1)) ] || fail "$(($(starts) - before)) coordinators started in place of $1"
}
idle() { instance "$1" | jq -e '.in_flight == 0' >/dev/null; }

lab_up 2
mkdir "$WORK/none"
model tiny --layers 4 --embd 128 --heads 4 --kv-heads 2 --type q8_0 --ctx 4096
model cut --layers 4 --embd 128 --heads 4 --kv-heads 2 --type q8_0 --truncate 300000 # amid its tensors
model wide --layers 8 --embd 512 --heads 8 --kv-heads 4 --type q8_0 --ctx 2048
cat >"$WORK/models.conf" <<CONF
[wide]
nodes = 2
context = 512
slots = 1
[tiny]
context = 2048
slots = 4
[one]
file = tiny
context = 512
[two]
file = tiny
context = 512
[bad]
file = tiny
context = 512
args = --no-such-option
CONF
controller 1 --models-conf "$WORK/models.conf"
agent 1
agent 2 --models "$WORK/none" # its rank comes over the network
until_ok 60 nodes_ready 2

say "case 01: a hundred ask first, of a model that takes a while to load"
"$LAB" rate 2 16mbit
asked 1 100 wide --streams
"$LAB" rate 2 off
holds "$WORK/came" '.status == {"200": 100} and .texts != {} and (.texts | length) == 1 and .errors == {}'
holds "$WORK/came" '.told >= 1'
say "one start, a hundred answers; $(jq .told "$WORK/came") of 50 streams were told that they wait"

say "case 02, 05: a hundred ask for what cannot be started"
programs() { for n in 1 2; do llama_pids $n && pid_of $n caravan-carrier; done; }
leased() { cv nodes --json | jq -c '[.nodes[].memory.leased_bytes]'; }
before=$(programs) leases=$(leased)
asked 1 100 bad --streams
holds "$WORK/came" '(.errors | length) == 1 and .texts == {} and ([.errors[]] | add) == 100'
say "a hundred times: $(jq -r '.errors | keys[0]' "$WORK/came")"
asked 0 3 bad
holds "$WORK/came" '.status == {"503": 3}'
asked 0 100 cut --streams
holds "$WORK/came" '.status == {"404": 100} and (.errors | length) == 1'
say "a hundred times: $(jq -r '.errors | keys[0]' "$WORK/came")"
over() { cv instances --json | jq -e '[.instances[] | select(.name == "bad" and .state != "failed" and .state != "stopped")] == []'; }
until_ok 20 over
as_before() { [ "$(programs)" = "$before" ] && [ "$(leased)" = "$leases" ]; }
until_ok 20 as_before
curl -sf "$URL/api/tasks" | jq -e 'all(.tasks[]; .state != "pending" and .state != "running")' >/dev/null || fail "a task goes on"
[ "$(cv instances --json | jq -r '.instances[] | select(.name == "bad") | .in_flight')" = 0 ] || fail "requests are left"
cv stop wide >/dev/null

say "case 10: two models at once, five in a row, ten from three"
asked 2 20 one,two --streams
holds "$WORK/came" '.status == {"200": 20}'
asked 1 5 tiny --at-once 1
holds "$WORK/came" '.status == {"200": 5}'
cv stop tiny >/dev/null
asked 1 10 tiny --at-once 3 --streams
holds "$WORK/came" '.status == {"200": 10}'
for name in one two; do cv stop $name >/dev/null; done

say "$ABANDONED callers leave"
node=$(rank_node 0)
tinys() { pid_of 1 caravan-controller && carrier_of "$node" && pid_of "$node" llama-server; }
open_files() { for p in $(tinys); do find "/proc/$p/fd" -mindepth 1 | wc -l; done; }
rss() { awk '/^RssAnon/ { print $2 }' "/proc/$(pid_of 1 caravan-controller)/status"; }
slots_free() { curl -sf "$URL/upstream/tiny/slots" | jq -e 'all(.[]; .is_processing | not)'; }
leave() { # COUNT SEED: and nobody is left in it
    callers abandon "$1" tiny --at-once 40 --tokens 64 --seed "$2"
    until_ok 60 idle tiny
    until_ok 60 slots_free
}
settled() { files=$(open_files) && sleep 0.5 && [ "$(open_files)" = "$files" ]; }
no_more_files() { [ "$(open_files)" = "$files" ]; }
leave 100 2 # whatever grows once has grown
until_ok 20 settled
kib=$(rss) was=$(tinys)
leave $ABANDONED 1
until_ok 60 no_more_files
[ "$(tinys)" = "$was" ] || fail "other programs than before"
say "RssAnon of the controller: $kib kB before, $(rss) kB after; open files: ${files//$'\n'/ }"
[ "$(rss)" -le $((kib + 2048)) ] || fail "the controller has grown"
asked 0 8 tiny
holds "$WORK/came" '.status == {"200": 8}'
