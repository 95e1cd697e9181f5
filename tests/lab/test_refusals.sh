#!/bin/bash
# Ten thousand invalid transitions (case 15), over HTTP and over the agents' port with valid keys, drawn over every cell of the
# controller's tables that refuses and that somebody outside can ask for: each counted, audited and without any effect; the
# controller and the agents are the same processes as before, and the controller is as large.
# shellcheck source=tests/lab/lib.sh
. "$(dirname "$0")/lib.sh"
N=${CARAVAN_REFUSALS:-10000}
each=$((N / 20)) # of each cell: there are 21, one of which is not there for long
export ASAN_OPTIONS=quarantine_size_mb=0:thread_local_quarantine_size_kb=0 # what is freed is to count as free

# Cells that refuse and that nobody outside can draw, and why.
not_drawn() {
    local state
    for state in unknown retired; do
        echo "node.$state.partial_report its reports are refused before it is looked at whether they are whole"
    done
    echo "node.retired.hello such a hello is counted as a bad one"
    for state in requested placing waiting leasing starting loading recovering stopping stopped failed; do
        echo "instance.$state.drain nodes are drained, and of what they serve only what is ready"
    done
    for state in complete failed refused; do
        echo "task.$state.cancel nobody cancels tasks; they end with what they are for"
    done
}

# ---- what was refused ----

cells() { # "CELL COUNT" lines
    curl -sf "$URL/metrics" |
        sed -n 's/^caravan_transitions_refused_total{machine="\(.*\)",state="\(.*\)",event="\(.*\)"} /\1.\2.\3 /p' | sort
}
count() { cells | awk -v cell="$1" '$1 == cell { print $2 }'; } # CELL
counted() { [ "$(count "$1")" -ge "$2" ]; }                       # CELL TIMES
refused() { cells | awk '{ n += $2 } END { printf "%d", n }'; }
# draw CELL COMMAND...: a command that has the cell refuse $each times
draw() {
    local cell=$1 before
    shift
    before=$(count "$cell")
    "$@"
    until_ok 60 counted "$cell" $((before + each))
}

# ---- who asks ----

# fake NAME: a node of that name which says what it is told to; its key is in $WORK/NAME
fake() {
    mkdir -p "$WORK/$1"
    mkfifo "$WORK/$1.in"
    "$LAB" netexec 1 "$BIN/tests/lab/lab_node" 10.77.0.11 7420 "$key" "$WORK/$1" <"$WORK/$1.in" >"$WORK/$1.log" 2>&1 &
    exec {fd}>"$WORK/$1.in"
    input[$1]=$fd
    until_ok 20 grep -q connected "$WORK/$1.log"
}
hang_up() { # NAME
    local fd=${input[$1]}
    exec {fd}>&-
    rm "$WORK/$1.in"
}
tell() { # NAME LINE...
    printf '%s\n' "${@:2}" >&"${input[$1]}"
}
fake_is() { node_says "$1" ".state == \"$2\""; } # NAME STATE
# post TIMES PATH [BODY]
post() {
    local one
    one=$(printf 'url = "%s%s"\nrequest = POST\noutput = /dev/null\n' "$URL" "$2")
    [ -z "${3:-}" ] || one+=$'\n'"data = $(jq -n --arg body "$3" '$body')"
    for _ in $(seq 2 "$1"); do printf '%s\nnext\n' "$one"; done >"$WORK/requests"
    printf '%s\n' "$one" >>"$WORK/requests"
    curl -sS --no-progress-meter -Z --parallel-max 32 -K "$WORK/requests"
}
settings=(--settle 3s --evict-after 30s --transition-grace 50ms)
declare -A input

lab_up 3
model tiny --layers 12 --embd 256 --heads 8 --kv-heads 2 --type q8_0 --ctx 4096
controller 1 "${settings[@]}"
key=$("$LAB" exec 1 "$BIN/caravan-controller" --config /dev/null --state-dir /run/node/controller --print-key </dev/null)

# a drained node that a restarted controller knows of, and has not heard yet
fake unknown
tell unknown hello full
until_ok 20 fake_is unknown ready
post 1 /api/nodes/unknown/drain
until_ok 20 fake_is unknown drained
end_program KILL 1 caravan-controller
controller 1 "${settings[@]}"
until_ok 20 fake_is unknown unknown

# a node in each other state that stays in it, but for those who are lost: they are evicted in the end
for name in stranger joining ready suspect evicted stuck drained retired; do fake $name; done
tell joining hello 'keep partial'
tell ready hello full 'keep full'
tell suspect hello
tell evicted 'door 10.77.0.250 7420' hello
tell stuck 'door 10.77.0.11 9' hello
for name in drained retired; do
    tell $name hello full
    until_ok 20 fake_is $name ready
done
post 1 /api/nodes/drained/drain
post 1 /api/nodes/retired/retire

# two real nodes: one serves all the while, the other has what is stopped and drained. What is pinned to it never moves
agent 3
until_ok 60 nodes_ready 1
cv plan tiny --ctx 4096 --slots 1 --save "$WORK/plan" >/dev/null
cv drain node3 >/dev/null
agent 2
until_ok 60 nodes_ready 1
cv deploy tiny --nodes 1 --ctx 512 --slots 1 >/dev/null
cv undrain node3 >/dev/null
until_ok 60 nodes_ready 2
mkdir "$WORK/copy"
cp -p "/run/cv-$CARAVAN_LAB/n3/var/agent/identity" "$WORK/copy/identity"
for name in joining ready suspect stuck drained retired evicted; do until_ok 60 fake_is $name $name; done
pids() { for node in 1 2 3; do pid_of $node caravan-controller && pid_of $node caravan-agent; done && llama_pids 2; }
rss() { awk '/^RssAnon/ { print $2 }' "/proc/$(pid_of 1 caravan-controller)/status"; }

# ---- the flood ----

held() { pid_of 3 llama-server; }
# Its coordinator is stopped in the middle of an answer: the drain waits for that until it is known to hang.
flood_draining() {
    chat held go 3500 | curl -sS -m 100 -d @- "$URL/v1/chat/completions" >/dev/null 2>&1 &
    local asking=$!
    until_ok 20 instances_say '.instances[] | select(.name == "held") | .in_flight > 0'
    kill -STOP "$(held)"
    post 1 /api/nodes/node3/drain
    until_ok 20 node_is 3 draining
    fake copy # somebody else who has the node's key: only its hellos are heard
    tell copy "of $(instance held | jq -r .id) $(($(epoch held) - 1))" "event $each" "result $each" # of an epoch that is over
    draw node.draining.bad_hello tell copy "stranger $each"
    hang_up copy
    post 1 /api/nodes/node3/undrain
    until_ok 60 is held ready
    kill "$asking" 2>/dev/null || true
    wait "$asking" || true
}
# Its coordinator does not hear SIGTERM: it is being stopped until the agent kills it, some seconds later. (At once, where the
# agent has seen before that it is stopped: then this is for another time.)
stops_slowly() {
    kill -STOP "$(held)"
    curl -sf -X DELETE "$URL/api/instances/held" >/dev/null
    until_ok 20 stopping_or_gone
    is held stopping
}
stopping_or_gone() { is held stopping || is held null; }
flood_stopping() {
    until stops_slowly; do cv deploy tiny --alias held --plan "$WORK/plan" >/dev/null; done
    post $((each / 4)) /api/instances '{"model": "tiny", "alias": "held"}'
    until_ok 60 gone 3 llama-server
}
flood() { # NAME: of a node that is lost meanwhile
    local name
    cv deploy tiny --alias held --plan "$WORK/plan" >/dev/null
    fake "$1"
    tell "$1" 'door 10.77.0.250 7420' hello
    until_ok 20 fake_is "$1" lost
    draw node.lost.drain post $each "/api/nodes/$1/drain"
    draw node.lost.bad_hello tell "$1" "foreign $each"
    for name in joining suspect evicted stuck unknown retired; do
        draw node.$name.drain post $each /api/nodes/$name/drain
    done
    draw node.retired.undrain post $each /api/nodes/retired/undrain
    for name in joining ready suspect evicted stuck drained retired; do
        draw node.$name.bad_hello tell $name "foreign $each"
    done
    draw node.unknown.bad_hello tell stranger "stranger $((each / 2))" "foreign $((each - each / 2))"
    draw node.unknown.report tell stranger "partial $((each / 2))" "full $((each - each / 2))"
    draw node.retired.report tell retired "full $each"
    tell retired "hello $each"
    # forged: of what serves, by a node that has no part in it
    tell ready "of $(instance | jq -r .id) $(epoch tiny)" "event $each" "result $each"
    flood_draining
    flood_stopping
}

flood lost1 # the store's page cache, the events that are kept and the audit have their size after as many
r0=$(refused) m0=$(rss) p0=$(pids) e0=$(epoch tiny)
flood lost2
r1=$(refused) m1=$(rss)

cells >"$WORK/cells"
not_drawn >"$WORK/not_drawn"
say "refused per cell:"
awk '$2 { print "   ", $0 }' "$WORK/cells"
say "drawn: $(awk '$2' "$WORK/cells" | wc -l) of $(wc -l <"$WORK/cells") cells that refuse; not drawn:"
sed 's/^/    /' "$WORK/not_drawn"
diff <(awk '!$2 { print $1 }' "$WORK/cells") <(cut -d' ' -f1 "$WORK/not_drawn" | sort) || fail "not the cells that cannot be drawn"
say "$((r1 - r0)) refused of $N; RssAnon $m0 -> $m1 KiB"
[ $((r1 - r0)) -ge "$N" ] || fail "$((r1 - r0)) were counted"
[ "$(curl -sf "$URL/metrics" | awk '/^caravan_audit_lost_total/ { print $NF }')" = 0 ] || fail "some were not audited"
[ "$m1" -le $((m0 + 2048)) ] || fail "RSS grew from $m0 to $m1 KiB"
[ "$(pids)" = "$p0" ] || fail "other processes: $p0 / $(pids)"
[ "$(epoch tiny)" = "$e0" ] || fail "what serves was started again"
answers tiny || fail "no answer afterwards"
