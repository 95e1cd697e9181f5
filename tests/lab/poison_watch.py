#!/usr/bin/env python3
"""poison_watch.py MARK: while it runs, a coordinator is killed (SIGABRT) 50 ms after bytes with MARK came in for it.

Run in a node: it reads what arrives at the ports of coordinators there, whoever sends it, so that it depends on nothing
that llama-server logs. Prints a line per kill.
"""
import os
import signal
import socket
import struct
import sys
import time

PORTS = range(18080, 18180)
ETH_P_IP, OUTGOING = 0x0800, 4


def destination(packet):
    """TCP destination port and payload of an IPv4 packet; (0, b"") for anything else."""
    if len(packet) < 20 or packet[0] >> 4 != 4 or packet[9] != socket.IPPROTO_TCP:
        return 0, b""
    segment = packet[(packet[0] & 15) * 4:]
    if len(segment) < 20:
        return 0, b""
    return struct.unpack("!H", segment[2:4])[0], segment[(segment[12] >> 4) * 4:]


def coordinators():
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.path.basename(os.readlink("/proc/%s/exe" % entry)) == "llama-server":
                yield int(entry)
        except OSError:
            pass


def main():
    mark = sys.argv[1].encode()
    link = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_IP))
    while True:
        packet, address = link.recvfrom(65536)
        port, payload = destination(packet)
        if address[2] == OUTGOING or port not in PORTS or mark not in payload:
            continue
        time.sleep(0.05)
        for pid in coordinators():
            os.kill(pid, signal.SIGABRT)
            print("killed", pid, flush=True)


main()
