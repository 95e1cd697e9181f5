#!/bin/bash
# What is to be seen on the network while a known prompt runs over two ranks: through the tunnel neither it nor its answer nor
# any piece of the model; without it all three, by the same search.
# shellcheck source=tests/lab/lib.sh
. "$(dirname "$0")/lib.sh"
PROMPT='the quick brown caravan jumps over the lazy dromedary'

lab_up 3 # the controller has a machine of its own
model tiny --layers 6 --embd 256 --heads 8 --kv-heads 2 --type q8_0 --ctx 512

# watch TRANSPORT: loads and asks, watched at both ranks' links; $WORK/TRANSPORT.wire, .text
watch() {
    local node capture=() pid
    TRANSPORT=$1
    controller 3 --settle 3s
    agents 2
    for node in 1 2; do
        "$LAB" netexec "$node" python3 "$ROOT/tests/lab/wire.py" capture "$WORK/$1.wire$node" >"$WORK/$1.ready$node" &
        capture+=($!)
        until_ok 20 grep -q ready "$WORK/$1.ready$node"
    done
    cv deploy tiny --nodes 2 --ctx 512 --slots 1 >/dev/null
    # of text: the whole answer of a chat would pass in pieces
    jq -n --arg p "$PROMPT" '{model: "tiny", prompt: $p, max_tokens: 32, temperature: 0, ignore_eos: true}' |
        curl -sS -m 60 -d @- "$URL/v1/completions" | jq -r '.choices[0].text' >"$WORK/$1.text"
    kill -TERM "${capture[@]}"
    for pid in "${capture[@]}"; do wait "$pid" || true; done
    cat "$WORK/$1.wire1" "$WORK/$1.wire2" >"$WORK/$1.wire"
    cv stop tiny >/dev/null
    for node in 1 2; do end_program TERM $node caravan-agent; done
    for node in 1 2; do "$LAB" exec $node "$BIN/caravan-agent" --config /dev/null --state-dir /run/node/agent --purge >/dev/null; done
    end_program TERM 3 caravan-controller
}
seen() { python3 "$ROOT/tests/lab/wire.py" "$1" "$WORK/$2.wire" "${@:3}"; }

watch direct
watch tunnel
cmp "$WORK/direct.text" "$WORK/tunnel.text" || fail "the answers differ"
# As JSON has it, and no shorter than what cannot be chance.
answer=$(jq -Rsr '.[0:24]' "$WORK/direct.text" | jq -R . | sed 's/^"//; s/"$//')
[ ${#answer} -ge 12 ] || fail "the answer is too short to look for: $answer"
for what in "find $PROMPT" "find $answer"; do
    seen find direct "${what#find }" || fail "the search does not find it where it must be: ${what#find }"
    ! seen find tunnel "${what#find }" || fail "through the tunnel it can be read: ${what#find }"
done
seen tensors direct "$MODELS/tiny.gguf" || fail "the search does not find the model where it must be"
! seen tensors tunnel "$MODELS/tiny.gguf" || fail "a piece of the model passed in the clear"
say "seen on $(stat -c %s "$WORK/direct.wire") bytes of direct, not on $(stat -c %s "$WORK/tunnel.wire") of the tunnel:" \
    "the prompt, the answer, the model"
