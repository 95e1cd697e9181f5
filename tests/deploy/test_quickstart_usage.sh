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
exit $failed
