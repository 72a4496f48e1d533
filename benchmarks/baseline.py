"""The bare loop that throughput is measured against: asyncio and aiohttp, nothing kept.

`python benchmarks/baseline.py` runs it on 1,000 prompts against the loopback endpoint of the tests.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import sys
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

SCORES = {
    "type": "json_schema",
    "json_schema": {
        "name": "scores",
        "strict": True,
        "schema": {
            "type": "object",
            "properties": {
                "scores": {
                    "type": "array",
                    "items": {"type": "integer", "minimum": 1, "maximum": 5},
                    "minItems": 4,
                    "maxItems": 4,
                }
            },
            "required": ["scores"],
            "additionalProperties": False,
        },
    },
}


@dataclass(frozen=True)
class Baseline:
    """What a bare loop took."""

    calls: int
    seconds: float
    calls_per_s: float
    failed: int = 0
    """Calls whose answer was not of status 200."""
    unparsed: int = 0
    """Judge calls whose answer was not JSON."""


async def bare_loop(base_url: str, prompts: Sequence[str], samples: int = 4, concurrency: int = 128) -> Baseline:
    """For each prompt `samples` answers at once, then one judge call that scores them."""
    url = f"{base_url}/chat/completions"
    slots = asyncio.Semaphore(concurrency)
    calls = failed = unparsed = 0

    async def call(session: aiohttp.ClientSession, payload: dict[str, Any]) -> str:
        nonlocal calls, failed
        async with slots, session.post(url, json=payload) as response:
            answer = await response.json()
        calls += 1
        if response.status != 200:
            failed += 1
            return ""
        content: str = answer["choices"][0]["message"]["content"]
        return content

    async def sample(session: aiohttp.ClientSession, prompt: str, seed: int) -> str:
        messages = [{"role": "user", "content": prompt}]
        return await call(
            session,
            {"model": "policy", "messages": messages, "temperature": 0.9, "max_tokens": 512, "seed": seed},
        )

    async def one(session: aiohttp.ClientSession, prompt: str) -> None:
        nonlocal unparsed
        answers = await asyncio.gather(*(sample(session, prompt, seed) for seed in range(samples)))
        listed = "\n\n".join(f"Response {place}: {answer}" for place, answer in enumerate(answers, 1))
        asked = f"Score each response to the prompt from 1 to 5.\n\nPrompt: {prompt}\n\n{listed}"
        messages = [{"role": "user", "content": asked}]
        verdict = await call(
            session, {"model": "judge", "messages": messages, "temperature": 0, "response_format": SCORES}
        )
        try:
            json.loads(verdict)["scores"]
        except (ValueError, KeyError, TypeError):
            unparsed += 1

    waiting = deque(prompts)

    async def worker(session: aiohttp.ClientSession) -> None:
        while waiting:
            await one(session, waiting.popleft())

    started = time.perf_counter()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=concurrency)) as session:
        # As many prompts as calls, so that prompts that wait for their judge leave no slot empty.
        await asyncio.gather(*(worker(session) for _ in range(min(concurrency, len(prompts)))))
    seconds = time.perf_counter() - started
    return Baseline(calls, seconds, calls / seconds, failed, unparsed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=1000)
    parser.add_argument("--concurrency", type=int, default=128)
    parser.add_argument("--latency-ms", type=float, default=50)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--uvloop", action="store_true", help="run the client on uvloop")
    options = parser.parse_args()

    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
    from endpoint import endpoint

    task = "explain one thing that people often get wrong about it, and say how you know"
    prompts = [f"Subject number {number}: {task}." for number in range(options.prompts)]
    run = asyncio.run
    if options.uvloop:
        import uvloop

        run = uvloop.run
    with endpoint(latency_ms=options.latency_ms) as server:
        for _ in range(options.runs):
            server.reset()
            before = resource.getrusage(resource.RUSAGE_SELF)
            result = run(bare_loop(server.base_url, prompts, concurrency=options.concurrency))
            after = resource.getrusage(resource.RUSAGE_SELF)
            cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            in_flight = server.stats()["max_in_flight"]
            print(
                f"{result.calls_per_s:,.0f} calls/s ({result.calls:,} calls in {result.seconds:.2f} s, "
                f"client CPU {cpu_s / result.seconds:.0%}, at most {in_flight} in flight, "
                f"{result.failed} failed, {result.unparsed} unparsed)"
            )


if __name__ == "__main__":
    main()
