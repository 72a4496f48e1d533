"""A loopback OpenAI-compatible endpoint for tests and benchmarks: deterministic, fast, faulty if asked.

It has `/v1/chat/completions`, with `prompt_logprobs` as vLLM gives them, and `/v1/embeddings`.

Run it (`python tests/endpoint.py --port 0 --latency-ms 50`): it prints `{"port": N}` and serves until it is
killed or the pipe on its standard input closes. Or from a test:

    with endpoint(faults=0.1, record=True) as server:
        ...  # POST to f"{server.base_url}/chat/completions"
        assert server.stats()["repeated_bodies"] == 0

An answer depends on the request's body and on nothing else; a fault depends on the request's number and
`--seed`, so that the retry of a body can succeed.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import hashlib
import itertools
import json
import math
import os
import re
import shutil
import socket
import stat
import struct
import subprocess
import sys
import tempfile
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any, cast

import msgspec

FAULT_KINDS = ("429", "500", "503", "hang", "reset")
CREATED = 1_750_000_000
"""The `created` of every answer: a constant, so that the same body gets the same bytes."""

# --- answers


def _vocabulary() -> list[str]:
    """4,096 words, repeated in a list of about 60,000 so that a uniform draw from it is Zipf-like."""
    rng = Random(0)
    common = (
        "the of and to a in that is it for as with on be this are by or from at not but an which can we if "
        "has one will their so also how each then other than its into only some these most first because"
    )
    words = dict.fromkeys(common.split())
    syllables = [consonant + vowel for consonant in "bcdfghlmnprstvw" for vowel in "aeiou"]
    syllables += [s + end for s in syllables for end in "nrst"]
    while len(words) < 4096:
        words["".join(rng.choices(syllables, k=rng.choice((1, 2, 2, 3, 3))))] = None
    return [word for rank, word in enumerate(words) for _ in range(math.ceil(10_000 / (rank + 10)))]


WORDS = _vocabulary()
RANKS = {word: rank for rank, word in enumerate(dict.fromkeys(WORDS))}
TOKEN = re.compile(r"\s?\w+|\s?[^\w\s]|\s")
DIGITS = [str(digit) for digit in range(10)]
LETTERS_ASKED = re.compile(r"\b([A-Z](?:,\s*[A-Z])*),?\s+or\s+([A-Z])\b")
NUMBER_ASKED = re.compile(
    r"\b(?:number|digit|integer|score|rating|rate|scale|1\s*(?:to|-|\u2013)\s*5)\b", re.IGNORECASE
)


def prose(rng: Random, fewest: int, most: int) -> list[str]:
    """From `fewest` to `most` words, as sentences of 7 to 15."""
    words = rng.choices(WORDS, k=rng.randint(fewest, most))
    start = 0
    while start < len(words):
        end = min(start + 7 + int(rng.random() * 9), len(words))
        words[start] = words[start].capitalize()
        words[end - 1] += "."
        start = end
    return words


def _referred(reference: str, root: Any) -> Any:
    """What a `$ref` such as `#/$defs/Score` points at."""
    target = root
    for key in filter(None, reference.removeprefix("#").split("/")):
        target = target[key]
    return target


def conforming(schema: Any, root: Any, rng: Random, choices: dict[str, list[str]], depth: int = 0) -> Any:
    """A value that the JSON schema allows. `choices` learns what else each short drawn value could have been.

    `pattern`, `format`, `not` and conditions are not looked at.
    """
    if not isinstance(schema, dict) or not schema:
        return " ".join(prose(rng, 5, 15))

    def draw(part: Any) -> Any:
        return conforming(part, root, rng, choices, depth + 1)

    if reference := schema.get("$ref"):
        return draw(_referred(reference, root))
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        value = rng.choice(schema["enum"])
        choices[str(value)] = [str(other) for other in schema["enum"]]
        return value
    if branches := schema.get("anyOf") or schema.get("oneOf"):
        return draw(branches[-1] if depth > 8 else rng.choice(branches))
    if parts := schema.get("allOf"):
        rest = {key: value for key, value in schema.items() if key != "allOf"}
        for part in parts:
            while "$ref" in part:
                part = _referred(part["$ref"], root)
            rest["properties"] = {**rest.get("properties", {}), **part.get("properties", {})}
            rest = {**part, **rest}
        return draw(rest)

    kind = schema.get("type") or ("object" if "properties" in schema else "string")
    if isinstance(kind, list):
        kind = next((one for one in kind if one != "null"), "null")
    if kind == "object":
        properties = dict(schema.get("properties", {}))
        for name in schema.get("required", ()):
            properties.setdefault(name, {})
        if depth > 8:
            properties = {name: part for name, part in properties.items() if name in schema.get("required", ())}
        return {name: draw(part) for name, part in properties.items()}
    if kind == "array":
        return _array(schema, rng, draw, depth)
    if kind in ("integer", "number"):
        return _number(schema, kind == "integer", rng, choices)
    if kind == "boolean":
        return rng.random() < 0.5
    if kind == "null":
        return None
    text = " ".join(prose(rng, 5, 15)).ljust(schema.get("minLength", 0), ".")
    return text[: schema.get("maxLength", len(text))]


def _array(schema: dict[str, Any], rng: Random, draw: Callable[[Any], Any], depth: int) -> list[Any]:
    values = [draw(part) for part in schema.get("prefixItems", ())]
    fewest = schema.get("minItems", 0 if depth > 8 else 1)
    length = rng.randint(fewest, max(fewest, min(schema.get("maxItems", fewest + 2), fewest + 2)))
    if schema.get("items") is False:
        return values
    for _ in range(100 * length):
        if len(values) >= length:
            break
        value = draw(schema.get("items", {}))
        if not schema.get("uniqueItems") or value not in values:
            values.append(value)
    return values


def _number(schema: dict[str, Any], whole: bool, rng: Random, choices: dict[str, list[str]]) -> float:
    """A number within the bounds; without any, from 1 to 5."""
    low, high = schema.get("minimum"), schema.get("maximum")
    step = schema.get("multipleOf", 1 if whole else 0.01)
    if (above := schema.get("exclusiveMinimum")) is not None:
        low = max(above + step, above + step if low is None else low)
    if (below := schema.get("exclusiveMaximum")) is not None:
        high = min(below - step, below - step if high is None else high)
    if low is None:
        low = 1 if high is None else high - 4
    if high is None:
        high = low + 4
    first, last = math.ceil(round(low / step, 6)), math.floor(round(high / step, 6))
    multiple = rng.randint(first, max(first, last))
    if not whole:
        return float(min(max(round(multiple * step, 6), low), high))
    value = int(multiple * step)
    if last - first < 30:
        choices[str(value)] = [str(int(other * step)) for other in range(first, last + 1)]
    return value


def token_logprobs(text: str, top: int, rng: Random, choices: dict[str, list[str]]) -> list[dict[str, Any]]:
    """Each token of `text` with its log-probability and the `top` likeliest tokens, in the form of OpenAI."""
    entries = []
    for token in TOKEN.findall(text):
        known = choices.get(token) or (DIGITS if token in DIGITS else None)
        if known:
            others = [other for other in known if other != token]
            # Neighbours on the scale are likelier than its far end.
            place = known.index(token) if token in known else 0
            shares = [rng.random() / (1 + abs(known.index(other) - place)) for other in others]
        else:
            others = sorted({" " + word for word in rng.choices(WORDS, k=top)} - {token})
            shares = [rng.random() for _ in others]
        p = 0.35 + 0.6 * rng.random()
        left = 0.99 * (1 - p) / (sum(shares) or 1)
        ranked = [
            (p, token),
            *((max(share * left, 1e-9), other) for share, other in zip(shares, others, strict=True)),
        ]
        ranked.sort(reverse=True)
        entries.append(
            {
                "token": token,
                "logprob": math.log(p),
                "bytes": list(token.encode()),
                "top_logprobs": [
                    {"token": other, "logprob": math.log(share), "bytes": list(other.encode())}
                    for share, other in ranked[:top]
                ],
            }
        )
    return entries


def prompt_logprobs(model: str, messages: list[Any], is_open: bool) -> dict[str, Any]:
    """The tokens of a chat and how likely each is after the one before it, in the form of vLLM; null for the first.

    `is_open` leaves out the mark that ends the last message. A frequent word is likelier than a rare one, more or less so for
    each model.
    """
    tokens = []
    for message in messages:
        tokens += [f"<|{message.get('role')}|>", *TOKEN.findall(_text(message)), "<|end|>"]
    tokens = tokens[: len(tokens) - is_open]
    ids = [int.from_bytes(hashlib.blake2b(token.encode(), digest_size=4).digest(), "little") for token in tokens]
    told: list[Any] = [None]
    for before, token, number in zip(tokens, tokens[1:], ids[1:], strict=False):
        rare = math.log1p(RANKS.get(token.strip(" ,.").lower(), 4096)) / math.log(4097)
        logprob = -0.05 - 4 * rare * Random(f"{model}\0{before}\0{token}").random()
        told.append({str(number): {"logprob": logprob, "rank": 1 + round(100 * rare), "decoded_token": token}})
    return {"prompt_logprobs": told, "prompt_token_ids": ids}


def vector(text: str, size: int = 64) -> list[float]:
    """The direction of a text: each of its words points to a place of its own, so texts that share words point alike."""
    places = [0.0] * size
    for word in re.findall(r"\w+", text.lower()):
        draw = int.from_bytes(hashlib.blake2b(word.encode(), digest_size=4).digest(), "little")
        places[draw % size] += 1 if draw // size % 2 else -1
    length = math.sqrt(sum(place * place for place in places)) or 1.0
    return [round(place / length, 6) for place in places]


def _text(message: Any) -> str:
    content = message.get("content") if isinstance(message, dict) else None
    if isinstance(content, list):
        return " ".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else ""


def _one_token_choices(messages: list[Any]) -> list[str] | None:
    """What the last user message lets a one-token answer be: letters, digits, yes or no; None: anything."""
    users = [m for m in messages if isinstance(m, dict) and m.get("role") == "user"]
    asked = _text(users[-1]) if users else ""
    asked = asked.translate(dict.fromkeys(map(ord, "\"'`*[]()")))
    if letters := LETTERS_ASKED.search(asked):
        return [*re.findall("[A-Z]", letters[1]), letters[2]]
    if "yes or no" in asked.lower():
        return ["Yes", "No"]
    if "letter" in asked:
        return ["A", "B"]
    return DIGITS[1:6] if NUMBER_ASKED.search(asked) else None


def _schema_in_text(messages: list[Any]) -> Any:
    """The first JSON schema of an object that stands in the text of a message, or None."""
    for message in messages:
        text = _text(message)
        if '"properties"' not in text:
            continue
        for brace in re.finditer(r"\{", text):
            with contextlib.suppress(ValueError):
                found, _ = json.JSONDecoder().raw_decode(text, brace.start())
                if "properties" in found:
                    return found
    return None


# --- server


class Refusal(Exception):
    """A request that gets an error in the form of OpenAI."""

    def __init__(self, status: int, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        kind = {429: "rate_limit_error"}.get(status, "invalid_request_error" if status < 500 else "server_error")
        self.body = {"error": {"message": message, "type": kind, "param": param, "code": code}}


def _fresh_stats() -> dict[str, Any]:
    return {"requests": 0, "answered": 0, "repeated_bodies": 0, "repeated_answers": 0, "abandoned": 0}


class Endpoint:
    """What all connections share: the options, the counts, and the answer to a body."""

    def __init__(self, options: argparse.Namespace, down: Callable[[], None]) -> None:
        self.options = options
        self.down = down
        self.connections: set[Connection] = set()
        self.in_flight = 0
        self.kinds: list[str] = options.fault_kinds
        self.fail_bodies = [
            (msgspec.json.encode(part)[1:-1], int(status))
            for part, _, status in (option.rpartition(":") for option in options.fail_body)
        ]
        appending = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        self.record = os.open(options.record, appending) if options.record else None
        self.reset()

    def reset(self) -> None:
        self.counts = _fresh_stats()
        self.faults: Counter[str] = Counter()
        self.max_in_flight = self.in_flight
        self.bodies: set[bytes] = set()
        self.answered_bodies: set[bytes] = set()
        self.fault_draws = Random(self.options.seed)
        self.next_kind = itertools.cycle(self.kinds)

    def stats(self) -> dict[str, Any]:
        return {
            **self.counts,
            "faults": dict(self.faults),
            "in_flight": self.in_flight,
            "max_in_flight": self.max_in_flight,
            "unique_bodies": len(self.bodies),
        }

    def reply(
        self, raw: bytes, authorization: str, made: Callable[[Any, int], dict[str, Any]]
    ) -> tuple[bytes | None, float, bytes]:
        """The answer that is `made` to a body (None: no answer), the seconds to wait before it, and the body's hash.

        Raises:
            Refusal: the answer is an error.
            ConnectionResetError: the answer is a reset connection.
        """
        options = self.options
        self.counts["requests"] += 1
        if self.record is not None:
            # A line break inside JSON is white space, never part of a string.
            os.write(self.record, raw.replace(b"\n", b" ").replace(b"\r", b" ") + b"\n")
        try:
            body = msgspec.json.decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise Refusal(400, f"We could not parse the JSON body of your request: {error}") from None
        canonical = msgspec.json.encode(body, order="deterministic")
        digest = hashlib.blake2b(canonical, digest_size=16).digest()
        if digest in self.bodies:
            self.counts["repeated_bodies"] += 1
            self.counts["repeated_answers"] += digest in self.answered_bodies
        else:
            self.bodies.add(digest)

        is_unknown = options.api_key and authorization != f"Bearer {options.api_key}"
        if status := options.always_status or (401 if is_unknown else None):
            self.faults[str(status)] += 1
            raise Refusal(status, f"Incorrect API key provided: {authorization}", code="invalid_api_key")
        for part, status in self.fail_bodies:
            if part in canonical:
                self.faults[f"body:{status}"] += 1
                raise Refusal(status, "This request cannot be served.")
        if options.capacity and self.in_flight > options.capacity:
            self.faults["capacity"] += 1
            raise Refusal(429, f"More than {options.capacity} in flight.", code="rate_limit_exceeded")
        if options.faults and self.fault_draws.random() < options.faults:
            kind = next(self.next_kind)
            self.faults[kind] += 1
            if kind == "hang":
                return None, 0.0, digest
            if kind == "reset":
                raise ConnectionResetError
            raise Refusal(int(kind), "The server is having a bad moment.")

        draw = int.from_bytes(digest, "little")
        latency_s = options.latency_ms / 1000
        if options.latency_jitter:
            latency_s *= 1 + options.latency_jitter * (draw % 2001 / 1000 - 1)
        if options.slow_after and self.in_flight > options.slow_after[0]:
            latency_s += (self.in_flight - options.slow_after[0]) * options.slow_after[1] / 1000
        return msgspec.json.encode(made(body, draw)), latency_s, digest

    def completion(self, body: Any, draw: int) -> dict[str, Any]:
        messages = body.get("messages") if isinstance(body, dict) else None
        if not isinstance(messages, list) or not messages:
            raise Refusal(400, "Missing required parameter: 'messages'.", param="messages")
        if body.get("stream"):
            raise Refusal(400, "This endpoint does not stream.", param="stream")
        schema = self.schema(body, messages)
        malformed = schema is not None and self.is_malformed(body, messages, draw)
        most = body.get("max_completion_tokens") or body.get("max_tokens") or 1 << 30
        rng = Random(draw)
        choices, written = [], 0
        for index in range(1 if self.options.ignore_n else body.get("n") or 1):
            known: dict[str, list[str]] = {}
            if schema is not None:
                text, tokens, is_cut = self.object_text(schema, malformed, most, rng, known)
            else:
                text, tokens, is_cut = self.chat_text(messages, most, rng, known)
            logprobs = None
            if body.get("logprobs"):
                content = token_logprobs(text, body.get("top_logprobs") or 0, rng, known)
                logprobs, tokens = {"content": content, "refusal": None}, len(content)
            written += tokens
            choices.append(
                {
                    "index": index,
                    "message": {"role": "assistant", "content": text, "refusal": None},
                    "logprobs": logprobs,
                    "finish_reason": "length" if is_cut else "stop",
                }
            )
        reply: dict[str, Any] = {
            "id": f"chatcmpl-{draw:032x}",
            "object": "chat.completion",
            "created": CREATED,
            "model": body.get("model", ""),
            "choices": choices,
        }
        if body.get("prompt_logprobs") is not None:
            reply |= prompt_logprobs(reply["model"], messages, bool(body.get("continue_final_message")))
        if not self.options.no_usage:
            asked = math.ceil(1.3 * sum(_text(message).count(" ") + 1 for message in messages))
            reply["usage"] = {
                "prompt_tokens": asked,
                "completion_tokens": written,
                "total_tokens": asked + written,
            }
        return reply

    def embeddings(self, body: Any, _draw: int) -> dict[str, Any]:
        """Vectors of a text or a list of texts."""
        given = body.get("input") if isinstance(body, dict) else None
        texts = [given] if isinstance(given, str) else given
        if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
            raise Refusal(400, "Missing required parameter: 'input'.", param="input")
        found = [{"object": "embedding", "index": n, "embedding": vector(text)} for n, text in enumerate(texts)]
        read = math.ceil(1.3 * sum(text.count(" ") + 1 for text in texts))
        usage = {"prompt_tokens": read, "total_tokens": read}
        return {"object": "list", "data": found, "model": body.get("model", ""), "usage": usage}

    def schema(self, body: dict[str, Any], messages: list[Any]) -> Any:
        response_format = body.get("response_format") or {}
        kind = response_format.get("type")
        if kind == "json_schema":
            if self.options.no_json_schema:
                message = "'response_format' of type 'json_schema' is not supported with this model."
                raise Refusal(400, f"Invalid parameter: {message}", param="response_format")
            return response_format.get("json_schema", {}).get("schema", {})
        if kind == "json_object":
            return _schema_in_text(messages) or {"type": "object", "required": ["answer"]}
        # A client that was refused a schema writes it into its prompt.
        return _schema_in_text(messages) if self.options.no_json_schema else None

    def is_malformed(self, body: dict[str, Any], messages: list[Any], draw: int) -> bool:
        if not self.options.malformed:
            return False
        users = [place for place, m in enumerate(messages) if isinstance(m, dict) and m.get("role") == "user"]
        if len(users) > 1:
            if not self.options.malformed_always:
                return False
            # A re-ask fares as its first asking did.
            first = msgspec.json.encode({**body, "messages": messages[: users[0] + 1]}, order="deterministic")
            draw = int.from_bytes(hashlib.blake2b(first, digest_size=16).digest(), "little")
        return bool((draw >> 64) / 2**64 < self.options.malformed)

    def object_text(
        self, schema: Any, malformed: bool, most: int, rng: Random, choices: dict[str, list[str]]
    ) -> tuple[str, int, bool]:
        """An answer by a schema, its count of tokens, and whether `max_tokens` cut it."""
        text = msgspec.json.encode(conforming(schema, schema, rng, choices)).decode()
        if malformed and rng.random() < 0.5:
            text = "I think the score is pretty good."
        elif malformed:
            text = text[: max(1, len(text) * 2 // 3)] if text[0] in '{["' else "Pretty good."
        tokens = math.ceil(len(text) / 4)
        return text[: 4 * most], min(tokens, most), tokens > most

    def chat_text(
        self, messages: list[Any], most: int, rng: Random, choices: dict[str, list[str]]
    ) -> tuple[str, int, bool]:
        """An ordinary answer, its count of tokens, and whether `max_tokens` cut it."""
        if most == 1 and (known := _one_token_choices(messages)):
            letter = rng.choice(known)
            choices[letter] = known
            return letter, 1, False
        words = prose(rng, *self.options.words)
        tokens = math.ceil(1.3 * len(words))
        if tokens > most:
            words = words[: max(1, int(most / 1.3))]
        return " ".join(words), min(tokens, most), tokens > most

    def settle(self, digest: bytes) -> None:
        """Counts an answer that was sent."""
        self.counts["answered"] += 1
        self.answered_bodies.add(digest)
        if self.options.down_after and self.counts["answered"] >= self.options.down_after:
            self.down()


REASONS = {200: "OK", 400: "Bad Request", 401: "Unauthorized", 404: "Not Found", 411: "Length Required"}
CONTENT_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)", re.IGNORECASE)
AUTHORIZATION = re.compile(rb"\r\nauthorization:[ \t]*([^\r]*)", re.IGNORECASE)
CHUNKED = re.compile(rb"\r\ntransfer-encoding:", re.IGNORECASE)
CLOSE = re.compile(rb"\r\nconnection:[ \t]*close", re.IGNORECASE)
EXPECTED = re.compile(rb"\r\nexpect:[ \t]*100-continue", re.IGNORECASE)


class Connection(asyncio.Protocol):
    """HTTP/1.1 with keep-alive. Requests of one connection are answered in order, one at a time."""

    transport: asyncio.Transport

    def __init__(self, server: Endpoint, loop: asyncio.AbstractEventLoop) -> None:
        self.server = server
        self.loop = loop
        self.buffer = bytearray()
        self.head = b""
        self.body_starts = 0
        self.wanted = 0
        self.is_busy = False
        self.closes_after = False
        self.timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # That of uvloop has another base class.
        self.server.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.server.connections.discard(self)
        if self.timer is not None:
            self.timer.cancel()
        if self.is_busy:
            self.is_busy = False
            self.server.in_flight -= 1
            self.server.counts["abandoned"] += 1

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        if len(self.buffer) >= self.wanted and not self.is_busy:
            self.next_request()

    def next_request(self) -> None:
        while not self.is_busy and not self.transport.is_closing():
            if not self.head:
                end = self.buffer.find(b"\r\n\r\n")
                if end < 0:
                    return
                self.head = bytes(self.buffer[: end + 2])
                length = CONTENT_LENGTH.search(self.head)
                if CHUNKED.search(self.head):
                    self.send(411, b'{"error": {"message": "Send a Content-Length."}}')
                    self.transport.close()
                    return
                self.body_starts = end + 4
                self.wanted = self.body_starts + (int(length[1]) if length else 0)
                if EXPECTED.search(self.head) and len(self.buffer) < self.wanted:
                    self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            if len(self.buffer) < self.wanted:
                return
            head, raw = self.head, bytes(memoryview(self.buffer)[self.body_starts : self.wanted])
            del self.buffer[: self.wanted]
            self.head, self.wanted = b"", 0
            self.answer(head, raw)

    def answer(self, head: bytes, raw: bytes) -> None:
        request_line = head[: head.index(b"\r\n")].split(b" ")
        route = b" ".join(request_line[:2])
        if route == b"POST /v1/chat/completions":
            self.reply(head, raw, self.server.completion)
        elif route == b"POST /v1/embeddings":
            self.reply(head, raw, self.server.embeddings)
        elif route == b"GET /stats":
            self.send(200, msgspec.json.encode(self.server.stats()))
        elif route == b"POST /reset":
            self.server.reset()
            self.send(200, b"{}")
        elif route == b"GET /v1/models":
            model = {"id": "loopback", "object": "model", "created": CREATED, "owned_by": "triptych-tests"}
            self.send(200, msgspec.json.encode({"object": "list", "data": [model]}))
        else:
            self.send(404, b'{"error": {"message": "Unknown path.", "type": "invalid_request_error"}}')
        self.closes_after = CLOSE.search(head) is not None
        if self.closes_after and not self.is_busy:
            self.transport.close()

    def reply(self, head: bytes, raw: bytes, made: Callable[[Any, int], dict[str, Any]]) -> None:
        server = self.server
        server.in_flight += 1
        server.max_in_flight = max(server.max_in_flight, server.in_flight)
        self.is_busy = True
        received = self.loop.time()
        authorization = AUTHORIZATION.search(head)
        try:
            key = authorization[1].decode("latin-1") if authorization else ""
            reply, latency_s, digest = server.reply(raw, key, made)
        except Refusal as refusal:
            headers = b""
            if refusal.status == 429:
                headers = b"Retry-After: %g\r\n" % server.options.retry_after
            self.finish()
            self.send(refusal.status, msgspec.json.encode(refusal.body), headers)
        except ConnectionResetError:
            self.finish()
            linger = struct.pack("ii", 1, 0)  # Closes with RST instead of FIN.
            self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.transport.abort()
        else:
            if reply is not None:
                self.timer = self.loop.call_at(received + latency_s, self.send_answer, reply, digest)

    def finish(self) -> None:
        self.is_busy = False
        self.server.in_flight -= 1

    def send_answer(self, reply: bytes, digest: bytes) -> None:
        self.timer = None
        if self.transport.is_closing():
            return
        self.finish()
        self.send(200, reply)
        if self.closes_after:
            self.transport.close()
        self.server.settle(digest)
        if self.buffer:
            self.next_request()

    def send(self, status: int, body: bytes, headers: bytes = b"") -> None:
        self.transport.write(
            b"HTTP/1.1 %d %s\r\nContent-Type: application/json\r\n%bContent-Length: %d\r\n\r\n%b"
            % (status, REASONS.get(status, "Error").encode(), headers, len(body), body)
        )


async def serve(options: argparse.Namespace) -> None:
    """Serves until standard input closes (if it is a pipe) or `--down-after` is reached."""
    loop = asyncio.get_running_loop()
    over = asyncio.Event()

    def down() -> None:
        listener.close()
        for connection in list(server.connections):
            connection.transport.close()
        over.set()

    server = Endpoint(options, down)
    listener = await loop.create_server(lambda: Connection(server, loop), "127.0.0.1", options.port, backlog=4096)
    if stat.S_ISFIFO(os.fstat(0).st_mode):
        loop.add_reader(0, lambda: None if os.read(0, 4096) else over.set())
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000)
    print(json.dumps({"port": listener.sockets[0].getsockname()[1]}), flush=True)
    await over.wait()
    # What was written before a connection was closed still goes out.
    for _ in range(100):
        if not options.down_after or not server.connections:
            break
        await asyncio.sleep(0.01)


def parse_options(arguments: list[str] | None = None) -> argparse.Namespace:
    def pair(text: str) -> tuple[int, int]:
        first, _, second = text.partition(":")
        return int(first), int(second)

    def slope(text: str) -> tuple[int, float]:
        first, _, second = text.partition(":")
        return int(first), float(second)

    def kinds(text: str) -> list[str]:
        if unknown := set(text.split(",")) - set(FAULT_KINDS):
            raise argparse.ArgumentTypeError(f"unknown fault kinds {sorted(unknown)}, known are {FAULT_KINDS}")
        return text.split(",")

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--port", type=int, default=0, help="0 takes a free one")
    add("--latency-ms", type=float, default=0.0, help="time from a request to its answer; faults come at once")
    add(
        "--latency-jitter",
        type=float,
        default=0.0,
        help="0.2: from 0.8 to 1.2 times the latency, by the body's hash",
    )
    add("--words", type=pair, default=(20, 60), metavar="LEAST:MOST", help="length of an ordinary answer")
    add("--ignore-n", action="store_true", help="one choice, whatever `n` says")
    add("--no-usage", action="store_true", help="no `usage` in answers")
    add(
        "--malformed",
        type=float,
        default=0.0,
        help="share of schema-answers that are malformed at the first asking",
    )
    add("--malformed-always", action="store_true", help="what was malformed stays so when it is asked again")
    add("--no-json-schema", action="store_true", help="400 to response_format json_schema")
    add("--faults", type=float, default=0.0, help="share of requests answered with a fault")
    add("--fault-kinds", type=kinds, default=["429", "500", "503", "hang"], help=f"of {','.join(FAULT_KINDS)}")
    add("--retry-after", type=float, default=0.0, help="seconds in the Retry-After header of each 429")
    add("--seed", type=int, default=0, help="of the faults")
    add("--always-status", type=int, help="every request gets this status, and its Authorization echoed")
    add("--api-key", help="401 to requests without this key")
    add("--capacity", type=int, help="429 when more than so many are in flight")
    add("--slow-after", type=slope, metavar="C:MS", help="MS more latency for each request in flight above C")
    add(
        "--fail-body",
        action="append",
        default=[],
        metavar="SUBSTRING:STATUS",
        help="may be given several times",
    )
    add("--down-after", type=int, help="close everything and exit after so many answers (of status 200)")
    add("--record", help="append each request's body to this file, one a line")
    return parser.parse_args(arguments)


def main() -> None:
    options = parse_options()
    try:
        import uvloop
    except ImportError:
        asyncio.run(serve(options))
    else:
        uvloop.run(serve(options))


# --- for the tests


class Running:
    """An endpoint that runs in a process of its own."""

    def __init__(self, process: subprocess.Popen[str], port: int, record: Path | None) -> None:
        self.process = process
        self.url = f"http://127.0.0.1:{port}"
        self.base_url = f"{self.url}/v1"
        self.record = record

    def stats(self) -> dict[str, Any]:
        """Counts since the start or the last `reset`.

        `requests`, `answered` (status 200), `faults` by kind, `in_flight`, `max_in_flight`, `abandoned` (the
        client left first), `unique_bodies`, `repeated_bodies` (requests whose body had come before) and
        `repeated_answers` (requests whose body had been answered before: calls that are paid twice).
        """
        with urllib.request.urlopen(f"{self.url}/stats", timeout=10) as response:
            counts: dict[str, Any] = json.load(response)
        return counts

    def requests(self) -> list[dict[str, Any]]:
        """The bodies received so far, in order; needs `record`."""
        assert self.record is not None, "start the endpoint with record=True"
        return [json.loads(line) for line in self.record.read_bytes().splitlines()]

    def reset(self) -> None:
        """Zeroes the counts and starts the faults over; empties the record."""
        request = urllib.request.Request(f"{self.url}/reset", data=b"", method="POST")
        with urllib.request.urlopen(request, timeout=10):
            pass
        if self.record is not None:
            os.truncate(self.record, 0)


@contextlib.contextmanager
def endpoint(**options: Any) -> Iterator[Running]:
    """Runs an endpoint for the length of a `with` block; `latency_ms=50` is `--latency-ms 50`.

    `record=True` records into a temporary file, `record=path` into that one. A list repeats its option.
    """
    folder: str | None = None
    if options.get("record") is True:
        folder = tempfile.mkdtemp(prefix="endpoint-")
        options["record"] = Path(folder) / "requests.jsonl"
    command = [sys.executable, str(Path(__file__).resolve())]
    for name, value in options.items():
        flag = "--" + name.replace("_", "-")
        if value is True:
            command.append(flag)
        elif value is not None and value is not False:
            # One argument with "=", so that a value may begin with a dash.
            command += [f"{flag}={one}" for one in (value if isinstance(value, list) else [value])]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        ready = process.stdout.readline()
        if not ready:
            raise RuntimeError(f"the endpoint did not start: {' '.join(command)}")
        record = options.get("record")
        yield Running(process, json.loads(ready)["port"], Path(record) if record else None)
    finally:
        with contextlib.suppress(OSError):
            process.stdin.close()
        try:
            process.wait(timeout=2)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
