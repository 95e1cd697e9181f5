#!/usr/bin/env python3
"""reused.py PAIRS GATEWAY-URL COORDINATOR-URL KEY-FILE NAMESPACE-PID: asks for one token, once through the gateway and once of
the coordinator itself, which is dialled from the network namespace of that process; PAIRS times, taking turns in going first,
each over a connection that stays. Prints "GATEWAY COORDINATOR" in milliseconds, from the request to the whole answer."""
import ctypes
import http.client
import json
import os
import sys
import time
import urllib.parse

CLONE_NEWNET = 0x40000000
BODY = json.dumps({"model": "m", "prompt": "Hello", "max_tokens": 1, "temperature": 0, "cache_prompt": False})


def enter(path):
    with open(path, encoding="utf-8") as ns:
        if ctypes.CDLL(None, use_errno=True).setns(ns.fileno(), CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), path)


def dial(url):
    connection = http.client.HTTPConnection(urllib.parse.urlsplit(url).netloc, timeout=60)
    connection.connect()
    return connection


def ask(connection, head):
    began = time.monotonic()
    connection.request("POST", "/v1/completions", BODY, {"Content-Type": "application/json", **head})
    answer = connection.getresponse()
    answer.read()
    took = time.monotonic() - began
    if answer.status != 200:
        sys.exit("status %d" % answer.status)
    return took * 1000


def main():
    pairs, gateway_url, coordinator_url, key_file, pid = sys.argv[1:]
    with open(key_file, encoding="utf-8") as key:
        head = {"Authorization": "Bearer " + key.read().strip()}
    gateway = dial(gateway_url)
    enter("/proc/%s/ns/net" % pid)
    coordinator = dial(coordinator_url)  # llama-server closes it after some requests; http.client dials again by itself
    for k in range(-10, int(pairs)):
        if k % 2:
            ours, theirs = ask(gateway, {}), ask(coordinator, head)
        else:
            theirs, ours = ask(coordinator, head), ask(gateway, {})
        if k >= 0:
            print("%.4f %.4f" % (ours, theirs))


if __name__ == "__main__":
    main()
