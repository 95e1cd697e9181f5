#!/bin/bash
# deploy/firewall: nft takes what it prints, its defaults are the options', and it refuses what is no address or port.
set -u
# shellcheck source=tests/lib/check.sh
. "$(dirname "$0")/../lib/check.sh"
root=$(readlink -f "$(dirname "$0")/../..")
firewall=$root/deploy/firewall
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

# takes ARGUMENT...: nft accepts the ruleset, twice over
takes() {
    # shellcheck disable=SC2016
    "$firewall" "$@" >"$tmp/rules" && unshare --net nft -c -f "$tmp/rules" &&
        unshare --net sh -c 'nft -f "$1" && nft -f "$1"' sh "$tmp/rules"
}

default_of() { # FILE OPTION
    sed -n "s/^| \`$2\` | [^|]* | \`\?\([0-9-]*\)\`\? |.*/\1/p" "$root/$1"
}

expect yes "an agent" takes --agent --network 10.0.0.0/8
expect yes "a controller with its HTTP" takes --controller --http 8080 --network 192.0.2.7 --network fd00::/8
expect yes "both, networks that overlap" takes --controller --agent --network 10.0.0.0/8 --network 10.1.0.0/16
expect yes "other ports" takes --controller --agent --network fe80::/10 --control-port 1 --neighbour-port 65530 \
    --worker-ports 30000 --coordinator-ports 31000-31009 --carrier-ports 32000 --rate 5
expect yes "ranges that overlap, as two agents' on one machine may" takes --agent --network 10.0.0.0/8 --carrier-ports 7431-7500
expect yes "loading it twice leaves one" [ "$(grep -c '^table inet caravan {' "$tmp/rules")" = 1 ]

"$firewall" --controller --agent --network 10.0.0.0/8 >"$tmp/rules"
for option in worker_ports coordinator_ports carrier_ports neighbour_port; do
    port=$(default_of agent/options.md $option)
    expect yes "the default of $option, $port" grep -qE "dport ${port}[ -]" "$tmp/rules"
done
port=$(default_of controller/options.md port)
expect yes "the default of port, $port" grep -q "dport $port " "$tmp/rules"

expect_exit 2 'controller, --agent or both' "$firewall" --network 10.0.0.0/8
expect_exit 2 'who may connect' "$firewall" --agent
for bad in 'x' '10.0.0.0/8; add rule x' '10.0.0.0/8 }' '' 'example.org' '::1/64/'; do
    expect_exit 2 'no network' "$firewall" --agent --network "$bad"
done
for bad in 0 65536 x '1;' ''; do
    expect_exit 2 'no port' "$firewall" --controller --network 10.0.0.0/8 --control-port "$bad"
done
expect_exit 2 'no range' "$firewall" --agent --network 10.0.0.0/8 --worker-ports 20-10
expect_exit 2 'help' "$firewall" --all
exit $failed
