#!/bin/bash
# HTTP for a network with strangers on it: a real controller in a network of its own, asked as they would ask, by curl and by
# bare sockets. Each try that must fail has one beside it that succeeds. No agents and no models: the doors are what is tried.
set -euo pipefail

# a network, and a /var/lib of our own: nothing of it is left when we end
if [ "${HOSTILE:-}" != inside ]; then
    HOSTILE=inside exec unshare -mn --fork --kill-child -- "$0" "$@"
fi
ip link set lo up
mount -t tmpfs none /var/lib

# shellcheck source=tests/lib/check.sh
. "$(dirname "$0")/../lib/check.sh"
ROOT=$(cd "$(dirname "$0")/../.." && pwd)
BIN=${CARAVAN_BUILD:-$ROOT/build/debug}
WORK=$(mktemp -d "${TMPDIR:-/tmp}/caravan-hostile.XXXXXX")
STATE=/var/lib/caravan-controller # the command line's default key is there
URL=http://127.0.0.1:8080
unset CARAVAN_API_KEY CARAVAN_CONTROLLER
export HOME=$WORK
export ASAN_OPTIONS=${ASAN_OPTIONS:+$ASAN_OPTIONS:}quarantine_size_mb=16 # or freed memory counts as held

say() { printf '%s\n' "-- $*"; }
fail() {
    printf 'test_http_hostile: FAILED: %s\n' "$*" >&2
    tail -n 30 "$WORK"/*.log >&2
    exit 1
}

pid=
end() {
    [ -z "$pid" ] || kill -TERM "$pid" 2>/dev/null || true
    rm -rf "$WORK"
}
trap end EXIT

# serve LOG [OPTION...]: the controller, up; its log is LOG
serve() {
    local log=$WORK/$1.log
    shift
    "$BIN/caravan-controller" --config "$WORK/empty.conf" --models-conf "$WORK/empty.conf" --http-listen 127.0.0.1:8080 \
        --listen 127.0.0.1 "$@" 2>"$log" &
    pid=$!
    for _ in $(seq 200); do
        curl -skf -o /dev/null "$URL/api/health" && return
        kill -0 "$pid" 2>/dev/null || fail "the controller did not start"
        sleep 0.1
    done
    fail "the controller does not answer"
}

stop() {
    kill -TERM "$pid"
    wait "$pid" || fail "the controller ended with $?"
    pid=
}

# status CURL-ARGUMENT...: of the answer, whose body is in $WORK/body
status() { curl -sk -m 30 -o "$WORK/body" -w '%{http_code}' "$@" || true; }
# is STATUS CURL-ARGUMENT...
is() {
    local want=$1 got
    shift
    got=$(status "$@")
    [ "$got" = "$want" ] || fail "curl $*: $got, expected $want: $(cat "$WORK/body")"
}

: >"$WORK/empty.conf"
"$BIN/caravan-controller" init --config "$WORK/empty.conf" >"$WORK/init.log" 2>&1 || fail "init"
KEY=$(cat "$STATE/admin.key")
[ "$(stat -c %a "$STATE/admin.key")" = 600 ] || fail "admin.key is open to others"
serve keys
BEARER="Authorization: Bearer $KEY"

# ---- keys ------------------------------------------------------------------------------------------------------------------

"$BIN/caravan" nodes --json >"$WORK/nodes" || fail "the command line does not take this host's own key"
jq -e '.nodes == []' "$WORK/nodes" >/dev/null || fail "nodes: $(cat "$WORK/nodes")"
ip addr add 192.0.2.1/32 dev lo
expect_exit 4 'Connection refused' "$BIN/caravan" nodes --controller http://192.0.2.1:8080 --socket "$WORK/none"
INFER=$("$BIN/caravan" keys create asker --scope infer --json | jq -r .key)
READ=$("$BIN/caravan" keys create reader --scope read --json | jq -r .key)
expect_exit 3 'not known here.*--api-key-file' env CARAVAN_API_KEY=caravan_nonsense "$BIN/caravan" nodes
expect_exit 3 'scope "infer"; this needs "read"' env CARAVAN_API_KEY="$INFER" "$BIN/caravan" nodes
expect_exit 0 '' env CARAVAN_API_KEY="$READ" "$BIN/caravan" nodes
expect_exit 3 'this needs "admin"' env CARAVAN_API_KEY="$READ" "$BIN/caravan" keys
[ "$failed" = 0 ] || fail "the command line"

is 200 "$URL/api/health"
for path in /api/nodes /metrics /api/events /nothing / /v1/models; do is 401 "$URL$path"; done
for path in /api/nodes /metrics; do
    is 200 -H "$BEARER" "$URL$path"
    is 200 -H "X-Api-Key: $READ" "$URL$path"
    is 403 -H "X-Api-Key: $INFER" "$URL$path"
done
is 200 -H "X-Api-Key: $INFER" "$URL/v1/models"
is 403 -H "X-Api-Key: $READ" "$URL/v1/models"
is 401 -X POST "$URL/api/instances" -d '{"model": "m"}'
is 403 -H "X-Api-Key: $READ" -X POST "$URL/api/instances" -d '{"model": "m"}'
is 404 -H "$BEARER" -X POST "$URL/api/instances" -d '{"model": "m"}'
# nobody waits for a stranger's 64 MiB
head -c 64M /dev/zero >"$WORK/big"
is 401 -H 'Expect: 100-continue' --data-binary @"$WORK/big" "$URL/v1/chat/completions"
say "ok: keys"

# ---- names and pages -------------------------------------------------------------------------------------------------------

is 421 -H "$BEARER" -H 'Host: evil.example' "$URL/api/nodes"
is 421 --resolve evil.example:8080:127.0.0.1 -H "$BEARER" http://evil.example:8080/api/nodes
is 200 --resolve localhost:8080:127.0.0.1 -H "$BEARER" http://localhost:8080/api/nodes
is 403 -H 'Origin: http://evil.example' "$URL/api/health"
is 403 -H 'Sec-Fetch-Site: cross-site' "$URL/api/health"
is 200 -H 'Origin: http://evil.example' -H "$BEARER" "$URL/api/nodes"
say "ok: rebinding and other sites"

# ---- two readings of one request ---------------------------------------------------------------------------------------------

python3 "$ROOT/tests/lab/stranger_http.py" smuggle 127.0.0.1 8080 <"$STATE/admin.key" >"$WORK/smuggle" ||
    fail "smuggling: $(cat "$WORK/smuggle")"
say "ok: nothing is smuggled"

# ---- many, slow, silent ------------------------------------------------------------------------------------------------------

# honest N: so many requests, one after the other; prints "FAILED P50 P99" in ms
honest() {
    python3 - "$1" "$KEY" <<'PY'
import http.client, sys, time
failed, took = 0, []
for _ in range(int(sys.argv[1])):
    start = time.monotonic()
    try:
        c = http.client.HTTPConnection("127.0.0.1", 8080, timeout=20)
        c.request("GET", "/api/nodes", headers={"Authorization": "Bearer " + sys.argv[2]})
        failed += c.getresponse().status != 200
        c.close()
    except OSError:
        failed += 1
    took.append((time.monotonic() - start) * 1000)
took.sort()
print(failed, "%.1f" % took[len(took) // 2], "%.1f" % took[len(took) * 99 // 100])
PY
}
rss_kib() { awk '/^VmRSS/ { print $2 }' "/proc/$pid/status"; }

# connections N: has the controller so many open?
connections() { [ "$(find "/proc/$pid/fd" -type l 2>/dev/null | wc -l)" -ge "$1" ]; }

ulimit -n 8192
read -r failed_before _ p99_before < <(honest 300)
rss_before=$(rss_kib)
[ "$failed_before" = 0 ] || fail "honest requests failed"
for n in 1000 3000; do # the second is more than one address may have
    python3 "$ROOT/tests/lab/stranger.py" hold "$n" 127.0.0.1 8080 silent slow >/dev/null &
    flood=$!
    for _ in $(seq 100); do connections $((n < 2000 ? n : 2000)) && break || sleep 0.1; done
    connections $((n < 2000 ? n : 2000)) || fail "there is no flood"
    read -r failed_meanwhile _ p99_meanwhile < <(honest 300)
    rss_meanwhile=$(rss_kib)
    kill -KILL "$flood"
    wait "$flood" 2>/dev/null || true
    say "$n hostile connections: $failed_meanwhile of 300 honest requests failed; p99 $p99_meanwhile ms ($p99_before ms" \
        "without); RSS $((rss_meanwhile / 1024)) MiB ($((rss_before / 1024)) MiB)"
    [ "$failed_meanwhile" = 0 ] || fail "honest requests failed"
    [ $((rss_meanwhile - rss_before)) -lt $((128 * 1024)) ] || fail "memory is not bounded"
    kill -0 "$pid" || fail "the controller is gone"
done

# ---- secrets -----------------------------------------------------------------------------------------------------------------

if grep -lF -e "$KEY" -e "$INFER" -e "$READ" "$WORK"/*.log; then fail "a key stands in a log"; fi
[ "$(grep -c 'msg=http.refused' "$WORK/keys.log")" -le 10 ] || fail "strangers fill the log: $(grep -c . "$WORK/keys.log")"
grep -q 'msg=http.refused from=127.0.0.1 why=' "$WORK/keys.log" || fail "nobody is told of strangers"
if curl -sf -H "$BEARER" "$URL/api/keys" | grep -F -e "${KEY#caravan_}"; then fail "a key is told"; fi
stop
say "ok: secrets"

# ---- TLS -----------------------------------------------------------------------------------------------------------------------

# certificate NAME
certificate() {
    (umask 077 && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj "/CN=$1" \
        -addext subjectAltName=IP:127.0.0.1 -keyout "$WORK/$1.key" -out "$WORK/$1.pem" 2>/dev/null)
}
certificate one
certificate two
cp "$WORK/one.key" "$WORK/open.key" && chmod 644 "$WORK/open.key"
tls() { "$BIN/caravan-controller" --config "$WORK/empty.conf" --http-listen 127.0.0.1:8080 --listen 127.0.0.1 "$@"; }
expect_exit 2 'http_tls_key is not' tls --http-tls-cert "$WORK/one.pem"
expect_exit 2 'open.key.*open to others' tls --http-tls-cert "$WORK/one.pem" --http-tls-key "$WORK/open.key"
expect_exit 2 'two.key is not that of.*one.pem' tls --http-tls-cert "$WORK/one.pem" --http-tls-key "$WORK/two.key"
[ "$failed" = 0 ] || fail "options of TLS"

cp "$WORK/one.pem" "$WORK/cert"
cp -p "$WORK/one.key" "$WORK/key"
URL=https://127.0.0.1:8080
serve tls --http-tls-cert "$WORK/cert" --http-tls-key "$WORK/key"
[ "$(curl -s --cacert "$WORK/one.pem" -o /dev/null -w '%{http_code} %{http_version}' -H "$BEARER" "$URL/api/nodes")" = '200 1.1' ] ||
    fail "curl with the certificate"
if curl -s -o /dev/null "$URL/api/health"; then fail "curl believed anybody"; fi
if curl -sk --tls-max 1.1 --ciphers 'ALL:@SECLEVEL=0' -o /dev/null "$URL/api/health"; then fail "TLS 1.1 is spoken"; fi
if curl -s -o /dev/null http://127.0.0.1:8080/api/health; then fail "plain HTTP is spoken beside TLS"; fi
is 401 "$URL/api/nodes"
export CARAVAN_CONTROLLER=$URL
expect_exit 0 '' "$BIN/caravan" nodes --ca-file "$WORK/one.pem"
expect_exit 0 '' env CARAVAN_CA_FILE="$WORK/one.pem" "$BIN/caravan" nodes
expect_exit 4 'certificate is not believed.*--ca-file' "$BIN/caravan" nodes
expect_exit 4 'certificate is not believed' "$BIN/caravan" nodes --ca-file "$WORK/two.pem"
expect_exit 4 'no Caravan controller|cannot reach' "$BIN/caravan" nodes --controller http://127.0.0.1:8080 --socket "$WORK/none"
[ "$failed" = 0 ] || fail "the command line with TLS"

# a certificate that is renewed under a stream
curl -sN --cacert "$WORK/one.pem" -H "$BEARER" -o "$WORK/events" "$URL/api/events" &
stream=$!
for _ in $(seq 100); do [ -s "$WORK/events" ] && break || sleep 0.1; done
cp "$WORK/two.pem" "$WORK/cert"
cp -p "$WORK/two.key" "$WORK/key"
[ "$(curl -s --cacert "$WORK/two.pem" -o /dev/null -w '%{http_code}' "$URL/api/health")" = 200 ] || fail "the new certificate is not used"
kill -0 "$stream" || fail "the stream was ended"
kill "$stream"
wait "$stream" || true
stop
if grep -lE 'ERROR: (Address|Leak|Thread)Sanitizer|runtime error:' "$WORK"/*.log; then fail "a sanitizer complained"; fi
say "ok: TLS"
