#!/bin/bash
# What systemd-analyze says of the units: how exposed they are, that SECURITY.md argues each line that counts, and that
# systemd passes over none of them: what is misspelled or in the wrong section protects nobody.
set -u
# shellcheck source=tests/lib/check.sh
. "$(dirname "$0")/../lib/check.sh"
root=$(readlink -f "$(dirname "$0")/../..")

analyze() { systemd-analyze security --offline=true "$@"; }

# unit NAME TENTHS: at most so exposed; what is left of it, 0.2 and more, has its reason
unit() {
    local file=$CARAVAN_BUILD/deploy/$1 line ignored n=0
    ignored=$(analyze "$file" 2>&1 >/dev/null | grep ignoring)
    expect yes "$1: systemd ignores nothing of it: $ignored" [ -z "$ignored" ]
    expect yes "$1: $(analyze "$file" | sed -n 's/.*exposure level for [^:]*: //p')" \
        analyze --threshold="$2" "$file" >/dev/null
    while read -r line; do
        n=$((n + 1))
        expect yes "SECURITY.md says why: $line" grep -qF "\`$line\`" "$root/SECURITY.md"
    done < <(analyze --json=short "$file" | jq -r '.[] | select((.exposure // "0" | tonumber) >= 0.2) | .name')
    expect yes "$1 was looked at" [ $n -gt 0 ]
}

unit caravan-controller.service 20
unit caravan-agent.service 35
exit $failed
