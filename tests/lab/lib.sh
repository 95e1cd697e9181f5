# A cluster of real daemons for one test: sourced by tests/lab/test_* and tests/bench/*.
# Real llama.cpp, Avahi, ZeroMQ in network namespaces of their own (cluster.sh). Whatever way a test ends, the cluster is
# taken down and nothing may be left behind; a sanitizer's word in any log fails the test.
#
#   lab_up N                          nodes 1..N
#   controller NODE [OPTION...]       caravan-controller there; its HTTP answers on the host as $URL
#   agent NODE [OPTION...]            caravan-agent there (models: $MODELS)
#   cv ARGS...                        the command line against that controller
#   until_ok SECONDS COMMAND...       waits for a condition (generous: a limit, not a measurement)
#   pid_of NODE PROGRAM               host pids of a program in a node
# shellcheck shell=bash disable=SC2034
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
BIN=${CARAVAN_BUILD:-$ROOT/build/debug}
LAB=$ROOT/tests/lab/cluster.sh
NAME=$(basename "$0")
WORK=$(mktemp -d "${TMPDIR:-/tmp}/caravan-$NAME.XXXXXX")
MODELS=$WORK/models
URL=
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

controller() {
    local node=$1
    shift
    # the listening socket is the host's, the daemon the node's
    "$LAB" hostexec "$node" "$BIN/deploy/caravan-listenfd" --port 18800 --port-file /run/node/http-port -- \
        nsenter --net=/proc/1/ns/net -- "$BIN/caravan-controller" --config /dev/null --models-conf /dev/null \
        --state-dir /run/node/controller --trust open --log-level debug "$@" </dev/null >>"$WORK/controller.log" 2>&1 &
    until_ok 10 test -s "/run/cv-$CARAVAN_LAB/n$node/var/http-port"
    URL=http://127.0.0.1:$(cat "/run/cv-$CARAVAN_LAB/n$node/var/http-port")
    export CARAVAN_CONTROLLER=$URL
    until_ok 30 curl -sf -o /dev/null "$URL/api/health"
    pid_of "$node" caravan-controller >"$WORK/controller.pid"
}

agent() {
    local node=$1
    shift
    in_node "$node" "agent$node" "$BIN/caravan-agent" --config /dev/null --state-dir /run/node/agent --models "$MODELS" --llama-dir "$LLAMA" \
        --shim "$BIN/caravan-shim" --trust open --worker-threads 1 --log-level debug "$@"
    until_ok 20 runs "$node" caravan-agent
    pid_of "$node" caravan-agent >"$WORK/agent$node.pid"
}

agents() {
    local i
    for i in $(seq "$1"); do agent "$i"; done
    until_ok 60 nodes_ready "$1"
}

nodes_ready() {
    [ "$(cv nodes --json | jq '[.nodes[] | select(.state == "ready" and ([.units[] | select(.standing and .state == "running")] | length) == 1)] | length')" = "$1" ]
}

cv() {
    "$BIN/caravan" "$@"
}

mkgguf() {
    "$BIN/deploy/caravan-mkgguf" "$@" >/dev/null
}

model() { # model NAME OPTIONS...: a small valid model in $MODELS
    mkgguf "$MODELS/$1.gguf" "${@:2}" >/dev/null
}

# ask MODEL PROMPT MAX_TOKENS [BASE]: the text of a greedy chat answer
ask() {
    jq -n --arg m "$1" --arg p "$2" --argjson n "$3" \
        '{model: $m, messages: [{role: "user", content: $p}], max_tokens: $n, temperature: 0, seed: 7, cache_prompt: false}' |
        curl -sS --fail-with-body -m 120 -H 'Content-Type: application/json' -d @- "${4:-$URL}/v1/chat/completions" |
        jq -r '.choices[0].message.content'
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
