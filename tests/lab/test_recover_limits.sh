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

one() { cv instances --json | jq -c --arg n "$1" '[.instances[] | select(.name == $n and .state != "stopped")][0]'; }
is() { [ "$(one "$1" | jq -r .state)" = "$2" ]; }

# the limit is set below what a rank needs, after the plan was made by what the agent said
if "$LAB" mem 2 120M 2>/dev/null; then
    cv deploy big --nodes 3 --ctx 512 --slots 1 --no-wait >/dev/null
    told() { one big | jq -e '[.tried[].text] | any(test("node2"))'; }
    until_ok 120 told
    say "memory limit: $(one big | jq -r '.tried[0] | "\(.code): \(.text)"')"
    "$LAB" mem 2 8G
    until_ok 120 is big ready
    cv stop big >/dev/null
else
    say "no writable memory controller here: the limit is not tried"
fi

# a full disk: the epoch cannot be written, so nothing is begun there; when there is room again the node is used again
"$LAB" exec 3 sh -c 'dd if=/dev/zero of=/run/node/agent/fill bs=64k 2>/dev/null; true' </dev/null
rc=0
cv deploy tiny --nodes 3 --ctx 512 --slots 1 --no-wait >/dev/null || rc=$?
[ "$rc" = 0 ] || fail "deploy exits $rc"
disk() { one tiny | jq -e '[.tried[] | select(.code == "disk" and .node == "node3")] | length > 0'; }
until_ok 60 disk
say "full disk: $(one tiny | jq -r '.tried[0].text')"
[ -z "$(for i in 1 2 3; do pid_of $i llama-server; done)" ] || fail "something was started all the same"
"$LAB" exec 3 rm -f /run/node/agent/fill </dev/null
until_ok 120 is tiny ready
[ -n "$(ask tiny hello 4)" ] || fail "no answer after the disk had room again"
"$LAB" exec 3 umount -l /run/node/agent </dev/null 2>/dev/null || true
