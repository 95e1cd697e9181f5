#!/bin/bash
# cold: what it costs to leave the start to the first request. The first token of a request to a stopped model, against
# `caravan deploy` and then the same request; interleaved, taking turns in going first. And a model that runs already: one token
# through the gateway, against the same request to the coordinator, on its own node.
# CARAVAN_BENCH_PAIRS (10): cold starts of each.
# shellcheck source=tests/bench/lib.sh
. "$(dirname "$0")/lib.sh"
rows=$1
pairs=${CARAVAN_BENCH_PAIRS:-10}
first=$BIN/tests/bench/first_token
lab_up 2
model m --layers 16 --embd 1024 --heads 16 --kv-heads 4 --type q8_0
printf '[m]\nnodes = 2\ncontext = 512\nslots = 1\n' >"$WORK/models.conf"
controller 1 --models-conf "$WORK/models.conf"
agents 2

# cold, deployed: milliseconds until the first token
measured() { # COMMAND...: before the request
    local t0
    until_ok 60 nodes_ready 2
    t0=$(now_us)
    "$@" >"$WORK/deploy.out" 2>&1 || fail "$*: $(cat "$WORK/deploy.out")"
    "$first" --url "$URL" --model m >"$WORK/t1" || fail "no token"
    echo $((($(cat "$WORK/t1") - t0) / 1000))
    cv stop m >/dev/null
}
cold() { measured true; }
deployed() { measured cv deploy m; }

cold >/dev/null # all files have been read once
deployed >/dev/null
for i in $(seq "$pairs"); do
    if [ $((i % 2)) = 0 ]; then a=$(cold) b=$(deployed); else b=$(deployed) a=$(cold); fi
    echo "$a" >>"$WORK/cold"
    echo "$b" >>"$WORK/deployed"
    echo $((a - b)) >>"$WORK/added"
done
row "$rows" cold_added_ms ms "$WORK/added" "$(quantile "$WORK/added" 0.5)" 50 "$WORK/deployed"

# a small one, so that what is added can be seen beside what llama-server takes
mkgguf "$MODELS/m.gguf.new" --layers 2 --embd 128 --heads 4 --kv-heads 2 --type q8_0 && mv "$MODELS/m.gguf.new" "$MODELS/s.gguf"
until_ok 60 cv plan s
cv deploy s --alias m --nodes 1 --ctx 512 --slots 1 >"$WORK/deploy.out" 2>&1 || fail "deploy: $(cat "$WORK/deploy.out")"
node=$(rank_node 0 m)
pid=$(pid_of "$node" llama-server)
argument() { tr '\0' '\n' <"/proc/$pid/cmdline" | sed -n "/^$1\$/{n;p}"; }
(umask 077 && "$LAB" exec "$node" cat "$(argument --api-key-file)" >"$WORK/key")
python3 "$ROOT/tests/bench/reused.py" $((pairs * 100)) "$URL" "http://$(argument --host):$(argument --port)" "$WORK/key" "$pid" \
    >"$WORK/pairs" || fail "not all were answered"
awk '{ print $1 - $2 }' "$WORK/pairs" >"$WORK/reused"
awk '{ print $2 }' "$WORK/pairs" >"$WORK/straight"
row "$rows" reused_added_ms ms "$WORK/reused" "$(quantile "$WORK/reused" 0.5)" 1 "$WORK/straight"
