#!/bin/bash
# Started by hand, the controller takes all the descriptors that it may have: a shell gives a program 1024, and that many
# idle HTTP clients alone would keep the agents out.
set -u
# shellcheck source=tests/lib/check.sh
. "$(dirname "$0")/../lib/check.sh"
tmp=$(mktemp -d)
pid=
trap '[ -z "$pid" ] || { kill "$pid" && wait "$pid"; }; rm -rf "$tmp"' EXIT
export DBUS_SYSTEM_BUS_ADDRESS=unix:path=/nonexistent

ulimit -Sn 256
"$CARAVAN_BUILD/caravan-controller" --config /dev/null --models-conf /dev/null --state-dir "$tmp/state" \
    --listen 127.0.0.1 --port 20950 --http-listen 127.0.0.1:20951 2>"$tmp/log" &
pid=$!
for _ in $(seq 500); do
    grep -q 'msg=controller.ready' "$tmp/log" && break
    kill -0 "$pid" 2>/dev/null || break
    sleep 0.02
done
read -r _ _ _ soft hard _ < <(grep 'open files' "/proc/$pid/limits")
expect yes "the soft limit, $soft, is the hard one, $hard" [ "$soft" = "$hard" ]
exit $failed
