#!/usr/bin/env python3
"""Many callers at once, each on a connection of its own.

callers.py ask URL COUNT MODEL[,MODEL]... [--at-once N] [--streams] [--tokens N] [--say FILE]
    COUNT requests, taking turns among the models; with --streams every second one asks for a stream. Prints what came, in one
    line of JSON: how many answers of each status, the texts that differ, the errors that differ, how many streams were told
    that they wait, and how many answers were not whole. --say: each answer's status goes there as it comes.
callers.py abandon URL COUNT MODEL [--at-once N] [--tokens N] [--seed N]
    COUNT requests whose callers leave: in the midst of asking, of waiting, of the answer, politely or not.
"""
import argparse
import asyncio
import collections
import json
import random
import socket
import struct
import urllib.parse


def request(args, model, stream):
    body = json.dumps({"model": model, "messages": [{"role": "user", "content": "Who is there?"}], "max_tokens": args.tokens,
                       "temperature": 0, "seed": 7, "cache_prompt": False, "ignore_eos": True, "stream": stream}).encode()
    head = "POST /v1/chat/completions HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n" \
           "Connection: close\r\n\r\n" % (args.address, len(body))
    return head.encode() + body


def whole(raw):
    """Status and body of an answer; the body is None where it was cut."""
    head, _, rest = raw.partition(b"\r\n\r\n")
    if not raw.startswith(b"HTTP/1.1 "):
        return 0, None
    status, fields = int(head[9:12]), head.lower()
    if b"transfer-encoding: chunked" not in fields:
        length = int(fields.partition(b"content-length:")[2].split(b"\r\n")[0] or len(rest))
        return status, rest if len(rest) == length else None
    body = b""
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        size = int(size, 16)
        if not size:
            return status, body
        body, rest = body + rest[:size], rest[size + 2:]
    return status, None


def read_stream(body):
    """The text of a stream, its error, whether it came to its end."""
    text, error, done = "", "", False
    for line in body.decode().splitlines():
        if line == "data: [DONE]":
            done = True
        elif line.startswith("data: "):
            event = json.loads(line[6:])
            error = event["error"]["message"] if "error" in event else error
            text += "".join(c["delta"].get("content") or "" for c in event.get("choices", []))
    return text, error, done


class Tally:
    def __init__(self):
        self.status = collections.Counter()
        self.texts, self.errors = collections.Counter(), collections.Counter()
        self.told, self.cut = 0, 0

    def add(self, stream, raw):
        status, body = whole(raw)
        self.status[status] += 1
        if body is None:
            self.cut += 1
        elif stream and status == 200:
            text, error, done = read_stream(body)
            self.told += b": waiting: " in body
            self.cut += not done and not error
            (self.errors if error else self.texts)[error or text] += 1
        else:
            answer = json.loads(body)
            (self.errors if "error" in answer else self.texts)[
                answer["error"]["message"] if "error" in answer else answer["choices"][0]["message"]["content"]] += 1

    def show(self):
        print(json.dumps({"status": self.status, "texts": self.texts, "errors": self.errors, "told": self.told,
                          "cut": self.cut}))


async def in_turn(args, one):
    """So many at once, and no more."""
    left = iter(range(args.count))

    async def worker():
        for k in left:
            await one(k)

    await asyncio.gather(*(worker() for _ in range(min(args.at_once, args.count))))


async def ask(args):
    tally = Tally()
    say = open(args.say, "w", buffering=1) if args.say else None

    async def one(k):
        stream = args.streams and k % 2 == 1
        raw = b""
        try:
            reader, writer = await asyncio.open_connection(args.host, args.port)
            writer.write(request(args, args.models[k % len(args.models)], stream))
            raw = await reader.read(-1)
            writer.close()
        except OSError:
            pass
        tally.add(stream, raw)
        if say:
            print(whole(raw)[0], file=say)

    await in_turn(args, one)
    tally.show()


async def abandon(args):
    dice = random.Random(args.seed)

    async def one(k):
        text = request(args, args.models[0], k % 3 != 0)
        where, how = dice.random(), dice.random()
        reader, writer = await asyncio.open_connection(args.host, args.port)
        if how < 0.5:  # its kernel sends a reset, in place of an end
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        try:
            writer.write(text[:dice.randrange(len(text))] if where < 0.2 else text)
            await writer.drain()
            if where < 0.6:
                await asyncio.sleep(dice.random() * 0.1)
            else:
                await asyncio.wait_for(reader.readexactly(dice.randrange(1, 4000)), 30)
        except (OSError, EOFError, asyncio.TimeoutError):
            pass
        writer.transport.abort() if how < 0.5 else writer.close()

    await in_turn(args, one)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("what", choices=["ask", "abandon"])
    p.add_argument("url")
    p.add_argument("count", type=int)
    p.add_argument("models", type=lambda text: text.split(","))
    p.add_argument("--at-once", type=int, default=100)
    p.add_argument("--tokens", type=int, default=4)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--streams", action="store_true")
    p.add_argument("--say")
    args = p.parse_args()
    args.address = urllib.parse.urlsplit(args.url).netloc
    args.host, args.port = args.address.split(":")
    asyncio.run({"ask": ask, "abandon": abandon}[args.what](args))


main()
