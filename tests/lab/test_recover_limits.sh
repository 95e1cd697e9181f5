#!/bin/bash
# Memory that ends in the middle of a load, and a disk that is full under an agent's state: named, released, placed elsewhere.
# shellcheck source=tests/lab/lib.sh
. "$(dirname "$0")/lib.sh"

lab_up 3
model big --layers 12 --embd 1024 --heads 16 --kv-heads 4 --type q8_0 --ctx 512
model tiny --layers 12 --embd 256 --heads 8 --kv-heads 2 --type q8_0 --ctx 4096
controller 1 --settle 3s
agent 1
agent 2 --memory 4G # it promises more than its limit lets it keep
"$LAB" exec 3 sh -c 'mkdir -p /run/node/agent && mount -t tmpfs -o size=4m tmpfs /run/node/agent' </dev/null
agent 3
until_ok 60 nodes_ready 3

# the limit falls in the middle of the load, which a slow link makes long enough; and not before a layer is there, as an agent
# with a sanitizer is larger than a rank without any, and would be what the kernel takes
usage() { cat "/sys/fs/cgroup/memory/cv-$CARAVAN_LAB/n2/memory.usage_in_bytes" 2>/dev/null; }
holds_a_layer() { [ "$(awk '/^RssAnon/ { print $2 }' "/proc/$(serving 2 rpc-server)/status")" -gt 10240 ]; }
if usage >/dev/null; then
    "$LAB" rate 2 200mbit
    cv deploy big --nodes 3 --ctx 512 --slots 1 --no-wait >/dev/null
    until_ok 60 holds_a_layer
    is big loading || fail "not loading any more: $(instance big)"
    "$LAB" mem 2 $(($(usage) + 8 * 1024 * 1024))
    told() { instance big | jq -e '[.tried[].text] | any(test("node2"))'; }
    until_ok 120 told
    say "memory limit: $(instance big | jq -r '.tried[0] | "\(.code): \(.text)"')"
    "$LAB" mem 2 8G
    "$LAB" rate 2 off
    until_ok 120 is big ready
    cv stop big >/dev/null
else
    say "no writable memory controller of version 1 here: the limit is not tried"
fi

# a full disk: the epoch cannot be written, so nothing is begun there. Where every node is needed that ends in a list of what
# was tried; where one is not, the instance is served without it; with room again the node is used again
"$LAB" exec 3 sh -c 'dd if=/dev/zero of=/run/node/agent/fill bs=64k 2>/dev/null; true' </dev/null
fits() { cv plan tiny --nodes 3 --ctx 512 --slots 1; }
until_ok 60 fits # what node 2 offers is known by its next report
rc=0
out=$(cv deploy tiny --nodes 3 --ctx 512 --slots 1 2>&1) || rc=$?
[ "$rc" = 1 ] && [[ $out =~ disk\ on\ node3 ]] || fail "exit $rc: $out"
say "full disk: $out"
no_coordinator 1 2 3
cv stop tiny >/dev/null 2>&1 || true
cv deploy tiny --nodes 2 --ctx 512 --slots 1 >/dev/null || fail "the other two nodes do not serve"
answers tiny || fail "no answer while the disk is full"
cv stop tiny >/dev/null
"$LAB" exec 3 rm -f /run/node/agent/fill </dev/null
cv deploy tiny --nodes 3 --ctx 512 --slots 1 >/dev/null || fail "node 3 is not used again"
answers tiny || fail "no answer after the disk had room again"
"$LAB" exec 3 umount -l /run/node/agent </dev/null 2>/dev/null || true
