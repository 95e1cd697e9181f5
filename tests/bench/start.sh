#!/bin/bash
# start: `caravan deploy` until the first token of a streamed answer through the gateway, against the same by hand: the same
# llama-server command line over rpc-servers that already run (as Caravan's standing ones do), /health polled at 10 ms, the
# same one-token warm-up. Pairs are interleaved and take turns in going first.
# shellcheck source=tests/bench/lib.sh
. "$(dirname "$0")/lib.sh"
rows=$1
pairs=${CARAVAN_BENCH_PAIRS:-10}
first=$BIN/tests/bench/first_token
lab_up 4
model m --layers 16 --embd 1024 --heads 16 --kv-heads 4 --type q8_0
controller 1
agents 4
for i in 1 2 3 4; do
    in_node $i "hand$i" bash -c "trap '' PIPE; exec '$LLAMA/rpc-server' -H 10.77.0.$((10 + i)) -p 21052 -t 1"
done
cat "$MODELS/m.gguf" >/dev/null # a warm file cache for both

ours() { # ours N: milliseconds
    local t0
    t0=$(now_us)
    cv deploy m --nodes "$1" --ctx 512 --slots 1 >"$WORK/deploy.out" 2>&1 || fail "deploy: $(cat "$WORK/deploy.out")"
    "$first" --url "$URL" --model m >"$WORK/t1" || fail "no token through the gateway"
    echo $((($(cat "$WORK/t1") - t0) / 1000))
    if [ ! -s "$WORK/argv$1" ]; then
        for i in 1 2 3 4; do for p in $(pid_of $i llama-server); do
            tr '\0' '\n' <"/proc/$p/cmdline" | tail -n +2 >"$WORK/argv$1"
            echo $i >"$WORK/node$1"
            jq -r '[.instances[0].plan.ranks[].addr + ":21052"] | join(",")' < <(cv instances --json) >"$WORK/rpc$1"
        done; done
    fi
    cv stop m >/dev/null
}
by_hand() { # by_hand N: the same arguments, other endpoints and port, no key
    local t0 node addr args=() skip='' arg
    node=$(cat "$WORK/node$1") addr=10.77.0.$((10 + node))
    while IFS= read -r arg; do
        case $skip in
        rpc) arg=$(cat "$WORK/rpc$1") ;;
        port) arg=19080 ;;
        esac
        if [ "$skip" = key ]; then
            skip=
            continue
        fi
        skip=
        case $arg in
        --rpc) skip=rpc ;;
        --port) skip=port ;;
        --api-key-file)
            skip=key
            continue
            ;;
        esac
        args+=("$arg")
    done <"$WORK/argv$1"
    t0=$(now_us)
    in_node "$node" hand env GGML_NO_BACKTRACE=1 "$LLAMA/llama-server" "${args[@]}"
    "$LAB" netexec "$node" "$first" --url "http://$addr:19080" --model m --poll-health --warm-up >"$WORK/t1" ||
        fail "by hand: $(tail -n 5 "$WORK/hand.log")"
    echo $((($(cat "$WORK/t1") - t0) / 1000))
    for p in $(pid_of "$node" llama-server); do kill -KILL "$p"; done
    until_ok 20 gone "$node" llama-server
}
measure() { # measure TAG N PAIRS
    local i a b
    : >"$WORK/ours.$1"
    : >"$WORK/hand.$1"
    : >"$WORK/added.$1"
    ours "$2" >/dev/null # warm-up, and it tells the command line
    by_hand "$2" >/dev/null
    for i in $(seq "$3"); do
        if [ $((i % 2)) = 0 ]; then a=$(ours "$2") b=$(by_hand "$2"); else b=$(by_hand "$2") a=$(ours "$2"); fi
        echo "$a" >>"$WORK/ours.$1"
        echo "$b" >>"$WORK/hand.$1"
        echo $((a - b)) >>"$WORK/added.$1"
    done
    ratio=$(paste "$WORK/ours.$1" "$WORK/hand.$1" | awk '{ print $1 / $2 }' >"$WORK/ratio.$1"; quantile "$WORK/ratio.$1" 0.5)
}
for n in 1 2 4; do
    measure "free$n" $n "$pairs"
    row "$rows" added_ms_$n ms "$WORK/added.free$n" "$(quantile "$WORK/added.free$n" 0.5)" 250 "$WORK/hand.free$n" "$ratio"
done
for i in 1 2 3 4; do "$LAB" rate $i 100mbit; done
for n in 1 2 4; do
    measure "slow$n" $n $((pairs > 3 ? 3 : pairs))
    row "$rows" ratio_100mbit_$n ratio "$WORK/ratio.slow$n" "$ratio" 1.10 "$WORK/hand.slow$n" "$ratio"
done
