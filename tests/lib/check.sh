# Sourced by tests that are shell scripts. A test ends with `exit $failed`.
# shellcheck shell=bash disable=SC2034
failed=0

# expect YES|NO WHAT COMMAND...: the command must succeed, or must fail
expect() {
    local want=$1 what=$2 got=yes
    shift 2
    "$@" || got=no
    [ "$got" = "$want" ] || { echo "$what: $got, expected $want" && failed=1; }
}

# expect_exit STATUS PATTERN COMMAND...: exits so, and says (on either stream) what matches the extended expression
expect_exit() {
    local want=$1 pattern=$2 got=0 said
    shift 2
    said=$("$@" 2>&1 </dev/null) || got=$?
    [ "$got" = "$want" ] || { echo "$*: exit $got, expected $want: $said" && failed=1; }
    grep -qE -e "$pattern" <<<"$said" || { echo "$*: says \"$said\", expected /$pattern/" && failed=1; }
}
