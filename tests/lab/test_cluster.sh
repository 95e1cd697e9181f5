#!/bin/bash
# The lab itself: each fault does what cluster.sh says, and nothing is left behind. A port without a listener is the
# probe: refused means reachable, silence means not.
set -u
here=$(dirname "$(readlink -f "$0")")
# shellcheck source=tests/lib/check.sh
. "$here/../lib/check.sh"
cluster=$here/cluster.sh
export CARAVAN_LAB=${CARAVAN_LAB:-test-cluster}
trap '"$cluster" down' EXIT
trap 'exit 130' INT TERM HUP

reaches() { # A B: can node A open a connection to node B?
    local status=0
    "$cluster" netexec "$1" timeout 1 bash -c "exec 3<>/dev/tcp/10.77.0.$((10 + $2))/9" 2>/dev/null || status=$?
    [ "$status" = 1 ] # refused
}

sees() { # NODE NAME: does its avahi-daemon know the service?
    "$cluster" exec "$1" timeout 5 avahi-browse -rpt _caravan._tcp 2>/dev/null | grep "^=.*;$2;" >/dev/null
}

await_sees() {
    local _
    for _ in 1 2 3 4 5; do
        sees "$@" && return 0
    done
    return 1
}

runs() { [ -n "$("$cluster" pids "$1" 2>/dev/null)" ]; }
counter() { stat -c %s "/run/cv-$CARAVAN_LAB/n2/var/count"; } # from the host: a frozen node runs nothing
counts() { # does the loop on node 2 go on?
    local before _
    before=$(counter)
    for _ in $(seq 100); do
        [ "$(counter)" = "$before" ] || return 0
    done
    return 1
}

"$cluster" down
before=$(cat /proc/self/mountinfo)
CARAVAN_LAB_NO_AVAHI=3 "$cluster" up 4 || exit 1
expect yes "clean network" reaches 1 2
expect yes "no mount on the host" [ "$before" = "$(cat /proc/self/mountinfo)" ]
expect yes "host name" [ "$("$cluster" exec 2 hostname)" = node2 ]
expect yes "avahi on node 1" "$cluster" exec 1 test -S /run/avahi-daemon/socket
expect no "avahi on node 3" "$cluster" exec 3 test -S /run/avahi-daemon/socket

"$cluster" exec 1 setsid -f avahi-publish -s n1 _caravan._tcp 7420 id=1 >/dev/null 2>&1
expect yes "mDNS" await_sees 2 n1

"$cluster" linkdown 1
expect no "cable pulled" reaches 2 1
"$cluster" linkup 1
expect yes "cable back" reaches 2 1
"$cluster" cut 1
expect no "silent loss" reaches 2 1
"$cluster" uncut 1
expect yes "silent loss undone" reaches 2 1
"$cluster" partition "1 2" "3"
expect yes "same side" reaches 1 2
expect no "other side" reaches 1 3
expect no "named in no group" reaches 4 3
"$cluster" heal
expect yes "healed" reaches 1 3
"$cluster" oneway 1 2
expect no "one way, there" reaches 1 2
expect yes "other pairs" reaches 1 3
"$cluster" heal
"$cluster" rate 2 10mbit && "$cluster" rate 2 off || failed=1
expect yes "rate taken off" reaches 1 2

# shellcheck disable=SC2016  # for the node's shell
"$cluster" exec 2 setsid -f bash -c 'while :; do echo >>/run/node/count; done' >/dev/null 2>&1
expect yes "running" counts
"$cluster" freeze 2
expect no "frozen" counts
expect yes "its kernel still answers" reaches 1 2
"$cluster" thaw 2
expect yes "thawed" counts

"$cluster" crash 2
expect no "crashed" runs 2
expect no "crashed, and silent" reaches 1 2
"$cluster" boot 2 || failed=1
expect yes "booted" reaches 1 2
expect yes "its directory survived" "$cluster" exec 2 test -e /run/node/count

"$cluster" down
expect yes "nothing left" "$cluster" check
exit $failed
