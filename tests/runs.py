"""Recipes over the loopback endpoint, and their tables in a form that can be compared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

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
