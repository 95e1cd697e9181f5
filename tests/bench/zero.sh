#!/bin/bash
# zero: a rank whose node has the model, against one whose node has not, at 1 Gbit/s, in turns: how long `caravan deploy` takes,
# and what passes the network. A random model of 2 GB, nearly all of it in tensors that llama-server asks for by hash.
# CARAVAN_BENCH_PAIRS (5).
# shellcheck source=tests/bench/lib.sh
. "$(dirname "$0")/lib.sh"
rows=$1
pairs=${CARAVAN_BENCH_PAIRS:-5}
lab_up 3
mkgguf "$WORK/big.gguf" --layers 5 --embd 4096 --heads 32 --kv-heads 16 --ff 12288 --vocab 400
# Its share of one of two ranks that is in large tensors: each layer has 4 of attention and 3 of the network behind it.
LAYER=$(((2 * 4096 * 4096 + 2 * 4096 * 2048 + 3 * 4096 * 12288) * 2))
controller 3
for i in 1 2; do mkdir "$WORK/models$i" "$WORK/away$i"; done
ln "$WORK/big.gguf" "$WORK/models1/big.gguf"
ln "$WORK/big.gguf" "$WORK/models2/big.gguf"
for i in 1 2; do MODELS=$WORK/models$i agent $i; done
until_ok 60 nodes_ready 2
has() { node_says node2 "[.models[]? | select(.name == \"big\")] | length == $1"; }
until_ok 60 has 1
indexed() { ls "/run/cv-$CARAVAN_LAB/n$1/var/agent/tensors/"*.tensors; }
for i in 1 2; do until_ok 300 indexed $i; done
for i in 1 2; do "$LAB" rate $i 1gbit; done

received() { "$LAB" netexec 2 ip -s -j link show eth0 | jq '.[0].stats64.rx.bytes'; }
load() { # TAG
    local t0 before
    before=$(received)
    t0=$(now_us)
    cv deploy big --nodes 2 --ctx 512 --slots 1 >"$WORK/deploy.out" 2>&1 || fail "deploy: $(cat "$WORK/deploy.out")"
    echo "$t0 $(now_us)" | awk '{ print ($2 - $1) / 1e6 }' >>"$WORK/load.$1"
    echo $(($(received) - before)) >>"$WORK/bytes.$1"
    [ "$(rank_node 1 big)" = 2 ] || fail "node 2 is not rank 1"
    layers=$(instance big | jq '[.plan.ranks[1].devices[].n_layers] | add')
    ask big hello 8 >"$WORK/text.$1"
    cv stop big >/dev/null
    until_ok 60 nodes_ready 2
}
without() {
    mv "$WORK/models2/big.gguf" "$WORK/away2/" # the same inode when it comes back: its index holds
    until_ok 60 has 0
    load network
    mv "$WORK/away2/big.gguf" "$WORK/models2/"
    until_ok 60 has 1
}
without
rm "$WORK"/{load,bytes}.network # the file cache
for i in $(seq "$pairs"); do
    [ $((i % 2)) = 1 ] || without
    load own
    [ $((i % 2)) = 0 ] || without
    cmp "$WORK/text.own" "$WORK/text.network" || fail "the answers differ"
done
# What must pass: the network's bytes less the large tensors; allowed: 2 % of those beside it.
awk -v large="$((LAYER * layers))" 'NR == FNR { net[FNR] = $1; next } { print ($1 - (net[FNR] - large > 0 ? net[FNR] - large : 0)) / large }' \
    "$WORK/bytes.network" "$WORK/bytes.own" >"$WORK/bytes.ratio"
row "$rows" zero_bytes_ratio ratio "$WORK/bytes.ratio" "$(quantile "$WORK/bytes.ratio" 0.95)" 0.02 "$WORK/bytes.network"
paste "$WORK/load.network" "$WORK/load.own" | awk '{ print $1 / $2 }' >"$WORK/load.ratio"
least "$rows" zero_load_ratio "$WORK/load.ratio" 3 "$WORK/load.network"
