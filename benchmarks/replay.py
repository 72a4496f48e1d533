"""Replay: a second run of the same recipe, and a run with one criterion's text changed.

The baseline of the first is a bare loop that looks each call up in the same call log and decodes it.

    python benchmarks/replay.py [--prompts 5000]
"""

from __future__ import annotations

import argparse
import sqlite3
import statistics
import tempfile
import time
from contextlib import closing
from pathlib import Path

import msgspec

import triptych as tp
from setting import endpoint, timed_recipe, write_prompts
from throughput import timed_run

WANTED = 20_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch, endpoint(latency_ms=0) as server:
        prompts = write_prompts(Path(scratch) / "prompts.jsonl", options.prompts)
        recipe = timed_recipe(server.base_url, prompts)
        paid, _, _ = timed_run(recipe, Path(scratch) / "run")
        server.reset()
        rates, shares = [], []
        for _ in range(options.rounds):
            bare = bare_lookups(Path(scratch) / "run" / "calls.sqlite")
            begun = time.perf_counter()
            tp.run(recipe, Path(scratch) / "run")
            rates.append(paid / (time.perf_counter() - begun))
            shares.append(rates[-1] / bare)
            print(f"bare look-ups {bare:7.0f}/s, replayed {rates[-1]:7.0f} calls/s, ratio {shares[-1]:.2f}", flush=True)
        sent = server.stats()["requests"]
        median = statistics.median(rates)
        print(f"replay: {paid:,} calls, {sent} requests, median {median:,.0f} calls/s (wanted: 0 and {WANTED:,})")
        changed = timed_recipe(server.base_url, prompts, criterion="It is honest.")
        again, _, _ = timed_run(changed, Path(scratch) / "run")
        sent = server.stats()["requests"] - sent
        print(f"one criterion changed: {again:,} calls, {sent:,} requests of {paid:,} (wanted: {options.prompts:,})")


def bare_lookups(file: Path) -> float:
    """Look every call up by itself, decode it, keep nothing: calls a second."""
    with closing(sqlite3.connect(file)) as log:
        keys = [key for (key,) in log.execute("select call_id from calls order by rowid")]
        begun = time.perf_counter()
        for key in keys:
            (reply,) = log.execute("select reply from calls where call_id = ?", (key,)).fetchone()
            msgspec.json.decode(reply)
        return len(keys) / (time.perf_counter() - begun)


if __name__ == "__main__":
    main()
