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

# processes NAME: of that name, in all nodes
processes() {
    local pid
    for pid in $("$cluster" pids 1) $("$cluster" pids 2) $("$cluster" pids 3) $("$cluster" pids 4); do
        # (its shim has the same words in its command line)
        [ "$(cat "/proc/$pid/comm" 2>/dev/null)" != "$1" ] || echo "$pid"
    done
}

# dialled: the --rpc endpoints that the llama-server of the lab was given; opened: what the carrier beside it has opened for its
# ranks, in their order; both joined by commas
dialled() { tr '\0' '\n' <"/proc/$(processes llama-server)/cmdline" | grep -A 1 -x -e --rpc | tail -n 1; }
opened() {
    local pid
    for pid in $(processes caravan-carrier); do
        ! grep -q '^route=' "/proc/$pid/cwd/conf" || python3 "$here/carrier_ports.py" "/proc/$pid/cwd/control"
    done
}
in_rank_order() { [ -n "$(dialled)" ] && [ "$(dialled)" = "$(opened)" ]; }
# its own worker and the carriers of the other three nodes
four_ranks() {
    caravan instances --json | jq -e '[.instances[0].ranks[].endpoint] | length == 4 and (.[0] | test("^127.0.0.1:200[0-9]{2}$")) and
        (.[1:] | unique | length == 3 and all(test("^10[.]77[.]0[.]1[1-4]:74[4-9][0-9]$")))' >/dev/null
}

expect yes "quickstart" timeout 120 "$quickstart" >"$tmp/out" 2>&1
expect yes "its last line" grep -q '^quickstart: OK ' <(tail -n 1 "$tmp/out")
expect yes "nothing left" nothing_left
[ $failed = 0 ] || cat "$tmp/out"

expect yes "quickstart --keep" timeout 120 "$quickstart" --keep >"$tmp/out" 2>&1
[ $failed = 0 ] || cat "$tmp/out"
expect_exit 1 'is up already' "$quickstart"
"$cluster" exec 2 timeout 10 avahi-browse -rpt _llamacpp-rpc._tcp >"$tmp/browse" 2>&1
expect yes "four agents by mDNS" [ "$(grep -c '^=;' "$tmp/browse")" = 4 ]
eval "$("$quickstart" --env)"
expect yes "caravan speaks to it" caravan nodes >/dev/null
expect yes "only who was let in may join" [ "$(caravan nodes --json | jq -r .trust)" = keys ]
expect yes "no token is left open" [ "$(caravan token list --json | jq '.tokens | length')" = 0 ]
expect_exit 3 'key' env CARAVAN_API_KEY=caravan_of_somebody caravan nodes
expect yes "it says that ranks are behind a tunnel" grep -q 'transport tunnel' "$tmp/out"
expect yes "four ranks, on four nodes" four_ranks
expect yes "dialled in their order" in_rank_order
expect yes "removed" "$quickstart" --down >/dev/null
expect yes "nothing left after --down" nothing_left
exit $failed
