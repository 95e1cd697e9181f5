#!/usr/bin/env python3
"""Is what comes through the gateway what comes straight from llama-server? For tests/lab/test_openai.sh.

  ask HOST PORT KEY-FILE MODEL    raw requests, one for each cause in CASES; a line of JSON for each answer
  compare GATEWAY STRAIGHT        the lines of both, of `ask` here or of tests/clients/ask.mjs: equal but for ids and times, and for
                                  what is listed below with its reason; exits 1 where anything else differs

What is listed and does not differ is wrong as well: the list is to stay true."""
import json
import re
import socket
import sys

PATIENCE = 120

# Fields that either side alone has, or that say other things.
FIELDS = {
    "date": "a server with a clock sends it (RFC 9110, 6.6.1); llama-server does not",
    "x-request-id": "by which the request is found in the controller's log",
    "server": "llama-server's goes on to the client; an answer of the gateway's own has none",
    "keep-alive": "of a connection, not of an answer",
    "connection": "of a connection: llama-server hangs up after an error, the gateway where a body is left unread",
    "accept-ranges": "llama-server's HTTP library says so of HEAD alone, and gives no ranges of these",
    "www-authenticate": "belongs to a 401 (RFC 9110, 15.5.2)",
    "vary": "the answer depends on the page that asks, which a cache must know",
    "content-length": "of a body that differs, as listed; or compared with it",
}
OWN_WORDS = "the gateway reads the body to know the model: status and shape are the same, the words its own"
# Answers that differ in their words, and those that differ altogether.
WORDS = {
    "error: truncated JSON": OWN_WORDS,
    "error: no body": OWN_WORDS,
    "error: a list": OWN_WORDS + " (llama-server takes it for an object without messages)",
    "bad JSON": OWN_WORDS,
    "bad JSON, streamed": OWN_WORDS,
    "no body": OWN_WORDS,
    "a list": OWN_WORDS,
    "a string": OWN_WORDS,
}
OTHERWISE = {
    "error: an unknown model": "llama-server has one model and does not look; the gateway refuses, with those there are",
    "an unknown model": "the same",
    "a model that is a number": "the same",
    "one model": "llama-server has no such route; OpenAI's clients ask for it",
    "the models": "the cluster's",
    "OPTIONS of a page": "Authorization is not covered by *, so it is named; credentials only for pages of http_hosts",
    "OPTIONS of nobody": "who is no page is told nothing about pages",
    "HTTP/1.0, streamed": "HTTP/1.0 knows no chunks: the answer ends with the connection",
}
SAME_STATUS = {"HTTP/1.0, streamed", "OPTIONS of a page", "OPTIONS of nobody", "the models"}


def normal(text):
    """Without ids and times. ":" lines are signs of life, sent by the clock."""
    text = re.sub(r'"(id|item_id|call_id|response_id|request_id|requestID)":\s*"[^"]*"', r'"\1":"ID"', text)
    text = re.sub(r'"(created|created_at|completed_at)":\s*[\d.]+', r'"\1":0', text)
    text = re.sub(r'"timings":\s*\{[^}]*\}', '"timings":{}', text)
    return re.sub(r"^:[^\n]*\n\n", "", text, flags=re.M)


# ---- raw requests ---------------------------------------------------------------------------------------------------------------

def request(method, path, body=b"", fields=(), key=True, close=True, version="1.1"):
    return dict(method=method, path=path, body=body, fields=list(fields), key=key, close=close, version=version)


def shapes():
    """Whole answers, which the gateway puts together from a stream, and some of those that go on as they are."""
    chat, text = "/v1/chat/completions", "/v1/completions"
    said = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    letters = r'root ::= "\"\u00e9\\ \n\t\u20ac\U0001f600\x01/</script>" [a-z]+'
    tool = {"type": "function", "function": {"name": "f", "parameters": schema}}
    for k in range(1, 26):  # max_tokens ends it in each byte of a character
        yield "cut at %d" % k, chat, {"grammar": letters, "max_tokens": k}
    yield from (("seed %d" % k, chat, {"seed": k, "temperature": 2, "max_tokens": 60}) for k in range(8))
    yield "no token", chat, {"max_tokens": 0}
    yield "one token", chat, {"max_tokens": 1}
    yield "until the context is full", chat, {"max_tokens": -1, "ignore_eos": True}
    yield "as others count", chat, {"max_tokens": None, "max_completion_tokens": 5}
    yield "by llama-server's own name", chat, {"max_tokens": None, "n_predict": 5}
    yield "odd letters", chat, {"grammar": letters, "max_tokens": 80}
    yield "nothing", chat, {"grammar": 'root ::= ""'}
    yield "what looks like a thought", chat, {"grammar": 'root ::= "<think>a</think>b"', "max_tokens": 60}
    yield "JSON", chat, {"response_format": {"type": "json_object"}, "max_tokens": 60}
    yield "a schema", chat, {"response_format": {"type": "json_schema", "json_schema": {"schema": schema}}, "max_tokens": 60}
    yield "a schema at the top", chat, {"json_schema": schema, "max_tokens": 60}
    yield "samplers", chat, {"top_k": 4, "top_p": 0.9, "min_p": 0.1, "repeat_penalty": 1.1, "presence_penalty": 0.1,
                             "frequency_penalty": 0.1, "logit_bias": {"5": 2}, "samplers": ["top_k", "temperature"]}
    yield "what says nothing", chat, {"stream": False, "stream_options": None, "n": 1, "stop": None, "logprobs": False, "tools": [],
                                      "user": "u", "metadata": {"a": "b"}, "chat_template_kwargs": {"a": 1}}
    yield "a talk", chat, {"messages": [{"role": "system", "content": "s"}, *said, {"role": "user", "content": "c"}]}
    yield "parts", chat, {"messages": [*said, {"role": "user", "content": [{"type": "text", "text": "c"}]}]}
    yield "a number for a word", chat, {"temperature": "x"}
    yield "a stream that is none", chat, {"stream": 0}
    yield "the assistant's last words", chat, {"messages": said}
    yield "a stop word", chat, {"stop": ["a"]}
    yield "the beginning of a stop word", chat, {"stop": [" zibi x"], "max_tokens": 8}
    yield "logprobs", chat, {"logprobs": True, "top_logprobs": 2}
    yield "two answers", chat, {"n": 2}
    yield "a tool", chat, {"tools": [tool], "tool_choice": "required", "max_tokens": 60}
    yield "text", text, {"prompt": "hi"}
    yield "text, cut", text, {"prompt": "hi", "grammar": letters, "max_tokens": 6}
    yield "two texts", text, {"prompt": ["hi", "ho"]}


def cases(model):
    question = {"model": model, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 3, "temperature": 0, "seed": 7,
                "cache_prompt": False}

    def post(more=None, path="/v1/chat/completions", **how):
        return request("POST", path, json.dumps({**question, **(more or {})}).encode(), **how)

    def put(body, path="/v1/chat/completions", **how):
        return request("POST", path, body, **how)
    whole = post()["body"]
    chunked = b"5;x=y\r\n%s\r\n%x\r\n%s\r\n0\r\nX-T: y\r\n\r\n" % (whole[:5], len(whole) - 5, whole[5:])
    schema = {"response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "nonsense"}}}}
    claude = {"model": model, "max_tokens": 3, "temperature": 0, "seed": 7, "cache_prompt": False,
              "messages": [{"role": "user", "content": "hi"}]}
    message = json.dumps(claude).encode()
    page = ["Origin: https://page.example"]
    preflight = page + ["Access-Control-Request-Method: POST", "Access-Control-Request-Headers: authorization,content-type"]
    return {
        **{"in one piece, " + name: post({"max_tokens": 24, **more}, path=path) for name, path, more in shapes()},
        "an answer": post(),
        "an answer, kept alive": post(close=False),
        "a stream": post({"stream": True}),
        "a stream, kept alive": post({"stream": True}, close=False),
        "a stream with usage": post({"stream": True, "stream_options": {"include_usage": True}}),
        "a completion": put(json.dumps({**claude, "prompt": "hi"}).encode(), "/v1/completions"),
        "a message": put(message, "/v1/messages"),
        "a message, streamed": put(json.dumps({**claude, "stream": True}).encode(), "/v1/messages"),
        "a message, the key as Anthropic has it": put(message, "/v1/messages", key="x-api-key",
                                                      fields=["anthropic-version: 2023-06-01"]),
        "an answer, the key as Anthropic has it": post(key="X-Api-Key"),
        "count_tokens": put(message, "/v1/messages/count_tokens"),
        "a query": post(path="/v1/chat/completions?a=b&c=%20"),
        "text/plain": post(fields=["Content-Type: text/plain"]),
        "no type": post(fields=["Accept: */*"]),
        "chunked": put(chunked, fields=["Transfer-Encoding: chunked"]),
        "Expect": post(fields=["Expect: 100-continue"]),
        "HTTP/1.0": post(version="1.0"),
        "HTTP/1.0, streamed": post({"stream": True}, version="1.0"),
        "asked for gzip": post(fields=["Accept-Encoding: gzip, br"]),
        "asked for a range": post(fields=["Range: bytes=0-5"]),
        "of a page": post(fields=page),
        "OPTIONS of a page": request("OPTIONS", "/v1/chat/completions", fields=preflight, key=False),
        "OPTIONS of nobody": request("OPTIONS", "/v1/chat/completions", key=False),
        "bad JSON": put(b'{"model": "%s",' % model.encode()),
        "bad JSON, streamed": put(b'{"stream": true,'),
        "no body": put(b""),
        "a list": put(b"[]"),
        "a string": put(b'"x"'),
        "no messages": put(b'{"model": "%s"}' % model.encode()),
        "no messages, streamed": put(b'{"model": "%s", "stream": true}' % model.encode()),
        "a bad schema": post(schema),
        "a bad schema, streamed": post({**schema, "stream": True}),
        "a bad grammar": put(json.dumps({**claude, "prompt": "hi", "grammar": "root ::= ("}).encode(), "/v1/completions"),
        "no key": post(key=False),
        "no key, streamed": post({"stream": True}, key=False),
        "a wrong key": post(key=False, fields=["Authorization: Bearer wrong"]),
        "a wrong key as Anthropic has it": post(key=False, fields=["X-Api-Key: wrong"]),
        "no key, no such path": request("GET", "/v1/nothing", key=False),
        "no such path": post(path="/v1/nothing"),
        "no such path, GET": request("GET", "/v1/nothing"),
        "a wrong method": request("GET", "/v1/chat/completions"),
        "another wrong method": request("DELETE", "/v1/chat/completions"),
        "PUT": request("PUT", "/v1/chat/completions", whole),
        "HEAD of what has no GET": request("HEAD", "/v1/chat/completions"),
        "two slashes": post(path="//v1/chat/completions"),
        "a slash at the end": post(path="/v1/chat/completions/"),
        "embeddings not enabled": put(b'{"model": "%s", "input": "x"}' % model.encode(), "/v1/embeddings"),
        "rerank not enabled": put(b'{"model": "%s", "query": "x", "documents": ["y"]}' % model.encode(), "/v1/rerank"),
        "too long a prompt": post({"messages": [{"role": "user", "content": "hello " * 3000}]}),
        "too long a prompt, streamed": post({"messages": [{"role": "user", "content": "hello " * 3000}], "stream": True}),
        "1 MiB": post({"messages": [{"role": "user", "content": "hello " * 180000}]}),
        "an unknown model": post({"model": "nothing"}),
        "a model that is a number": post({"model": 5}),
        "one model": request("GET", "/v1/models/" + model),
        "the models": request("GET", "/v1/models"),
        "the models, HEAD": request("HEAD", "/v1/models"),
    }


def head_of(case, host, port, key):
    fields = ["Host: %s:%d" % (host, port), *case["fields"]]
    if case["key"]:
        fields.append("Authorization: Bearer " + key if case["key"] is True else "%s: %s" % (case["key"], key))
    if case["close"]:
        fields.append("Connection: close")
    if case["method"] in ("POST", "PUT") and not any(re.match("content-length|transfer-encoding", f, re.I) for f in fields):
        fields.append("Content-Length: %d" % len(case["body"]))
    if not any(f.lower().startswith(("content-type", "accept")) for f in fields):
        fields.append("Content-Type: application/json")
    line = "%s %s HTTP/%s" % (case["method"], case["path"], case["version"])
    return "\r\n".join([line, *fields, "", ""]).encode()


def read_head(stream):
    status = stream.readline().decode("latin-1").rstrip("\r\n")
    fields = []
    while (text := stream.readline().decode("latin-1").rstrip("\r\n")):
        name, _, value = text.partition(":")
        fields.append([name.lower(), value.strip()])
    return status, fields


def read_chunks(stream):
    body = b""
    while (n := int(stream.readline().split(b";")[0], 16)):
        body += stream.read(n)
        assert stream.readline() == b"\r\n"
    assert stream.readline() == b"\r\n", "a trailer"
    return body


def exchange(case, host, port, key):
    with socket.create_connection((host, port), PATIENCE) as s, s.makefile("rb") as stream:
        head = head_of(case, host, port, key)
        interim = []
        if b"Expect:" in head:
            s.sendall(head)
            interim.append(read_head(stream)[0])
            s.sendall(case["body"])
        else:
            s.sendall(head + case["body"])
        status, fields = read_head(stream)
        named = dict(fields)
        if case["method"] == "HEAD":
            body = b""
        elif named.get("transfer-encoding") == "chunked":
            body = read_chunks(stream)
        elif "content-length" in named:
            body = stream.read(int(named["content-length"]))
        else:
            body = stream.read()
        rest = stream.read() if case["close"] else b""
        return {"interim": interim, "status": status.split(" ", 1)[1], "fields": sorted(fields), "text": body.decode(),
                "rest": rest.decode()}


def ask(host, port, key_file, model):
    with open(key_file, encoding="ascii") as f:
        key = f.read().strip()
    for name, case in cases(model).items():
        print(json.dumps({"name": name, **exchange(case, host, int(port), key)}), flush=True)


# ---- comparing ------------------------------------------------------------------------------------------------------------------

def read_lines(path):
    with open(path, encoding="utf-8") as f:
        return {line["name"]: line for line in map(json.loads, f)}


def answers_of(line):
    return line.get("came", [line])


def without_chance(line):
    """The line without ids and times, and without the fields that are listed."""
    line = json.loads(json.dumps(line))
    for answer in answers_of(line):
        answer["text"] = normal(answer["text"])
        answer["fields"] = [field for field in answer.get("fields", []) if field[0] not in FIELDS]
    line["client"] = normal(line.get("client", ""))
    return line


def without_words(line):
    """What is left of errors without their sentences."""
    line = json.loads(json.dumps(line))
    for answer in answers_of(line):
        answer["text"] = re.sub(r'"message":"(?:[^"\\]|\\.)*"', '"message":""', answer["text"])
    return line


def twice(line):
    """Fields that came more than once."""
    names = [name for name, _ in line.get("fields", [])]
    return sorted({n for n in names if names.count(n) > 1})


def judge(name, ours, theirs):
    """(is that well?, what it is)"""
    if twice(ours):
        return False, "twice: " + ", ".join(twice(ours))
    ours, theirs = without_chance(ours), without_chance(theirs)
    if name in OTHERWISE:
        same_status = name not in SAME_STATUS or ours["status"] == theirs["status"]
        return same_status and ours != theirs, "differs: " + OTHERWISE[name]
    if name in WORDS:
        return ours != theirs and without_words(ours) == without_words(theirs), "in other words: " + WORDS[name]
    return ours == theirs, "the same"


def compare(gateway, straight):
    ours, theirs = read_lines(gateway), read_lines(straight)
    wrong = n_same = 0
    if list(ours) != list(theirs):
        print("not the same cases")
        return 1
    for name in ours:
        good, what = judge(name, ours[name], theirs[name])
        wrong += not good
        n_same += good and what == "the same"
        if not good or what != "the same":
            print("%s%-40s %s" % ("" if good else "WRONG: ", name, what))
        if not good:
            print("  gateway:  %s\n  straight: %s" % (json.dumps(ours[name])[:3000], json.dumps(theirs[name])[:3000]))
    print("%d compared, %d the same, %d otherwise and listed, %d wrong" % (len(ours), n_same, len(ours) - n_same - wrong, wrong))
    return wrong > 0


if __name__ == "__main__":
    sys.exit({"ask": ask, "compare": compare}[sys.argv[1]](*sys.argv[2:]))
