#!/bin/bash
# One question to many at once, over a real llama-server: they compute side by side, one that fails or is slow leaves the others
# whole, a unit that is killed in mid-query leaves nothing running, and a client that goes takes all of them along. Then
# `caravan ask --council` with the example.
# shellcheck source=tests/lab/lib.sh
. "$(dirname "$0")/lib.sh"

lab_up 2
model tiny --layers 8 --embd 256 --heads 8 --kv-heads 2 --type q8_0 --ctx 8192
controller 1
agents 2
cv deploy tiny --nodes 2 --ctx 8192 --slots 4 >/dev/null

# members N TOKENS: N members of tiny, each as long as the other
members() {
    jq -nc --argjson n "$1" --argjson t "$2" '[range($n) | {name: "m\(.)", model: "tiny", system: "You are number \(.).",
        temperature: 0, max_tokens: $t, extra: {ignore_eos: true, seed: ., cache_prompt: false}}]'
}
# question MEMBERS [FILTER]: the request
question() { jq -nc --argjson m "$1" '{messages: [{role: "user", content: "Why is the sky blue?"}], members: $m} | '"${2:-.}"; }
fanout() { curl -sS -m 120 -H 'Content-Type: application/json' -d @- "$URL/v1/fanout"; }
holds() { jq -e "$2" "$1" >/dev/null || fail "$2 does not hold: $(cat "$1")"; }

# case 24: four members on four slots
question "$(members 4 48)" '.context = "It is noon." | .documents = [{title: "Light", text: "Blue is scattered most."}]' | fanout >"$WORK/four"
holds "$WORK/four" '.success_count == 4 and .failure_count == 0 and ([.members[].name] == ["m0", "m1", "m2", "m3"])'
holds "$WORK/four" 'all(.members[]; .tokens.completion == 48 and .finish_reason == "length" and .error == null and .total_ms >= .first_token_ms)'
holds "$WORK/four" '.parallel_efficiency > 0.5 and .members_ms <= .wall_ms'
say "four at once: $(jq -c '{members_ms, parallel_efficiency}' "$WORK/four")"

# case 25: a model that is not there, a prompt that is too long, one that is slow; the synthesis gets the one that is left
until_ok 30 knows_models
long=$(printf 'word %.0s' $(seq 3000))
question "$(members 1 8 | jq -c --arg l "$long" '[{name: "nobody", model: "nobody"}, {name: "long", model: "tiny", system: $l}] + . +
    [{name: "slow", model: "tiny", max_tokens: 100000, timeout: 0.5, extra: {ignore_eos: true}}]')" \
    '.synthesis = {model: "tiny", max_tokens: 8}' | fanout >"$WORK/one"
holds "$WORK/one" '.success_count == 1 and .failure_count == 3'
holds "$WORK/one" '.members[0].error.code == 404 and .members[1].error.code == 400 and .members[2].success and .members[3].error.code == 504'
holds "$WORK/one" '.synthesis.success and .synthesis.tokens.completion <= 8'
say "those that failed: $(jq -c '[.members[].error.message]' "$WORK/one" | cut -c1-300)"

# case 26: the coordinator is killed in mid-query; whoever cannot be asked again by his deadline says so
question "$(members 4 600)" '.timeout = 60 | .stream = true' | curl -sSN -m 120 -d @- "$URL/v1/fanout" >"$WORK/killed" &
asking=$!
until_ok 30 grep -q member.delta "$WORK/killed"
for n in 1 2; do for p in $(pid_of $n llama-server); do kill -KILL "$p"; done; done
wait $asking
sed -n '/^event: done$/,$p' "$WORK/killed" | sed -n 's/^data: //p' >"$WORK/killed.done"
holds "$WORK/killed.done" '.success_count + .failure_count == 4 and (all(.members[]; .success or .error.code >= 500))'
say "the unit was killed: $(jq -c '{success_count, wall_ms}' "$WORK/killed.done"), asked again: $(grep -c 'event: member.again' "$WORK/killed" || true)"
until_ok 90 is tiny ready

# its client leaves: no slot is left busy
busy() { instance tiny | jq -e '.in_flight > 0' >/dev/null; }
idle() { ! busy; }
question "$(members 4 100000)" '.timeout = 300' | fanout >/dev/null 2>&1 &
asking=$!
until_ok 30 busy
kill -TERM "$(pgrep -P $asking curl)" 2>/dev/null || kill $asking
wait $asking 2>/dev/null || true
until_ok 30 idle
[ -n "$(ask tiny hello 4)" ] || fail "nothing is answered after that"

# case 27: a council, as people ask it; with short answers, since this model talks nonsense for as long as it may
sed 's/^max_tokens = .*/max_tokens = 16/' "$ROOT/deploy/examples/council.conf" >"$WORK/council.conf"
cv ask --council "$WORK/council.conf" --timeout 2m "Shall we?" >"$WORK/council" 2>"$WORK/council.err" ||
    fail "the council: $(cat "$WORK/council.err")"
[ "$(grep -c '^== ' "$WORK/council")" = 4 ] || fail "the council said: $(cat "$WORK/council")"
grep -q '^== engineer (tiny)$' "$WORK/council" || fail "the engineer is not among them"
[ -n "$(cv ask --model tiny "Shall we?")" ] || fail "one that is asked alone says nothing"
