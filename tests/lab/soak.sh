#!/bin/bash
# tests/lab/soak.sh [REQUESTS]: so many (1000) requests over four ranks through carriers, two at a time, every second one given
# up by its client: in the middle of a stream, of an answer, of a prompt. Each of the others is answered whole, nothing
# hangs, nothing ends, and nothing is left of any: no stream, slot or descriptor more than before. Prints what was seen. Not
# part of tests/run. (Memory is worth a look where CARAVAN_BUILD is one without sanitizers.)
# shellcheck source=tests/lab/lib.sh
. "$(dirname "$0")/lib.sh"
requests=${1:-1000}

lab_up 5
model tiny --layers 12 --embd 256 --heads 8 --kv-heads 2 --type q8_0 --ctx 4096
controller 5 --settle 3s
agents 4
cv deploy tiny --nodes 4 --ctx 4096 --slots 2 >/dev/null
e=$(epoch tiny)
answers tiny || fail "no answer"

# ---- what there is, while nobody asks ----

processes() { # "NODE PROGRAM PID" lines
    local n program pid
    for n in 1 2 3 4 5; do
        for program in caravan-carrier rpc-server llama-server caravan-agent caravan-controller; do
            for pid in $(pid_of $n $program); do echo "$n $program $pid"; done
        done
    done
}
descriptors() { processes | while read -r node program pid; do echo "$node $program $pid $(find "/proc/$pid/fd" -mindepth 1 | wc -l)"; done; }
streams() { instance | jq -c '[.ranks[].flow.streams]'; }
anon() { for n in 1 2 3 4; do awk '/^RssAnon/ { print $2 }' "/proc/$(pid_of $n caravan-carrier)/status"; done | tr '\n' ' '; }
coordinator=$(rank_node 0)
argument() { tr '\0' '\n' <"/proc/$(pid_of "$coordinator" llama-server)/cmdline" | grep -A 1 -x -e "$1" | tail -n 1; }
slots_free() {
    local key=/run/cv-$CARAVAN_LAB/n$coordinator/var${1#/run/node}
    "$LAB" netexec "$coordinator" curl -sf -H @<(printf 'Authorization: Bearer %s\n' "$(cat "$key")") "http://127.0.0.1:$2/slots" |
        jq -e 'length == 2 and all(.is_processing | not)' >/dev/null
}
at_rest() {
    instance | jq -e '.in_flight == 0 and all(.ranks[].flow; .oldest == null and .held_bytes == 0)' >/dev/null &&
        slots_free "$(argument --api-key-file)" "$(argument --port)"
}
until_ok 30 at_rest
before=$(descriptors) streams=$(streams) anon=$(anon)

# ---- asking ----

words() { printf 'dune %.0s' $(seq "$1"); }
give_up() { # NUMBER
    local seconds=0.$(($1 * 7919 % 9 + 1)) body
    case $(($1 / 4 % 3)) in
    0) body=$(chat tiny "question $1" 400 | jq '. + {stream: true}') ;;
    1) body=$(chat tiny "question $1" 400) ;;
    2) body=$(chat tiny "$(words $(($1 % 300 + 100)))" 400) ;;
    esac
    curl -sSN -m "$seconds" -d "$body" "$URL/v1/chat/completions" >/dev/null 2>&1 || true
}
client() { # 1|2: the odd ones, the even ones
    local i began
    for i in $(seq "$1" 2 "$requests"); do
        if [ $((i / 2 % 2)) = 1 ]; then
            give_up "$i"
            echo "given_up $i"
            continue
        fi
        began=${EPOCHREALTIME/[.,]/}
        if answers_to "question $i"; then
            echo "whole $i $(((${EPOCHREALTIME/[.,]/} - began) / 1000))"
        else
            echo "bad $i"
        fi
    done >>"$WORK/client$1"
}
answers_to() { [ -n "$(ask tiny "$1" 24)" ]; }
client 1 &
one=$!
client 2 &
wait "$one" $!

# ---- what became of them ----

count() { cat "$WORK"/client? | grep -c "^$1" || true; }
say "$requests requests: $(count whole) answered whole, $(count given_up) given up, $(count bad) bad; the longest answer took" \
    "$(awk '$1 == "whole" && $3 > most { most = $3 } END { print most + 0 }' "$WORK"/client?) ms"
[ "$(count bad)" = 0 ] || fail "$(grep -h bad "$WORK"/client? | head -n 3)"
[ "$(($(count whole) + $(count given_up)))" = "$requests" ] || fail "some were not asked"
until_ok 30 at_rest
[ "$(epoch tiny)" = "$e" ] || fail "it cost an epoch: $(reason_of "$e")"
[ "$(streams)" = "$streams" ] || fail "streams: $streams before, $(streams) now"
same_descriptors() { diff <(echo "$before") <(descriptors); }
until_ok 30 same_descriptors
say "the same processes and descriptors, streams by rank $streams, both slots free; RssAnon of the carriers: $anon-> $(anon)KiB"
