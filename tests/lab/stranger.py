#!/usr/bin/env python3
"""What a stranger on the network tries at TCP ports, one verb each; run by tests/lab/test_stranger*.sh in a namespace of his
own, and by test_http_hostile.sh. stranger_http.py has the rest.

  raw HOST PORT              byte strings at a CURVE port: prints what is not refused, exits 1 then
  relay PORT HOST PORT FILE  hands one connection on, and writes to FILE what its client said
  replay FILE HOST PORT      says it again: prints the server's words, exits 1 where they let us in
  sink FILE PORT...          listens, and writes to FILE who came and how much they said
  hold COUNT HOST PORT KIND...
                             keeps so many connections open until it is ended, `silent` and saying a byte a second (`slow`) in
                             turn where both are named"""
import itertools
import json
import os
import selectors
import socket
import sys
import threading
import time

PATIENCE = 20  # s for an answer: a limit, not a measurement


def connect(host, port):
    s = socket.create_connection((host, int(port)), timeout=PATIENCE)
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return s


def receive(s, seconds=PATIENCE):
    """All that comes until the other end closes; (bytes, closed)."""
    got = b""
    end = time.monotonic() + seconds
    while True:
        s.settimeout(max(0.01, end - time.monotonic()))
        try:
            part = s.recv(65536)
        except socket.timeout:
            return got, False
        except OSError:
            return got, True
        if not part:
            return got, True
        got += part


# ---- ZMTP ----------------------------------------------------------------------------------------------------------------

SIGNATURE = b"\xff" + bytes(7) + b"\x01\x7f"


def greeting(mechanism, version=b"\x03\x01", as_server=0):
    return SIGNATURE + version + mechanism.ljust(20, b"\0") + bytes([as_server]) + bytes(31)


def command(name, body=b""):
    text = bytes([len(name)]) + name + body
    return (b"\x04" + bytes([len(text)]) if len(text) < 256 else b"\x06" + len(text).to_bytes(8, "big")) + text


def words(answer):
    """The commands in what a server said after its greeting."""
    said, rest = [], answer[64:]
    while len(rest) > 2:
        n_head = 9 if rest[0] & 2 else 2
        n = int.from_bytes(rest[1:n_head], "big")
        body = rest[n_head:n_head + n]
        said.append(body[1:1 + body[0]].decode("latin-1") if rest[0] & 4 and body else "MESSAGE")
        rest = rest[n_head + n:]
    return said


def converse(s, pieces):
    """pieces: (bytes to hear before, bytes to say). Returns all that was heard, and whether the other end has closed."""
    got, closed = b"", False
    for n_heard, part in pieces:
        end = time.monotonic() + 5
        while not closed and len(got) < n_heard and time.monotonic() < end:
            more, closed = receive(s, 0.05)
            got += more
        try:
            s.sendall(part)
        except OSError:
            closed = True
        more, ended = receive(s, 0.1)
        got += more
        closed = closed or ended
    if not closed:
        more, closed = receive(s)
        got += more
    return got, closed


def let_in(answer):
    return any(w in ("READY", "MESSAGE") for w in words(answer))


def raw(host, port):
    """Piece by piece, with time to answer: a server that lets anybody in closes what comes all at once."""
    message = b"\x00\x05hello"
    tries = {
        "noise": [os.urandom(65536)],
        "zeros": [bytes(65536)],
        "HTTP": [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"],
        "ZMTP 1.0": [b"\x01\x00", b"\x06\x00hello"],
        "ZMTP 2.0": [SIGNATURE + b"\x01\x05", b"\x00\x00", message],
        "NULL": [greeting(b"NULL"), command(b"READY", b"\x0bSocket-Type\x00\x00\x00\x06DEALER"), message],
        "PLAIN": [greeting(b"PLAIN"), command(b"HELLO", b"\x05admin\x05admin"), message],
        "GSSAPI": [greeting(b"GSSAPI"), command(b"INITIATE", bytes(64)), message],
        "no mechanism": [greeting(b""), message],
        "CURVE, and we are a server too": [greeting(b"CURVE", as_server=1), command(b"WELCOME", bytes(160))],
        "CURVE, then as if all were done": [greeting(b"CURVE"), command(b"READY", bytes(60)), message],
        "CURVE, a HELLO of noise": [greeting(b"CURVE"), command(b"HELLO", b"\x01\x00" + os.urandom(192))],
        "CURVE, an INITIATE of noise": [greeting(b"CURVE"), command(b"INITIATE", os.urandom(300))],
        "CURVE, a HELLO cut short": [greeting(b"CURVE"), command(b"HELLO", bytes(20))],
        "CURVE, a command of 2^62 bytes": [greeting(b"CURVE"), b"\x06" + (1 << 62).to_bytes(8, "big") + b"\x05HELLO"],
        "CURVE of another version": [greeting(b"CURVE", version=b"\x7f\x00"), command(b"HELLO", bytes(194))],
    }
    wrong = 0
    for what, pieces in tries.items():
        s = connect(host, port)
        answer, closed = converse(s, [(0, p) for p in pieces])
        s.close()
        if let_in(answer) or not closed:
            print("%s: %s, and the connection is %s" % (what, words(answer), "closed" if closed else "open"))
            wrong += 1
    print("%d byte strings" % len(tries))
    return wrong


def relay(port, host, to, path):
    """Pieces as they came, each with how many bytes the server had said before: CURVE answers each step."""
    listener = socket.create_server(("", int(port)), reuse_port=False)
    client, _ = listener.accept()
    listener.close()
    server = connect(host, to)
    server.settimeout(None)
    found = selectors.DefaultSelector()
    found.register(client, selectors.EVENT_READ, server)
    found.register(server, selectors.EVENT_READ, client)
    pieces, n_heard = [], 0
    while True:
        for key, _ in found.select():
            try:
                part = key.fileobj.recv(65536)
                key.data.sendall(part)
            except OSError:
                part = b""
            if not part:
                return 0
            if key.fileobj is server:
                n_heard += len(part)
                continue
            pieces.append([n_heard, part.hex()])
            with open(path + ".new", "w") as f:
                json.dump(pieces, f)
            os.rename(path + ".new", path)


def replay(path, host, port):
    with open(path) as f:
        pieces = [(n_heard, bytes.fromhex(part)) for n_heard, part in json.load(f)]
    s = connect(host, port)
    got, closed = converse(s, pieces)
    s.close()
    print("%d pieces; it said %s and %s" % (len(pieces), ", ".join(words(got)) or "nothing", "closed" if closed else "stayed"))
    return let_in(got) or not closed


def sink(path, *ports):
    log = open(path, "a", buffering=1)

    def note(port, who, s):
        log.write("%s %s %d\n" % (port, who[0], len(receive(s, 5)[0])))

    def take(port, listener):
        while True:
            s, who = listener.accept()
            threading.Thread(target=note, args=(port, who, s)).start()

    for port in ports:
        listener = socket.create_server(("", int(port)))
        print("listening", port, flush=True)  # by one thread: the lines of several run into each other
        threading.Thread(target=take, args=(port, listener)).start()
    return 0


# ---- many and slow ---------------------------------------------------------------------------------------------------------

def hold(count, host, port, *kinds):
    """Those that are closed come again, 1,000 in a second at most."""
    beginning = {"silent": b"", "slow": b"GET /api/nodes HTTP/1.1\r\nA: " if port == "8080" else SIGNATURE[:1]}
    turn = itertools.cycle(kinds)
    found = selectors.DefaultSelector()
    n_opened = n_told = 0

    def begin():
        nonlocal n_opened
        s = socket.socket()
        s.setblocking(False)
        s.connect_ex((host, int(port)))
        found.register(s, selectors.EVENT_WRITE, next(turn))
        n_opened += 1

    for _ in range(int(count)):
        begin()
    next_byte = time.monotonic()
    while True:
        closed = 0
        for key, _ in found.select(0.1):
            s = key.fileobj
            try:
                if key.events == selectors.EVENT_WRITE:
                    s.send(beginning[key.data])
                    found.modify(s, selectors.EVENT_READ, key.data)
                elif not s.recv(4096):
                    raise ConnectionResetError
            except OSError:
                found.unregister(s)
                s.close()
                closed += 1
                begin()
                if closed == 100:
                    break
        if time.monotonic() >= next_byte:
            next_byte += 1
            for key in [k for k in found.get_map().values() if k.data == "slow"]:
                try:
                    key.fileobj.send(b"\0" if port != "8080" else b"a")
                except OSError:
                    pass
        if n_opened >= n_told + int(count):
            n_told = n_opened
            print("opened", n_opened, flush=True)
        time.sleep(0.1)


if __name__ == "__main__":
    verbs = {f.__name__: f for f in (raw, relay, replay, sink, hold)}
    sys.exit(1 if verbs[sys.argv[1]](*sys.argv[2:]) else 0)
