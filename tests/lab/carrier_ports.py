#!/usr/bin/env python3
"""carrier_ports.py CONTROL: asks a carrier which loopback ports stand for its ranks: "127.0.0.1:P,127.0.0.1:P", by rank."""
import socket
import sys

s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
s.settimeout(10)
s.connect(sys.argv[1])
s.send(b"hello\n")
routes = [line[6:].split() for line in s.recv(8192).decode().splitlines() if line.startswith("route=")]
print(",".join("127.0.0.1:" + port for _, port, *_ in sorted(routes, key=lambda r: int(r[0]))))
