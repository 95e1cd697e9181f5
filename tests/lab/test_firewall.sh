#!/bin/bash
# The rules that deploy/firewall prints, on a node: a peer gets in, a stranger on the same wire does not, and whoever
# opens connections without end is held back. The controls are the same tries without the rules.
# shellcheck source=tests/lab/lib.sh
. "$(dirname "$0")/lib.sh"

lab_up 3 # 1 has the rules, 2 is its peer, 3 the stranger
ports=(7420 7431 7440 7499 18080 20052 20151)
other=2222 # nothing of ours

in_node 1 listeners python3 -c '
import selectors, socket, sys
s = selectors.DefaultSelector()
for port in sys.argv[1:]:
    s.register(socket.create_server(("0.0.0.0", int(port)), backlog=500), selectors.EVENT_READ)
print("listening", flush=True)
while True:
    for key, _ in s.select():
        key.fileobj.accept()[0].close()
' "${ports[@]}" $other
until_ok 10 grep -q listening "$WORK/listeners.log"

# reaches NODE PORT: a connection is made. What is dropped is given up after 1 s, which is three tries of the kernel's.
reaches() { "$LAB" netexec "$1" timeout 1 bash -c ": </dev/tcp/10.77.0.11/$2" 2>/dev/null; }
rules() { "$ROOT/deploy/firewall" --controller --agent --network 10.77.0.12 "$@" | "$LAB" netexec 1 nft -f -; }

for port in "${ports[@]}" $other; do
    for node in 2 3; do reaches $node "$port" || fail "without rules node $node does not reach $port"; done
done
rules
for port in "${ports[@]}"; do
    reaches 2 "$port" || fail "the peer does not reach $port"
    reaches 1 "$port" || fail "the node does not reach its own $port"
    ! reaches 3 "$port" || fail "the stranger reaches $port"
done
reaches 3 $other || fail "the rules are about more than our ports"
say "ok: the peer gets in, the stranger does not"

dropped() { "$LAB" netexec 1 nft list chain inet caravan known4 | sed -n 's/.*counter packets \([0-9]*\).*/\1/p'; }
knock() { for _ in $(seq 100); do "$LAB" netexec 2 timeout 5 bash -c ': </dev/tcp/10.77.0.11/7420' 2>/dev/null & done; wait; }
rules --rate 1000
(knock)
[ "$(dropped)" = 0 ] || fail "a hundred connections were too many at 1000 a second"
rules --rate 5
(knock)
[ "$(dropped)" -gt 0 ] || fail "a hundred connections at once went through at 5 a second"
say "ok: $(dropped) packets of too many connections were dropped"
reaches 3 $other || fail "somebody else was held back, too"
