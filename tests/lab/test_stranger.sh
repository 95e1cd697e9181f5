#!/bin/bash
# A stranger on the same bridge, at the ports of controller, agents and carriers (7420, 7431, 7440): without a key, with a random one, a revoked
# one, tokens that are used up, withdrawn or expired, a join said again; adverts under a node's name; and a thousand
# connections that say nothing or next to nothing. He gets nowhere, nothing dies or grows, and a user notices nothing.
# test_stranger_web.sh has the same for HTTP. Each try has a control that succeeds.
# shellcheck source=tests/lab/stranger.sh
. "$(dirname "$0")/stranger.sh"
ulimit -n 8192 2>/dev/null || true

cluster_with_stranger
remember_memory
calm 20
phase ports
new_token "$WORK/expiring" --ttl 1m
expires=$((SECONDS + 61))

# knock NAME HOST:PORT [TOKEN-FILE [VIA]]: dials with NAME's key, or the token's; what comes is in $WORK/NAME.out, and what is
# written to fd $knock is said.
declare -A server_key=([$CONTROLLER:7420]=$controller_key)
for i in 1 2 3; do
    server_key[10.77.0.1$i:7431]=$(cv nodes --json | jq -r --arg n "node$i" '.nodes[] | select(.name == $n) | .key')
done
knock() {
    local name=$1 to=${4:-$2} dir=$WORK/$1.dir
    mkdir -p "$dir"
    chmod 700 "$dir"
    rm -f "$WORK/$name.in" "$WORK/$name.out"
    mkfifo "$WORK/$name.in"
    # shellcheck disable=SC2016 # the inner shell's
    background stranger sh -c 'exec "$@" <"$0"' "$WORK/$name.in" "$BIN/tests/lab/lab_node" "${to%:*}" "${to#*:}" \
        "${server_key[$2]}" "$dir" ${3:+"$3"} >"$WORK/$name.out" 2>>"$WORK/lab_node.log"
    knock_pid=$background
    exec {knock}>"$WORK/$name.in"
}
hang_up() {
    exec {knock}>&-
    wait "$knock_pid" || fail "lab_node ended with $?"
}
hears() { until_ok 30 grep -q "$2" "$WORK/$1.out"; }
is_let_in() { # as knock
    knock "$@"
    hears "$1" '^connected'
    hang_up
}
is_denied() { # as knock: it is told so three times
    knock "$@"
    until_ok 30 sh -c "[ \$(grep -c '^denied' '$WORK/$1.out') -ge 3 ]"
    hang_up
    if grep -qvE '^(denied|disconnected)$' "$WORK/$1.out"; then fail "$1 was let in: $(cat "$WORK/$1.out")"; fi
}
knock_is_denied() { # as knock: how one dial goes
    knock "$@"
    until_ok 30 grep -qE '^(connected|denied)' "$WORK/$1.out"
    hang_up
    grep -q '^denied' "$WORK/$1.out"
}
counted() { curl -sf -H @<(with_key) "$URL/metrics" | awk -v name="$1" '$1 == name { printf "%d", $NF }'; }
uses_left() { cv token list --json | jq --arg k "$1" '.tokens[] | select(.key == $k) | .uses_left'; }
token_is_gone() { [ -z "$(uses_left "$1")" ]; }
n_nodes() { cv nodes --json | jq '.nodes | length'; }

# ---- a node that was let in, and is not any more ------------------------------------------------------------------------------

new_token "$WORK/t4" --uses 1
token_for 4 "$(cat "$WORK/t4")"
agent 4 --join @/run/node/join.token --log-level info
until_ok 60 nodes_ready 4
until_ok 60 grep -q 'msg=neighbour.up .*node=node' "$WORK/agent4.log" # it dials one
mkdir -m 700 "$WORK/revoked.dir"
cp -p "/run/cv-$CARAVAN_LAB/n4/var/agent/identity" "$WORK/revoked.dir/"
ports=("$CONTROLLER:7420") # where this key is let in: the controller, and the neighbours that expect it
for i in 1 2 3; do
    knock_is_denied revoked "10.77.0.1$i:7431" || ports+=("10.77.0.1$i:7431")
done
[ "${#ports[@]}" -ge 2 ] || fail "no neighbour lets node4 in"
is_let_in revoked "$CONTROLLER:7420"
allowed="node4's key, before it was revoked"

for port in "${ports[@]}"; do
    stranger python3 "$HERE/stranger.py" raw "${port%:*}" "${port#*:}" >"$WORK/raw.log" || fail "$port: $(cat "$WORK/raw.log")"
    try "$port without a key: $(cat "$WORK/raw.log")" "$allowed"
    is_denied random "$port"
    try "$port with a random key" "$allowed"
done

# A carrier says nothing to whom it does not know. Each of the user's requests is a stream to this one.
carrier=$(sed -n 's/^listen=//p' "/proc/$(carrier_of "$(rank_node 0)")/cwd/conf")
stranger python3 "$HERE/stranger.py" raw "${carrier% *}" "${carrier#* }" >"$WORK/raw.log" || fail "$carrier: $(cat "$WORK/raw.log")"
answers tiny || fail "no answer"
try "${carrier/ /:} without a key: $(cat "$WORK/raw.log")" "the gateway comes through it"

cv nodes revoke node4 >/dev/null
revoked_at=$(stamp)
for port in "${ports[@]}"; do until_ok 10 knock_is_denied revoked "$port"; done
say "no port lets node4 in $(awk -v a="$revoked_at" -v b="$(stamp)" 'BEGIN { printf "%.1f", b - a }') s after it was revoked"
for port in "${ports[@]}"; do
    is_denied revoked "$port"
    try "$port with a revoked key" "$allowed"
done
end_program TERM 4 caravan-agent
end_program KILL 4 rpc-server # it outlives its agent, by design
rm "$WORK/agent4.pid"
nodes=$(n_nodes)

# ---- tokens -----------------------------------------------------------------------------------------------------------------

new_token "$WORK/used" --uses 1
knock lab "$CONTROLLER:7420" "$WORK/used"
hears lab '^connected'
before=$(counted caravan_link_refused_total)
printf 'hello\nfull 5\n' >&"$knock"
hears lab '^sent 5'
if grep -q '^welcome' "$WORK/lab.out"; then fail "a token's key is welcome"; fi
[ "$(n_nodes)" = "$nodes" ] || fail "a token's key made a node"
echo join >&"$knock"
until_ok 20 token_is_gone "$token_key" # the last use: the answer may not come any more
[ "$(counted caravan_link_refused_total)" -ge $((before + 6)) ] || fail "what a token's key may not say is not counted"
hang_up
is_let_in lab "$CONTROLLER:7420"
try "$CONTROLLER:7420, a token's key that says more than join" "that it asks to join is heard"

is_denied other "$CONTROLLER:7420" "$WORK/used"
try "$CONTROLLER:7420 with a used token" "the same, once"

new_token "$WORK/withdrawn" --uses 1
is_let_in other "$CONTROLLER:7420" "$WORK/withdrawn"
cv token remove "$token_key" >/dev/null
is_denied other "$CONTROLLER:7420" "$WORK/withdrawn"
try "$CONTROLLER:7420 with a withdrawn token" "the same, before"

is_denied other "${ports[1]}" "$WORK/expiring"
try "${ports[1]} with a good token" "the same at the controller"
[ $SECONDS -lt $((expires - 5)) ] || fail "too slow to try the token before it expires"
is_let_in other "$CONTROLLER:7420" "$WORK/expiring"

# ---- a join, recorded on its way and said again ------------------------------------------------------------------------------

new_token "$WORK/many" --uses 5
background stranger python3 "$HERE/stranger.py" relay 7420 $CONTROLLER 7420 "$WORK/join"
until_ok 20 stranger sh -c "ss -Hltn 'sport = 7420' | grep -q ."
knock heard "$CONTROLLER:7420" "$WORK/many" $STRANGER:7420
hears heard '^connected'
echo join >&"$knock"
hears heard '^joined'
hang_up
[ "$(uses_left "$token_key")" = 4 ] || fail "uses left: $(uses_left "$token_key")"
for _ in 1 2 3; do
    stranger python3 "$HERE/stranger.py" replay "$WORK/join" $CONTROLLER 7420 >"$WORK/replay.log" ||
        fail "the replay was let in: $(cat "$WORK/replay.log")"
done
[ "$(uses_left "$token_key")" = 4 ] || fail "the replay has used the token"
try "$CONTROLLER:7420, a join said again" "it was let in at first"
say "the join said again: $(cat "$WORK/replay.log")"

# ---- adverts under the names of others ----------------------------------------------------------------------------------------

row() { cv nodes --json | jq -c '.nodes[] | select(.name == "node2") | [.id, .key, .addr, .addresses, .state]'; }
before=$(row)
port=$(cv nodes --json | jq '.nodes[] | select(.name == "node2") | .units[] | select(.standing) | .port')
id=$(cv nodes --json | jq -r '.nodes[] | select(.name == "node2") | .id')
background stranger python3 "$HERE/stranger.py" sink "$WORK/came" "$port" 7420 7431 >"$WORK/sink.out"
until_ok 20 sh -c "[ \$(grep -c listening '$WORK/sink.out') = 3 ]"
liar=$background
adverts=()
for advert in "node2 _llamacpp-rpc._tcp $port" "node2 _caravan._tcp 7431" "node1 _caravan-ctl._tcp 7420"; do
    mkfifo "$WORK/advert"
    # shellcheck disable=SC2016,SC2086 # the inner shell's; three words
    in_node 4 "probe" sh -c 'exec "$@" <"$0"' "$WORK/advert" "$BIN/tests/lab/mdns_probe" --publish $advert _none._tcp
    exec {fd}>"$WORK/advert"
    adverts+=("$fd")
    rm "$WORK/advert"
    echo "v=1 id=$id node=node2 state=idle rpc=8.0.0 key=$(printf '%064d' 1) cluster=$(printf '%032d' 1) http=$STRANGER:8080" >&"$fd"
done
lie_is_seen() { cv backends --why $STRANGER | grep -q mdns; }
until_ok 60 lie_is_seen
cv backends --json >"$WORK/backends"
jq -e --arg a $STRANGER '[.backends[] | select(.host == $a)] | all(.state != "healthy" and .state != "busy" and .node != "node2")' \
    "$WORK/backends" >/dev/null || fail "an advert is believed: $(cat "$WORK/backends")"
[ "$(row)" = "$before" ] || fail "an advert has changed node2: $(row)"
for n in 1 2 3; do
    cv plan tiny --nodes $n --policy spread --json >"$WORK/plan" || fail "plan"
    if grep -q $STRANGER "$WORK/plan"; then fail "the plan has the stranger: $(cat "$WORK/plan")"; fi
done
sleep 5 # in which nobody comes
end "$liar"
for fd in "${adverts[@]}"; do exec {fd}>&-; done
[ ! -s "$WORK/came" ] || fail "somebody came: $(cat "$WORK/came")"
try "adverts of a worker, an agent and a controller" "node2's own is $(jq -r '.backends[] | select(.host == "10.77.0.12") | .state' "$WORK/backends"), by mdns"

# ---- many, silent and slow ------------------------------------------------------------------------------------------------------

phase flood
for port in "$CONTROLLER 7420" "10.77.0.11 7431" "10.77.0.12 7431" "$CONTROLLER 8080" "$carrier"; do
    flood=()
    for kind in "1000 silent" "200 slow"; do
        # shellcheck disable=SC2086 # each of them two words
        background stranger python3 "$HERE/stranger.py" hold ${kind% *} $port ${kind#* } >"$WORK/hold.${kind#* }" 2>>"$WORK/hold.log"
        flood+=("$background")
    done
    until_ok 60 grep -q opened "$WORK/hold.silent"
    until_ok 60 grep -q opened "$WORK/hold.slow"
    sleep 6 # twice as long as a handshake may take
    is_let_in lab "$CONTROLLER:7420"
    answers tiny || fail "no answer beside the flood at $port"
    node=${port% *}
    he_has=$("$LAB" netexec "${node#10.77.0.1}" ss -Htn "sport = ${port#* }" | grep -c $STRANGER)
    for pid in "${flood[@]}"; do kill -0 "$pid" || fail "the flood has ended: $(cat "$WORK/hold.log")"; done
    # (a carrier keeps 32 of an address, and for two seconds)
    [ "$he_has" -ge 600 ] || [ "$port" = "$carrier" ] || fail "that was no flood: $he_has connections"
    [ "$port" != "$carrier" ] || [ "$he_has" -le 64 ] || fail "a carrier keeps $he_has connections of a stranger"
    printf '%-58s nothing came of it | control: %s\n' \
        "$port, $(tail -q -n 1 "$WORK"/hold.s* | awk '{ n += $2 } END { print n }') connections, $he_has at a time" \
        "beside them a key that was let in still is"
    end "${flood[@]}"
done

# ---- a token that has expired: a minute is the least that there is ------------------------------------------------------------

phase ports
while [ $SECONDS -lt $expires ]; do sleep 1; done
is_denied other "$CONTROLLER:7420" "$WORK/expiring"
try "$CONTROLLER:7420 with an expired token" "the same, before"

everybody_lives
compare_memory
calm 15
compare
