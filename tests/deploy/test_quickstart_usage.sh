#!/bin/bash
# What quickstart says to wrong options, before it has done anything.
set -u
# shellcheck source=tests/lib/check.sh
. "$(dirname "$0")/../lib/check.sh"
quickstart=$(dirname "$0")/../../deploy/quickstart
export CARAVAN_LAB=usage

expect_exit 0 '--nodes N' "$quickstart" --help
expect_exit 2 'from 1 to 16' "$quickstart" --nodes 0
expect_exit 2 'from 1 to 16' "$quickstart" --nodes=17
expect_exit 2 'from 1 to 16' "$quickstart" --nodes x
expect_exit 2 'wants a value' "$quickstart" --nodes
expect_exit 2 'unknown option --fast' "$quickstart" --fast
expect_exit 1 'no such file: /nowhere.gguf' "$quickstart" --model /nowhere.gguf
expect_exit 1 'named NAME.gguf, but this is /' "$quickstart" --model "$0"
expect_exit 1 'no cluster is kept up' "$quickstart" --env
expect_exit 0 'nothing is up' "$quickstart" --down

# Without root its notes lie in /tmp, under a name that others can take first; as root the same can be tried here.
if [ "$(id -u)" = 0 ]; then
    notes=/run/caravan-$CARAVAN_LAB
    mkdir "$notes" && touch "$notes/kept"
    chown 65534 "$notes"
    expect_exit 1 'belongs to somebody else' "$quickstart" --env
    expect_exit 1 'belongs to somebody else' "$quickstart" --down
    rm "$notes/kept" && echo /nowhere >"$notes/bin"
    expect_exit 1 'belongs to somebody else' "$quickstart"
    expect yes "it is left as it was" [ -e "$notes/bin" ]
    rm -rf "$notes"
fi
exit $failed
