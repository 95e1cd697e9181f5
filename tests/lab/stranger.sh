# A trusted cluster with a stranger on its bridge: sourced by tests/lab/test_stranger*.sh. The controller (node1), two more
# nodes with models, one of them with a user on it (node3), and node4, which nobody has let in.
#
#   cluster_with_stranger      all of it up, an instance of "tiny" serving, the user asking
#   stranger COMMAND...        run with the stranger's network      user COMMAND...   with the user's
#   background WHO COMMAND...  the same, and it ends with the test; its pid is in $background
#   phase NAME | calm SECONDS  something is tried from now on | nothing is, to compare with
#   enough                     has the user asked often enough since then?
#   compare                    what has become of the user's requests in each
#   remember_memory | compare_memory | everybody_lives
#   try WHAT CONTROL           a line for a try that was refused, and what shows that it could have gone well
# shellcheck shell=bash disable=SC2034
# shellcheck source=tests/lab/lib.sh
. "$(dirname "$0")/lib.sh"
HERE=$ROOT/tests/lab
CONTROLLER=10.77.0.11
URL=http://$CONTROLLER:8080
STRANGER=10.77.0.14
GROWTH_KIB=$((32 * 1024)) # of any daemon, whatever strangers do
export ASAN_OPTIONS=quarantine_size_mb=0:thread_local_quarantine_size_kb=0 # what is freed is to count as free
export CARAVAN_CONTROLLER=$URL

user() { "$LAB" netexec 3 "$@"; }
# not at the cost of the programs that are attacked: this is one machine
stranger() { nice -n 19 "$LAB" netexec 4 "$@"; }
running=()
background() {
    local node=3 rank=0
    [ "$1" = user ] || { node=4 && rank=19; }
    shift
    nice -n $rank "$LAB" netexec $node "$@" & # all of these become the program
    background=$!
    running+=("$background")
}
end() { # PID...
    kill -KILL "$@" 2>/dev/null
    wait "$@" 2>/dev/null || true
}
end_all() {
    local rc=$? pid
    set +e
    for pid in $(jobs -pr); do
        if [[ " ${running[*]} " = *" $pid "* ]]; then end "$pid"; fi
    done
    (exit $rc)
    lab_end
}
trap end_all EXIT
cv() { user "$BIN/caravan" "$@"; }
curl() { user curl "$@"; }

try() { printf '%-58s refused | control: %s\n' "$1" "$2"; }
stamp() { date +%s.%3N; }

# on the bridge, as `http_listen` has it: lib.sh's controller is reached by the host alone
controller_on_bridge() {
    controller_init 1
    in_node 1 controller "$BIN/caravan-controller" --config /dev/null --models-conf /dev/null \
        --state-dir /run/node/controller --trust keys --rank-transport "$TRANSPORT" --settle 3s --http-listen 0.0.0.0:8080 --log-level info
    until_ok 30 cv version
    pid_of 1 caravan-controller >"$WORK/controller.pid"
    controller_key=$("$LAB" exec 1 "$BIN/caravan-controller" --config /dev/null --state-dir /run/node/controller --print-key)
}

new_token() { # FILE OPTION...: the token's own key into $token_key
    local file=$1
    shift
    cv token create --json "$@" >"$WORK/token"
    (umask 077 && jq -r .token "$WORK/token" >"$file")
    token_key=$(jq -r .key "$WORK/token")
    rm "$WORK/token"
}

cluster_with_stranger() {
    trusted
    lab_up 4
    model tiny --layers 12 --embd 256 --heads 8 --kv-heads 2 --type q8_0 --seed 3
    controller_on_bridge
    local i
    for i in 1 2 3; do
        new_token "$WORK/t$i" --uses 1
        token_for "$i" "$(cat "$WORK/t$i")"
        agent "$i" --join @/run/node/join.token --log-level info
    done
    until_ok 60 nodes_ready 3
    cv deploy tiny --nodes 2 --ctx 512 --slots 2 >/dev/null || fail "deploy"
    background user python3 "$HERE/honest.py" ask "$URL" tiny "$WORK/honest" </dev/null
    user_pid=$background
    until_ok 30 grep -q 'completion.* 1$' "$WORK/honest"
}

# what the user's requests from now on belong to: "quiet", or what is tried
phase() { printf '%s %s\n' "$1" "$(stamp)" >>"$WORK/phases"; }
calm() {
    phase quiet
    sleep "$1"
}
# the user has asked often enough in this phase to say something of it
enough() {
    local since
    since=$(tail -n 1 "$WORK/phases" | cut -d' ' -f2)
    [ "$(awk -v since="$since" '$1 > since && $2 == "completion"' "$WORK/honest" | wc -l)" -ge 150 ]
}

compare() {
    kill -0 "$user_pid" || fail "the user has gone"
    end "$user_pid"
    python3 "$HERE/honest.py" compare "$WORK/honest" "$WORK/phases" || fail "the user's requests"
}

daemons() { # "NAME PID" lines
    local i
    echo "controller $(pid_of 1 caravan-controller)"
    for i in 1 2 3; do echo "agent$i $(pid_of "$i" caravan-agent)"; done
}
rss_kib() { awk '/^RssAnon/ { print $2 }' "/proc/$1/status"; }

remember_memory() {
    local name pid
    while read -r name pid; do echo "$name $pid $(rss_kib "$pid")"; done < <(daemons) >"$WORK/memory"
}

compare_memory() {
    local name pid before now
    while read -r name pid before; do
        now=$(rss_kib "$pid")
        say "$name: RssAnon $before KiB before, $now KiB now"
        [ $((now - before)) -lt $GROWTH_KIB ] || fail "$name grew by $((now - before)) KiB"
    done <"$WORK/memory"
}

# the same processes, the same nodes, the same instance, and nobody else
everybody_lives() {
    [ "$(daemons)" = "$(cut -d' ' -f1,2 "$WORK/memory")" ] || fail "not the same daemons: $(daemons)"
    nodes_say '[.nodes[] | select(.state == "ready") | .name] | sort == ["node1", "node2", "node3"]' || fail "nodes: $(cv nodes)"
    instances_say '[.instances[] | [.name, .state, .epoch]] == [["tiny", "ready", 1]]' || fail "instances: $(cv instances)"
}
