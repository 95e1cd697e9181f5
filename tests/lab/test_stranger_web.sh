#!/bin/bash
# A stranger on the same bridge, at HTTP: every route without a key, with wrong ones and lesser ones; requests that two readers
# take apart in two ways; names of models and targets that lead elsewhere; pages of other sites and rebound names in a real
# Chromium; TLS. He gets nowhere, nothing dies or grows, and a user notices nothing. Each try has a control that succeeds.
# shellcheck source=tests/lab/stranger.sh
. "$(dirname "$0")/stranger.sh"
# shellcheck source=tests/lib/npm.sh
. "$ROOT/tests/lib/npm.sh"
# shellcheck source=tests/lib/web.sh
. "$ROOT/tests/lib/web.sh"

modules=$(npm_modules web "$BIN" 2>"$WORK/npm.log") || fail "npm ci: $(tail -n 5 "$WORK/npm.log")"
browser=$(web_browser) || fail "no browser"
mkgguf "$WORK/secret.gguf" # beside the model directory, and a link in there that leads to it
ln -s "$WORK/secret.gguf" "$MODELS/out.gguf"

cluster_with_stranger
for scope in infer read; do
    (umask 077 && cv keys create "a-$scope" --scope $scope --json | jq -r .key >"$WORK/$scope.key")
done
(umask 077 && printf '%s\n' "$CARAVAN_API_KEY" >"$WORK/admin.key")
remember_memory
calm 20
phase requests

# ---- keys: each route that there is ------------------------------------------------------------------------------------------

{
    for scope in admin read infer; do echo "key $scope $(cat "$WORK/$scope.key")"; done
    sed -nE 's/^ *(static .*)?\{"(GET|POST|PUT|DELETE)", "([^"]*)", [a-z_0-9]+, HTTP_FOR_([A-Z]+)\}.*/route \2 \3 \L\4/p' \
        "$ROOT"/controller/*.c | grep -v '/metrics all$'
} >"$WORK/routes"
chmod 600 "$WORK/routes"
[ "$(grep -c '^route' "$WORK/routes")" -ge 27 ] || fail "not all routes were found: $(grep '^route' "$WORK/routes")"
stranger python3 "$HERE/stranger_http.py" routes $CONTROLLER 8080 <"$WORK/routes" || fail "keys"

# ---- framing, names, targets ---------------------------------------------------------------------------------------------------

stranger python3 "$HERE/stranger_http.py" smuggle $CONTROLLER 8080 <"$WORK/admin.key" || fail "smuggling"
background stranger python3 "$HERE/stranger.py" sink "$WORK/came" 9999 >"$WORK/sink.out"
until_ok 20 grep -q listening "$WORK/sink.out"
stranger python3 "$HERE/stranger_http.py" models $CONTROLLER 8080 "$WORK/secret" <"$WORK/admin.key" || fail "models and targets"
[ ! -s "$WORK/came" ] || fail "the controller went elsewhere: $(cat "$WORK/came")"
end "$background"
until enough; do
    stranger python3 "$HERE/stranger_http.py" routes $CONTROLLER 8080 <"$WORK/routes" >/dev/null || fail "keys"
    stranger python3 "$HERE/stranger_http.py" smuggle $CONTROLLER 8080 <"$WORK/admin.key" >/dev/null || fail "smuggling"
done
expect_error 3 'out.*a link that leads out' cv deploy out

# ---- a real browser, on the user's machine ---------------------------------------------------------------------------------------

# One more controller there, without any key, as it is before `init`; and one with a certificate that nobody has signed.
in_node 3 keyless "$BIN/caravan-controller" --config /dev/null --models-conf /dev/null --state-dir /run/node/keyless \
    --listen 127.0.0.1 --port 17421 --http-listen 127.0.0.1:8081 --settle 1s
until_ok 30 curl -sf -o /dev/null http://127.0.0.1:8081/api/nodes
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=lab \
    -addext subjectAltName=IP:10.77.0.13 -keyout "$WORK/tls.key" -out "$WORK/tls.pem" 2>/dev/null
chmod 600 "$WORK/tls.key"
spki=$(openssl x509 -in "$WORK/tls.pem" -pubkey -noout | openssl pkey -pubin -outform der | openssl dgst -sha256 -binary | base64)
tls_state=/run/cv-$CARAVAN_LAB/n3/var/tls
mkdir -m 700 "$tls_state"
"$BIN/caravan-controller" init --config /dev/null --state-dir "$tls_state" >"$WORK/init.log" 2>&1 || fail "init"
in_node 3 tls "$BIN/caravan-controller" --config /dev/null --models-conf /dev/null --state-dir /run/node/tls \
    --listen 127.0.0.1 --port 17422 --http-listen 0.0.0.0:8443 --settle 1s \
    --http-tls-cert "$WORK/tls.pem" --http-tls-key "$WORK/tls.key"
until_ok 30 curl -sf --cacert "$WORK/tls.pem" -o /dev/null https://10.77.0.13:8443/api/health
if curl -s -o /dev/null https://10.77.0.13:8443/api/health; then fail "curl believes anybody"; fi
try "TLS, curl without the certificate" "with --cacert it is answered"

phase browser
mkdir "$WORK/site"
echo '<!doctype html><title>harmless</title>' >"$WORK/site/index.html"
background stranger python3 -m http.server --directory "$WORK/site" 8000 >"$WORK/site.log" 2>&1
until_ok 20 curl -sf -o /dev/null http://$STRANGER:8000/
cp "$ROOT/tests/web/stranger.mjs" "$modules/" # it looks for modules beside itself
# the browser may be slow, but not at the cost of what it asks
(cd "$modules" && nice -n 19 "$LAB" netexec 3 timeout 200 node stranger.mjs "$browser" "$WORK/profiles" "$STRANGER:8000" \
    "$CONTROLLER:8080" "$WORK/admin.key" 127.0.0.1:8081 10.77.0.13:8443 "$spki" 2>&1) || fail "the browser"
[ "$(curl -sf http://127.0.0.1:8081/api/instances | jq '.instances | length')" = 0 ] || fail "a page has deployed something"
end_program TERM 3 caravan-controller

everybody_lives
compare_memory
calm 15
compare
if grep -lF -f <(sed 's/^caravan_//' "$WORK"/*.key) "$WORK"/*.log; then fail "a key stands in a log"; fi
