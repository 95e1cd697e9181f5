#!/bin/bash
# The main job, as a person starts it: a cluster from nothing to an answer, and nothing left behind; then one that is
# kept, which is really spread over four nodes, is seen by mDNS, and is gone after --down.
set -u
here=$(dirname "$(readlink -f "$0")")
# shellcheck source=tests/lib/check.sh
. "$here/../lib/check.sh"
quickstart=$here/../../deploy/quickstart
cluster=$here/cluster.sh
tmp=$(mktemp -d)
finish() {
    "$quickstart" --down >/dev/null
    rm -rf "$tmp"
}
trap finish EXIT
trap 'exit 130' INT TERM HUP

nothing_left() { "$cluster" check && [ ! -e "/run/caravan-$CARAVAN_LAB" ]; }

# endpoints: the --rpc endpoints that the llama-server of the lab was given, one a line
endpoints() {
    local pid
    for pid in $("$cluster" pids 1) $("$cluster" pids 2) $("$cluster" pids 3) $("$cluster" pids 4); do
        # (its shim has the same words in its command line)
        [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = llama-server ] || continue
        tr '\0' '\n' <"/proc/$pid/cmdline" | grep -A 1 -x -e --rpc | tail -n 1
    done | tr , '\n'
}

# in the order of the ranks that `caravan` shows
in_rank_order() { [ "$(endpoints)" = "$(caravan instances --json | jq -r '.instances[0].ranks[].endpoint')" ]; }

expect yes "quickstart" timeout 120 "$quickstart" >"$tmp/out" 2>&1
expect yes "its last line" grep -q '^quickstart: OK ' <(tail -n 1 "$tmp/out")
expect yes "nothing left" nothing_left
[ $failed = 0 ] || cat "$tmp/out"

expect yes "quickstart --keep" timeout 120 "$quickstart" --keep >"$tmp/out" 2>&1
[ $failed = 0 ] || cat "$tmp/out"
expect_exit 1 'is up already' "$quickstart"
expect yes "four endpoints" [ "$(endpoints | grep -cE '^10\.77\.0\.1[1-4]:[0-9]+$')" = 4 ]
"$cluster" exec 2 timeout 10 avahi-browse -rpt _llamacpp-rpc._tcp >"$tmp/browse" 2>&1
expect yes "four agents by mDNS" [ "$(grep -c '^=;' "$tmp/browse")" = 4 ]
eval "$("$quickstart" --env)"
expect yes "caravan speaks to it" caravan nodes >/dev/null
expect yes "only who was let in may join" [ "$(caravan nodes --json | jq -r .trust)" = keys ]
expect yes "no token is left open" [ "$(caravan token list --json | jq '.tokens | length')" = 0 ]
expect_exit 3 'key' env CARAVAN_API_KEY=caravan_of_somebody caravan nodes
expect yes "endpoints in rank order" in_rank_order
expect yes "removed" "$quickstart" --down >/dev/null
expect yes "nothing left after --down" nothing_left
exit $failed
