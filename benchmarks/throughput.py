"""Throughput: 1,000 prompts x 4 responses + one judge call each, against a bare asyncio + aiohttp loop.

Both talk to the same loopback endpoint (50 ms latency) with 128 requests at once, in turns. The bare loop keeps
nothing; Triptych writes every answer to the call log, synced to the disk, and ends with its tables.

    python benchmarks/throughput.py [--prompts 1000] [--concurrency 128] [--rounds 5]
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from pathlib import Path

import aiohttp  # noqa: F401  both sides are timed with their imports done
import polars  # noqa: F401

import triptych as tp
from baseline import bare_loop
from setting import endpoint, prompt_texts, timed_recipe, write_prompts

WANTED = 0.85


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts", type=int, default=1000)
    parser.add_argument("--concurrency", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    ratios = []
    with tempfile.TemporaryDirectory() as scratch, endpoint(latency_ms=50) as server:
        prompts = write_prompts(Path(scratch) / "prompts.jsonl", options.prompts)
        warm_up(server.base_url, Path(scratch), options.concurrency)
        for turn in range(options.rounds):
            bare = asyncio.run(
                bare_loop(server.base_url, prompt_texts(options.prompts), concurrency=options.concurrency)
            )
            recipe = timed_recipe(server.base_url, prompts, options.concurrency)
            calls, seconds, cpu = timed_run(recipe, Path(scratch) / f"run-{turn}")
            ratios.append(calls / seconds / bare.calls_per_s)
            print(
                f"bare loop {bare.calls_per_s:6.0f} calls/s, Triptych {calls / seconds:6.0f} calls/s "
                f"({1e6 * cpu / calls:.0f} us of CPU a call), ratio {ratios[-1]:.2f}",
                flush=True,
            )
    median = statistics.median(ratios)
    print(f"throughput: median ratio {median:.2f} of the bare loop (wanted: at least {WANTED})")


def warm_up(base_url: str, scratch: Path, concurrency: int) -> None:
    """Let both sides load what they load lazily, on prompts that are not timed."""
    prompts = scratch / "warm.jsonl"
    prompts.write_text("".join(f'{{"prompt": "warm up {i}"}}\n' for i in range(20)))
    asyncio.run(bare_loop(base_url, prompt_texts(20), concurrency=concurrency))
    tp.run(timed_recipe(base_url, prompts, concurrency), scratch / "warm")


def timed_run(recipe: tp.Recipe, out: Path) -> tuple[int, float, float]:
    """Run a recipe from the first prompt to the finished tables: calls sent, seconds, seconds of CPU."""
    begun, cpu = time.perf_counter(), time.process_time()
    run = tp.run(recipe, out)
    seconds, cpu = time.perf_counter() - begun, time.process_time() - cpu
    return sum(stage["sent"] for stage in run.manifest.counts.values()), seconds, cpu


if __name__ == "__main__":
    main()
