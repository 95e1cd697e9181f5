# Sourced by tests that need packages of npm.
# shellcheck shell=bash

# npm_modules NAME BUILD: puts what tests/NAME/package-lock.json names, and nothing else, into BUILD/NAME, once; prints that
# directory, to run node in. What npm says goes to standard error.
npm_modules() {
    local dir=$2/$1 here
    here=$(cd "$(dirname "${BASH_SOURCE[0]}")/../$1" && pwd)
    mkdir -p "$dir"
    (
        flock 9
        if ! cmp -s "$here/package-lock.json" "$dir/installed"; then
            cp "$here/package.json" "$here/package-lock.json" "$dir/"
            npm --prefix "$dir" ci --ignore-scripts --no-audit --no-fund >&2 || exit 1
            cp "$here/package-lock.json" "$dir/installed"
        fi
    ) 9>"$dir/lock" || return 1
    echo "$dir"
}
