# Sourced by tests that drive a browser: Debian's Chromium, by playwright-core out of tests/web.
# shellcheck shell=bash

# web_modules BUILD: puts what tests/web/package-lock.json names, and nothing else, into BUILD/web, once; prints the directory
# to run node in. What npm says goes to standard error.
web_modules() {
    local dir=$1/web here
    here=$(cd "$(dirname "${BASH_SOURCE[0]}")/../web" && pwd)
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

# Prints where Chromium is.
web_browser() { command -v chromium || { echo "there is no chromium: apt-get install chromium" >&2 && return 1; }; }
