#!/bin/bash
# tests/lab/calm.sh [SECONDS]: four agents, a controller and an instance that serves, beside four busy threads at nice 0, for
# SECONDS (1800): nobody may be called lost and nothing recovered. Prints what was seen. Not part of tests/run: it is as
# long as it is for a reason.
# shellcheck source=tests/lab/lib.sh
. "$(dirname "$0")/lib.sh"
seconds=${1:-1800}

lab_up 4
model tiny --layers 12 --embd 256 --heads 8 --kv-heads 2 --type q8_0 --ctx 4096
controller 1 --log-level info
agents 4
cv deploy tiny --nodes 2 --ctx 2048 --slots 2 >/dev/null
end=$((SECONDS + seconds))
busy=()
for _ in 1 2 3 4; do
    while :; do :; done &
    busy+=($!)
done
client() {
    while [ $SECONDS -lt $end ]; do
        [ -n "$(ask tiny "tell me" 64)" ] && echo ok || echo bad
    done >>"$WORK/client$1"
}
client 1 &
one=$!
client 2 &
wait "$one" $!
kill "${busy[@]}"
seen() { grep -c "$1" "$WORK/controller.log" || true; }
say "$seconds s: $(cat "$WORK"/client? | grep -c ok) answers, $(cat "$WORK"/client? | grep -c bad || true) failures;" \
    "$(seen 'to=suspect') times suspect, $(seen 'to=lost') lost, $(seen 'to=stuck') stuck, $(seen 'to=recovering') recovered"
[ "$(seen 'to=lost')" = 0 ] || fail "a node was called lost"
[ "$(seen 'to=recovering')" = 0 ] || fail "a unit was recovered"
