#!/bin/bash
# Discovery on real Avahi: two nodes of one name are both seen; an avahi-daemon that dies and comes back gets its records
# again; a controller that Avahi never named is reached all the same; `caravan backends` says who said what.
# shellcheck source=tests/lab/lib.sh
. "$(dirname "$0")/lib.sh"

lab_up 3
model tiny
controller 1
agent 1
agent 2 --name twin
agent 3 --name twin
until_ok 60 nodes_ready 3

records() { "$LAB" exec 1 timeout 10 avahi-browse -rpt "$1" 2>/dev/null | grep '^=;'; }
has_records() { [ "$(records "$1" | wc -l)" = "$2" ]; }
until_ok 60 has_records _caravan._tcp 3
until_ok 60 has_records _llamacpp-rpc._tcp 3
names=$(records _caravan._tcp | cut -d';' -f4 | sort -u | wc -l)
[ "$names" = 3 ] || fail "two nodes of one name took each other's record: $(records _caravan._tcp | cut -d';' -f4)"
nodes_say '[.nodes[] | select(.name == "twin")] | length == 2' || fail "caravan nodes hides one of two twins"
say "two nodes called twin: $(records _caravan._tcp | cut -d';' -f4 | sort | tr '\n' ' ')"

cv backends --json >"$WORK/backends"
[ "$(jq '[.backends[] | select(.state == "healthy" and .rpc != null)] | length' "$WORK/backends")" = 3 ] ||
    fail "backends: $(cat "$WORK/backends")"
seen_by_mdns() { [ "$(cv backends --json | jq '[.backends[] | select([.sources[].source] | index("mdns"))] | length')" = 3 ]; }
until_ok 60 seen_by_mdns
cv backends --why 10.77.0.12 | grep -q mdns || fail "--why does not name mDNS: $(cv backends --why 10.77.0.12)"
say "backends: $(cv backends --why 10.77.0.12 | tail -n 1)"

kill -KILL "$(pid_of 2 avahi-daemon | head -n 1)"
until_ok 20 gone 2 avahi-daemon
gone_from_bus() { grep -q 'mdns.state running=no' "$WORK/agent2.log"; }
until_ok 60 gone_from_bus
"$LAB" exec 2 rm -f /run/avahi-daemon/pid
in_node 2 avahi2 avahi-daemon -f /run/avahi.conf --no-rlimits --no-chroot
until_ok 60 runs 2 avahi-daemon
back() { "$LAB" exec 2 timeout 10 avahi-browse -rpt _llamacpp-rpc._tcp | grep -q '^=;.*10\.77\.0\.12;'; }
until_ok 60 back
nodes_say '[.nodes[] | select(.state == "ready")] | length == 3' || fail "a node was lost with its avahi-daemon"
say "avahi-daemon died and came back: advertised again, and no node was lost meanwhile"
