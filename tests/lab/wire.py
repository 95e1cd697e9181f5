#!/usr/bin/env python3
"""wire.py capture FILE: everything that passes eth0 of this network namespace, until SIGTERM; "ready" is printed first.
wire.py find FILE TEXT...: exit 0 if one of the texts is in it.
wire.py tensors FILE MODEL: exit 0 if any 64 bytes in a row of the model's tensors are in it (each such run has an aligned one
of 32, which is what is looked for); runs of one and the same byte do not count."""
import signal
import socket
import sys

ETH_P_ALL = 3
RUN = 32


def capture(path):
    s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 << 20)
    s.bind(("eth0", 0))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with open(path, "wb", buffering=0) as f:
        print("ready", flush=True)
        while True:
            f.write(s.recv(1 << 16))


def find(path, *texts):
    data = open(path, "rb").read()
    return 0 if any(t.encode() in data for t in texts) else 1


def tensors(path, model):
    data = open(model, "rb").read()
    runs = {data[i:i + RUN] for i in range(len(data) // 4 // RUN * RUN, len(data) - RUN, RUN)}  # behind the header
    runs = {r for r in runs if len(set(r)) > 8}
    wire = open(path, "rb").read()
    return 0 if any(wire[i:i + RUN] in runs for i in range(len(wire) - RUN)) else 1


if __name__ == "__main__":
    sys.exit({"capture": capture, "find": find, "tensors": tensors}[sys.argv[1]](*sys.argv[2:]))
