#!/usr/bin/env python3
"""What a stranger on the network tries at HTTP, one verb each; run by tests/lab/test_stranger_web.sh in a namespace of his own,
and by test_http_hostile.sh.

  routes HOST PORT           every route with the keys of standard input (see routes())
  smuggle HOST PORT          requests that two readers would take apart in two ways; the key is on standard input
  models HOST PORT FILE      names of models that lead out of the model directory, and targets that lead to other hosts

Each prints a line for each try: WHAT, what became of it, and of its control, and exits 1 where one is wrong."""
import json
import os
import socket
import sys

sys.dont_write_bytecode = True
from stranger import PATIENCE, connect, receive  # noqa: E402

wrong_lines = 0


def line(what, good, became, control, control_good):
    global wrong_lines
    wrong_lines += not (good and control_good)
    print("%-58s %s%s | control: %s%s" % (what, "" if good else "WRONG: ", became, "" if control_good else "FAILED: ",
                                          control), flush=True)


def say_http(host, port, text):
    s = connect(host, port)
    try:
        s.sendall(text)
    except OSError:
        pass
    return s


def status_of(host, port, method, path, headers=(), body=b""):
    """The status of the answer, and its first bytes: some never end."""
    head = ["%s %s HTTP/1.1" % (method, path), "Host: %s:%s" % (host, port), *headers]
    if method != "GET":
        head.append("Content-Length: %d" % len(body))
    s = say_http(host, port, "\r\n".join(head + ["", ""]).encode() + (body if method != "GET" else b""))
    s.settimeout(PATIENCE)
    answer = b""
    try:
        while b"\r\n\r\n" not in answer or len(answer) < 64:
            part = s.recv(65536)
            if not part:
                break
            answer += part
    except OSError:
        pass
    s.close()
    return (int(answer.split()[1]) if answer.startswith(b"HTTP/1.1 ") else 0), answer


def routes(host, port):
    """Standard input: lines "key SCOPE TEXT" and "route METHOD PATH SCOPE", SCOPE all, infer, read or admin."""
    keys, table = {}, []
    for text in sys.stdin:
        kind, *rest = text.split()
        if kind == "key":
            keys[rest[0]] = rest[1]
        else:
            table.append((rest[0], rest[1].replace(":name", "nosuch").replace(":model", "nosuch").replace(":id", "99").replace(":key", "nosuch"), rest[2]))
    closed = [r for r in table if r[2] != "all"]
    bearer = {scope: ["Authorization: Bearer " + key] for scope, key in keys.items()}

    def ask(rows, headers):
        return {(m, p): status_of(host, port, m, p, headers, b"{}")[0] for m, p, _ in rows}

    admitted = ask(closed, bearer["admin"])
    n_in = sum(s not in (0, 401, 403, 421) for s in admitted.values())
    control = "%d of %d answer the admin key" % (n_in, len(closed)), n_in == len(closed)
    flipped = keys["admin"][:-1] + ("A" if keys["admin"][-1] != "A" else "B")
    for what, headers in {
        "without a key": [],
        "with an empty key": ["Authorization: Bearer "],
        "with a key that was never made": ["Authorization: Bearer caravan_" + "A" * 43],
        "with one wrong letter": ["Authorization: Bearer " + flipped],
        "with half a key": ["X-Api-Key: " + keys["admin"][:20]],
        "with two keys": ["X-Api-Key: caravan_x", "Authorization: Bearer " + keys["admin"]],
        "with a key in the query": ["Cookie: key=" + keys["admin"], "Referer: http://x/?key=" + keys["admin"]],
        "with another scheme": ["Authorization: Basic " + keys["admin"]],
    }.items():
        out = ask(closed, headers)
        n = sum(s == 401 for s in out.values())
        line("8080, every route " + what, n == len(closed), "%d of %d: 401" % (n, len(closed)), *control)
        if n != len(closed):
            print({r: s for r, s in out.items() if s != 401})
    for scope, may in {"infer": ("infer",), "read": ("read",)}.items():
        lesser = [r for r in closed if r[2] not in may]
        own = [r for r in closed if r[2] in may]
        out = ask(lesser, bearer[scope])
        n = sum(s == 403 for s in out.values())
        n_own = sum(s not in (0, 401, 403) for s in ask(own, bearer[scope]).values())
        line('8080, every route beyond a key of scope "%s"' % scope, n == len(lesser), "%d of %d: 403" % (n, len(lesser)),
             "%d of %d others answer it" % (n_own, len(own)), n_own == len(own))
        if n != len(lesser):
            print({r: s for r, s in out.items() if s != 403})
    status, answer = status_of(host, port, "GET", "/api/health")
    body = answer.split(b"\r\n\r\n", 1)[-1]
    line("8080, what is for all", status == 200 and len(body) < 40, "says " + body.decode("latin-1").strip(), *control)
    return wrong_lines


def smuggle(host, port):
    key = sys.stdin.read().strip()
    bearer = "Authorization: Bearer %s\r\n" % key
    hidden = "GET /api/version HTTP/1.1\r\nHost: localhost\r\n%sConnection: close\r\n\r\n" % bearer
    post, get = (first + " HTTP/1.1\r\nHost: localhost\r\n" + bearer
                 for first in ("POST /v1/chat/completions", "GET /api/health"))
    chunked = "Transfer-Encoding: chunked\r\n"

    def answer(text):
        s = say_http(host, port, (text + hidden).encode("latin-1"))
        got, _ = receive(s)
        s.close()
        return got

    def answered(text):
        return b'"cluster"' in answer(text)

    two = "well formed, both are answered"
    control_length = two, answered(post + "Content-Length: 2\r\n\r\n{}")
    control_chunked = two, answered(post + chunked + "\r\n2\r\n{}\r\n0\r\n\r\n")
    control_get = two, answered(get + "\r\n")
    for what, text, control in (
        ("two lengths", post + "Content-Length: 0\r\nContent-Length: %d\r\n\r\n" % len(hidden), control_length),
        ("two lengths in one field", post + "Content-Length: 0, %d\r\n\r\n" % len(hidden), control_length),
        ("a length with a sign", post + "Content-Length: +0\r\n\r\n", control_length),
        ("length and chunked", post + "Content-Length: 5\r\n" + chunked + "\r\n0\r\n\r\n", control_chunked),
        ("chunked and length", post + chunked + "Content-Length: 5\r\n\r\n0\r\n\r\n", control_chunked),
        ("a chunk of 0x2 bytes", post + chunked + "\r\n0x2\r\n{}\r\n0\r\n\r\n", control_chunked),
        ("a chunk of 2 and a space", post + chunked + "\r\n2 \r\n{}\r\n0\r\n\r\n", control_chunked),
        ("a chunk of 2^64+2 bytes", post + chunked + "\r\n10000000000000002\r\n{}\r\n0\r\n\r\n", control_chunked),
        ("bare line feeds in chunks", post + chunked + "\r\n2\n{}\n0\n\n", control_chunked),
        ("xchunked", post + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", control_chunked),
        ("chunked, then identity", post + chunked + "Transfer-Encoding: identity\r\n\r\n0\r\n\r\n", control_chunked),
        ("a space before the colon", post + "Content-Length : 0\r\n\r\n", control_length),
        ("a folded field", post + "A: b\r\n Content-Length: 0\r\n\r\n", control_length),
        ("a bare line feed between fields", post + "A: b\nC: d\r\nContent-Length: 0\r\n\r\n", control_length),
        ("a zero byte in a field", post + "A: b\0c\r\nContent-Length: 0\r\n\r\n", control_length),
        ("two hosts", post + "Host: other\r\nContent-Length: 0\r\n\r\n", control_length),
        ("a target with a host", get.replace("/api", "http://localhost/api") + "\r\n", control_get),
        ("a target with %2e%2e", get.replace("/api/health", "/v1/%2e%2e/api/version") + "\r\n", control_get),
        ("a target with ..%2f", get.replace("/api/health", "/v1/..%2fapi") + "\r\n", control_get),
    ):
        got = answer(text)
        refused = got.startswith((b"HTTP/1.1 4", b"HTTP/1.1 5")) and b'"cluster"' not in got
        line("smuggling, " + what, refused, got[9:12].decode("latin-1") + (refused and ", the end of it" or ""), *control)
    return wrong_lines


def models(host, port, path):
    """Standard input: the admin key. FILE: what must not be reached, without .gguf."""
    bearer = ["Authorization: Bearer " + sys.stdin.read().strip(), "Content-Type: application/json"]
    outside, name = os.path.split(path)
    up = "../" * 12 + outside.strip("/") + "/" + name

    def chat(model):
        body = {"model": model, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 1}
        return status_of(host, port, "POST", "/v1/chat/completions", bearer, json.dumps(body).encode())

    def deploy(model):
        return status_of(host, port, "POST", "/api/instances", bearer, json.dumps({"model": model, "nodes": 1}).encode())

    control = 'model "tiny" answers', chat("tiny")[0] == 200
    for model in (path, path + ".gguf", "../" + os.path.basename(outside) + "/" + name, up, up + ".gguf", "./../" + name,
                  "tiny/../" + up, "file://" + path, up.replace("/", "\\"), "tiny\0" + up, "..", "/", "out", "out.gguf"):
        first, second = chat(model)[0], deploy(model)[0]
        shown = model if len(model) < 24 else model[:4] + "..." + model[-16:]
        # 503: it is known and cannot be had, which is so of a link that leads out
        line("model %s" % json.dumps(shown), first in (400, 404, 503) and second in (400, 404, 409),
             "%d and %d" % (first, second), *control)
    s = socket.create_connection((host, int(port)))
    stranger = s.getsockname()[0]
    s.close()
    for target in ("http://%s:9999/" % stranger, "http://%s:9999/v1/models" % stranger, "//%s:9999/v1/models" % stranger,
                   "/v1/../../%s" % stranger, "/v1/%2e%2e/api/version"):
        status, _ = status_of(host, port, "GET", target, bearer)
        line("target %s" % target, status in (400, 404), str(status), "GET /v1/models answers",
             status_of(host, port, "GET", "/v1/models", bearer)[0] == 200)
    status, _ = status_of(host, port, "CONNECT", "%s:9999" % stranger, bearer)
    line("CONNECT", 400 <= status < 600, str(status), *control)
    return wrong_lines


if __name__ == "__main__":
    verbs = {f.__name__: f for f in (routes, smuggle, models)}
    sys.exit(1 if verbs[sys.argv[1]](*sys.argv[2:]) else 0)
