#!/usr/bin/env python3
"""fanout_direct.py [--one-by-one] BODIES COORDINATORS: sends each body (a line of JSON) straight to a coordinator ("URL KEY"
per line, in turn), all at once, and prints how many milliseconds it took until the last answer was whole."""
import http.client
import json
import sys
import threading
import time
import urllib.parse


def ask(body, where, answers):
    url, key = where.split()
    target = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(target.hostname, target.port, timeout=300)
    connection.request("POST", "/v1/chat/completions", body,
                       {"Content-Type": "application/json", "Authorization": "Bearer " + key})
    answer = connection.getresponse()
    text = answer.read()
    connection.close()
    answers.append(answer.status == 200 and text.rstrip().endswith(b"data: [DONE]"))


def main():
    one_by_one = sys.argv[1] == "--one-by-one"
    names = sys.argv[2 if one_by_one else 1:]
    with open(names[0], encoding="utf-8") as lines:
        bodies = [line.encode() for line in lines if json.loads(line)]
    with open(names[1], encoding="utf-8") as lines:
        coordinators = lines.read().splitlines()
    answers = []
    threads = [threading.Thread(target=ask, args=(body, coordinators[i % len(coordinators)], answers))
               for i, body in enumerate(bodies)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
        if one_by_one:
            thread.join()
    for thread in threads:
        thread.join()
    ended = time.monotonic()
    if answers != [True] * len(bodies):
        sys.exit("not all were answered")
    print("%.3f" % ((ended - began) * 1000))


if __name__ == "__main__":
    main()
