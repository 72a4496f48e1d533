"""An endpoint whose answers have a known quality, and whose judge sees it: what a method makes of it can be told."""

from __future__ import annotations

import asyncio
import json
import re
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b
from importlib.resources import files
from math import log
from typing import Any, NamedTuple

from aiohttp import web

_SHOWN = re.compile(r"<response(?:_[a-z])? (\w+)>\n(.*?)\n</response(?:_[a-z])? \1>", re.DOTALL)
SLIP = "here is a slip."
_ANSWERS = {
    row["prompt"]: row["reference"]
    for row in map(json.loads, (files("triptych.prompts") / "sets/maths.jsonl").read_text().splitlines())
}


def quality(text: str) -> int:
    """From 0 to 10. What does not come from this endpoint, such as a worked solution, is as good as can be."""
    found = re.search(r"Quality (\d+)\.", text)
    return int(found[1]) if found else 10


class Heard(NamedTuple):
    """A call: the model, what kind of question it was taken for, its messages, and what was said to it."""

    model: str
    kind: str
    messages: list[dict[str, str]]
    said: str


class World:
    """Answers as policy and as judge, and remembers what each model was asked."""

    def __init__(self) -> None:
        self.asked: Counter[tuple[str, str]] = Counter()
        self.heard: list[Heard] = []
        self.shown: list[list[int]] = []
        """The qualities of the responses that a judge saw, in the order of showing."""

    def answer(self, body: dict[str, Any]) -> dict[str, Any]:
        if "prompt_logprobs" in body:
            self.asked[body["model"], "given"] += 1
            return _given(body)
        kind, message = self._say(body, body["messages"][-1]["content"])
        self.asked[body["model"], kind] += 1
        self.heard.append(Heard(body["model"], kind, body["messages"], message["message"]["content"]))
        choice = {
            "index": 0,
            "finish_reason": "stop",
            "message": {"role": "assistant"} | message.pop("message"),
            **message,
        }
        return {"choices": [choice], "usage": {"prompt_tokens": 10, "completion_tokens": 5}}

    def complete(self, body: dict[str, Any]) -> dict[str, Any]:
        """Go on with a raw text, which is to be the bare beginning of a user's message."""
        self.asked[body["model"], "completion"] += 1
        assert body["prompt"] == "<|im_start|>user\n"
        choice = {"index": 0, "finish_reason": "stop", "text": f" {_made_up(body)}\n"}
        return {"choices": [choice], "usage": {"prompt_tokens": 3, "completion_tokens": 5}}

    def score(self, body: dict[str, Any]) -> dict[str, Any]:
        """Compare two texts as a reward model for pairs: the difference of their qualities, and a bias for the first."""
        self.asked[body["model"], "score"] += 1
        seen = [quality(body[text]) for text in ("text_1", "text_2")]
        self.shown.append(seen)
        return {"data": [{"index": 0, "score": seen[0] - seen[1] + 1.5}], "usage": {"prompt_tokens": 7, "total_tokens": 7}}

    def _say(self, body: dict[str, Any], text: str) -> tuple[str, dict[str, Any]]:
        seen = [quality(shown) for _, shown in _SHOWN.findall(text)]
        if "<judgement_a " in text:  # the judgement that has more to say is the better one
            said = re.findall(r"<judgement_[ab] \w+>\nSeen(!*)\.", text)
            verdict = {"rationale": "Seen.", "better": "A" if len(said[0]) > len(said[1]) else "B"}
            return "compare", {"message": {"content": json.dumps(verdict)}}
        if "Score this part" in text:  # a step of a solution, or a sentence
            part = text.rpartition("<part ")[2]
            seen = [0 if SLIP in part else 3 if "\nSo says" in part else 10]
        if "response_format" in body:
            self.shown.append(seen)
            properties = body["response_format"]["json_schema"]["schema"]["properties"]
            if "prompt" in properties and len(seen) == 2:  # a better and a worse response to learn from
                said = f"Answer with Quality {seen[0]}., not with {seen[1]}, whatever {_name_of(body)} is."
                return "optimise", {"message": {"content": json.dumps({"rationale": "A is it.", "prompt": said})}}
            if "prompt" in properties:
                return "evolve", {"message": {"content": json.dumps({"rationale": "So.", "prompt": _made_up(body)})}}
            if "prompts" in properties:
                made = [_made_up(body, place) for place in range(properties["prompts"]["maxItems"])]
                return "instruct", {"message": {"content": json.dumps({"prompts": made})}}
            if "responses" in properties:
                return "verbalized", {"message": {"content": json.dumps(_verbalized(properties, body))}}
            if "checklist" in properties:
                written = [{"demand": "Quality above 4", "weight": 1}, {"demand": "Quality above 7", "weight": 3}]
                if "better" in text:  # written from a better and a worse response
                    written = [one | {"kind": kind} for one, kind in zip(written, ("rule", "principle"), strict=True)]
                return "checklist", {"message": {"content": json.dumps({"checklist": written})}}
            if "met" in properties:
                asked = re.search(r"Quality above (\d)", text)
                met = seen[0] > (int(asked[1]) if asked else 2)
                return "judge", {
                    "message": {"content": json.dumps({"rationale": "Seen.", "met": "yes" if met else "no"})}
                }
            if "supported" in properties:
                statement = re.search(r"<statement (\w+)>\n(.*?)\n</statement \1>", text, re.DOTALL)[2]
                held = statement in _SHOWN.findall(text)[0][1]
                return "judge", {
                    "message": {"content": json.dumps({"rationale": "Seen.", "supported": "yes" if held else "no"})}
                }
            said = _verdict(properties, seen)
            if "score" in said and body.get("temperature") and body["model"] != "policy":  # who judges itself is sure
                said["score"] = _wavering(said["score"], properties["score"], (text, body.get("seed")))
            seen_well = "!" * ((body.get("seed") or 0) % 97)
            return "judge", {"message": {"content": json.dumps({"rationale": f"Seen{seen_well}.", **said})}}
        if body.get("logprobs") and body.get("max_tokens") == 1:
            self.shown.append(seen)
            if len(seen) == 1:
                yes = (seen[0] + 0.5) / 11
                top = [{"token": word, "logprob": log(chance)} for word, chance in (("Yes", yes), ("No", 1 - yes))]
                content = [{"token": "Yes", "logprob": log(yes), "top_logprobs": top}]
                return "judge", {"message": {"content": "Yes"}, "logprobs": {"content": content}}
            best = "A" if seen[0] > seen[1] else "B"
            top = [{"token": letter, "logprob": -0.1 if letter == best else -2.4} for letter in "AB"]
            said = {"token": best, "logprob": -0.1, "top_logprobs": top}
            return "judge", {"message": {"content": best}, "logprobs": {"content": [said]}}
        if "Go on with the response" in text:
            return "continue", {"message": {"content": _continued(text)}}
        if "where the response falls short" in text:
            return "critique", {"message": {"content": "It falls short."}}
        if "Write a better response" in text:
            return "revise", {"message": {"content": f"Quality {min(seen[0] + 1, 10)}. Better, by {body.get('seed')}."}}
        said = _sampled(body["messages"], (body["model"], body.get("seed")))
        spelt = {"logprobs": {"content": _spelt(said, body["top_logprobs"])}} if body.get("logprobs") else {}
        return "sample", {"message": {"content": said}} | spelt


def _name_of(*drawn_by: Any) -> str:
    return blake2b(json.dumps(drawn_by, sort_keys=True).encode(), digest_size=4).hexdigest()


def _made_up(*drawn_by: Any) -> str:
    """A prompt of words that no other one has."""
    return " ".join(f"{word}{_name_of(word, *drawn_by)}" for word in ("Explain", "how", "to", "mend", "it"))


def token_logprobs(model: str, system: str, text: str) -> list[tuple[str, float]]:
    """A text's words with the log-probability of each, by the model and what it is told before the chat."""
    return [
        (word, -(1 + int(blake2b(f"{model} {system} {word}".encode(), digest_size=4).hexdigest(), 16) % 400) / 100)
        for word in re.findall(r"\s*\S+", text)
    ]


def _given(body: dict[str, Any]) -> dict[str, Any]:
    """As vLLM says how likely the last message is."""
    first, last = body["messages"][0], body["messages"][-1]
    system = first["content"] if first["role"] == "system" else ""
    words = [("<user>", -9.0), ("<assistant>", -9.0), *token_logprobs(body["model"], system, last["content"])]
    said = [{str(place): {"logprob": logprob, "decoded_token": word}} for place, (word, logprob) in enumerate(words)]
    return {
        "choices": [{"message": {"content": ""}}],
        "prompt_logprobs": [None, *said[1:]],
        "usage": {"prompt_tokens": 10, "completion_tokens": 1},
    }


def _verdict(properties: dict[str, Any], seen: list[int]) -> dict[str, Any]:
    if "score" in properties:
        low, high = properties["score"]["minimum"], properties["score"]["maximum"]
        return {"score": round(low + (high - low) * seen[0] / 10)}
    if "better" in properties:
        return {"better": "A" if seen[0] > seen[1] else "B"}
    order = sorted(range(len(seen)), key=lambda place: -seen[place])
    return {"ranking": ["ABCDEFGHIJKLMNOPQRSTUVWXYZ"[place] for place in order]}


def _sampled(messages: list[dict[str, str]], drawn_by: tuple[str, int | None]) -> str:
    """A text of drawn quality; to a problem, three steps, of which the second or third is wrong in bad ones."""
    name = blake2b(f"{messages} {drawn_by}".encode(), digest_size=4).hexdigest()
    drawn = 3 * (int(name, 16) % 4)  # 0, 3, 6 and 9 are told apart on every scale that a method uses
    problem = next((known for known in _ANSWERS if messages[-1]["content"].startswith(known)), None)
    said = f"Quality {drawn}. So says draft x{name}."
    if problem is None:
        return said
    steps = ["all is well.", "all is well."]
    if drawn <= 5:
        steps[drawn // 3] = SLIP
    right = int(_ANSWERS[problem])
    return f"Step 1: {said}\nStep 2: {steps[0]}\nStep 3: {steps[1]} The answer is {right if drawn > 5 else right + 1}."


def _wavering(score: int, scale: dict[str, Any], asked: tuple[str, int | None]) -> int:
    """A score that is off by three at most, up or down or not at all, as a judge's is who is asked again."""
    off = blake2b(f"{asked}".encode(), digest_size=1).digest()[0] % 7 - 3
    return min(max(score + off, scale["minimum"]), scale["maximum"])


def _spelt(text: str, top: int) -> list[dict[str, Any]]:
    """A token for each word, the surer the better the text is; each alternative is a nat less likely than the last."""
    logprob = -0.05 * (11 - quality(text))
    tops = [{"token": f"or{place}", "logprob": logprob - place} for place in range(1, top + 1)]
    return [{"token": word, "logprob": logprob, "top_logprobs": tops} for word in re.findall(r"\S+\s*", text)]


def _verbalized(properties: dict[str, Any], body: dict[str, Any]) -> dict[str, Any]:
    drawn = [_sampled(body["messages"], (body["model"], place)) for place in range(properties["responses"]["maxItems"])]
    return {"responses": [{"text": text, "probability": 0.1 * (place + 1)} for place, text in enumerate(drawn)]}


def _continued(text: str) -> str:
    """Comes right from a beginning without a slip, and never from one with."""
    begun = _SHOWN.findall(text)[0][1]
    problem = next(known for known in _ANSWERS if known in text)
    right = int(_ANSWERS[problem])
    number = 1 + begun.count("Step ")
    return f"Step {number}: so it goes. The answer is {right if SLIP not in begun else right + 1}."


def responses_in(text: str) -> list[str]:
    """The responses that a question shows, in their order."""
    return [shown for _, shown in _SHOWN.findall(text)]


@contextmanager
def world(one: World | None = None) -> Iterator[tuple[World, str]]:
    """Serve a world; gives it and its base URL."""
    one, loop, ready = one or World(), asyncio.new_event_loop(), threading.Event()
    port = []

    async def chat(request: web.Request) -> web.Response:
        return web.json_response(one.answer(await request.json()))

    async def complete(request: web.Request) -> web.Response:
        return web.json_response(one.complete(await request.json()))

    async def score(request: web.Request) -> web.Response:
        return web.json_response(one.score(await request.json()))

    async def serve() -> None:
        app = web.Application()
        app.router.add_post("/v1/chat/completions", chat)
        app.router.add_post("/v1/completions", complete)
        app.router.add_post("/v1/score", score)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port.append(site._server.sockets[0].getsockname()[1])
        ready.set()

    def work() -> None:
        asyncio.set_event_loop(loop)
        loop.run_until_complete(serve())
        loop.run_forever()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    ready.wait(10)
    try:
        yield one, f"http://127.0.0.1:{port[0]}/v1"
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
