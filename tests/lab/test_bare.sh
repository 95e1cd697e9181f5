#!/bin/bash
# deploy/quickstart on a machine with nothing installed before: a tree that holds Debian's base system and the project's
# written files, entered by chroot. It installs, builds, gets llama.cpp, serves and answers there; then nothing of it is
# left on this machine. Downloads some 200 MB. CARAVAN_BARE_LIMIT=SECONDS: how long it may take in all (840).
set -u
here=$(dirname "$(readlink -f "$0")")
root=$(readlink -f "$here/../..")
# shellcheck source=tests/lib/check.sh
. "$here/../lib/check.sh"
# shellcheck source=deploy/lib/machine.sh
. "$root/deploy/lib/machine.sh"
cluster=$here/cluster.sh
limit=${CARAVAN_BARE_LIMIT:-840}
export CARAVAN_LAB=${CARAVAN_LAB:-bare}
tree=

mounts_below() { awk -v tree="$1/" 'index($5 "/", tree) == 1 { print $5 }' /proc/self/mountinfo; }

# Processes that have their root in the tree. Those of the nodes are found so too, through their own namespaces.
rooted_in() { find /proc/[0-9]*/root -maxdepth 0 -lname "$1*" 2>/dev/null | cut -d/ -f3; }

# Whatever a run that was ended in the middle has left. The last unmounted comes first: mounts lie upon mounts.
finish() {
    local status=$? left
    trap '' INT TERM HUP
    # what is under way may end by itself; then `within` ends it
    [ -z "$(jobs -p)" ] || { kill "$(jobs -p)" 2>/dev/null && wait; }
    [ -n "$tree" ] || exit "$status"
    for left in $(rooted_in "$tree"); do
        kill -9 "$left" 2>/dev/null
    done
    for left in $(mounts_below "$tree" | tac); do
        umount -l "$left"
    done
    # never through a mount that would not go
    [ -n "$(mounts_below "$tree")" ] || rm -rf --one-file-system "$tree"
    rm -f "$tree.log"
    exit "$status"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# within SECONDS COMMAND...: that many, or what is left of the limit. In the background, so that a trap need not wait.
within() {
    local left=$((limit - SECONDS)) most=$1
    shift
    [ $left -gt 0 ] || return
    timeout -k 30 $((left < most ? left : most)) "$@" &
    wait $!
}

make_tree() {
    local mirror release options=(--variant=minbase)
    release=$(. /etc/os-release && echo "${VERSION_CODENAME:-bookworm}")
    mirror=$(packages_mirror)
    # (apt in the base system trusts no certificate authority)
    [[ $mirror != https:* ]] || options+=(--include=ca-certificates)
    within 400 debootstrap "${options[@]}" "$release" "$tree" "${mirror:-http://deb.debian.org/debian}" >"$tree.log" 2>&1
}

# What is this network's and not Debian's: its proxies, and whether its mirror is a snapshot with lists past their date.
copy_network_settings() {
    cp -L /etc/resolv.conf /etc/hosts "$tree/etc/"
    apt-config dump Acquire | grep -iE '::proxy|::check-(valid-until|date) ' >"$tree/etc/apt/apt.conf.d/99host"
    return 0
}

copy_project() {
    mkdir "$tree/caravan"
    tar -C "$root" --exclude=./build --exclude=./.git --exclude=./.cache -cf - . | tar -C "$tree/caravan" -xf -
}

bare_quickstart() {
    # nothing of this machine's environment but what leads to the network, and no llama.cpp
    within 600 env -i HOME=/root TERM=dumb PATH=/usr/sbin:/usr/bin:/sbin:/bin CARAVAN_LAB="$CARAVAN_LAB" \
        ${http_proxy:+http_proxy="$http_proxy"} ${https_proxy:+https_proxy="$https_proxy"} \
        chroot "$tree" /caravan/deploy/quickstart </dev/null >"$tree/out" 2>&1
}

give_up() {
    echo "$1:"
    tail -n 30 "$2"
    exit 1
}

if [ "$(id -u)" != 0 ] || ! command -v debootstrap >/dev/null; then
    echo "needs root and debootstrap"
    exit 1
fi
tree=$(mktemp -d "${TMPDIR:-/tmp}/caravan-bare.XXXXXX")
chmod 755 "$tree" # apt drops its rights and still has to get in
make_tree || give_up "no base system" "$tree.log"
copy_network_settings
copy_project
base=$SECONDS
expect yes "quickstart" bare_quickstart
expect yes "its last line" grep -qE '^quickstart: OK   4 nodes, demo over 4 ranks, ' <(tail -n 1 "$tree/out")
expect yes "nodes in namespaces" grep -q 'namespaces, each with its own network' "$tree/out"
[ $failed = 0 ] || give_up "what quickstart said" "$tree/out"
echo "base system $base s, quickstart $((SECONDS - base)) s"
expect yes "no process left" [ -z "$(rooted_in "$tree")" ]
expect yes "no mount left" [ -z "$(mounts_below "$tree")" ]
expect yes "no lab left in the tree" [ -z "$(find "$tree/run" -name '*caravan*' -o -name 'cv-*')" ]
expect yes "no lab left on this machine" "$cluster" check
exit $failed
