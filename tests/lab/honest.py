#!/usr/bin/env python3
"""The honest user of a cluster that others attack.

  ask URL MODEL FILE        until it is ended: short completions and GET /api/nodes, each by a connection of its own; to FILE a
                            line "WHEN KIND MILLISECONDS OK" for each, WHEN in s since the epoch. CARAVAN_API_KEY is its key
  compare FILE PHASES       PHASES: lines "NAME FROM", each until the next; "quiet" is what the others are compared with. Prints
                            each, and whether p99 met its bar, twice that of "quiet"; exits 1 where a request failed, or where
                            there were too few to tell. The bar is no assertion: all these processes share the processors
                            with those who answer, and 5 ms become 13 on one machine, 40 become 47 on another"""
import http.client
import json
import os
import sys
import threading
import time

LEAST = 100  # so many in each phase, or there is nothing to compare
BAR = 2.0


def request(host, kind, model):
    body = json.dumps({"model": model, "prompt": "hello", "max_tokens": 4, "temperature": 0, "cache_prompt": False})
    headers = {"Authorization": "Bearer " + os.environ["CARAVAN_API_KEY"], "Content-Type": "application/json"}
    c = http.client.HTTPConnection(host, timeout=60)
    try:
        if kind == "completion":
            c.request("POST", "/v1/completions", body, headers)
        else:
            c.request("GET", "/api/nodes", headers=headers)
        answer = c.getresponse()
        text = answer.read()
        return answer.status == 200 and (b'"choices"' if kind == "completion" else b'"node1"') in text
    except (OSError, http.client.HTTPException):
        return False
    finally:
        c.close()


def ask(url, model, path):
    host = url.split("//")[1]
    log = open(path, "a", buffering=1)

    def loop(kind):
        while True:
            now, start = time.time(), time.monotonic()
            ok = request(host, kind, model)
            log.write("%.3f %s %.2f %d\n" % (now, kind, (time.monotonic() - start) * 1000, ok))
            time.sleep(0.02)

    for kind in ("completion", "nodes"):
        threading.Thread(target=loop, args=(kind,)).start()
    return 0


def compare(path, phases_path):
    rows = [line.split() for line in open(path)]
    phases = [line.split() for line in open(phases_path)]
    took = {}  # (phase, kind): times
    failed = 0
    for (name, start), end in zip(phases, [p[1] for p in phases[1:]] + ["inf"]):
        for when, kind, ms, ok in rows:
            if float(start) <= float(when) < float(end):
                took.setdefault((name, kind), []).append(float(ms))
                failed += ok == "0"
    wrong = failed
    for (name, kind), times in sorted(took.items()):
        times.sort()
        p50, p99 = (times[len(times) * part // 100] for part in (50, 99))
        quiet = sorted(took[("quiet", kind)])
        ratio = p99 / quiet[len(quiet) * 99 // 100]
        enough = len(times) >= LEAST
        wrong += not enough
        verdict = "too few: WRONG" if not enough else "met" if ratio <= BAR else "MISSED"
        print("%-10s %-10s %5d requests, p50 %6.1f ms, p99 %6.1f ms (%.2fx, bar %.1fx %s)"
              % (kind, name, len(times), p50, p99, ratio, BAR, verdict))
    print("%d of %d requests failed" % (failed, sum(len(t) for t in took.values())))
    return wrong


if __name__ == "__main__":
    sys.exit({"ask": ask, "compare": compare}[sys.argv[1]](*sys.argv[2:]))
