"""Recipes over the loopback endpoint, and their tables in a form that can be compared."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import aiohttp.web
import polars as pl

import triptych as tp

WHEN = "created_at"
"""The one column that tells when a call was really made; all else must be the same in every run."""


def recipe(base_url: str, prompts: int = 20, n: int = 3, **changes: Any) -> tp.Recipe:
    """Sampling, a rubric with two criteria, a verifier, pairs; all calls go to `base_url`."""
    model = {"backend": "openai", "model": "m", "base_url": base_url, "concurrency": 32} | changes.pop("model", {})
    criteria = {"helpful": {"text": "It helps.", "weight": 2}, "honest": {"text": "It is honest."}}
    content = {
        "name": "test",
        "seed": 3,
        "models": {"m": model},
        "prompts": {"kind": "inline", "prompts": [f"Write a note about number {i}." for i in range(prompts)]},
        "synthesis": [{"kind": "sample", "model": "m", "n": n, "max_tokens": 80}],
        "objective": {"criteria": criteria},
        "evaluation": [
            {"kind": "rubric", "model": "m", "criteria": ["helpful", "honest"]},
            {"kind": "verify", "constraints": [{"kind": "words", "max": 40}]},
        ],
        "instantiation": {"kind": "pairs", "choose": "best_vs_worst"},
    }
    return tp.Recipe.model_validate(content | changes)


def tables(folder: str | Path) -> dict[str, pl.DataFrame]:
    """All tables of a run, without the time at which calls were made."""
    run = tp.open_run(folder)
    return {
        name: run.table(name).collect().drop(WHEN, strict=False)
        for name in ("prompts", "responses", "judgements", "examples")
    }


def assert_same_tables(one: dict[str, pl.DataFrame], other: dict[str, pl.DataFrame]) -> None:
    """Equal rows in equal order."""
    from polars.testing import assert_frame_equal

    for name, table in one.items():
        assert table.height > 0, f"nothing to compare in {name}"
        assert_frame_equal(table, other[name])


async def run_against(chat, tmp_path, *, runs=("run",), calls=None, budget=None, prompts=None, more=None, **model):
    """Run a small recipe whose model is answered by `chat`, while the loop of this test goes on; or several at once."""
    app = aiohttp.web.Application()
    app.router.add_post("/v1/chat/completions", chat)
    runner = aiohttp.web.AppRunner(app, shutdown_timeout=0.5)
    await runner.setup()
    site = aiohttp.web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = site._server.sockets[0].getsockname()[1]
    operators = {
        "synthesis": [tp.Sample(model="m", n=1)],
        "evaluation": [tp.Verify(constraints=[{"kind": "words", "max": 5}])],
    }
    recipe = tp.Recipe(
        name="hostile",
        models={"m": tp.OpenAIModel(model="m", base_url=f"http://127.0.0.1:{port}/v1", **model)},
        prompts=tp.InlinePrompts(prompts=prompts or [f"number {i}" for i in range(6)]),
        budget=budget or tp.Budget(),
        instantiation=[tp.Sft()],
        **operators | (more or {}),
    )
    try:
        done = [asyncio.to_thread(tp.run, recipe, tmp_path / name, calls=calls) for name in runs]
        return (await asyncio.gather(*done))[-1]
    finally:
        await runner.cleanup()
