# Carriers started by hand between programs started by hand, for measuring them alone: sourced by tests/bench/tunnel.sh after
# lib.sh. Node 1 is the coordinator's; rank K is on node K+1, its worker on port 21052, and dialled there without a carrier.
# shellcheck shell=bash disable=SC2034,SC2154
EPOCH_OF_BENCH=1
INSTANCE_OF_BENCH=$(printf '%032x' 77)

carrier_dir() { echo "/run/cv-$CARAVAN_LAB/n$1/var/carrier"; }

# The node's key, made as an agent makes it; prints the public half.
carrier_key() {
    "$LAB" exec "$1" "$BIN/caravan-agent" --config /dev/null --state-dir /run/node/agent --print-key 2>/dev/null | grep -oE '[0-9a-f]{64}' | head -n 1
}

# carriers N: of N ranks; leaves in endpoints the loopback ports on node 1, in carrier_pids their processes
carriers() {
    local k keys=() conf
    for k in $(seq "$1"); do keys+=("$(carrier_key "$k")"); done
    for k in $(seq "$1"); do
        mkdir -p "$(carrier_dir "$k")"
        conf=$(carrier_dir "$k")/conf
        {
            printf 'version=1\ninstance=%s\nepoch=%s\nidentity=/run/node/agent/identity\nlisten=10.77.0.%d 7440\n' \
                "$INSTANCE_OF_BENCH" "$EPOCH_OF_BENCH" $((10 + k))
            if [ "$k" = 1 ]; then
                echo "route=0 127.0.0.1 21052"
                for j in $(seq 2 "$1"); do echo "route=$((j - 1)) 10.77.0.$((10 + j)) 7440 ${keys[j - 1]}"; done
            else
                echo "rank=$((k - 1)) 21052 ${keys[0]}"
            fi
        } >"$conf"
        in_node "$k" "carrier$k" "$BIN/caravan-carrier" /run/node/carrier
        until_ok 10 test -S "$(carrier_dir "$k")/control"
    done
    endpoints=$(python3 "$ROOT/tests/lab/carrier_ports.py" "$(carrier_dir 1)/control")
    carrier_pids=$(for k in $(seq "$1"); do pid_of "$k" caravan-carrier; done)
    [ "$(wc -w <<<"$carrier_pids")" = "$1" ] || fail "not every carrier runs"
}
carriers_alive() {
    local p
    for p in $carrier_pids; do kill -0 "$p" || fail "a carrier has ended"; done
}
carriers_end() {
    local p
    for p in $carrier_pids; do kill -TERM "$p"; done
    for p in $carrier_pids; do until_ok 10 sh -c "! kill -0 $p"; done
}
# What the carriers have used of a core so far, in ms
carriers_cpu_ms() {
    local p
    for p in $carrier_pids; do awk '{ print ($14 + $15) }' "/proc/$p/stat"; done | awk -v hz="$(getconf CLK_TCK)" '{ n += $1 } END { print n * 1000 / hz }'
}
