# Sourced by the lints: the files of the tree that people wrote. git is not asked, since a tree may come without it.
# shellcheck shell=bash

# written_files ROOT FIND-EXPRESSION...: their paths from ROOT, sorted
written_files() {
    local root=$1
    shift
    (cd "$root" && find . \( -name build -o -name .git -o -name .cache \) -prune -o -type f \( "$@" \) -printf '%P\n' | sort)
}
