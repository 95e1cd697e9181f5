#!/bin/bash
# tests/lab/soak.sh [REQUESTS]: so many (1000) requests over four ranks through carriers, two at a time, every second one given
# up in the middle: each of the others is answered whole, nothing hangs, nothing ends, and the carriers do not grow. Prints
# what was seen. Not part of tests/run.
# shellcheck source=tests/lab/lib.sh
. "$(dirname "$0")/lib.sh"
requests=${1:-1000}
tunnel

lab_up 5
model tiny --layers 12 --embd 256 --heads 8 --kv-heads 2 --type q8_0 --ctx 4096
controller 5 --settle 3s
agents 4
cv deploy tiny --nodes 4 --ctx 4096 --slots 2 >/dev/null
e=$(epoch tiny)
answers tiny || fail "no answer"
before=$(for n in 1 2 3 4; do pid_of $n caravan-carrier; pid_of $n rpc-server; pid_of $n llama-server; done)
memory() { # of all carriers, KiB
    local n
    for n in 1 2 3 4; do awk '/^RssAnon/ { print $2 }' "/proc/$(pid_of $n caravan-carrier)/status"; done | awk '{ s += $1 } END { print s }'
}
at_first=$(memory)

client() { # NUMBER
    local i seconds
    for i in $(seq "$1" 2 "$requests"); do
        if [ $((i / 2 % 2)) = 0 ]; then
            [ -n "$(timeout 170 bash -c "$(declare -f ask chat with_key); URL=$URL; ask tiny 'question $i' 24")" ] && echo whole || echo "bad $i"
        else
            seconds=0.$((i * 7919 % 9 + 1))
            chat tiny "question $i" 400 | jq '. + {stream: true}' |
                timeout "$seconds" curl -sSN -m 170 -d @- "$URL/v1/chat/completions" >/dev/null 2>&1 || true
            echo given_up
        fi
    done >>"$WORK/client$1"
}
client 1 &
one=$!
client 2 &
wait "$one" $!
count() { cat "$WORK"/client? | grep -c "^$1" || true; }
say "$requests requests: $(count whole) answered whole, $(count given_up) given up, $(count bad) bad;" \
    "carriers $at_first -> $(memory) KiB of anonymous memory, all four together"
[ "$(count bad)" = 0 ] || fail "$(grep -h bad "$WORK"/client? | head -n 3)"
[ "$(epoch tiny)" = "$e" ] || fail "it cost an epoch: $(reason_of "$e")"
after=$(for n in 1 2 3 4; do pid_of $n caravan-carrier; pid_of $n rpc-server; pid_of $n llama-server; done)
[ "$before" = "$after" ] || fail "processes changed"
