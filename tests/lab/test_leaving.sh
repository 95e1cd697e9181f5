#!/bin/bash
# A client that leaves frees its slot at once, whether it asked for a stream or for the whole: the next one has it. Real
# llama-server, one slot.
# shellcheck source=tests/lab/lib.sh
. "$(dirname "$0")/lib.sh"

ROUNDS=5

one_token_ms() { # by the clock of who asks: other programs' starts are not in it
    chat tiny hello 1 | curl -sS -m 60 -o /dev/null -w '%{time_total}' -d @- "$URL/v1/chat/completions" |
        awk '{ printf "%d\n", $1 * 1000 }'
}
median() { sort -n | sed -n "$(((ROUNDS + 1) / 2))p"; }

is_computing() { curl -sS -m 10 "$URL/upstream/tiny/slots" | jq -e '.[0].is_processing' >/dev/null; }
# is_soon WHAT MS...: the median of what one token took right behind one who left
is_soon() {
    local left
    left=$(printf '%s\n' "${@:2}" | median)
    say "one token: $alone ms alone, $left ms right behind one that has left $1 (${*:2})"
    [ "$left" -lt $((alone + 100)) ] || fail "the slot was not free within 100 ms: $1"
}

lab_up 1
model tiny --layers 12 --embd 256 --heads 8 --kv-heads 2 --type q8_0 --ctx 4096
controller 1 --settle 1s
agent 1
until_ok 60 nodes_ready 1
cv deploy tiny --ctx 4096 --slots 1 >/dev/null

say "the slot of a stream whose client leaves, $ROUNDS times"
one_token_ms >/dev/null
alone=$(for _ in $(seq $ROUNDS); do one_token_ms; done | median)
for i in $(seq $ROUNDS); do
    stream "$WORK/stream" 4000
    kill "$streaming"
    wait "$streaming" || true
    after[i]=$(one_token_ms)
    ! grep -q DONE "$WORK/stream" || fail "the stream had ended by itself"
done
is_soon "a stream" "${after[@]}"

say "and of one who waits for the whole"
for i in $(seq $ROUNDS); do
    chat tiny go 4000 | curl -sS -m 300 -d @- "$URL/v1/chat/completions" >"$WORK/whole" 2>"$WORK/whole.err" &
    until_ok 60 is_computing
    kill "$!"
    wait "$!" || true
    after[i]=$(one_token_ms)
    [ ! -s "$WORK/whole" ] || fail "it had ended by itself"
done
is_soon "its answer" "${after[@]}"
