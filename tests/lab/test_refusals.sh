#!/bin/bash
# Ten thousand invalid transitions (case 15), half over HTTP, half over the agents' port with a valid key, drawn over what can
# be refused: all refused, each counted once, audited; the controller is the same process and as large as before.
# shellcheck source=tests/lab/lib.sh
. "$(dirname "$0")/lib.sh"
N=${CARAVAN_REFUSALS:-10000}
export ASAN_OPTIONS=quarantine_size_mb=0:thread_local_quarantine_size_kb=0 # what is freed is to count as free

lab_up 3
model tiny --layers 12 --embd 256 --heads 8 --kv-heads 2 --type q8_0 --ctx 4096
controller 1 --settle 3s
agents 3
cv deploy tiny --nodes 2 --ctx 512 --slots 1 >/dev/null
pid=$(pid_of 1 caravan-controller)
key=$("$LAB" exec 1 "$BIN/caravan-controller" --config /dev/null --state-dir /run/node/controller --print-key </dev/null)

# fake NAME: a node of its own that says what is written to it
fake() {
    mkdir -p "$WORK/$1.dir"
    chmod 700 "$WORK/$1.dir"
    mkfifo "$WORK/$1.in"
    "$LAB" netexec 1 "$BIN/tests/lab/lab_node" 10.77.0.11 7420 "$key" "$WORK/$1.dir" <"$WORK/$1.in" >"$WORK/$1.out" 2>&1 &
    exec {fd}>"$WORK/$1.in"
    eval "$1=$fd"
    until_ok 20 grep -q connected "$WORK/$1.out"
}
told() { # NAME LINE COUNT: it was said, and so many answers came
    local before
    before=$(grep -c '^sent' "$WORK/$1.out" || true)
    eval "printf '%s\n' '$2' >&\$$1"
    until_ok 120 sh -c "[ \$(grep -c '^sent' '$WORK/$1.out') -gt $before ]"
}
refused() { curl -sf "$URL/metrics" | awk '/^caravan_transitions_refused_total/ { n += $NF } END { printf "%d", n }'; }
rss() { awk '/^RssAnon/ { print $2 }' "/proc/$pid/status"; }

fake unknown
fake joining
fake ready
fake retired
told joining hello
told ready hello
told ready full
told retired hello
told retired full
until_ok 20 sh -c "[ \$($BIN/caravan nodes --json | jq '[.nodes[] | select(.name == \"lab\")] | length') = 3 ]"
id=$(cv nodes --json | jq -r '[.nodes[] | select(.name == "lab" and .state != "joining")][0].id')
curl -sf -X POST "$URL/api/nodes/$id/retire" >/dev/null || fail "retire"
until_ok 10 sh -c "$BIN/caravan nodes --json | jq -e '.nodes[] | select(.state == \"retired\")'"

flood() { # COUNT
    local each=$(($1 / 10))
    told unknown "partial $each"
    told unknown "full $each"
    told unknown "stranger $each"
    told unknown "foreign $each"
    told joining "stranger $((each / 2))"
    told ready "foreign $((each / 2))"
    told retired "hello $((each / 4))"
    told retired "partial $((each / 4))"
    # over HTTP: what an operator may not ask of nodes and instances in the states that they are in
    for _ in $(seq $(($1 / 2 / 5))); do
        printf 'url = "%s/api/nodes/%s/drain"\nrequest = POST\noutput = /dev/null\n' "$URL" "$id"
        printf 'url = "%s/api/nodes/%s/undrain"\nrequest = POST\noutput = /dev/null\n' "$URL" "$id"
        printf 'url = "%s/api/nodes/%s/drain"\nrequest = POST\noutput = /dev/null\n' "$URL" "$joining_id"
        printf 'url = "%s/api/nodes/%s/drain"\nrequest = POST\noutput = /dev/null\n' "$URL" "$id"
        printf 'url = "%s/api/nodes/%s/drain"\nrequest = POST\noutput = /dev/null\n' "$URL" "$joining_id"
    done >"$WORK/requests"
    curl -sS -K "$WORK/requests"
}
joining_id=$(cv nodes --json | jq -r '[.nodes[] | select(.name == "lab" and .state == "joining")][0].id')
flood "$N" # the store's page cache, the events that are kept and the audit have their size after as many
r0=$(refused) m0=$(rss)
flood "$N"
r1=$(refused) m1=$(rss)
say "$((r1 - r0)) refused of $N; RssAnon $m0 -> $m1 KiB"
[ $((r1 - r0)) -ge "$N" ] || fail "$((r1 - r0)) were counted"
[ "$(curl -sf "$URL/metrics" | awk '/^caravan_audit_lost_total/ { print $NF }')" = 0 ] || fail "some were not audited"
[ "$m1" -le $((m0 + 2048)) ] || fail "RSS grew from $m0 to $m1 KiB"
[ "$(pid_of 1 caravan-controller)" = "$pid" ] || fail "another process"
[ -n "$(ask tiny hello 4)" ] || fail "no answer afterwards"
