#!/bin/bash
# caravan-listenfd hands over a listening socket as systemd would, and takes the next port where one is taken.
set -u
# shellcheck source=tests/lib/check.sh
. "$(dirname "$0")/../lib/check.sh"
listenfd=$CARAVAN_BUILD/deploy/caravan-listenfd
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

# shellcheck disable=SC2016  # for the program that is started
said=$("$listenfd" --port 20900 --port-file "$tmp/port" -- bash -c 'echo "$LISTEN_FDS $((LISTEN_PID == $$)) $(readlink /proc/$$/fd/3)"')
expect yes "one socket, for this process, at fd 3" grep -qE '^1 1 socket:' <<<"$said"
first=$(cat "$tmp/port")
expect yes "from the port that was asked for" [ "$first" -ge 20900 ]

# the outer one holds its port while the inner one looks for another
"$listenfd" --port 20900 --port-file "$tmp/outer" -- "$listenfd" --port 20900 --port-file "$tmp/inner" -- true
expect yes "the next free port" [ "$(cat "$tmp/inner")" -gt "$(cat "$tmp/outer")" ]

expect_exit 2 usage "$listenfd"
expect_exit 2 usage "$listenfd" --port 0 --port-file "$tmp/p" -- true
expect_exit 2 usage "$listenfd" --port 65536 --port-file "$tmp/p" -- true
expect_exit 1 'nowhere/p: No such file' "$listenfd" --port-file "$tmp/nowhere/p" -- true
expect_exit 1 'no-such-command: No such file' "$listenfd" --port-file "$tmp/p" -- no-such-command
exit $failed
