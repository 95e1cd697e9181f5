#!/bin/bash
# A machine that was cloned: the same key, name and machine-id, another boot. The copy is refused, both are named, and what the
# first one serves goes on and is mended, for the first one still gets what is sent to that key; with an identity of its own the
# copy is a node like any other.
# shellcheck source=tests/lab/lib.sh
. "$(dirname "$0")/lib.sh"

trusted
lab_up 3
model tiny --layers 12 --embd 256 --heads 8 --kv-heads 2 --type q8_0
controller 1 --settle 3s
"$LAB" exec 3 sh -c 'cat >/run/machine-id' <<<"$("$LAB" exec 2 cat /run/machine-id)"
for i in 1 2; do
    token_for "$i" "$(cv token create --json | jq -r .token)"
    agent "$i" --join @/run/node/join.token
done
until_ok 60 nodes_ready 2
cv deploy tiny --nodes 2 --ctx 512 --slots 1 >/dev/null
before=$(ask tiny "where are we" 16)
row() { cv nodes --json | jq -c '[.nodes[] | select(.name == "node2") | [.id, .addr, .state]]'; }
serves() { instance | jq -c '[.name, .state, .epoch]'; }
served=$(serves)
first=$(row)

# node3 becomes node2 as it was copied. The id of the boot is one thing that namespaces share, so it is given another text.
state=/run/cv-$CARAVAN_LAB
cp -a "$state/n2/var/agent" "$state/n3/var/agent"
cat /proc/sys/kernel/random/uuid >"$state/n3/var/boot_id"
"$LAB" exec 3 mount --bind /run/node/boot_id /proc/sys/kernel/random/boot_id
[ "$("$LAB" exec 2 cat /etc/machine-id)" = "$("$LAB" exec 3 cat /etc/machine-id)" ] || fail "two machine-ids"
[ "$("$LAB" exec 2 cat /proc/sys/kernel/random/boot_id)" != "$("$LAB" exec 3 cat /proc/sys/kernel/random/boot_id)" ] ||
    fail "one boot"
agent 3 --name node2
named="duplicate_identity: 10\.77\.0\.12 and 10\.77\.0\.13 use the same key at the same time; remove the state directory of the copy"
until_ok 60 grep -q "$named" "$WORK/agent3.log"
until_ok 60 grep -q "$named" "$WORK/controller.log"
say "the copy is told: $(grep -oE "$named" "$WORK/agent3.log" | head -n 1)"

# it goes on asking, and the first one goes on serving
told_times() { [ "$(grep -c msg=link.refused "$WORK/agent3.log")" -ge "$1" ]; }
for i in 1 2 3 4; do
    until_ok 60 told_times "$i"
    [ "$(ask tiny "where are we" 16)" = "$before" ] || fail "another answer while there is a copy"
done
[ "$(row)" = "$first" ] || fail "node2 was $first, is $(row)"
[ "$(serves)" = "$served" ] || fail "the instance was $served, is $(serves)"
if grep -q 'duplicate_identity' "$WORK/agent2.log"; then fail "the first one was refused"; fi
say "node2 is $(row), serving: $(serves)"

# a worker dies while the copy is linked
worker_dies() {
    local e
    e=$(epoch tiny)
    kill -KILL "$(serving 2 rpc-server)"
    mended "$e" 'rank . on node2.*SIGKILL'
    until_ok 60 nodes_ready 2
    [ "$(row)" = "$first" ] || fail "node2 was $first, is $(row)"
}
worker_dies

# somebody with the key who says more than hellos, and dials again and again
key=$("$LAB" exec 1 "$BIN/caravan-controller" --config /dev/null --state-dir /run/node/controller --print-key </dev/null)
mkdir "$WORK/copy"
cp -p "$state/n2/var/agent/identity" "$WORK/copy/identity"
mkfifo "$WORK/copy.in"
fake() {
    "$LAB" netexec 3 "$BIN/tests/lab/lab_node" 10.77.0.11 7420 "$key" "$WORK/copy" <"$WORK/copy.in" >>"$WORK/copy.log" 2>&1 &
    exec 4>"$WORK/copy.in"
    printf '%s\n' hello 'full 10' 'event 10' 'keep full' >&4
}
refusals() { grep -c '^refused duplicate_identity' "$WORK/copy.log" || true; }
refused_times() { [ "$(refusals)" -ge "$1" ]; }
for i in $(seq 10); do
    exec 4>&-
    fake
    until_ok 20 refused_times "$i"
done
worker_dies
if grep -q '^welcome' "$WORK/copy.log"; then fail "the copy was welcomed"; fi
exec 4>&-

# the way out that it names
end_program TERM 3 caravan-agent
rm -r "$state/n3/var/agent"
token_for 3 "$(cv token create --json | jq -r .token)"
agent 3 --join @/run/node/join.token
until_ok 60 nodes_ready 3
[ "$(row)" = "$first" ] || fail "node2 was $first, is $(row)"
say "control: with an identity of its own the copy is a node"
