# A cluster of real daemons for one test: sourced by tests/lab/test_* and tests/bench/*.
# Real llama.cpp, Avahi, ZeroMQ in network namespaces of their own (cluster.sh). Whatever way a test ends, the cluster is
# taken down and nothing may be left behind; a sanitizer's word in any log fails the test.
#
#   trusted                           from here on: `init`, an admin key (CARAVAN_API_KEY), and only keys that were let in
#   lab_up N                          nodes 1..N
#   controller NODE [OPTION...]       caravan-controller there; its HTTP answers on the host as $URL
#   agent NODE [OPTION...]            caravan-agent there (models: $MODELS)
#   token_for NODE TOKEN              puts it where `--join @/run/node/join.token` finds it
#   cv ARGS...                        the command line against that controller
#   until_ok SECONDS COMMAND...       waits for a condition (generous: a limit, not a measurement)
#   pid_of NODE PROGRAM               host pids of a program in a node
# What is said of an instance is said of `tiny` where no NAME is given. CARAVAN_LAB_TRANSPORT=direct: without carriers.
# shellcheck shell=bash disable=SC2034,SC2016 # filters of jq have variables of their own
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
BIN=${CARAVAN_BUILD:-$ROOT/build/debug}
LAB=$ROOT/tests/lab/cluster.sh
NAME=$(basename "$0")
WORK=$(mktemp -d "${TMPDIR:-/tmp}/caravan-$NAME.XXXXXX")
MODELS=$WORK/models
CARRIER=$BIN/caravan-carrier
URL=
TRUST=open
TRANSPORT=${CARAVAN_LAB_TRANSPORT:-tunnel}
unset CARAVAN_API_KEY
export CARAVAN_LAB=${CARAVAN_LAB:-t$$}
mkdir -p "$MODELS"

say() { printf '%s\n' "-- $*"; }

# The logs are the evidence: shown whole only when a test failed.
fail() {
    printf '%s: FAILED: %s\n' "$NAME" "$*" >&2
    exit 1
}

lab_end() {
    local rc=$? f
    set +e
    trap '' INT TERM
    # daemons get to end by themselves, so that leaks are reported
    for f in "$WORK"/*.pid; do
        [ -e "$f" ] && kill -TERM "$(cat "$f")" 2>/dev/null
    done
    for f in "$WORK"/*.pid; do
        [ -e "$f" ] || continue
        for _ in $(seq 100); do kill -0 "$(cat "$f")" 2>/dev/null || break; sleep 0.05; done
    done
    "$LAB" down >/dev/null 2>&1
    if ! "$LAB" check; then
        echo "$NAME: FAILED: the lab was not taken down whole" >&2
        rc=1
    fi
    if grep -lE 'ERROR: (Address|Leak|Thread)Sanitizer|runtime error:' "$WORK"/*.log 2>/dev/null; then
        grep -hE -A12 'ERROR: (Address|Leak|Thread)Sanitizer|runtime error:' "$WORK"/*.log | head -60
        echo "$NAME: FAILED: a sanitizer complained" >&2
        rc=1
    fi
    if [ $rc -ne 0 ]; then
        for f in "$WORK"/*.log; do
            [ -s "$f" ] || continue
            printf '== %s\n' "$(basename "$f")"
            tail -n 40 "$f"
        done >&2
    fi
    rm -rf "$WORK"
    exit $rc
}
trap lab_end EXIT
trap 'exit 130' INT TERM

[ "$(id -u)" = 0 ] || fail "must be root: network namespaces"

# shellcheck source=deploy/lib/llama.sh
. "$ROOT/deploy/lib/llama.sh"
LLAMA=$(llama_find "$WORK/llama.log") || fail "no llama.cpp"

until_ok() {
    local limit=$1 end
    shift
    end=$((SECONDS + limit))
    until "$@" >/dev/null 2>&1; do
        [ $SECONDS -lt $end ] || fail "not within $limit s: $*"
        sleep 0.05
    done
}

lab_up() {
    "$LAB" up "$1"
}

# in_node NODE LOGNAME COMMAND...: in the background, its output in $WORK/LOGNAME.log
in_node() {
    local node=$1 log=$2
    shift 2
    # nsenter stays as the parent in the host's pid namespace; the program itself is found by what it is
    "$LAB" exec "$node" "$@" </dev/null >>"$WORK/$log.log" 2>&1 &
}

pid_of() {
    local node=$1 program=$2 p
    for p in $("$LAB" pids "$node"); do
        if [ "$(basename "$(readlink "/proc/$p/exe" 2>/dev/null)")" = "$program" ]; then echo "$p"; fi
    done
}

runs() { [ -n "$(pid_of "$1" "$2")" ]; }
gone() { [ -z "$(pid_of "$1" "$2")" ]; }

# serving NODE PROGRAM: the process that serves, not an idle one: it holds most memory
serving() {
    local p
    for p in $(pid_of "$1" "$2"); do
        echo "$(awk '/^RssAnon/ { print $2 }' "/proc/$p/status") $p"
    done | sort -n | tail -n 1 | cut -d' ' -f2
}

# end_program SIGNAL NODE PROGRAM: and waits until it is gone
end_program() {
    local p
    for p in $(pid_of "$2" "$3"); do kill "-$1" "$p"; done
    until_ok 20 gone "$2" "$3"
}

# llama_pids NODE...: the processes of llama.cpp there
llama_pids() {
    local node
    for node in "$@"; do
        pid_of "$node" rpc-server
        pid_of "$node" llama-server
    done | sort
}

no_coordinator() { # NODE...
    local node
    for node in "$@"; do
        gone "$node" llama-server || fail "a coordinator is left on node $node"
    done
}

trusted() { TRUST=keys; }

# `init` as an operator runs it; the directory is there before, so that it stays root's.
controller_init() {
    local dir=/run/cv-$CARAVAN_LAB/n$1/var/controller
    mkdir -p "$dir" && chmod 700 "$dir"
    "$BIN/caravan-controller" init --config /dev/null --state-dir "$dir" >"$WORK/init.log" 2>&1 || fail "init"
    CARAVAN_API_KEY=$(cat "$dir/admin.key")
    export CARAVAN_API_KEY
}

token_for() { (umask 077 && printf '%s\n' "$2" >"/run/cv-$CARAVAN_LAB/n$1/var/join.token"); }

controller() {
    local node=$1
    shift
    rm -f "/run/cv-$CARAVAN_LAB/n$node/var/http-port" # of the one before
    [ "$TRUST" = open ] || controller_init "$node"
    # the listening socket is the host's, the daemon the node's
    "$LAB" hostexec "$node" "$BIN/deploy/caravan-listenfd" --port 18800 --port-file /run/node/http-port -- \
        nsenter --net=/proc/1/ns/net -- "$BIN/caravan-controller" --config /dev/null --models-conf /dev/null \
        --state-dir /run/node/controller --trust "$TRUST" --rank-transport "$TRANSPORT" --log-level debug "$@" </dev/null >>"$WORK/controller.log" 2>&1 &
    until_ok 10 test -s "/run/cv-$CARAVAN_LAB/n$node/var/http-port"
    URL=http://127.0.0.1:$(cat "/run/cv-$CARAVAN_LAB/n$node/var/http-port")
    export CARAVAN_CONTROLLER=$URL
    until_ok 30 curl -sf -o /dev/null "$URL/api/health"
    [ "$TRUST" = open ] || until_ok 30 cv version
    pid_of "$node" caravan-controller >"$WORK/controller.pid"
}

agent() {
    local node=$1
    shift
    in_node "$node" "agent$node" "$BIN/caravan-agent" --config /dev/null --state-dir /run/node/agent --models "$MODELS" --llama-dir "$LLAMA" \
        --shim "$BIN/caravan-shim" --carrier "$CARRIER" --rank-transport "$TRANSPORT" --trust "$TRUST" --worker-threads 1 --log-level debug "$@"
    until_ok 20 runs "$node" caravan-agent
    pid_of "$node" caravan-agent >"$WORK/agent$node.pid"
}

agents() {
    local i
    for i in $(seq "$1"); do agent "$i"; done
    until_ok 60 nodes_ready "$1"
}

cv() {
    "$BIN/caravan" "$@"
}

# ---- what is so: each succeeds where it is ----

# nodes_say FILTER, instances_say FILTER: a filter of jq on all that `caravan nodes` or `caravan instances` tells;
# node_says NAME FILTER: on what is told of one node
nodes_say() { cv nodes --json | jq -e "$@" >/dev/null; }
instances_say() { cv instances --json | jq -e "$@" >/dev/null; }
node_says() { nodes_say --arg name "$1" ".nodes[] | select(.name == \$name) | $2"; }

# The leader knows all that it will hear of models: who asks for another one is told that there is none.
knows_models() {
    [ "$(curl -s -o /dev/null -w '%{http_code}' -d '{"model": "no-such-model", "messages": []}' "$URL/v1/chat/completions")" = 404 ]
}

nodes_ready() { # COUNT
    nodes_say --argjson n "$1" '[.nodes[] | select(.state == "ready" and
        ([.units[] | select(.standing and .state == "running")] | length) == 1)] | length == $n'
}

# node_is NODE STATE, is NAME STATE, ready_after EPOCH [NAME], brake true|false, answers NAME
node_is() { node_says "node$1" ".state == \"$2\""; }
is() { [ "$(instance "$1" | jq -r .state)" = "$2" ]; }
ready_after() { instance "${2:-}" | jq -e --argjson e "$1" '.state == "ready" and .epoch > $e' >/dev/null; }
brake() { [ "$(cv nodes --json | jq -r .brake.on)" = "$1" ]; }
answers() { [ -n "$(ask "$1" hello 4)" ]; }

# mended EPOCH PATTERN: another epoch serves, and what is told of that one's end matches
mended() {
    until_ok 90 ready_after "$1"
    [[ $(reason_of "$1") =~ $2 ]] || fail "the reason of epoch $1 is \"$(reason_of "$1")\", not like \"$2\""
    answers tiny || fail "no answer after epoch $1"
    say "mended: $(reason_of "$1")"
}

# ---- what there is ----

# instance [NAME]: what is served by that name, in JSON. Of it: epoch NAME; rank_node RANK [NAME], the number of its node;
# reason_of EPOCH [NAME], why that one ended
instance() {
    cv instances --json | jq -c --arg n "${1:-tiny}" '[.instances[] | select(.name == $n and .state != "stopped")][0]'
}
epoch() { instance "$1" | jq -r .epoch; }
rank_node() { instance "${2:-}" | jq -r ".plan.ranks[$1].node_name" | tr -d '[:lower:]'; }
reason_of() {
    instance "${2:-}" | jq -r --argjson e "$1" '.tried[] | select(.epoch == $e) | "\(.code): \(.text)"'
}

# carrier_of NODE [NAME]: the process of its carrier there. dialled [NAME]: what its coordinator is told to dial, by rank, joined
# by commas: the ranks, or the ports of the carrier beside it that stand for them
carrier_of() {
    local id p
    id=$(instance "${2:-}" | jq -r .id)
    for p in $(pid_of "$1" caravan-carrier); do
        if grep -qx "instance=$id" "/proc/$p/cwd/conf"; then echo "$p"; fi
    done
}
dialled() {
    if [ "$TRANSPORT" = direct ]; then
        instance "${1:-}" | jq -r '[.ranks[].endpoint] | join(",")'
    else
        python3 "$ROOT/tests/lab/carrier_ports.py" "/proc/$(carrier_of "$(rank_node 0 "${1:-}")" "${1:-}")/cwd/control"
    fi
}

# ---- models and requests ----

mkgguf() {
    "$BIN/deploy/caravan-mkgguf" "$@" >/dev/null
}

model() { # model NAME OPTIONS...: a small valid model in $MODELS
    mkgguf "$MODELS/$1.gguf" "${@:2}" >/dev/null
}

# The header with the key, for curl -H @<(with_key): its arguments are for everybody to read.
with_key() { [ -z "${CARAVAN_API_KEY:-}" ] || printf 'Authorization: Bearer %s\n' "$CARAVAN_API_KEY"; }

# chat MODEL PROMPT TOKENS: the body of a greedy request
chat() {
    jq -n --arg m "$1" --arg p "$2" --argjson n "$3" \
        '{model: $m, messages: [{role: "user", content: $p}], max_tokens: $n, temperature: 0, seed: 7, cache_prompt: false}'
}

# ask MODEL PROMPT TOKENS [BASE]: the text of the answer
ask() {
    chat "$1" "$2" "$3" | curl -sS --fail-with-body -m 120 -H 'Content-Type: application/json' -H @<(with_key) -d @- \
        "${4:-$URL}/v1/chat/completions" |
        jq -r '.choices[0].message.content'
}

# ask_stream FILE TOKENS [PROMPT]: tiny's answer as it comes, into FILE; in the background, as $streaming
ask_stream() {
    chat tiny "${3:-go}" "$2" | jq '. + {stream: true}' |
        curl -sSN -m 300 -d @- "$URL/v1/chat/completions" >"$1" 2>"$1.err" &
    streaming=$!
}

# chunks FILE: how many have come. grew FILE COUNT: whether more than so many have
chunks() { grep -c content "$1" || true; }
grew() { [ "$(chunks "$1")" -gt "$2" ]; }

# stream FILE TOKENS: as ask_stream, and waits until tokens come
stream() {
    ask_stream "$@"
    until_ok 60 grew "$1" 10
}

# expect_error CODE PATTERN COMMAND...: exits with CODE and says, in one line, something that matches
expect_error() {
    local want=$1 pattern=$2 rc=0 out
    shift 2
    out=$("$@" 2>&1 >/dev/null) || rc=$?
    # shellcheck disable=SC2053 # "[13]": one of several
    [[ $rc == $want ]] || fail "exit $rc in place of $want: $* ($out)"
    [ "$(printf '%s\n' "$out" | wc -l)" = 1 ] || fail "not one line: $out"
    [[ $out =~ $pattern ]] || fail "\"$out\" does not say \"$pattern\""
    say "ok: $out"
}
