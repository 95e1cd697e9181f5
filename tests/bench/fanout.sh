#!/bin/bash
# fanout: one question to six members, over a real llama-server: six slots of one instance, and three slots each of two
# replicas. The baseline is the same six bodies sent straight to the coordinators, all at once, interleaved and taking turns in
# going first; the figure is its wall time over the fan-out's. What six in sequence would take is printed beside.
# CARAVAN_BENCH_PAIRS (10): of each; CARAVAN_BENCH_CASES: some of "1x6 2x3".
# shellcheck source=tests/bench/lib.sh
. "$(dirname "$0")/lib.sh"
rows=$1
pairs=${CARAVAN_BENCH_PAIRS:-10}
cases=${CARAVAN_BENCH_CASES:-1x6 2x3}
wanted() { [[ " $cases " = *" $1 "* ]]; }
lab_up 2
model m --layers 8 --embd 512 --heads 8 --kv-heads 4 --type q8_0 --ctx 8192
controller 1
agents 2

# what members are asked: the same length each, and nothing of a prompt is kept, so that every run does the same work
jq -nc '{messages: [{role: "user", content: "Why is the sky blue, and why is it red in the evening?"}],
    members: [range(6) | {name: "m\(.)", model: "m", system: "You are number \(.) of six.", temperature: 0, max_tokens: 48,
        extra: {ignore_eos: true, cache_prompt: false, seed: .}}]}' >"$WORK/request"
# the bodies that they become (controller/fanout_request.h)
jq -c '.messages as $q | .members[] | {model, temperature, max_tokens, stream: true, stream_options: {include_usage: true},
    messages: ([{role: "system", content: .system}] + $q)} + .extra' "$WORK/request" >"$WORK/bodies"

# where the coordinators are, and with which key: one line each. The keys are in files of their nodes.
coordinators() {
    local node p file
    for node in 1 2; do for p in $(pid_of $node llama-server); do
        file=$(tr '\0' '\n' <"/proc/$p/cmdline" | sed -n '/^--api-key-file$/{n;p}')
        printf 'http://%s:%s %s\n' "$(tr '\0' '\n' <"/proc/$p/cmdline" | sed -n '/^--host$/{n;p}')" \
            "$(tr '\0' '\n' <"/proc/$p/cmdline" | sed -n '/^--port$/{n;p}')" "$("$LAB" exec $node cat "$file")"
    done; done >"$WORK/coordinators"
}
asks() { "$LAB" netexec 1 python3 "$ROOT/tests/bench/fanout_direct.py" "$@"; }

# ours, direct, sequence: milliseconds
ours() {
    local t0
    t0=$(now_us)
    curl -sS -m 300 -H 'Content-Type: application/json' -d @"$WORK/request" "$URL/v1/fanout" >"$WORK/answer" || fail "the fan-out"
    echo "$t0 $(now_us)" | awk '{ print ($2 - $1) / 1000 }'
    jq -e '.success_count == 6 and all(.members[]; .tokens.completion == 48)' "$WORK/answer" >/dev/null ||
        fail "not all have answered: $(cat "$WORK/answer")"
}
direct() { asks "$WORK/bodies" "$WORK/coordinators"; }
sequence() { asks --one-by-one "$WORK/bodies" "$WORK/coordinators"; }

measure() { # measure CASE
    local i a b
    rm -f "$WORK"/{ours,direct,ratio,said}."$1"
    coordinators
    ours >/dev/null # both are warm
    direct >/dev/null
    for i in $(seq "$pairs"); do
        if [ $((i % 2)) = 0 ]; then a=$(ours) b=$(direct); else b=$(direct) a=$(ours); fi
        echo "$a" >>"$WORK/ours.$1"
        echo "$b" >>"$WORK/direct.$1"
        echo "$a $b" | awk '{ print $2 / $1 }' >>"$WORK/ratio.$1"
        jq .parallel_efficiency "$WORK/answer" >>"$WORK/said.$1"
    done
    least "$rows" "efficiency_$1" "$WORK/ratio.$1" 0.95 "$WORK/direct.$1"
    say "$1: $(quantile "$WORK/ours.$1" 0.5) ms, straight $(quantile "$WORK/direct.$1" 0.5) ms, six in sequence $(sequence) ms;" \
        "parallel_efficiency $(quantile "$WORK/said.$1" 0.5)"
}

if wanted 1x6; then
    cv deploy m --nodes 1 --ctx 6144 --slots 6 >"$WORK/deploy.out" 2>&1 || fail "deploy: $(cat "$WORK/deploy.out")"
    measure 1x6
    cv stop m >/dev/null
fi
if wanted 2x3; then
    cv deploy m --nodes 1 --ctx 3072 --slots 3 --replicas 2 >"$WORK/deploy.out" 2>&1 || fail "deploy: $(cat "$WORK/deploy.out")"
    measure 2x3
    [ "$(jq '[.members[].instance] | unique | length' "$WORK/answer")" = 2 ] || fail "not both replicas were asked"
    cv stop m >/dev/null
fi
