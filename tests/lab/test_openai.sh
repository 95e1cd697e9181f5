#!/bin/bash
# OpenAI's and Anthropic's own clients, and raw requests for each error that llama-server knows, asked of the gateway and then
# straight of the llama-servers behind it: what comes is the same but for ids and times, and for what same.py lists with reasons.
# shellcheck source=tests/lab/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/lib/npm.sh
. "$ROOT/tests/lib/npm.sh"

modules=$(npm_modules clients "$BIN" 2>"$WORK/npm.log") || fail "npm ci: $(tail -n 5 "$WORK/npm.log")"
cp "$ROOT/tests/clients/ask.mjs" "$modules/" # it looks for modules beside itself
trusted
lab_up 1
for name in tiny emb rr; do model $name --layers 2 --embd 64 --heads 4 --kv-heads 2 --type q8_0 --ctx 2048; done
controller 1
token_for 1 "$(cv token create --json | jq -r .token)"
agent 1 --join @/run/node/join.token
until_ok 60 nodes_ready 1
# one model at a time, so that each process is known by its key
same="python3 $ROOT/tests/lab/same.py"
declare -A straight
deploy() { # NAME [ARGUMENT...]: and where its llama-server is, in the words of ask.mjs
    local name=$1 args=() i
    shift
    cv deploy "$name" --nodes 1 --ctx 2048 --slots 2 -- "$@" >/dev/null || fail "deploy $name"
    mapfile -d '' args <"/proc/$(pgrep_alias "$name")/cmdline"
    for i in "${!args[@]}"; do
        case ${args[i]} in
        --host) local host=${args[i + 1]} ;;
        --port) local port=${args[i + 1]} ;;
        --api-key-file) nsenter_cat "${args[i + 1]}" >"$WORK/$name.key" ;;
        esac
    done
    straight[$name]="$host $port"
}
pgrep_alias() {
    local pid
    for pid in $(pid_of 1 llama-server); do
        if tr '\0' '\n' <"/proc/$pid/cmdline" | grep -A1 -x -- -a | grep -qx "$1"; then echo "$pid"; fi
    done
}
nsenter_cat() { (umask 077 && "$LAB" exec 1 cat "$1"); }

deploy tiny --no-cache-prompt # not all requests can say so
deploy emb --embeddings --pooling mean
deploy rr --reranking
(umask 077 && cv keys create clients --scope infer --json | jq -r .key >"$WORK/infer.key")

say "the clients"
servers=() gateways=()
for name in tiny emb rr; do
    servers+=("$name=http://${straight[$name]/ /:},$WORK/$name.key")
    gateways+=("$name=$URL,$WORK/infer.key")
done
(cd "$modules" && node ask.mjs "${gateways[@]}") >"$WORK/clients.gateway" || fail "clients, gateway"
(cd "$modules" && "$LAB" netexec 1 node ask.mjs "${servers[@]}") >"$WORK/clients.straight" || fail "clients, straight"
$same compare "$WORK/clients.gateway" "$WORK/clients.straight" || fail "the clients do not get the same"
[ "$(wc -l <"$WORK/clients.gateway")" -ge 60 ] || fail "too few cases"

say "raw requests"
address=${URL#http://}
# shellcheck disable=SC2086 # two words
$same ask "${address%:*}" "${address#*:}" "$WORK/infer.key" tiny >"$WORK/raw.gateway" || fail "raw, gateway"
# shellcheck disable=SC2086
"$LAB" netexec 1 $same ask ${straight[tiny]} "$WORK/tiny.key" tiny >"$WORK/raw.straight" || fail "raw, straight"
$same compare "$WORK/raw.gateway" "$WORK/raw.straight" || fail "raw requests are not answered in the same way"

say "the rest of llama-server"
get() { curl -sS -m 60 -H @<(with_key) "$URL/upstream/tiny$1" "${@:2}"; }
[ "$(get /props | jq -r .model_alias)" = tiny ] || fail "/props"
[ "$(get '/slots?x=1' | jq length)" = 2 ] || fail "/slots"
[ "$(get /tokenize -d '{"content": "hi"}' | jq '.tokens | length')" -ge 1 ] || fail "/tokenize"
[ "$(get /v1/reranking -d '{"query": "a", "documents": ["b"]}' | jq -r .error.code)" = 501 ] || fail "/v1/reranking"
get /metrics | grep -q '^llamacpp:prompt_tokens_total' || fail "/metrics"
get / -D "$WORK/head" >/dev/null
grep -qi '^HTTP/1.1 404' "$WORK/head" || fail "there is a page: $(cat "$WORK/head")"
if grep -rqF -f "$WORK/tiny.key" <(get /props) "$WORK"/*.log; then fail "the coordinator's key can be read"; fi
cv stop tiny >/dev/null
[ "$(get /props -o /dev/null -w '%{http_code}')" = 503 ] || fail "/props of what does not run"
