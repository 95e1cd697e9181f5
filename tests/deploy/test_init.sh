#!/bin/bash
# caravan-controller init, as an operator meets it; and a controller that would serve HTTP to everybody does not start.
set -u
# shellcheck source=tests/lib/check.sh
. "$(dirname "$0")/../lib/check.sh"
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
controller=$CARAVAN_BUILD/caravan-controller
dir=$tmp/state

init() { "$controller" init --config /dev/null --state-dir "$dir"; }
serve() { # OPTION...: it must not come so far as to serve
    timeout 30 "$controller" --config /dev/null --models-conf /dev/null --state-dir "$dir" --listen 127.0.0.1 --port 20952 "$@"
}
modes() { stat -c %a "$dir" "$dir/identity" "$dir/admin.key" | tr '\n' ' '; }

mkdir -m 700 "$dir"
expect_exit 1 'no API key yet: run .caravan-controller init' serve --http-listen 0.0.0.0:20953
expect_exit 1 'no API key yet' serve --http-listen '[::]:20953'
expect_exit 0 "$dir/admin.key \(made\)" init
expect yes "modes: $(modes)" [ "$(modes)" = '700 600 600 ' ]
before=$(cat "$dir/admin.key" "$dir/identity")
expect_exit 0 'was there already' init
expect yes "nothing was changed by a second init" [ "$(cat "$dir/admin.key" "$dir/identity")" = "$before" ]
said=$(init)
expect no "the key is not printed" grep -qF "$(cat "$dir/admin.key")" <<<"$said"
chmod 640 "$dir/admin.key"
expect_exit 1 'may be read by others' serve --http-listen 127.0.0.1:20953
expect_exit 1 'may be read by others' init
echo caravan_short >"$dir/admin.key"
chmod 600 "$dir/admin.key"
expect_exit 1 'holds no API key: remove it' serve --http-listen 127.0.0.1:20953
expect_exit 1 'cannot be made' "$controller" init --config /dev/null --state-dir "$tmp/no/such"
expect_exit 2 'unexpected argument "twice"' "$controller" init twice

# As root with the service's user there: what is made is this user's, in a directory that is new or his.
service() { # COMMAND...
    # shellcheck disable=SC2016  # the inner shell's
    unshare --mount sh -c 'mount --bind "$1/passwd" /etc/passwd && mount --bind "$1/group" /etc/group && shift && exec "$@"' \
        - "$tmp" "$@" 2>&1
}
{ grep -v ^caravan-controller: /etc/passwd; echo caravan-controller:x:61207:61207::/:/usr/sbin/nologin; } >"$tmp/passwd"
{ grep -v ^caravan-controller: /etc/group; echo caravan-controller:x:61207:; } >"$tmp/group"
owners() { stat -c %u:%g "$1" "$1/identity" "$1/admin.key" | sort -u | tr '\n' ' '; }
chmod 711 "$tmp"
if [ "$(id -u)" = 0 ] && service true >/dev/null; then
    expect_exit 0 '\(made\)' service "$controller" init --config /dev/null --state-dir "$tmp/new"
    expect yes "a new directory: $(owners "$tmp/new")" [ "$(owners "$tmp/new")" = '61207:61207 ' ]
    expect_exit 0 'was there already' service "$controller" init --config /dev/null --state-dir "$tmp/new"
    mkdir -m 700 "$tmp/ours"
    expect_exit 0 '\(made\)' service "$controller" init --config /dev/null --state-dir "$tmp/ours"
    expect yes "one of root's: $(owners "$tmp/ours")" [ "$(owners "$tmp/ours")" = '0:0 ' ]
else
    echo "the part with a user of the service's own needs root and mount namespaces"
fi
exit $failed
