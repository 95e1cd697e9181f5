#!/bin/bash
# The main job on real llama.cpp: four nodes find the controller by mDNS (two of them have no Avahi and are told), one model
# over 1, 2 and 4 ranks gives the bytes that one llama-server without RPC gives, and the plan is what runs.
# shellcheck source=tests/lab/lib.sh
. "$(dirname "$0")/lib.sh"

export CARAVAN_LAB_NO_AVAHI="3 4"
lab_up 4
model tiny --layers 12 --embd 256 --heads 8 --kv-heads 2 --type q8_0 --seed 3
controller 1
key=$("$LAB" exec 1 "$BIN/caravan-controller" --state-dir /run/node/controller --print-key)
[[ $key =~ ^[0-9a-f]{64}$ ]] || fail "--print-key printed \"$key\""
agent 1
agent 2
agent 3 --controllers "10.77.0.11 $key"
agent 4 --controllers "10.77.0.11:7420 $key"
until_ok 60 nodes_ready 4
say "4 nodes joined, 2 of them without Avahi"

seen=$("$LAB" exec 2 avahi-browse -rpt _llamacpp-rpc._tcp | grep -c '^=;')
[ "$seen" = 2 ] || fail "$seen workers advertised, not 2"
"$LAB" exec 2 avahi-browse -rpt _llamacpp-rpc._tcp | grep '^=;' | grep -q '"rpc=8' || fail "no rpc version in the TXT record"

# what one llama-server without RPC says, with the threads of one worker: how many there are changes the order of sums
in_node 2 plain env GGML_NO_BACKTRACE=1 "$LLAMA/llama-server" -m "$MODELS/tiny.gguf" -t 1 -c 2048 -np 1 -fit off -cram 0 -fa on \
    -b 2048 -ub 512 --host 10.77.0.12 --port 18999
until_ok 60 "$LAB" netexec 2 curl -sf http://10.77.0.12:18999/health
word() { for _ in $(seq "$2"); do printf '%s ' "$1"; done; }
prompts=("$(word caravan 70)" "$(word 'dune wind' 40)" "$(word 'one two three' 30)")
for i in 0 1 2; do
    jq -n --arg p "${prompts[i]}" '{model: "tiny", messages: [{role: "user", content: $p}], max_tokens: 64, temperature: 0, seed: 7, cache_prompt: false}' >"$WORK/q$i"
    "$LAB" netexec 2 curl -sS -m 120 -d @"$WORK/q$i" http://10.77.0.12:18999/v1/chat/completions >"$WORK/a$i"
    [ "$(jq .usage.prompt_tokens "$WORK/a$i")" -ge 64 ] || fail "prompt $i has under 64 tokens"
    jq -r '.choices[0].message.content' "$WORK/a$i" >"$WORK/plain$i"
    [ -s "$WORK/plain$i" ] || fail "no answer without RPC: $(cat "$WORK/a$i")"
done

for ranks in 1 2 4; do
    cv deploy tiny --nodes $ranks --ctx 2048 --slots 1 >"$WORK/deploy$ranks.out" || fail "deploy on $ranks: $(cat "$WORK/deploy$ranks.out")"
    cv instances --json >"$WORK/i$ranks"
    [ "$(jq -r '.instances[0].state' "$WORK/i$ranks")" = ready ] || fail "not ready"
    [ "$(jq '.instances[0].plan.ranks | length' "$WORK/i$ranks")" = $ranks ] || fail "not $ranks ranks"
    for i in 0 1 2; do
        curl -sS --fail-with-body -m 120 -d @"$WORK/q$i" "$URL/v1/chat/completions" | jq -r '.choices[0].message.content' >"$WORK/ours"
        cmp -s "$WORK/plain$i" "$WORK/ours" || { diff "$WORK/plain$i" "$WORK/ours" >&2 || true; fail "$ranks ranks, prompt $i: not the bytes of one llama-server"; }
        curl -sSN --fail-with-body -m 120 -d "$(jq -c '. + {stream: true}' "$WORK/q$i")" "$URL/v1/chat/completions" |
            sed -n 's/^data: //p' | grep -v '^\[DONE\]' | jq -rj '.choices[0].delta.content // empty' >"$WORK/ours"
        echo >>"$WORK/ours"
        cmp -s "$WORK/plain$i" "$WORK/ours" || fail "$ranks ranks, prompt $i, streamed: $(head -c 200 "$WORK/ours")"
    done

    # the plan, the running coordinator, its log and each worker agree
    node=$(jq -r '.instances[0].plan.ranks[0].node_name' "$WORK/i$ranks")
    n=${node#node}
    pid=$(pid_of "$n" llama-server | grep -vx "$(pid_of 2 llama-server | head -n1)" || true)
    pid=$(for p in $(pid_of "$n" llama-server); do tr '\0' ' ' <"/proc/$p/cmdline" | grep -q -- '--rpc' && echo "$p"; done)
    want=$(dialled tiny)
    have=$(tr '\0' '\n' <"/proc/$pid/cmdline" | grep -A1 -x -- '--rpc' | tail -n1)
    [ "$want" = "$have" ] || fail "--rpc $have, its ranks are $want"
    ts=$(tr '\0' '\n' <"/proc/$pid/cmdline" | grep -A1 -x -- '-ts' | tail -n1)
    [ "$ts" = "$(jq -r '[.instances[0].plan.ranks[].devices[].n_layers] | join(",")' "$WORK/i$ranks")" ] || fail "-ts $ts"
    tr '\0' ' ' <"/proc/$pid/cmdline" | grep -qE -- '--api-key( |=)' && fail "the key stands in argv"
    log=$("$LAB" exec "$n" sh -c 'cat /run/node/agent/units/*/log' | grep -a 'model buffer size' | grep -a 'RPC')
    for r in $(seq 0 $((ranks - 1))); do
        ep=$(cut -d, -f$((r + 1)) <<<"$want")
        bytes=$(jq "[.instances[0].plan.ranks[$r].devices[].weight_bytes] | add" "$WORK/i$ranks")
        logged=$(printf '%s\n' "$log" | grep -aF "[$ep]" | tail -n1 | grep -oE '[0-9.]+ MiB' | cut -d' ' -f1)
        awk -v a="$bytes" -v b="$logged" 'BEGIN { d = a / 1048576 - b; exit !(d < 0.011 && d > -0.011) }' ||
            fail "rank $r: the plan says $bytes bytes, the log $logged MiB"
        name=$(jq -r ".instances[0].plan.ranks[$r].node_name" "$WORK/i$ranks")
        rss=$(awk '$1 == "VmRSS:" { print $2 * 1024 }' "/proc/$(pid_of "${name#node}" rpc-server)/status")
        [ "$rss" -ge "$bytes" ] || fail "rank $r holds $rss bytes, its weights are $bytes"
    done
    say "$ranks ranks: same bytes as without RPC; plan, --rpc, -ts, log and memory agree ($ts)"
    cv stop tiny >/dev/null
    instances_say 'all(.instances[]; .state == "stopped")' || fail "an instance is left"
    no_coordinator 1 3 4
done
