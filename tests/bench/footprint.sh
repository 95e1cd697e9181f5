#!/bin/bash
# footprint: the daemons at rest, 4 nodes with a standing worker each, after 60 s, over 300 s. RssAnon is what a process takes
# for itself; RSS counts the pages of shared libraries too and is printed beside it.
# shellcheck source=tests/bench/lib.sh
. "$(dirname "$0")/lib.sh"
rows=$1
seconds=${CARAVAN_BENCH_SECONDS:-300}
settle=$((seconds < 60 ? seconds : 60))
lab_up 4
model m --layers 8 --embd 128
controller 1
agents 4
declare -A pid
pid[controller]=$(pid_of 1 caravan-controller)
for i in 1 2 3 4; do
    pid[agent$i]=$(pid_of $i caravan-agent)
    pid[shim$i]=$(pid_of $i caravan-shim | head -n1)
done
ticks() { sed 's/.*) //' "/proc/$1/stat" | awk '{ print $12 + $13 }'; }
kib() { awk -v k="$2:" '$1 == k { print $2 }' "/proc/$1/status"; }
read -r -t "$settle" <> <(:) || true # waits out the start; nothing is measured yet
for i in 1 2 3 4; do ticks "${pid[agent$i]}" >"$WORK/ticks$i"; done
t0=$(now_us)
for _ in $(seq $((seconds / 10 + 1))); do
    for p in "${!pid[@]}"; do
        kib "${pid[$p]}" RssAnon | awk '{ printf "%.2f\n", $1 / 1024 }' >>"$WORK/anon.${p%[0-9]}"
        kib "${pid[$p]}" VmRSS | awk '{ printf "%.2f\n", $1 / 1024 }' >>"$WORK/rss.${p%[0-9]}"
    done
    read -r -t $((seconds < 10 ? seconds : 10)) <> <(:) || true
done
us=$(($(now_us) - t0))
for i in 1 2 3 4; do
    awk -v before="$(cat "$WORK/ticks$i")" -v after="$(ticks "${pid[agent$i]}")" -v us="$us" -v hz="$(getconf CLK_TCK)" \
        'BEGIN { printf "%.3f\n", (after - before) / hz / (us / 1e6) * 100 }' >>"$WORK/cpu"
done
max() { quantile "$1" 1; }
for p in agent shim controller; do
    case $p in agent) bar=6 ;; shim) bar=1 ;; controller) bar=24 ;; esac
    row "$rows" "${p}_rss_anon_mib" MiB "$WORK/anon.$p" "$(max "$WORK/anon.$p")" "$bar"
    say "$p: RSS $(max "$WORK/rss.$p") MiB at most"
done
row "$rows" agent_cpu_pct % "$WORK/cpu" "$(max "$WORK/cpu")" 0.3
