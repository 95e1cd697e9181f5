#!/bin/bash
# Zero transfer with the real programs: a worker is fed from its own node's file what the coordinator asks for by hash, and
# the answer stays the same, whatever has become of that file. In a network of its own, with nothing in it but loopback.
set -u
[ "$(id -u)" = 0 ] || { echo "must be root: a network namespace" >&2 && exit 1; }
[ "${1:-}" = inside ] || exec unshare --net --kill-child "$0" inside
ROOT=$(readlink -f "$(dirname "$(readlink -f "$0")")/../..")
BUILD=${CARAVAN_BUILD:-$ROOT/build/debug}
WORK=$(mktemp -d)
# shellcheck source=tests/lib/check.sh
. "$ROOT/tests/lib/check.sh"
# shellcheck source=deploy/lib/llama.sh
. "$ROOT/deploy/lib/llama.sh"
ip link set lo up || exit 1
LLAMA=$(llama_find "$WORK/llama.log") || exit 1
RPC=$LLAMA/rpc-server && [ -x "$RPC" ] || RPC=$LLAMA/ggml-rpc-server

pids=()
finish() {
    [ "${#pids[@]}" = 0 ] || { kill "${pids[@]}" && wait "${pids[@]}"; } 2>"$WORK/kill.log"
    pids=()
}
trap 'finish; rm -rf "$WORK"' EXIT
cd "$WORK" || exit 1

# within SECONDS COMMAND...
within() {
    local end=$((SECONDS + $1))
    shift
    until "$@" >out 2>&1; do
        [ "$SECONDS" -lt "$end" ] || return 1
        sleep 0.1
    done
}

listening() { ss -Hltn "sport = :$1" | grep -q .; }
up_or_gone() { curl -sf 127.0.0.1:7003/health || ! kill -0 "$1"; }

# Three matrices of 12.6 MB; half a megabyte of the rest has to be sent in any case.
"$BUILD/deploy/caravan-mkgguf" --layers 1 --embd 1024 --ff 6144 --vocab 400 m.gguf >out || exit 1
"$BUILD/deploy/caravan-mkgguf" --layers 1 --embd 1024 --ff 6144 --vocab 400 --seed 2 other.gguf >out || exit 1
LARGE=$((3 * 1024 * 6144 * 2))

# load [MODEL [COMMAND...]]: loads m.gguf through a relay that has MODEL, on which COMMAND was run after it was indexed.
# Leaves what the relay said of the long connection in `told`, and the answer in `answer`.
load() {
    finish
    "$RPC" -H 127.0.0.1 -p 7001 >rpc.log 2>&1 &
    pids+=($!)
    "$BUILD/tests/lab/feed_relay" 7002 7001 "$WORK" ${1:+"$1"} >relay.log 2>&1 &
    pids+=($!)
    within 60 grep -q ready relay.log && within 60 listening 7001 || return 1
    shift
    "$@" || return 1
    GGML_NO_BACKTRACE=1 "$LLAMA/llama-server" -m m.gguf --rpc 127.0.0.1:7002 -ngl 99 -c 256 -np 1 -fit off -cram 0 -b 31 -ub 31 \
        --host 127.0.0.1 --port 7003 >server.log 2>&1 &
    pids+=($!)
    within 120 up_or_gone "${pids[2]}" && curl -sf 127.0.0.1:7003/health >out || return 1
    curl -s 127.0.0.1:7003/completion -d '{"prompt":"hello","n_predict":8,"temperature":0}' |
        sed -n 's/.*"content":\("[^"]*"\).*/\1/p' >answer
    kill "${pids[2]}"
    wait "${pids[2]}"
    unset 'pids[2]'
    within 30 grep -q 'graphs=[1-9]' relay.log || return 1
    grep 'graphs=[1-9]' relay.log >told
}

says() { grep -q "$1" told || { cat told && return 1; }; }
same_answer() { [ -s answer ] && cmp answer first; }
network_bytes() { sed -E 's/.*fed_bytes=([0-9]+).* tensor_bytes=([0-9]+).*/\2 \1/' told | { read -r a b && echo $((a - b)); }; }

# Its last byte, which lies in the third of them; size and time as they were.
tamper() {
    touch -r node.gguf time && printf '!' | dd of=node.gguf bs=1 seek=$(($(stat -c %s node.gguf) - 1)) conv=notrunc 2>out &&
        touch -r time node.gguf
}

expect yes "without a file: loaded" load "" true
expect yes "without a file: asked for three" says ' not_here=3 '
expect yes "without a file: all is judged" says ' waiting=0 blind=""'
cp answer first
plain=$(network_bytes)

cp m.gguf node.gguf
expect yes "with the file: loaded" load node.gguf true
expect yes "with the file: fed" says '^fed=3 .* wrong=0 not_here=0 .* blind=""'
expect yes "with the file: same answer" same_answer
# (what a fed frame has besides the tensor is 314 bytes)
expect yes "with the file: only the rest came over the network" [ "$(network_bytes)" -le $((plain - LARGE + 4096)) ]

expect yes "tampered: loaded" load node.gguf tamper
expect yes "tampered: noticed" says '^fed=2 .* wrong=1 not_here=0 '
expect yes "tampered: same answer" same_answer

cp m.gguf node.gguf
expect yes "cut: loaded" load node.gguf truncate -s 20000000 node.gguf
expect yes "cut: noticed" says '^fed=0 .* not_here=3 '
expect yes "cut: same answer" same_answer

expect yes "another model's file: loaded" load other.gguf true
expect yes "another model's file: not here" says '^fed=0 .* wrong=0 not_here=3 '
expect yes "another model's file: same answer" same_answer
exit "$failed"
