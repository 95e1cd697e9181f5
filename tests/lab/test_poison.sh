#!/bin/bash
# One request makes the coordinator abort (SIGABRT 50 ms after its body has come in), and its client tries for ever. It is
# found at the second abort and refused from then on; every other request is served, and the instance is not `failed` for it.
# shellcheck source=tests/lab/lib.sh
. "$(dirname "$0")/lib.sh"

OTHERS=4 ROUNDS=25
lab_up 2
model tiny --layers 8 --embd 256 --heads 8 --kv-heads 2 --type q8_0 --ctx 2048
controller 1
agents 2
cv deploy tiny --nodes 2 --ctx 2048 --slots 4 >/dev/null
for node in 1 2; do in_node $node watch python3 "$ROOT/tests/lab/poison_watch.py" the-poison; done

question() { # question PROMPT TOKENS: prints body and status in one line
    chat tiny "$1" "$2" |
        curl -sS -m 120 -w ' %{http_code}\n' -H 'Content-Type: application/json' -d @- "$URL/v1/chat/completions"
}

try_for_ever() {
    while kill -0 $$; do question "the-poison" 400; done >"$WORK/poison" 2>&1 # as long as the test runs; its answer takes longer than the 50 ms
}
ask_on() { # ask_on WHO: one after the other, and the poison in between
    local i
    for i in $(seq $ROUNDS); do question "$1 asks for the $i. time" 24; done >"$WORK/other$1" 2>&1
}

others=()
for who in $(seq $OTHERS); do
    ask_on "$who" &
    others+=($!)
done
until_ok 60 test -s "$WORK/other1"
try_for_ever &
poisoner=$!
for pid in "${others[@]}"; do wait "$pid"; done
refused() { [ "$(grep -c '"coordinator_aborted".* 502$' "$WORK/poison")" -ge 10 ]; }
until_ok 60 refused
question "and one more" 24 >"$WORK/other0"
kill $poisoner
wait $poisoner 2>/dev/null || true

[ "$(cat "$WORK"/other[1-9] | wc -l)" = $((OTHERS * ROUNDS)) ] || fail "others were left without an answer"
if grep -hv ' 200$' "$WORK"/other*; then fail "of the others, some were not served"; fi
if grep -v ' 502$' "$WORK/poison" | head -n 3 | grep .; then fail "the poison was answered otherwise"; fi
aborts=$(grep -c killed "$WORK/watch.log")
[ "$aborts" = 2 ] || fail "the coordinator was killed $aborts times"
state=$(instance | jq -r '"\(.state) \(.epoch)"')
[ "$state" = "ready 3" ] || fail "the instance is: $state"
say "$aborts aborts, $((OTHERS * ROUNDS + 1)) others served, the poison refused $(wc -l <"$WORK/poison") times; $state"
