#!/bin/bash
# tunnel: what carriers cost. The same llama-server over the same workers, directly and through carriers, in turns: tokens a
# second and how long the load takes, at several link rates; then the round trips alone, and the carriers' CPU time.
# CARAVAN_BENCH_PAIRS (10): of each; CARAVAN_BENCH_CASES: some of "free 5gbit 1gbit big rtt".
# shellcheck source=tests/bench/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/bench/carriers.sh
. "$(dirname "$0")/carriers.sh"
rows=$1
pairs=${CARAVAN_BENCH_PAIRS:-10}
cases=${CARAVAN_BENCH_CASES:-free 5gbit 1gbit big rtt}
wanted() { [[ " $cases " = *" $1 "* ]]; }

lab_up 4
model m --layers 16 --embd 1024 --heads 16 --kv-heads 4 --type q8_0
for i in 1 2 3 4; do
    in_node $i "worker$i" bash -c "trap '' PIPE; exec '$LLAMA/rpc-server' -H 0.0.0.0 -p 21052 -t 1"
done
dialled() { "$LAB" netexec "$1" ss -Hltn "sport = :$2" | grep -q .; }
for i in 1 2 3 4; do until_ok 20 dialled $i 21052; done

direct_endpoints() { seq "$1" | awk '{ printf "%s10.77.0.%d:21052", (NR > 1 ? "," : ""), 10 + $1 }'; }

# once TAG MODEL RPC RANKS: one load and one answer; appends seconds to load.TAG and tokens a second to rate.TAG
once() {
    local t0 devices split pid
    devices=$(seq 0 $(($4 - 1)) | awk '{ printf "%sRPC%d", (NR > 1 ? "," : ""), $1 }')
    split=$(seq "$4" | awk '{ printf "%s1", (NR > 1 ? "," : "") }')
    t0=$(now_us)
    in_node 1 server env GGML_NO_BACKTRACE=1 "$LLAMA/llama-server" -m "$MODELS/$2.gguf" --rpc "$3" --device "$devices" -ts "$split" \
        -ngl 99 -sm layer -c 512 -np 1 -fit off -cram 0 --no-webui --no-warmup --host 127.0.0.1 --port 21080
    until_ok 120 "$LAB" netexec 1 curl -sf -o /dev/null http://127.0.0.1:21080/health
    echo "$t0 $(now_us)" | awk '{ print ($2 - $1) / 1e6 }' >>"$WORK/load.$1"
    "$LAB" netexec 1 curl -s http://127.0.0.1:21080/completion \
        -d '{"prompt":"hello there","n_predict":256,"temperature":0,"ignore_eos":true}' >"$WORK/answer.$1"
    jq .timings.predicted_per_second "$WORK/answer.$1" >>"$WORK/rate.$1"
    jq -r .content "$WORK/answer.$1" >"$WORK/text.$1"
    pid=$(pid_of 1 llama-server)
    kill -KILL "$pid"
    until_ok 20 gone 1 llama-server
}

# ratios A B: A over B, pair by pair
ratios() { paste "$1" "$2" | awk '{ print $1 / $2 }'; }

# compare TAG MODEL RANKS TOKENS-BAR LOAD-BAR
compare() {
    local i before
    carriers "$3"
    rm -f "$WORK"/{load,rate}.*
    once warm "$2" "$(direct_endpoints "$3")" "$3" # the file cache
    for i in $(seq "$pairs"); do
        if [ $((i % 2)) = 0 ]; then once direct "$2" "$(direct_endpoints "$3")" "$3"; fi
        before=$(carriers_cpu_ms)
        once carried "$2" "$endpoints" "$3"
        carriers_alive
        [ "$(carriers_cpu_ms)" != "$before" ] || fail "the carriers did nothing: they were not on the way"
        if [ $((i % 2)) = 1 ]; then once direct "$2" "$(direct_endpoints "$3")" "$3"; fi
        cmp "$WORK/text.direct" "$WORK/text.carried" || fail "the answers differ"
    done
    carriers_end
    ratios "$WORK/rate.carried" "$WORK/rate.direct" >"$WORK/tokens.ratio"
    ratios "$WORK/load.direct" "$WORK/load.carried" >"$WORK/load.ratio"
    least "$rows" "tokens_ratio_$1" "$WORK/tokens.ratio" "$4" "$WORK/rate.direct"
    least "$rows" "load_ratio_$1" "$WORK/load.ratio" "$5" "$WORK/load.direct"
}

at_rate() { for i in 1 2 3 4; do "$LAB" rate $i "$1"; done; }
for rate in free 5gbit 1gbit; do
    wanted $rate || continue
    bar=0.90
    [ $rate != free ] || bar=0.60
    [ $rate = free ] || at_rate $rate
    compare "${rate}_2" m 2 0.97 $bar
    compare "${rate}_4" m 4 0.95 $bar
done
at_rate off
if wanted big; then
    model big --layers 24 --embd 2048 --heads 16 --kv-heads 4 --type q8_0
    at_rate 1gbit
    compare big_1gbit_2 big 2 0.97 0.90
    at_rate off
fi

# ---- round trips, in pairs of series; the carriers' CPU time ----

if wanted rtt; then
    end_program TERM 2 rpc-server
    in_node 2 pong "$BIN/tests/bench/pingpong" serve 21052
    until_ok 20 dialled 2 21052
    in_node 2 copy2 "$BIN/tests/bench/pingpong" relay 21053 127.0.0.1 21052
    in_node 1 copy1 "$BIN/tests/bench/pingpong" relay 21053 10.77.0.12 21053
    for i in 1 2; do until_ok 20 dialled $i 21053; done
    carriers 2
    port=${endpoints##*:}
    trips() { "$LAB" netexec 1 "$BIN/tests/bench/pingpong" ask "$1" "$2" "$3" "$4"; }
    for kind in "hot 0 4000 60" "idle 3000 500 130"; do
        read -r name idle count bar <<<"$kind"
        rm -f "$WORK"/{direct,copied,carried,added,over}.us
        for i in $(seq "$pairs"); do
            trips 10.77.0.12 21052 "$count" "$idle" >"$WORK/d"
            trips 127.0.0.1 "$port" "$count" "$idle" >"$WORK/c"
            trips 127.0.0.1 21053 "$count" "$idle" >"$WORK/p"
            quantile "$WORK/p" 0.5 >>"$WORK/copied.us"
            quantile "$WORK/d" 0.5 >>"$WORK/direct.us"
            quantile "$WORK/c" 0.5 >>"$WORK/carried.us"
        done
        paste "$WORK/carried.us" "$WORK/direct.us" | awk '{ print $1 - $2 }' >"$WORK/added.us"
        paste "$WORK/carried.us" "$WORK/copied.us" | awk '{ print $1 - $2 }' >"$WORK/over.us"
        say "$name: two relays that only copy add $(paste "$WORK/copied.us" "$WORK/direct.us" | awk '{ print $1 - $2 }' |
            sort -n | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }') us, carriers $(quantile "$WORK/over.us" 0.5) us more"
        row "$rows" "rtt_${name}_us" us "$WORK/added.us" "$(quantile "$WORK/added.us" 0.5)" "$bar" "$WORK/direct.us"
    done
    before=$(carriers_cpu_ms)
    trips 127.0.0.1 "$port" 20000 0 >/dev/null
    say "CPU of both carriers: $(awk -v a="$before" -v b="$(carriers_cpu_ms)" 'BEGIN { print (b - a) / 20 }') ms per 1,000 round trips"
    carriers_alive
    carriers_end
fi
