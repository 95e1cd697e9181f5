#!/bin/bash
# tests/lab/test_slow.sh [SECONDS]: a rank that is slow and works is left alone, however long the first token takes (SECONDS
# at least; 25 is more than twice what any rule about hanging waits: HANG_MS, 10 s), and shown as slow; the same rank,
# stopped, is named and mended. How long the prompt is follows from what this machine does.
# shellcheck source=tests/lab/lib.sh
. "$(dirname "$0")/lib.sh"
percent=10 # of one core, for all that runs on the slow node
least=${1:-25}
wanted=$((least * 3 / 2))

words() { printf 'dune %.0s' $(seq "$1"); }
# first_token COUNT: the milliseconds that so many words take
first_token() {
    local t0
    t0=$(date +%s%N)
    [ -n "$(ask tiny "$(words "$1")" 1)" ] || fail "no answer to $1 words"
    echo $((($(date +%s%N) - t0) / 1000000))
}
seen() { grep -c "$1" "$WORK/controller.log" || true; }
shown_slow() { instance | jq -e 'any(.ranks[]; .slow)' >/dev/null; }
whole() { # FILE: what ask_stream has asked for last comes to its end
    wait "$streaming" || fail "the stream was cut: $(tail -c 300 "$1")"
    tail -n 3 "$1" | grep -q '^data: \[DONE\]' || fail "the stream has no end: $(tail -c 300 "$1")"
    [ "$(grep -c '"content":"' "$1")" -ge 8 ] || fail "not all tokens came: $(cat "$1")"
}

lab_up 3
model tiny --layers 8 --embd 1024 --heads 16 --kv-heads 4 --type q8_0 --ctx 65536
controller 1
agent 2
agent 3
until_ok 60 nodes_ready 2
cv deploy tiny --nodes 2 --ctx 65536 --slots 1 >/dev/null
node=$(rank_node 1)
rank=$(serving "$node" rpc-server)
"$LAB" cpu "$node" $percent || fail "the test needs a cgroup that limits the CPU"

# twice, as the first says how many words are enough to measure by
n=64
for _ in 1 2; do
    ms=$(first_token $n)
    n=$((n * 8000 / ms + 16))
done
n=$((n * wanted / 10)) # not by 8: more words take longer each
[ $n -le 12000 ] || n=12000 # each is up to five tokens
say "node$node, rank 1, at $percent % of a core: $n words for $wanted s"

e=$(epoch tiny) t0=$SECONDS slow=0 oldest=0
ask_stream "$WORK/slow" 8 "$(words $n)"
while ! grew "$WORK/slow" 1 && kill -0 "$streaming" 2>/dev/null; do
    ! shown_slow || slow=$((slow + 1))
    waits=$(instance | jq '.ranks[1].flow.oldest_ms // 0')
    [ "$waits" -le "$oldest" ] || oldest=$waits
    sleep 1 # how often it is looked at
done
took=$((SECONDS - t0))
whole "$WORK/slow"
[ $took -ge "$least" ] || fail "the first token came after $took s already, which proves nothing"
[ "$(epoch tiny)" = "$e" ] || fail "it cost an epoch: $(instance)"
is tiny ready || fail "not ready: $(instance)"
[ $slow -gt 0 ] || fail "it was never shown as slow"
for word in hung to=recovering to=stuck to=lost; do
    [ "$(seen "$word")" = 0 ] || fail "$(grep "$word" "$WORK/controller.log" | head -n 3)"
done
[ "$(serving "$node" rpc-server)" = "$rank" ] || fail "another process serves rank 1"
say "first token after $took s, whole, epoch $e; shown as slow $slow times, $(seen to=suspect) times suspect;" \
    "rank 1 owed an answer for up to $oldest ms"

# the same rank in the middle of such a prompt, stopped. No token had come: the request is sent again, and answered too
ask_stream "$WORK/stopped" 8 "$(words $n)"
until_ok 60 shown_slow
kill -STOP "$rank"
until_ok 60 sh -c "! kill -0 $rank 2>/dev/null"
"$LAB" cpu "$node" 1000
mended "$e" "rank 1 on node$node hangs"
whole "$WORK/stopped"
