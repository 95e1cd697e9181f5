#!/bin/bash
# Who may join: nodes with one string, without it after any restart, by approval, and not with a token that is used up,
# withdrawn or expired; a node that is revoked is gone at once and does not come back; and nothing secret is left anywhere.
# shellcheck source=tests/lab/lib.sh
. "$(dirname "$0")/lib.sh"

trusted
lab_up 3
model tiny --layers 12 --embd 256 --heads 8 --kv-heads 2 --type q8_0 --ctx 4096
controller 1 --settle 3s
state=/run/cv-$CARAVAN_LAB

secrets=() # every token that there was
new_token() { # OPTION...: into $token and $token_key
    cv token create --json "$@" >"$WORK/token"
    token=$(jq -r .token "$WORK/token")
    token_key=$(jq -r .key "$WORK/token")
    rm "$WORK/token"
    secrets+=("$token")
}
is_ready() { [ "$(cv nodes --json | jq -r --arg n "$1" '.nodes[] | select(.name == $n) | .state')" = ready ]; }
end_agent() { # NODE
    kill -TERM "$(pid_of "$1" caravan-agent)"
    until_ok 20 gone "$1" caravan-agent
}
told() { grep -qE "$2" "$WORK/agent$1.log"; }
seconds() { date -d "$1" +%s.%N; } # of a log's ts
log_time() { grep -E "$2" "$1" | tail -n 1 | sed -E 's/^ts=([^ ]*) .*/\1/'; }

# ---- by one string ----

new_token --ttl 1m
expiring=$token
new_token --uses 2
printf '%s\n' "$token" | grep -qx 'caravan1_[A-Za-z0-9_-]*' || fail "no token: $token"
began=${EPOCHREALTIME/[.,]/}
token_for 1 "$token"
agent 1 --join @/run/node/join.token
until_ok 60 is_ready node1
say "node1 joined by a file: $(((${EPOCHREALTIME/[.,]/} - began) / 1000)) ms from its start to ready"
began=${EPOCHREALTIME/[.,]/}
agent 2 --join "$token"
until_ok 60 is_ready node2
say "node2 joined by its command line: $(((${EPOCHREALTIME/[.,]/} - began) / 1000)) ms"
for pid in $(pid_of 1 caravan-agent) $(pid_of 2 caravan-agent); do
    if tr '\0' '\n' <"/proc/$pid/cmdline" | grep -qF "${token:10:40}"; then fail "the token is in the agent's command line"; fi
done
[ "$(stat -c %a "$state/n1/var/controller/admin.key")" = 600 ] || fail "admin.key is not for its owner alone"
[ "$(cv token list --json | jq '[.tokens[] | select(.uses_left < 1)] | length')" = 0 ] || fail "a used-up token is still listed"

# ---- and without it from then on ----

rm "$state/n1/var/join.token"
end_agent 2
agent 2
until_ok 60 is_ready node2
kill -TERM "$(pid_of 1 caravan-controller)"
until_ok 20 gone 1 caravan-controller
rm "$state/n1/var/http-port"
controller 1 --settle 3s
until_ok 60 is_ready node1
until_ok 60 is_ready node2
say "both are back after a restart of the agent and of the controller"

# ---- not with one that is over ----

over='token.*(used up|expired|withdrawn)'
refused() { # WHAT: with the token that lies there
    : >"$WORK/agent3.log"
    agent 3 --join @/run/node/join.token
    until_ok 60 told 3 "$over"
    end_agent 3
    say "$1: $(grep -E "$over" "$WORK/agent3.log" | head -n 1 | sed -E 's/^ts=[^ ]* //')"
    [ "$(cv nodes --json | jq '.nodes | length')" = 2 ] || fail "a node has joined by a token that is $1"
}
token_for 3 "$token"
refused "used up"
new_token
cv token remove "${token_key:0:8}" >/dev/null
token_for 3 "$token"
refused withdrawn
expect_error 3 'no token' cv token remove "${token_key:0:8}"

# ---- by approval ----

key=$("$LAB" exec 3 "$BIN/caravan-agent" --config /dev/null --state-dir /run/node/agent --print-key)
at="10.77.0.11:7420 $("$BIN/caravan-controller" --config /dev/null --state-dir "$state/n1/var/controller" --print-key)"
: >"$WORK/agent3.log"
agent 3 --controllers "$at"
until_ok 60 told 3 'msg=link.denied'
cv nodes approve "$key" --name node3
until_ok 60 is_ready node3
say "node3 was approved"

# ---- revoked ----

cv deploy tiny --nodes 2 --ctx 2048 --slots 2 >/dev/null
plan() { cv instances --json | jq -r '.instances[] | select(.name == "tiny")'; }
out=$(plan | jq -r '[.plan.ranks[].node_name] | map(select(. != "node1")) | .[0]')
n=${out#node}
epoch=$(plan | jq .epoch)
elsewhere() {
    plan | jq -e --arg out "$out" --argjson e "$epoch" \
        '.state == "ready" and .epoch > $e and ([.plan.ranks[].node_name] | index($out) | not)'
}
is_retired() { [ "$(cv nodes --json | jq -r --arg n "$out" '.nodes[] | select(.name == $n) | .state')" = retired ]; }
began=$(date +%s.%N)
cv nodes revoke "$out"
is_retired || fail "$out is not retired at once"
until_ok 20 told "$n" 'msg=link\.(down|refused)'
took=$(awk -v a="$began" -v b="$(seconds "$(log_time "$WORK/agent$n.log" 'msg=link\.(down|refused)')")" \
    'BEGIN { printf "%.2f", b - a }')
say "$out lost its link $took s after it was revoked"
until_ok 120 elsewhere
[ -n "$(ask tiny hello 4)" ] || fail "no answer after $out was revoked"
say "what $out served answers on $(plan | jq -r '[.plan.ranks[].node_name] | join(", ")')"

new_token --uses 2
token_for "$n" "$token"
end_agent "$n"
: >"$WORK/agent$n.log"
agent "$n" --join @/run/node/join.token
until_ok 60 told "$n" 'revoked'
is_retired || fail "$out has come back"
expect_error 3 'revoked' cv nodes approve "$(cv nodes --json | jq -r --arg n "$out" '.nodes[] | select(.name == $n) | .key')" --name again
say "its key is not let in again: $(grep revoked "$WORK/agent$n.log" | head -n 1 | sed -E 's/^ts=[^ ]* //')"
end_agent "$n"
rm "$state/n$n/var/agent/identity"
agent "$n" --join @/run/node/join.token
anew() { [ "$(cv nodes --json | jq --arg n "$out" '[.nodes[] | select(.name == $n and .state == "ready")] | length')" = 1 ]; }
until_ok 60 anew
say "with a new identity it is a new node"

# ---- expired (a minute is the shortest that there is) ----

end_agent "$n"
rm -r "$state/n$n/var/agent"
expired() { [ "$(cv token list --json | jq --arg k "$1" '[.tokens[] | select(.key == $k)] | length')" = 0 ]; }
token_for "$n" "$expiring"
gone_by_then() { [ "$(cv token list --json | jq '.tokens | length')" -le 1 ]; } # but the one with a use left
until_ok 90 gone_by_then
: >"$WORK/agent$n.log"
agent "$n" --join @/run/node/join.token
until_ok 60 told "$n" "$over"
say "expired: $(grep -E "$over" "$WORK/agent$n.log" | head -n 1 | sed -E 's/^ts=[^ ]* //')"

# ---- keys of people ----

cv keys create graphs --scope read >"$WORK/read.key" 2>/dev/null
secrets+=("$CARAVAN_API_KEY" "$(cat "$WORK/read.key")")
rm "$WORK/read.key"
[ "$(cv keys --json | jq -r '[.keys[] | .name + " " + .scope] | join(", ")')" = "admin admin, graphs read" ] || fail "keys: $(cv keys)"
expect_error 3 'reserved|admin' cv keys remove admin
CARAVAN_API_KEY=${secrets[-1]} cv nodes >/dev/null || fail "a read key may not read"
CARAVAN_API_KEY=${secrets[-1]} expect_error 3 . cv token create
cv keys remove graphs >/dev/null
CARAVAN_API_KEY=${secrets[-1]} expect_error 3 . cv nodes

# ---- nothing secret is left ----

# The texts themselves, and the 32 bytes of each token's seed in any form.
printf '%s\n' "${secrets[@]}" >"$WORK/secrets"
traces() { # FILE...: the names of those that hold one
    python3 - "$WORK/secrets" "$@" <<'PY'
import base64, sys
wanted = []
for text in open(sys.argv[1]).read().split():
    wanted.append(text.encode())
    raw = text.split("_", 1)[1]
    raw = base64.urlsafe_b64decode(raw + "=" * (-len(raw) % 4))
    seed = raw[17:49] if text.startswith("caravan1_") else raw
    wanted += [seed, seed.hex().encode(), base64.b64encode(seed)[:42], base64.urlsafe_b64encode(seed)[:42]]
for name in sys.argv[2:]:
    if any(w in open(name, "rb").read() for w in wanted):
        print(name)
PY
}
grep -q . "$WORK/controller.log" || fail "there is no log to look through"
[ "$(traces "$WORK/secrets")" = "$WORK/secrets" ] || fail "secrets would not be found"
found=$(traces "$WORK"/*.log)
[ -z "$found" ] || fail "a secret is in $found"
mapfile -t kept < <(find "$state"/n?/var -type f ! -name admin.key ! -name join.token)
found=$(traces "${kept[@]}")
[ -z "$found" ] || fail "a secret is kept in $found"
rm "$WORK/secrets"
say "no token, seed or key in ${#kept[@]} files and the logs"
