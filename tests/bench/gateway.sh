#!/bin/bash
# gateway: what the way through the controller costs, against nginx as a proxy before the same server, in turns. First before
# a stand-in that replays what llama-server has said (tests/lib/upstream), then before llama-server itself, with its own router
# as a third. Each server is the coordinator of a cluster of one node, started as any is; client, proxies and server share that
# node, whose loopback is all the network there is. nginx has one worker, the controller one thread for HTTP.
# CARAVAN_BENCH_PAIRS (10): rounds. CARAVAN_BENCH_CASES: some of "standin real hold". CARAVAN_BENCH_STREAMS (1000),
# CARAVAN_BENCH_SECONDS (60): how many streams are held, and how long.
# shellcheck source=tests/bench/lib.sh
. "$(dirname "$0")/lib.sh"
rows=$1
pairs=${CARAVAN_BENCH_PAIRS:-10}
cases=${CARAVAN_BENCH_CASES:-standin real hold}
streams=${CARAVAN_BENCH_STREAMS:-1000}
wanted() { [[ " $cases " = *" $1 "* ]]; }
load=$BIN/tests/bench/http_load
recorded=$ROOT/tests/lib/upstream
# Nobody asks for more than nginx, the controller and the recording know how to keep.
export CARAVAN_LAB_NO_AVAHI="1 2 3 4 5 6 7 8 9 10 11 12"
ulimit -n 16384

# ---- clusters of one node ----

on() { "$LAB" netexec "$@"; }
cv_on() {
    local node=$1
    shift
    on "$node" "$BIN/caravan" --controller http://127.0.0.1:28080 "$@"
}
are_up() { cv_on "$1" nodes --json | jq -e --argjson n "$2" '[.nodes[] | select(.state == "ready")] | length == $n'; }

# leader NODE TRANSPORT; follower NODE TRANSPORT LLAMA LEADER OPTION...
leader() {
    in_node "$1" "controller$1" "$BIN/caravan-controller" --config /dev/null --models-conf /dev/null --state-dir /run/node/controller \
        --trust open --rank-transport "$2" --settle 1s --http-listen 127.0.0.1:28080
}
follower() {
    local known
    local node=$1 transport=$2 llama=$3 leader=$4
    shift 4
    known=$("$LAB" exec "$leader" "$BIN/caravan-controller" --config /dev/null --state-dir /run/node/controller --print-key 2>/dev/null |
        grep -oE '[0-9a-f]{64}' | head -n 1)
    in_node "$node" "agent$node" "$BIN/caravan-agent" --config /dev/null --state-dir /run/node/agent --models "$MODELS" \
        --llama-dir "$llama" --shim "$BIN/caravan-shim" --carrier "$BIN/caravan-carrier" --rank-transport "$transport" --trust open \
        --worker-threads 1 --controllers "10.77.0.$((10 + leader)):7420 $known" "$@"
}
# cluster NODE TRANSPORT LLAMA: all of one on that node, which serves the model m
cluster() {
    leader "$1" "$2"
    follower "$1" "$2" "$3" "$1"
    until_ok 60 are_up "$1" 1
    cv_on "$1" deploy m --ctx 16384 --slots 16 >"$WORK/deploy$1.out" 2>&1 || fail "deploy on node $1: $(cat "$WORK/deploy$1.out")"
    find_coordinator "$1"
}

# Of its own command line: at[NODE], key[NODE].
declare -A at key
find_coordinator() {
    local pid argv i
    pid=$(pid_of "$1" llama-server)
    mapfile -d '' argv <"/proc/$pid/cmdline"
    for i in "${!argv[@]}"; do
        case ${argv[i]} in
        --host) at[$1]=${argv[i + 1]} ;;
        --port) at[$1]+=:${argv[i + 1]} ;;
        --api-key-file) key[$1]=$(cat "/proc/$pid/root${argv[i + 1]}") ;;
        esac
    done
}

# nginx NODE: before its coordinator, at 28081 with connections kept; at 28082 without, since llama-server closes behind a stream
# without a word, which nginx passes on as an error of the next request.
nginx() {
    local conf=$WORK/nginx$1.conf
    mkdir -p "$WORK/nginx$1"
    cat >"$conf" <<END
worker_processes 1;
daemon off;
pid $WORK/nginx$1.pid;
error_log stderr;
worker_rlimit_nofile 16384;
events { worker_connections 8192; }
http {
    access_log $WORK/nginx$1.access; # a line for each, as the controller writes one
    client_body_temp_path $WORK/nginx$1; proxy_temp_path $WORK/nginx$1; fastcgi_temp_path $WORK/nginx$1;
    uwsgi_temp_path $WORK/nginx$1; scgi_temp_path $WORK/nginx$1;
    keepalive_requests 1000000000;
    proxy_http_version 1.1;
    proxy_buffering off;
    proxy_read_timeout 600s;
    proxy_set_header Authorization "Bearer ${key[$1]}";
    upstream kept { server ${at[$1]}; keepalive 32; }
    server { listen 127.0.0.1:28081; location / { proxy_pass http://kept; proxy_set_header Connection ""; } }
    server { listen 127.0.0.1:28082; location / { proxy_pass http://${at[$1]}; } }
}
END
    in_node "$1" "nginx$1" /usr/sbin/nginx -c "$conf" -e stderr
    until_ok 20 on "$1" curl -s -o /dev/null http://127.0.0.1:28081/health
}

# ---- measuring ----

body() { # NAME FIELDS
    printf '{"model":"m","messages":[{"role":"user","content":"hello there"}],"temperature":0,"cache_prompt":false,%s}' "$2" >"$WORK/$1.body"
}
body json '"max_tokens":32'
body sse '"max_tokens":98,"stream":true'
printf '{"model":"m","prompt":"hi","temperature":0,"cache_prompt":false,"max_tokens":1}' >"$WORK/one.body"
body first '"max_tokens":8,"stream":true'

# ask NODE WHICH BODY OPTIONS...: one line of JSON; WHICH: direct, nginx, ours, router
ask_load() {
    local node=$1 which=$2 name=$3 port path=/v1/chat/completions
    shift 3
    [ "$name" != one ] || path=/v1/completions
    case $which in
    direct) port=${at[$node]} ;;
    nginx) if [[ $name =~ sse|first ]]; then port=127.0.0.1:28082; else port=127.0.0.1:28081; fi ;;
    ours) port=127.0.0.1:28080 ;;
    router) port=127.0.0.1:28083 ;;
    esac
    on "$node" "$load" --url "http://$port$path" --body "$WORK/$name.body" --header "Authorization: Bearer ${key[$node]}" "$@" ||
        fail "$which on node $node: a wrong answer"
}

# took FIELD FILE OUT-OF-ask_load
took() { jq ".$1" <<<"$3" >>"$WORK/$2"; }

# in_turns ROUND NAME...: the names, each round another first
in_turns() {
    local round=$1
    shift
    for ((i = 0; i < $#; i++)); do echo "${@:$(((round + i) % $# + 1)):1}"; done
}

difference() { paste "$1" "$2" | awk -v by="${3:-1}" '{ print ($1 - $2) / by }'; }
ratios() { paste "$1" "$2" | awk '{ print $1 / $2 }'; }
# tell TEXT FILE...: medians, for people
tell() {
    local text=$1 f
    shift
    say "$text$(for f in "$@"; do printf ' %s %s' "$f" "$(quantile "$WORK/$f" 0.5)"; done)"
}

# before_standin NODE TAG. Of streams at full speed two at a time: more only wait for two cores, whoever is in between.
before_standin() {
    local i which out
    for i in $(seq "$pairs"); do
        for which in $(in_turns "$i" direct nginx ours); do
            out=$(ask_load "$1" "$which" json --connections 16 --seconds 2 --answer "$recorded/completion.http")
            took rate "$2.json.$which" "$out"
            out=$(ask_load "$1" "$which" json --connections 1 --seconds 1 --answer "$recorded/completion.http")
            took p50_us "$2.lone.$which" "$out"
            out=$(ask_load "$1" "$which" sse --connections 2 --seconds 2 --answer "$recorded/stream.http")
            took p99_us "$2.sse.$which" "$out"
            took rate "$2.streams.$which" "$out"
        done
    done
    tell "$2: completions a second:" "$2".json.{direct,nginx,ours}
    tell "$2: median of a lone one, us:" "$2".lone.{direct,nginx,ours}
    tell "$2: streams a second:" "$2".streams.{direct,nginx,ours}
    tell "$2: 99th percentile of a stream, us:" "$2".sse.{direct,nginx,ours}
    (
        cd "$WORK"
        ratios "$2.json.ours" "$2.json.nginx" >"$2.json.ratio"
        difference "$2.lone.ours" "$2.lone.direct" >"$2.lone.added"
        difference "$2.sse.ours" "$2.sse.nginx" 1000 >"$2.sse.over"
    )
    say "$2: json_vs_nginx $(quantile "$WORK/$2.json.ratio" 0.5), added_p50_us $(quantile "$WORK/$2.lone.added" 0.5), sse_p99_over_nginx_ms $(quantile "$WORK/$2.sse.over" 0.5)"
}

# first_bytes NODE TAG
first_bytes() {
    local i which out
    for i in $(seq "$pairs"); do
        for which in $(in_turns "$i" direct nginx ours); do
            out=$(ask_load "$1" "$which" first --connections 1 --seconds 2)
            took first_p50_us "$2.first.$which" "$out"
        done
    done
    tell "$2: first byte of a stream, us:" "$2".first.{direct,nginx,ours}
    difference "$WORK/$2.first.ours" "$WORK/$2.first.direct" 1000 >"$WORK/$2.first.added"
    say "$2: ttfb_added_ms $(quantile "$WORK/$2.first.added" 0.5)"
}
# one_token NODE TAG WHICH...
one_token() {
    local node=$1 tag=$2 i which out
    shift 2
    for i in $(seq "$pairs"); do
        for which in $(in_turns "$i" "$@"); do
            out=$(ask_load "$node" "$which" one --connections 16 --seconds 2)
            took rate "$tag.one.$which" "$out"
        done
    done
    tell "$tag: one-token completions a second:" "${@/#/$tag.one.}"
}

# router NODE: llama-server's own, with the flags of the coordinator for the one model that it starts, and a worker as that has
router() {
    in_node "$1" worker bash -c "trap '' PIPE; exec '$LLAMA/rpc-server' -H 127.0.0.1 -p 21053 -t 1"
    until_ok 20 on "$1" bash -c ': </dev/tcp/127.0.0.1/21053'
    in_node "$1" "router$1" "$LLAMA/llama-server" --models-dir "$MODELS" --models-max 1 --host 127.0.0.1 --port 28083 --no-webui \
        --rpc 127.0.0.1:21053 --device RPC0 -ngl 99 -sm layer -c 16384 -np 16 -b 512 -ub 512 -fa on -fit off -cram 0 -ctxcp 0 \
        --threads-http 32 --no-warmup
    until_ok 60 on "$1" curl -sf -o /dev/null -m 60 -d @"$WORK/one.body" http://127.0.0.1:28083/v1/completions
}

# Of a load over one rank, as a coordinator is to tell it.
record_load() {
    in_node 1 rank bash -c "trap '' PIPE; exec '$LLAMA/rpc-server' -H 127.0.0.1 -p 21052 -t 1"
    until_ok 20 runs 1 rpc-server
    in_node 1 load "$LLAMA/llama-server" -m "$MODELS/m.gguf" --rpc 127.0.0.1:21052 --device RPC0 -ngl 99 -c 16384 -np 16 -fit off \
        -lv 4 --log-colors off --no-warmup --no-webui --host 127.0.0.1 --port 21080
    until_ok 60 grep -q 'listening on' "$WORK/load.log"
    end_program KILL 1 llama-server
    end_program KILL 1 rpc-server
    grep 'model buffer size' "$WORK/load.log" | sed 's/127.0.0.1:21052/@RANK@/'
    grep -E 'model loaded' "$WORK/load.log"
}

lab_up 12
model m --layers 1 --embd 64 --heads 2 --kv-heads 1
mkdir -p "$WORK/standin/bin" "$WORK/standin/share"
cp "$BIN/tests/bench/upstream" "$WORK/standin/bin/llama-server"
ln -s "$(readlink -f "$LLAMA/rpc-server")" "$WORK/standin/bin/rpc-server"
cp "$recorded"/*.http "$WORK/standin/share/"
for word in version help list-devices; do "$LLAMA/llama-server" --$word >"$WORK/standin/share/$word" 2>&1; done
record_load >"$WORK/standin/share/log"

if wanted standin; then
    cluster 1 tunnel "$WORK/standin/bin"
    nginx 1
    before_standin 1 tunnel
    cluster 2 direct "$WORK/standin/bin"
    nginx 2
    before_standin 2 bare
    least "$rows" json_vs_nginx "$WORK/tunnel.json.ratio" 0.55 "$WORK/tunnel.json.nginx"
    row "$rows" added_p50_us us "$WORK/tunnel.lone.added" "$(quantile "$WORK/tunnel.lone.added" 0.5)" 150 "$WORK/tunnel.lone.direct"
    row "$rows" sse_p99_over_nginx_ms ms "$WORK/tunnel.sse.over" "$(quantile "$WORK/tunnel.sse.over" 0.5)" 3 "$WORK/tunnel.sse.nginx"
fi
if wanted real; then
    cluster 3 tunnel "$LLAMA"
    nginx 3
    first_bytes 3 real
    router 3
    one_token 3 real direct nginx ours router
    ratios "$WORK/real.one.ours" "$WORK/real.one.router" >"$WORK/real.one.ratio"
    least "$rows" router_ratio "$WORK/real.one.ratio" 1.5 "$WORK/real.one.router"
    row "$rows" ttfb_added_ms ms "$WORK/real.first.added" "$(quantile "$WORK/real.first.added" 0.5)" 0.3 "$WORK/real.first.direct"
    cluster 4 direct "$LLAMA"
    nginx 4
    first_bytes 4 realbare
    one_token 4 realbare direct nginx ours
fi
# A coordinator takes 24 requests at a time: so there are as many of them as that needs, on nodes whose memory holds some eight,
# as no more than ten fit into the processes that an agent runs.
if wanted hold; then
    instances=$(((streams + 23) / 24))
    nodes=$(((instances + 5) / 6))
    leader 5 tunnel
    for i in $(seq 5 $((4 + nodes))); do follower "$i" tunnel "$WORK/standin/bin" 5 --memory 640M; done
    until_ok 60 are_up 5 "$nodes"
    bodies=()
    for i in $(seq "$instances"); do
        cv_on 5 deploy m --alias "m$i" --ctx 12288 --slots 24 >/dev/null || fail "no instance m$i"
        printf '{"model":"m%d","stream":true,"pace_ms":%d}' "$i" $((${CARAVAN_BENCH_SECONDS:-60} * 10)) >"$WORK/held$i.body"
        bodies+=(--body "$WORK/held$i.body")
    done
    out=$(on 5 "$load" --url http://127.0.0.1:28080/v1/chat/completions "${bodies[@]}" --connections "$streams" --requests "$streams" \
        --answer "$recorded/stream.http") || true
    say "$streams streams at once: $out"
    jq '.errors' <<<"$out" >"$WORK/held.errors"
    row "$rows" held_streams_wrong streams "$WORK/held.errors" "$(cat "$WORK/held.errors")" 0
fi
