#!/bin/bash
# A rank whose node has the model is fed from there: what passes the network are the smaller tensors; the answer is the same.
# A file that is another one, was tampered with or cut off after it was indexed is noticed, and the network used.
# shellcheck source=tests/lab/lib.sh
. "$(dirname "$0")/lib.sh"

lab_up 3 # the controller has a machine of its own; each node has models of its own
MODELS_OF() { echo "/run/cv-$CARAVAN_LAB/n$1/var/models"; }
mkgguf "$WORK/big.gguf" --layers 4 --embd 1024 --ff 6144 --vocab 400
LARGE=$((2 * 3 * 1024 * 6144 * 2)) # of rank 1's two layers: six matrices of 12.6 MB
controller 3 --settle 3s
own() { # NODE: its agent, with models of its own
    MODELS=/run/node/models agent "$1"
}
give() { mkdir -p "$(MODELS_OF "$1")" && cp "$WORK/big.gguf" "$(MODELS_OF "$1")/big.gguf"; }
give 1
mkdir -p "$(MODELS_OF 2)"
own 1
own 2
until_ok 60 nodes_ready 2

cv plan big --nodes 2 --ctx 512 --slots 1 --save "$WORK/plan" >/dev/null # node 1 has the file, so it is rank 0, from now on

received() { "$LAB" netexec "$1" ip -s -j link show eth0 | jq '.[0].stats64.rx.bytes'; }
# load: leaves in $bytes what node 2 got over the network, in $fed what it was fed, in $text the answer
load() {
    local before
    before=$(received 2)
    cv deploy big --plan "$WORK/plan" >/dev/null
    bytes=$(($(received 2) - before))
    [ "$(rank_node 1 big)" = 2 ] || fail "node 2 is not rank 1"
    text=$(ask big hello 16)
    until_ok 20 instances_say '.instances[] | select(.name == "big" and .state == "ready") | .ranks[1].flow.graphs > 8'
    fed=$(instance big | jq '.ranks[1].flow.fed_bytes')
    notes=$(instance big | jq -r '.plan.notes[]')
    cv stop big >/dev/null
    until_ok 60 nodes_ready 2
    say "$1: $bytes bytes over the network, $fed from the node's own file"
}
indexed() { [ -n "$(ls "/run/cv-$CARAVAN_LAB/n2/var/agent/tensors" 2>/dev/null)" ]; }

told() { # the controller knows that it is
    cv models --json | jq -e '.models[] | select(.name == "big") | .index_permille[(.nodes | index("node2"))] == 1000'
}

load "no file on node 2"
[ "$fed" = 0 ] || fail "fed out of nothing"
[[ $notes != *"own file"* ]] || fail "the plan speaks of a file that is not there: $notes"
plain=$bytes first=$text
[ "$plain" -gt "$LARGE" ] || fail "rank 1 is not given its share"

give 2
until_ok 60 indexed
until_ok 60 told
load "the file"
[[ $notes == *"loads from its own file: rank 1 on node2"* ]] || fail "the plan does not say it: $notes"
[ "$text" = "$first" ] || fail "the answer is another one: $text / $first"
[ "$fed" = "$LARGE" ] || fail "$fed bytes were fed in place of $LARGE"
[ "$bytes" -lt $((plain - fed + fed / 50)) ] || fail "$bytes bytes passed all the same"

# a byte of one of its matrices, with the file's times as they were: only the hash can tell
file=$(MODELS_OF 2)/big.gguf
touch -r "$file" "$WORK/time"
for at in 2 3 4; do
    printf '\x55\xaa\x55\xaa' | dd of="$file" bs=1 seek=$(($(stat -c %s "$file") * at / 5)) conv=notrunc status=none
done
touch -r "$WORK/time" "$file"
load "a tampered file"
[ "$text" = "$first" ] || fail "a tampered file changed the answer"
[ "$fed" -lt "$LARGE" ] || fail "the tampered tensors were not sent"

truncate -s $(($(stat -c %s "$file") / 2)) "$file"
load "a truncated file"
[ "$text" = "$first" ] || fail "a truncated file changed the answer"

mkgguf "$WORK/other.gguf" --layers 4 --embd 1024 --ff 6144 --vocab 400 --seed 2
cp "$WORK/other.gguf" "$file"
load "another model under its name"
[ "$text" = "$first" ] || fail "another file changed the answer"
[ "$fed" = 0 ] || fail "fed $fed bytes of another model"
