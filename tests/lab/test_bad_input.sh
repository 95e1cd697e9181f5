#!/bin/bash
# What people and the network get wrong: each time one clear line, the exit code of the design, nothing left running, and
# everybody still alive at the end.
# shellcheck source=tests/lab/lib.sh
. "$(dirname "$0")/lib.sh"

lab_up 3
mkdir -p "$WORK/other"
model good --layers 8 --embd 128
mkgguf "$MODELS/header.gguf" --header-only 2>/dev/null
mkgguf "$MODELS/short.gguf" --truncate 300000 2>/dev/null
mkgguf "$MODELS/split.gguf" --shards 3
rm "$MODELS/split-00002-of-00003.gguf"
head -c 100000 /dev/urandom >"$MODELS/noise.gguf"
model huge --sparse 400
controller 1
agents 3

expect_error 3 'nosuch.*(caravan models|good)' cv deploy nosuch
expect_error 3 'not a GGUF' cv deploy noise
expect_error 3 'too short.*download' cv deploy short
expect_error 3 '(header|no tensor data|truncated|missing)' cv deploy header
expect_error 3 'split-00002-of-00003.gguf' cv deploy split
expect_error 1 '[0-9.]+ GiB' cv deploy huge
expect_error 3 '--rpc' cv deploy good -- --rpc 10.0.0.1:50052
expect_error 2 'nodes' cv deploy good --nodes 17
expect_error 2 'replicas' cv deploy good --replicas 17
expect_error 3 'nosuch' cv stop nosuch
expect_error 2 'frobnicate' cv frobnicate
expect_error 4 '127.0.0.1:1' cv nodes --controller http://127.0.0.1:1

# --nodes more than there are
expect_error 1 '3' cv deploy good --nodes 5

# llama.cpp missing on one node: it is left out by name; on all: said
mkdir "$WORK/nollama"
end_program TERM 3 caravan-agent
"$LAB" exec 3 sh -c 'rm -rf /run/node/agent'
in_node 3 agent3b env PATH=/usr/sbin:/sbin "$BIN/caravan-agent" --state-dir /run/node/agent --models "$MODELS" \
    --llama-dir "$WORK/nollama" --shim "$BIN/caravan-shim" --rank-transport "$TRANSPORT" --trust open
# (its state directory was new, so it came back as another node of that name; the old one has to be noticed as gone)
until_ok 60 nodes_say '[.nodes[] | select(.name == "node3" and .state == "ready")] | length == 1 and (.[0].build_problem // "") != ""'
cv plan good --policy spread | grep -q 'node3.*llama' || fail "the plan does not say why node3 is left out: $(cv plan good)"
expect_error 1 'node3' cv deploy good --nodes 3

end_program TERM 3 caravan-agent
agent 3
until_ok 60 node_says node3 'select(.state == "ready" and (.build_problem // "") == "")'

# rank 0's node without the file: another one that has it becomes rank 0
mkdir "$WORK/empty"
end_program TERM 1 caravan-agent
MODELS=$WORK/empty agent 1
until_ok 60 node_says node1 '.state == "ready" and .models == 0'
[ "$(cv plan good --nodes 2 --json | jq -r '.plan.ranks[0].node_name')" != node1 ] || fail "rank 0 has no file: $(cv plan good --nodes 2)"

# port taken: another one is used, the holder is named (cases 06, 07)
p=$(cv nodes --json | jq '.nodes[] | select(.name == "node2") | .units[] | select(.standing) | .port')
end_program TERM 2 caravan-agent
end_program KILL 2 rpc-server
in_node 2 squatter "$LLAMA/rpc-server" -H 127.0.0.1 -p "$p"
until_ok 20 "$LAB" exec 2 sh -c "ss -Hltn 'sport = $p' | grep -q ."
agent 2
until_ok 60 node_says node2 ".units[] | select(.standing and .state == \"running\" and .port != $p)"
grep -q "port.*$p.*rpc-server" "$WORK/agent2.log" || fail "the holder of port $p is not named"
say "ok: $(grep -h "$p" "$WORK/agent2.log" | grep -m1 rpc-server | cut -c1-160)"

# a node that vanishes between plan and start
cv plan good --nodes 2 --save "$WORK/plan" >/dev/null
victim=$(jq -r '[.ranks[].node_name] | map(select(. != "node1"))[0]' "$WORK/plan")
"$LAB" crash "${victim#node}"
cv deploy good --plan "$WORK/plan" --no-wait >/dev/null
waits() { instance good | jq -e --arg v "$victim" '.state == "waiting" and (.reason | test($v))'; }
until_ok 60 waits
say "ok: $(instance good | jq -r .reason)"
cv stop good >/dev/null
"$LAB" boot "${victim#node}"

# garbage on both ports, bad JSON, requests that would be read in two ways
for _ in 1 2 3; do "$LAB" exec 2 bash -c "head -c 100000 /dev/urandom >/dev/tcp/10.77.0.11/7420" 2>/dev/null || true; done
host=${URL#http://}
raw() { # raw BYTES: what comes back, first line
    exec 9<>"/dev/tcp/${host%:*}/${host#*:}"
    printf '%b' "$1" >&9
    timeout 20 cat <&9 || true
    exec 9>&-
}
head -c 200000 /dev/urandom | timeout 20 bash -c "cat >/dev/tcp/${host%:*}/${host#*:}" 2>/dev/null || true
out=$(raw 'POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nContent-Length: 60\r\n\r\n{"a":GET /api/version HTTP/1.1\r\nHost: localhost\r\n\r\n')
[[ $out == HTTP/1.1\ 400* ]] || fail "two Content-Length: $out"
grep -q '"cluster"' <<<"$out" && fail "the smuggled request was answered"
out=$(raw 'POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n')
[[ $out == HTTP/1.1\ 400* ]] || fail "Transfer-Encoding with Content-Length: $out"
code() { curl -s -o "$WORK/body" -w '%{http_code}' "$@"; }
[ "$(code -d '{"model": ' "$URL/v1/chat/completions")" = 400 ] || fail "bad JSON: $(cat "$WORK/body")"
[ "$(jq -r .error.type "$WORK/body")" = invalid_request_error ] || fail "bad JSON: $(cat "$WORK/body")"
until_ok 30 knows_models
[ "$(code -d '{"model": "nosuch", "messages": []}' "$URL/v1/chat/completions")" = 404 ] || fail "unknown model: $(cat "$WORK/body")"
[ "$(code -d '{"model": "good", "frob": 1}' "$URL/api/instances")" = 400 ] || fail "unknown key: $(cat "$WORK/body")"
grep -q frob "$WORK/body" || fail "the unknown key is not named"
say "ok: garbage and bad JSON"

# configuration: file and line are named
printf 'name = x\nmemroy = 4G\n' >"$WORK/a.conf"
expect_error 2 'a.conf:2.*memroy.*memory' "$BIN/caravan-agent" --config "$WORK/a.conf"
printf '# c\n\nmemory = lots\n' >"$WORK/a.conf"
expect_error 2 'a.conf:3.*memory' "$BIN/caravan-agent" --config "$WORK/a.conf"
printf 'http_listen = nonsense\n' >"$WORK/c.conf"
expect_error 2 'http_listen' "$BIN/caravan-controller" --config "$WORK/c.conf"
printf 'port\n' >"$WORK/c.conf"
expect_error 2 'c.conf:1' "$BIN/caravan-controller" --config "$WORK/c.conf"
printf '[good]\nargs = --rpc 1.2.3.4:5\n' >"$WORK/m.conf"
expect_error 2 'm.conf:2.*--rpc' "$BIN/caravan-controller" --models-conf "$WORK/m.conf" --state-dir "$WORK/cs" --port 17420 --http-listen 127.0.0.1:18999

# everybody lives, nothing is left, and it still works
[ -n "$(pid_of 1 caravan-controller)" ] || fail "the controller died"
no_coordinator 1 2 3
instances_say 'all(.instances[]; .state != "ready" and .state != "loading" and .state != "starting")' || fail "an instance is left"
if [ "$victim" != node2 ]; then n=2; else n=; fi
[ -z "$n" ] || { until_ok 60 cv plan good --nodes 1; cv deploy good --nodes 1 --ctx 512 --slots 1; cv stop good; }
