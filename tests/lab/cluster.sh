#!/bin/bash
# cluster.sh: N separate machines out of one, for tests and quickstart. Each node has its own network, mount, UTS, PID
# and IPC namespace, its own /run, host name, machine-id, system bus and avahi-daemon; all hang on one switch. Needs
# root, iproute2, util-linux, nftables, dbus and avahi-daemon. The host's network is not touched and nothing is
# mounted on the host. Node I is `nodeI`, 10.77.0.(10+I) on eth0; the switch is 10.77.0.1.
#
#   possible                    exit 0, or say why such a lab cannot be made here
#   up N | down                 make nodes 1..N | remove everything      check   list what is left behind (nothing)
#   exec NODE COMMAND...        run in a node, as NODE, NODE_IP and NODE_DIR (private, survives crash and boot)
#   netexec NODE COMMAND...     run with a node's network only
#   hostexec NODE COMMAND...    as exec, but with the host's network
#   pids NODE                   the node's processes, as host pids
#   crash NODE | boot NODE      power loss: everything ends at once and no FIN or RST leaves | start it again
#   halt NODE                   everything ends at once and its kernel says so: every connection is reset
#   freeze NODE | thaw NODE     stop every process; its kernel still answers TCP
#   linkdown NODE | linkup NODE     pull the cable: both ends see no carrier
#   cut NODE | uncut NODE           silent loss: packets vanish, the carrier stays
#   partition "1 2" "3 4" ...       nodes of different groups exchange nothing; a node named in none is alone
#   oneway A B | loss A B PERCENT   packets from A to B vanish, B to A pass | so many are lost, both ways
#   heal                            undo partition, oneway, loss and all cuts
#   mem NODE 2G | cpu NODE 50       memory limit (bytes, K, M, G) | CPU limit in percent of one core
#   rate NODE 100mbit|off           bandwidth of its link, each way
#   status
#
# CARAVAN_LAB=NAME: several labs side by side (default: lab). CARAVAN_LAB_NO_AVAHI="3 4": at `up`, nodes without Avahi.
set -uo pipefail
unset DBUS_SYSTEM_BUS_ADDRESS # the nodes have buses of their own
me=$(readlink -f "$0")
lab=cv-${CARAVAN_LAB:-lab}
net=${CARAVAN_LAB_NET:-10.77.0}
dir=/run/$lab

die() {
    echo "cluster.sh: $*" >&2
    exit 1
}

# await SECONDS COMMAND...: looks every 20 ms
await() {
    local tries=$(($1 * 50))
    shift
    while ! "$@"; do
        tries=$((tries - 1))
        [ $tries -gt 0 ] || return 1
        sleep 0.02
    done
}

nodes() {
    local n
    for n in "$dir"/n[0-9]*; do
        [ -d "$n" ] && echo "${n##*/n}"
    done | sort -n
}

# init_of switch|nNODE: the process that holds its namespaces
init_of() {
    local pid
    pid=$(cat "$dir/$1/init" 2>/dev/null) && [ -d "/proc/$pid" ] && echo "$pid"
}

need() {
    [[ ${1:-} =~ ^[0-9]+$ ]] || die "which node?"
    init_of "n$1" >/dev/null || die "node $1 is not up"
}

in_net() { # switch|nNODE COMMAND...
    local pid
    pid=$(init_of "$1") || die "$1 is not up"
    shift
    nsenter --net="/proc/$pid/ns/net" -- "$@"
}

# ---- cgroups: all hierarchies that are there and writable, v1 and v2 alike; a lab does without where there are none ----

cgroups() { # "KIND DIRECTORY" lines
    local v2=/sys/fs/cgroup kind
    [ -e $v2/cgroup.controllers ] || v2=/sys/fs/cgroup/unified
    [ -e $v2/cgroup.controllers ] && echo "v2 $v2/$lab"
    for kind in memory cpu; do
        [ -e /sys/fs/cgroup/$kind/cgroup.procs ] && echo "$kind /sys/fs/cgroup/$kind/$lab"
    done
}

cgroup() { cgroups | awk -v kind="$1" '$1 == kind { print $2; exit }'; }

cgroup_join() { # NODE PID
    local kind group controller
    while read -r kind group; do
        mkdir -p "$group/n$1" 2>/dev/null || continue
        if [ "$kind" = v2 ]; then
            for controller in memory cpu; do
                echo +$controller >"${group%/*}/cgroup.subtree_control"
                echo +$controller >"$group/cgroup.subtree_control"
            done 2>/dev/null
        fi
        echo "$2" >"$group/n$1/cgroup.procs"
    done < <(cgroups) 2>/dev/null
}

cgroups_remove() {
    local group
    while read -r _ group; do
        rmdir "$group"/n* "$group"
    done < <(cgroups) 2>/dev/null
    ! cgroups_left
}

cgroups_left() {
    local group left=1
    while read -r _ group; do
        [ -d "$group" ] && echo "$group" && left=0
    done < <(cgroups)
    return $left
}

# ---- inside a node: the first process of its PID namespace ----------------------------------------------------------

# Gives the node a tree of mounts that no other namespace sees. In a chroot that takes a detour: its "/" is no mount
# point, so it cannot be made private, and what is mounted below it would appear on the host. But /proc is a mount
# point. With that private, a tmpfs on it is too, and the tree is bound there and made the new root.
node_mounts() {
    if awk '$5 == "/" { found = 1 } END { exit !found }' /proc/self/mountinfo; then
        mount --make-rprivate /
        return
    fi
    awk '{ print $5 }' /proc/self/mountinfo | while read -r point; do
        mount --make-private "$point"
    done
    mount -t tmpfs tmpfs /proc
    mkdir /proc/root
    mount --rbind / /proc/root
    mount --make-rprivate /proc/root
    exec chroot /proc/root "$me" __node "$lab" "$1" again
}

node_run_dir() { # NODE: an empty /run, with what must stay visible: the node's directory and the cgroups
    mount --rbind "$dir/n$1" /mnt
    mount -t tmpfs -o mode=755 tmpfs /run
    mkdir -p /run/dbus /run/lock /run/node /run/cgroup
    mount --bind /mnt/var /run/node
    umount -l /mnt
    if mount --rbind /sys/fs/cgroup /run/cgroup 2>/dev/null; then
        mount -t sysfs sysfs /sys && mount --rbind /run/cgroup /sys/fs/cgroup 2>/dev/null
        umount -l /run/cgroup
    else
        mount -t sysfs sysfs /sys
    fi
    rmdir /run/cgroup
    mount -t proc proc /proc
}

node_names() {
    local name
    hostname "node$1"
    [ -s /run/node/machine-id ] || tr -d - </proc/sys/kernel/random/uuid >/run/node/machine-id
    cp /run/node/machine-id /run/machine-id
    echo "node$1" >/run/hostname
    printf '127.0.0.1 localhost\n%s.%d node%d\n' "$net" $((10 + $1)) "$1" >/run/hosts
    for name in hostname hosts machine-id; do
        [ ! -e /etc/$name ] || mount --bind /run/$name /etc/$name # a bind needs a file to lie on
    done
}

node_network() {
    local control
    # a new namespace inherits the host's choice; bbr on a veth retransmits, and loads take 2 to 8 times as long
    for control in cubic reno; do
        echo $control >/proc/sys/net/ipv4/tcp_congestion_control && break
    done 2>/dev/null
    [ ! -e /proc/sys/net/ipv6 ] || echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6
    await 10 ip link show eth0 >/dev/null 2>&1 || die "node $1 got no eth0"
    ip link set lo up
    ip addr replace "$net.$((10 + $1))/24" dev eth0
    ip link set eth0 up
    ip route replace 224.0.0.0/4 dev eth0
    ip route replace default via "$net.1" dev eth0
}

node_bus() {
    chown messagebus /run/dbus 2>/dev/null
    dbus-daemon --system --nofork --nopidfile >/run/node/dbus.log 2>&1 &
    await 5 [ -S /run/dbus/system_bus_socket ] || die "node $1 has no system bus: see $dir/n$1/var/dbus.log"
}

node_avahi() {
    cat >/run/avahi.conf <<CONF
[server]
host-name=node$1
use-ipv4=yes
use-ipv6=no
allow-interfaces=eth0
use-iff-running=yes
enable-dbus=yes
ratelimit-interval-usec=0
[publish]
publish-hinfo=no
publish-workstation=no
[reflector]
enable-reflector=no
CONF
    # --no-rlimits: its default of three processes counts the user avahi over all nodes
    avahi-daemon -f /run/avahi.conf --no-rlimits --no-chroot >/run/node/avahi.log 2>&1 &
    await 5 [ -S /run/avahi-daemon/socket ] || die "node $1 has no avahi-daemon: see $dir/n$1/var/avahi.log"
}

node_main() { # NODE [again]
    [ -n "$2" ] || node_mounts "$1"
    mkdir -p "$dir/n$1/var"
    node_run_dir "$1"
    node_names "$1"
    node_network "$1"
    node_bus "$1"
    [ -e /run/node/no-avahi ] || node_avahi "$1"
    : >/run/node/.up
    trap : CHLD
    trap 'exit 0' TERM
    while :; do # bash reaps every orphan of the node
        sleep 3600 &
        wait
    done
}

# ---- from outside -----------------------------------------------------------------------------------------------------

try_namespaces() {
    unshare --net --mount --uts --pid --ipc --fork --propagation unchanged \
        sh -c 'ip link add br0 type bridge && ip link add p1 type veth peer name p2' 2>&1
}

possible() {
    local tool why
    [ "$(id -u)" = 0 ] || die "a lab of several nodes needs root"
    for tool in ip nft unshare nsenter dbus-daemon avahi-daemon; do
        PATH=$PATH:/usr/sbin:/sbin command -v $tool >/dev/null || die "$tool is not installed"
    done
    why=$(try_namespaces) || die "no namespaces, bridges or veth pairs can be made here: ${why:-no reason given}"
}

switch_boot() {
    init_of switch >/dev/null && return 0
    mkdir -p "$dir/switch"
    setsid unshare --net "$me" __switch "$lab" </dev/null >/dev/null 2>"$dir/switch/log" &
    await 5 [ -s "$dir/switch/init" ] || die "no switch: $(cat "$dir/switch/log")"
    # 224.0.0.x is flooded anyway; without a querier snooping would lose other groups after 260 s
    in_net switch ip link add br0 type bridge stp_state 0 forward_delay 0 mcast_snooping 0 &&
        in_net switch ip addr add "$net.1/24" dev br0 && in_net switch ip link set lo up && in_net switch ip link set br0 up ||
        die "the switch cannot be made"
}

boot() {
    local node=$1 home=$dir/n$1
    init_of "n$node" >/dev/null && return 0
    mkdir -p "$home/var"
    rm -f "$home/init" "$home/var/.up"
    (
        cgroup_join "$node" "$BASHPID"
        exec setsid unshare --net --mount --uts --pid --ipc --fork --kill-child --propagation unchanged \
            "$me" __node "$lab" "$node"
    ) </dev/null >"$home/var/init.log" 2>&1 &
    await 10 [ -s "$home/init" ] || die "node $node does not start: $(cat "$home/var/init.log")"
    # the same MAC after each boot, as a real machine has: others remember it
    in_net switch ip link add "p$node" type veth peer name eth0 address "$(printf '02:ca:00:00:00:%02x' "$node")" \
        netns "$(cat "$home/init")" || die "no cable for node $node"
    in_net switch ip link set "p$node" master br0 up
    await 20 [ -e "$home/var/.up" ] || die "node $node does not come up: $(cat "$home"/var/*.log)"
}

# members KIND PID: the processes whose PID namespace, or that of their children, is the one of PID
members() {
    find /proc/[0-9]*/ns/"$1" -maxdepth 0 -lname "$(readlink "/proc/$2/ns/pid" | sed 's/[][]/\\&/g')" 2>/dev/null |
        cut -d/ -f3
}

pids() { members pid "$(init_of "n$1")"; }

signal_all() { # SIGNAL PID...
    local signal=$1
    shift
    [ $# = 0 ] || kill -"$signal" "$@" 2>/dev/null
}

crash() {
    in_net switch ip link del "p$1" 2>/dev/null # first, so that nothing of the end gets out
    halt "$1"
}

halt() {
    local init entered
    init=$(init_of "n$1") || return 0
    thaw "$1"
    mapfile -t entered < <(members pid_for_children "$init")
    kill -9 "$init" # the kernel ends the whole PID namespace with it
    # ... and waits until its dead are reaped: an nsenter that stopped itself along with its child never would
    signal_all CONT "${entered[@]}"
    await 5 [ ! -d "/proc/$init" ] || die "node $1 does not die"
    in_net switch ip link del "p$1" 2>/dev/null # goes with its namespace, but in its own time
    rm -f "$dir/n$1/init"
}

freezer() { echo "$(cgroup v2)/n$1/cgroup.freeze"; }

freeze() {
    local all
    if [ -e "$(freezer "$1")" ]; then
        echo 1 >"$(freezer "$1")"
        return
    fi
    for _ in 1 2; do # twice, for what was being forked
        mapfile -t all < <(pids "$1")
        signal_all STOP "${all[@]}"
    done
}

thaw() {
    local all
    if [ -e "$(freezer "$1")" ]; then
        echo 0 >"$(freezer "$1")"
        return
    fi
    mapfile -t all < <(pids "$1"; members pid_for_children "$(init_of "n$1")")
    signal_all CONT "${all[@]}"
}

up() {
    local node booting=()
    [[ ${1:-} =~ ^[1-9][0-9]*$ ]] && [ "$1" -le 200 ] || die "up: how many nodes?"
    possible
    mkdir -p "$dir"
    switch_boot
    for node in ${CARAVAN_LAB_NO_AVAHI:-}; do
        mkdir -p "$dir/n$node/var"
        : >"$dir/n$node/var/no-avahi"
    done
    for node in $(seq "$1"); do
        boot "$node" &
        booting+=($!)
    done
    wait "${booting[@]}" # and not for the switch, which stays
    for node in $(seq "$1"); do
        need "$node"
        [ -e "$dir/n$node/var/.up" ] || die "node $node did not come up"
    done
}

down() {
    local node switch ending=()
    for node in $(nodes); do
        crash "$node" &
        ending+=($!)
    done
    [ "${#ending[@]}" = 0 ] || wait "${ending[@]}"
    if switch=$(init_of switch); then
        kill -9 "$switch"
        await 5 [ ! -d "/proc/$switch" ]
    fi
    await 2 cgroups_remove >/dev/null
    rm -rf "$dir"
}

leftovers() {
    [ -e "$dir" ] && echo "$dir"
    cgroups_left
    grep -lazFx "$lab" /proc/[0-9]*/cmdline 2>/dev/null
    grep "/run/$lab" /proc/mounts
}

wire() { # an empty firewall between the switch's ports, or the one that is there ("fwd" is a keyword of nft)
    in_net switch nft "add table bridge lab; add chain bridge lab wire { type filter hook forward priority 0 ; }"
}

wire_drop() { # A B [MATCH...]
    local from=$1 to=$2
    shift 2
    in_net switch nft add rule bridge lab wire iifname "p$from" oifname "p$to" "$@" drop
}

partition() {
    local group node a b k=0
    local -A side
    wire && in_net switch nft flush chain bridge lab wire || die "nftables cannot filter a bridge here"
    for group in "$@"; do
        k=$((k + 1))
        for node in $group; do
            side[$node]=$k
        done
    done
    for a in $(nodes); do
        for b in $(nodes); do
            if [ "$a" != "$b" ] && [ "${side[$a]:-alone$a}" != "${side[$b]:-alone$b}" ]; then
                echo "add rule bridge lab wire iifname p$a oifname p$b drop"
            fi
        done
    done | in_net switch nft -f -
}

port_state() { in_net switch bridge link set dev "p$1" state "$2"; }

heal() {
    local node
    in_net switch nft delete table bridge lab 2>/dev/null
    for node in $(nodes); do
        port_state "$node" forwarding 2>/dev/null
    done
    return 0
}

limit() { # VALUE FILE...: into the first file that is there
    local value=$1 file
    shift
    for file in "$@"; do
        [ -e "$file" ] && echo "$value" >"$file" && return 0
    done
    die "no cgroup controller for that here"
}

rate() { # NODE RATE
    local shape=(root tbf rate "$2" burst 128k latency 100ms) end
    for end in "switch p$1" "n$1 eth0"; do
        if [ "$2" = off ]; then
            in_net "${end% *}" tc qdisc del dev "${end#* }" root 2>/dev/null
        else
            in_net "${end% *}" tc qdisc replace dev "${end#* }" "${shape[@]}" || return 1
        fi
    done
    return 0
}

status() {
    local node
    for node in $(nodes); do
        printf 'node%s  %s.%s  init %s  processes %s  %s\n' "$node" "$net" $((10 + node)) "$(init_of "n$node" || echo -)" \
            "$(pids "$node" | wc -l)" \
            "$(in_net switch bridge link show dev "p$node" 2>/dev/null | grep -o 'state [a-z]*' | head -n 1)"
    done
}

verb=${1:-help}
[ $# = 0 ] || shift
case $verb in
possible | up | down | partition | heal | status) "$verb" "$@" ;;
check) ! leftovers | grep . ;;
exec | hostexec)
    need "${1:-}"
    node=$1
    shift
    cgroup_join "$node" $$
    namespaces=(--mount --uts --ipc --pid)
    [ "$verb" = hostexec ] || namespaces+=(--net)
    # --root: entering a mount namespace alone would lead out of a chroot
    exec nsenter --target "$(init_of "n$node")" "${namespaces[@]}" --root -- \
        env -C / NODE="$node" NODE_DIR=/run/node NODE_IP="$net.$((10 + node))" "$@"
    ;;
netexec)
    need "${1:-}"
    node=n$1
    shift
    exec nsenter --net="/proc/$(init_of "$node")/ns/net" -- "$@"
    ;;
pids | crash | halt | freeze | thaw) need "${1:-}" && "$verb" "$1" ;;
boot) [[ ${1:-} =~ ^[0-9]+$ ]] && boot "$1" ;;
linkdown) need "${1:-}" && in_net switch ip link set "p$1" down ;;
linkup) need "${1:-}" && in_net switch ip link set "p$1" up ;;
cut) need "${1:-}" && port_state "$1" disabled ;;
uncut) need "${1:-}" && port_state "$1" forwarding ;;
oneway) need "${2:-}" && wire && wire_drop "$1" "$2" ;;
loss)
    need "${2:-}" && wire && wire_drop "$1" "$2" numgen random mod 100 lt "$3" &&
        wire_drop "$2" "$1" numgen random mod 100 lt "$3"
    ;;
mem)
    need "${1:-}"
    limit "$(numfmt --from=iec "$2")" "$(cgroup v2)/n$1/memory.max" "$(cgroup memory)/n$1/memory.limit_in_bytes"
    ;;
cpu)
    need "${1:-}"
    if [ -e "$(cgroup v2)/n$1/cpu.max" ]; then
        limit "$(($2 * 1000)) 100000" "$(cgroup v2)/n$1/cpu.max"
    else
        limit $(($2 * 1000)) "$(cgroup cpu)/n$1/cpu.cfs_quota_us"
    fi
    ;;
rate) need "${1:-}" && rate "$1" "${2:?100mbit or off}" ;;
__switch)
    # a network namespace lives as long as somebody is in it
    echo $$ >"$dir/switch/init"
    exec -a "$lab" sleep infinity
    ;;
__node)
    lab=$1
    dir=/run/$lab
    if [ -z "${3:-}" ]; then
        read -r self _ </proc/self/stat # /proc is still the host's, so this is the host's pid
        echo "$self" >"$dir/n$2/init"
    fi
    node_main "$2" "${3:-}"
    ;;
*)
    sed -n '2,28s/^# \{0,1\}//p' "$0"
    exit 2
    ;;
esac
