# For the benches: the lab of the tests on the release build, and rows of results.
# shellcheck shell=bash
# shellcheck source=tests/lab/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../lab/lib.sh"

now_us() { echo "${EPOCHREALTIME/[.,]/}"; }

# quantile FILE Q: of one number per line, nearest rank
quantile() { sort -n "$1" | awk -v q="$2" '{ v[NR] = $1 } END { i = int(NR * q + 0.999999); if (i < 1) i = 1; print v[i] }'; }

# row ROWS METRIC UNIT FILE VALUE BAR [BASELINE-FILE RATIO]: one line of JSON; met where VALUE <= BAR
row() {
    local p50 p95 runs base=null
    p50=$(quantile "$4" 0.5) p95=$(quantile "$4" 0.95) runs=$(wc -l <"$4")
    [ -z "${7:-}" ] || base=$(quantile "$7" 0.5)
    jq -cn --arg metric "$2" --arg unit "$3" --argjson value "$5" --argjson bar "$6" --argjson p50 "$p50" --argjson p95 "$p95" \
        --argjson runs "$runs" --argjson baseline "$base" --argjson ratio "${8:-null}" \
        '{$metric, $value, $unit, $baseline, $ratio, $p50, $p95, $runs, $bar, met: ($value <= $bar)}' >>"$1"
}

# least ROWS METRIC FILE BAR BASELINE-FILE: a ratio, whose median is to be BAR at least
least() {
    jq -cn --arg metric "$2" --argjson value "$(quantile "$3" 0.5)" --argjson bar "$4" --argjson p50 "$(quantile "$3" 0.5)" \
        --argjson p95 "$(quantile "$3" 0.95)" --argjson p5 "$(quantile "$3" 0.05)" --argjson runs "$(wc -l <"$3")" \
        --argjson baseline "$(quantile "$5" 0.5)" \
        '{$metric, $value, unit: "ratio", $baseline, ratio: $value, $p5, $p50, $p95, $runs, $bar, met: ($value >= $bar)}' >>"$1"
}
