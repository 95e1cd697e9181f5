#!/bin/bash
# Two instances of four ranks each on the same four nodes, each through carriers of its own: asked at once both say what each
# says alone; what passes to a rank is counted for its own instance; the grant of one opens nothing of the other; and a carrier
# takes 6 MiB for itself at most.
# shellcheck source=tests/lab/lib.sh
. "$(dirname "$0")/lib.sh"
CARRIER=$BIN/tests/lab/plain/caravan-carrier # a sanitizer's memory is not the carrier's

lab_up 5 # the controller has a machine of its own
model one --layers 12 --embd 256 --heads 8 --kv-heads 2 --type q8_0 --seed 3
model two --layers 12 --embd 256 --heads 8 --kv-heads 2 --type q8_0 --seed 4
controller 5 --settle 3s
agents 4
for name in one two; do cv deploy $name --nodes 4 --ctx 2048 --slots 1 >/dev/null; done
for node in 1 2 3 4; do
    [ "$(pid_of $node caravan-carrier | wc -l)" = 2 ] || fail "node $node has not a carrier for each"
done

# ---- each alone, and what was counted for whom ----

# flows NAME: what has passed to and from each rank of it
flows() { instance "$1" | jq -c '[.ranks[].flow | [.to_bytes, .from_bytes, .graphs]]'; }
# told NAME: all of it, which nodes report twice a second while something passes
told() {
    local before
    before=$(flows "$1")
    sleep 2
    [ "$(flows "$1")" = "$before" ]
}
# passed NAME FLOWS: each of its four ranks computed since then, and nothing is under way
passed() { # a token is a graph on each rank; those of the prompt's are fewer
    instance "$1" | jq -e --argjson before "$2" '[.ranks[].flow | select(.oldest == null) | .graphs] |
        length == 4 and ([., [$before[][2]]] | transpose | all(.[0] >= .[1] + 40))' >/dev/null
}
for name in one two; do until_ok 60 told $name; done
PROMPT='what do the two of you carry'
for name in one two; do
    other=$([ $name = one ] && echo two || echo one)
    of_it=$(flows "$name") of_other=$(flows "$other")
    ask $name "$PROMPT" 48 >"$WORK/$name.alone"
    [ "$(wc -c <"$WORK/$name.alone")" -ge 48 ] || fail "$name says nothing alone: $(cat "$WORK/$name.alone")"
    until_ok 20 passed $name "$of_it"
    [ "$(flows "$other")" = "$of_other" ] || fail "what $name was asked is counted for $other: $of_other / $(flows "$other")"
    say "$name alone: $of_it -> $(flows "$name"); $other as it was"
done
! cmp -s "$WORK/one.alone" "$WORK/two.alone" || fail "both models say the same: that would prove nothing"

# ---- both at once ----

both_at_work() { instances_say '[.instances[] | select(.in_flight > 0)] | length == 2'; }
for round in 1 2 3; do
    asking=()
    for name in one two; do
        ask $name "$PROMPT" 700 >"$WORK/$name.long$round" &
        asking+=($!)
    done
    until_ok 30 both_at_work
    for pid in "${asking[@]}"; do wait "$pid" || fail "round $round was not answered"; done
done
for name in one two; do
    ask $name "$PROMPT" 700 >"$WORK/$name.long"
    cmp -n "$(($(wc -c <"$WORK/$name.alone") - 1))" "$WORK/$name.alone" "$WORK/$name.long" || fail "$name says something else when it says more"
    for round in 1 2 3; do
        cmp "$WORK/$name.long" "$WORK/$name.long$round" || fail "$name says something else while the other one is asked"
    done
done
say "asked at once, three times: byte for byte what each says alone ($(wc -c <"$WORK/one.long") and $(wc -c <"$WORK/two.long") bytes)"

# ---- the grant of one is nothing to the other ----

beside=$(rank_node 0 one)
[ "$(rank_node 0 two)" = "$beside" ] || fail "the coordinators are not on one node: the key alone would tell them apart"
to=$(sed -n 's/^route=1 \([^ ]* [^ ]*\) .*/\1/p' "/proc/$(carrier_of "$beside" two)/cwd/conf") # the carrier of two's rank 1
door=/proc/$(carrier_of "$(rank_node 1 two)" two)/cwd/log

# thief NAME: a carrier beside the coordinators, with the node's own key, that claims rank 1 of NAME at that door
thief() {
    local dir=/run/cv-$CARAVAN_LAB/n$beside/var/thief-$1
    mkdir -p "$dir"
    sed -n "/^version=\|^instance=\|^epoch=\|^identity=/p; s/^listen=\([^ ]*\) .*/listen=\1 7599/p; s/^route=1 [^ ]* [^ ]*/route=1 $to/p" \
        "/proc/$(carrier_of "$beside" "$1")/cwd/conf" >"$dir/conf"
    in_node "$beside" "thief-$1" "$CARRIER" "/run/node/thief-$1"
    until_ok 20 test -S "$dir/control"
    thief_port=$(python3 "$ROOT/tests/lab/carrier_ports.py" "$dir/control")
    thief_pid=$(for pid in $(pid_of "$beside" caravan-carrier); do if grep -q ' 7599$' "/proc/$pid/cwd/conf"; then echo "$pid"; fi; done)
}
thief_ends() {
    kill -TERM "$thief_pid"
    until_ok 20 sh -c "! kill -0 $thief_pid"
}
# come: dials that rank through the thief; its first byte or end is in $WORK/came
come() {
    "$LAB" netexec "$beside" timeout "$1" bash -c "exec 3<>/dev/tcp/${thief_port/://} && head -c 1 <&3" >"$WORK/came" 2>&1
}
two_streams() { instance two | jq -e '.ranks[1].flow.streams == 2' >/dev/null; }
one_stream() { instance two | jq -e '.ranks[1].flow.streams == 1' >/dev/null; }

thief one
come 20 && fail "somebody answered: $(cat "$WORK/came")" || rc=$?
[ "$rc" != 124 ] || fail "the claim of one's rank was not refused at two's"
until_ok 10 grep -q 'stream.unreached.*verdict=no_grant' "$WORK/thief-one.log"
until_ok 10 grep -q "door.refused.*instance=$(instance one | jq -r '.id[0:8]').*rank=1 verdict=no_grant" "$door"
one_stream || fail "two's rank 1 has other streams now: $(instance two)"
thief_ends
# the control: the same, but with the claim that two's coordinator has a grant for
thief two
come 300 &
coming=$!
until_ok 20 two_streams
thief_ends
wait "$coming" || true
until_ok 20 one_stream
say "the claim of one's rank 1 is refused at two's: $(grep -o 'verdict=.*' "$door" | tail -n 1); the control is let in"

# ---- what carriers take ----

# For itself, and what its streams' buffers may take: of a rank two of 256 KiB and, where it is fed, one more; of requests
# two of 16 KiB. A carrier has a stream for each of its ranks, and of requests at most what was in flight: two here.
for node in 1 2 3 4; do
    for pid in $(pid_of $node caravan-carrier); do
        anon=$(awk '/^RssAnon/ { print $2 }' "/proc/$pid/status")
        ranks=$(grep -cE '^(route|rank)=' "/proc/$pid/cwd/conf")
        buffers=$((ranks * 3 * 256 + 2 * 2 * 16))
        say "node$node: RssAnon $anon KiB, of $ranks streams to ranks, whose buffers take up to $buffers KiB"
        [ "$anon" -le $((6 * 1024 + buffers)) ] || fail "a carrier takes $anon KiB"
    done
done
for name in one two; do
    [ "$(epoch $name)" = 1 ] || fail "it cost $name an epoch: $(instance $name)"
    cv stop $name >/dev/null
done
