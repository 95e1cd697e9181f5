#!/bin/bash
# caravan-mkgguf: equal options give equal bytes, sizes are what was asked for, damaged forms are damaged as they say.
# (That llama-server loads them and answers is for the tests that run one.)
set -u
# shellcheck source=tests/lib/check.sh
. "$(dirname "$0")/../lib/check.sh"
mkgguf=$CARAVAN_BUILD/deploy/caravan-mkgguf
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp" || exit 1

size() { stat -c %s "$1"; }
begins() { [ "$(head -c 4 "$1")" = GGUF ]; }

"$mkgguf" a.gguf >out
"$mkgguf" --seed 1 --layers 4 b.gguf >out
"$mkgguf" --seed 2 c.gguf >out
expect yes "equal options" cmp -s a.gguf b.gguf
expect no "another seed" cmp -s a.gguf c.gguf
expect yes "magic" begins a.gguf

for gb in 1.9 2.0 9.9 10.1; do
    "$mkgguf" --sparse $gb s.gguf >out
    expect yes "$gb GB or a little more" awk -v s="$(size s.gguf)" -v gb=$gb 'BEGIN { exit !(s >= gb * 1e9 && s < gb * 1.01e9) }'
    expect yes "on disk nearly nothing" [ "$(du -k s.gguf | cut -f1)" -lt 1024 ]
done

"$mkgguf" --header-only h.gguf >out
expect yes "the header is the beginning" cmp -s -n "$(size h.gguf)" a.gguf h.gguf
"$mkgguf" --truncate 1000 t.gguf >out
expect yes "truncated" [ "$(size t.gguf)" = 1000 ]

"$mkgguf" --shards 3 --type f32 x.gguf >out
for i in 1 2 3; do
    expect yes "shard $i" begins x-0000$i-of-00003.gguf
done
"$mkgguf" --type q8_0 --vocab 20000 q.gguf >out
expect yes "larger vocabulary" [ "$(size q.gguf)" -gt "$(size a.gguf)" ]

expect_exit 2 'vocab must be at least 400' "$mkgguf" --vocab 399 z.gguf
expect_exit 2 'heads must divide' "$mkgguf" --heads 3 z.gguf
expect_exit 2 'layers cannot be 4x' "$mkgguf" --layers 4x z.gguf
expect_exit 2 'layers cannot be -1' "$mkgguf" --layers=-1 z.gguf
expect_exit 2 'type cannot be q4' "$mkgguf" --type q4 z.gguf
expect_exit 2 'too small' "$mkgguf" --sparse 0.0001 z.gguf
expect_exit 2 usage "$mkgguf"
expect_exit 1 'No such file' "$mkgguf" nowhere/z.gguf
expect_exit 1 'No space' "$mkgguf" /dev/full
exit $failed
