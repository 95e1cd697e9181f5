#!/bin/bash
# The main job with both daemons as their systemd units start them: a user of its own each, no capabilities, a read-only
# system, a filter of system calls (tests/lib/unit_launcher reads the unit files themselves), and children in their sandbox.
# shellcheck source=tests/lab/lib.sh
. "$(dirname "$0")/lib.sh"

launcher=$ROOT/tests/lib/unit_launcher
prefix=$(sed -n 's/^CMAKE_INSTALL_PREFIX:PATH=//p' "$BIN/CMakeCache.txt")
image=$WORK/image$prefix
tree=$(dirname "$LLAMA") # its programs know their libraries by absolute paths

# What an administrator has to do where llama.cpp lies in /tmp.
mkdir "$WORK/drop-in"
: >"$WORK/drop-in/llama.conf"
case $tree in /tmp/*) printf '[Service]\nBindReadOnlyPaths=%s\n' "$tree" >"$WORK/drop-in/llama.conf" ;; esac

say "installed, with the users that systemd-sysusers makes of our file"
DESTDIR=$WORK/image cmake --install "$BIN" >"$WORK/install.log"
mkdir -p "$WORK/users/etc"
cp /etc/passwd /etc/group "$WORK/users/etc/"
systemd-sysusers --root="$WORK/users" "$ROOT/deploy/systemd/caravan.sysusers" >>"$WORK/install.log" 2>&1
id_of() { awk -F: -v user="$1" '$1 == user { print $3 }' "$WORK/users/etc/passwd"; }
agent_uid=$(id_of caravan)
controller_uid=$(id_of caravan-controller)
[ -n "$agent_uid" ] && [ -n "$controller_uid" ] || fail "the users were not made"
uid_of() { if [ "$1" = caravan-controller ]; then echo "$controller_uid"; else echo "$agent_uid"; fi; } # PROGRAM

# Each node its own /var/lib, our programs where they are installed, the user, and a /root that hides no llama.cpp.
prepare() { # NODE
    # shellcheck disable=SC2016
    "$LAB" exec "$1" bash -euc '
        mkdir -p /run/node/lib/caravan/models "$2"
        cp "$5"/*.gguf /run/node/lib/caravan/models/
        mount --bind /run/node/lib /var/lib
        mount --bind "$1" "$2"
        mount --bind "$3/passwd" /etc/passwd
        mount --bind "$3/group" /etc/group
        case $4 in /root/*)
            mount --bind "$4" /mnt
            mount -t tmpfs -o mode=755 tmpfs /root
            mkdir -p "$4"
            mount --bind /mnt "$4"
            umount /mnt
            ;;
        esac' prepare "$image" "$prefix" "$WORK/users/etc" "$tree" "$MODELS"
}

unit() { # NODE LOGNAME UNIT ARGUMENT...
    local node=$1 log=$2 unit=$3
    shift 3
    # (a leak check at the end is done by ptrace, which the filter denies)
    in_node "$node" "$log" "$launcher" "$prefix/lib/systemd/system/$unit" "$WORK/drop-in/llama.conf" \
        --setenv ASAN_OPTIONS=detect_leaks=0 -- "$@"
}

unit_agent() { # NODE
    unit "$1" "agent$1" caravan-agent.service --trust open --llama-dir "$LLAMA" --worker-threads 1 --log-level debug
    until_ok 30 runs "$1" caravan-agent
    pid_of "$1" caravan-agent >"$WORK/agent$1.pid"
}

caravan() { "$LAB" netexec 1 "$BIN/caravan" "$@"; }
is_ready() { [ "$(caravan nodes --json | jq '[.nodes[] | select(.state == "ready" and ([.units[] | select(.standing and .state == "running")] | length) == 1)] | length')" = 2 ]; }
answers() { [ -n "$(caravan chat tiny hello --max-tokens 8)" ]; }

# confined NODE PROGRAM FILTERS: it is the user's, may do nothing as root, and has so many filters at least
confined() {
    local pid status
    for pid in $(pid_of "$1" "$2"); do
        status=$(cat "/proc/$pid/status")
        for line in "Uid:.$(uid_of "$2")" "CapEff:.0*$" "CapPrm:.0*$" "CapBnd:.0*$" "CapAmb:.0*$" "NoNewPrivs:.1" "Seccomp:.2"; do
            grep -q "^$line" <<<"$status" || fail "$2: no $line in $status"
        done
        [ "$(awk '$1 == "Seccomp_filters:" { print $2 }' <<<"$status")" -ge "$3" ] || fail "$2 lacks filters: $status"
        [ "$(awk '/^Max core file size/ { print $5, $6 }' "/proc/$pid/limits")" = "0 0" ] || fail "$2 may dump core"
        say "ok: $2 on node $1 is shut in"
    done
}

lab_up 2
model tiny --layers 12 --embd 256 --heads 8 --kv-heads 2 --type q8_0
prepare 1
prepare 2
unit 1 controller caravan-controller.service --trust open --log-level debug
until_ok 30 runs 1 caravan-controller
pid_of 1 caravan-controller >"$WORK/controller.pid"
unit_agent 1
unit_agent 2
until_ok 60 is_ready
say "two nodes are ready, and found the controller by mDNS"

caravan deploy tiny --nodes 2 --ctx 512 --slots 1 >"$WORK/deploy.out" || fail "deploy: $(cat "$WORK/deploy.out")"
answers || fail "no answer"
for node in 1 2; do
    confined $node caravan-agent 8
    runs $node caravan-carrier || fail "no carrier runs on node $node"
    confined $node caravan-carrier 9
    confined $node rpc-server 9
done
confined 1 caravan-controller 8
for shim in $(pid_of 1 caravan-shim); do
    [ "$(stat -c %u "/proc/$shim/oom_score_adj")" = 0 ] || fail "a child can have the shim killed when memory is short"
done
runs 1 llama-server || runs 2 llama-server || fail "no coordinator runs"
for node in 1 2; do confined $node llama-server 9; done

say "what the units deny, seen from inside of them"
# in_unit NODE PROGRAM COMMAND...: in its mount namespace, as its user; as_root: as root, whom only the mounts can deny it
in_unit() { as_root "$1" "$2" setpriv --reuid "$(uid_of "$2")" --regid "$(uid_of "$2")" --clear-groups -- "${@:3}"; }
as_root() { nsenter --target "$(pid_of "$1" "$2" | head -n 1)" --mount --root -- "${@:3}"; }
in_unit 1 caravan-controller touch /var/lib/caravan-controller/x || fail "the controller cannot write to its own directory"
in_unit 1 caravan-controller cat /var/lib/caravan-controller/identity >/dev/null || fail "the controller cannot read its key"
! in_unit 1 caravan-agent ls /var/lib/caravan-controller 2>/dev/null || fail "the agent's user sees what the controller keeps"
! in_unit 1 caravan-agent kill -0 "$(pid_of 1 caravan-controller)" 2>/dev/null || fail "it can signal the controller"
in_unit 2 caravan-agent mktemp -d /var/lib/caravan/cache/XXXXXX >/dev/null || fail "the agent cannot write to its own directory"
in_unit 2 caravan-agent touch /dev/shm/caravan-test || fail "there is no shared memory"
rm -f /dev/shm/caravan-test
for program in caravan-controller caravan-agent; do
    for path in /etc /usr /usr/local/bin /var /var/lib /root /; do
        ! as_root 1 $program mktemp "$path/caravan-XXXXXX" 2>/dev/null || fail "$program can write to $path"
    done
    ! as_root 1 $program sh -c 'echo node1 >/proc/sys/kernel/hostname' 2>/dev/null || fail "$program can write to /proc/sys"
done
! in_unit 1 caravan-controller ls /root 2>/dev/null || fail "the controller sees /root"
[ "$(in_unit 1 caravan-controller ls /proc | grep -c '^[0-9]*$')" -le 3 ] || fail "the controller sees all processes"
in_unit 1 caravan-agent test -e /dev/null || fail "the agent has no /dev/null"
! in_unit 1 caravan-agent test -e /dev/kmsg || fail "the agent has /dev/kmsg"

say "a restarted agent, in a unit of its own again, adopts what the one before left"
children_of() { for program in rpc-server llama-server caravan-carrier; do pid_of "$1" $program; done; } # NODE
before=$(caravan instances --json | jq -c '.instances[] | [.id, .epoch]')
for node in 1 2; do
    children=$(children_of $node)
    kill -TERM "$(cat "$WORK/agent$node.pid")"
    until_ok 20 gone $node caravan-agent
    unit_agent $node
    until_ok 60 is_ready
    [ "$(children_of $node)" = "$children" ] || fail "node $node has other children now"
done
until_ok 30 answers
[ "$(caravan instances --json | jq -c '.instances[] | [.id, .epoch]')" = "$before" ] || fail "it was placed again"
grep -q 'msg=sandbox.failed' "$WORK"/*.log && fail "a sandbox failed"

caravan stop tiny >/dev/null
for node in 1 2; do gone $node llama-server || fail "a coordinator is left on node $node"; done

say "a unit that asks for what the launcher does not know is not started"
sed 's/^PrivateTmp=yes/&\nProtectEverything=yes/' "$image/lib/systemd/system/caravan-agent.service" >"$WORK/other.service"
expect_error 1 'not known here: ProtectEverything' "$launcher" "$WORK/other.service"
