"""What the benchmarks share: the loopback endpoint of the tests, and the recipe that is timed."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

import triptych as tp
from endpoint import endpoint

__all__ = ["endpoint", "prompt_texts", "timed_recipe", "write_prompts"]


def prompt_texts(count: int) -> list[str]:
    """Plain prompts, all different."""
    return [f"Write a short note about topic number {i} in a friendly tone." for i in range(count)]


def timed_recipe(base_url: str, prompts: Path, concurrency: int = 128, criterion: str = "It helps.") -> tp.Recipe:
    """Four responses to each prompt, and one call of a judge that compares two of them."""
    model = {"backend": "openai", "model": "m", "base_url": base_url, "concurrency": concurrency}
    judge = {"kind": "pairwise", "model": "m", "criteria": ["helpful"], "max_pairs": 1, "both_orders": False}
    content = {
        "name": "benchmark",
        "models": {"m": model | {"price": {"input": 1, "output": 2}}},
        "prompts": {"kind": "file", "path": str(prompts)},
        "synthesis": [{"kind": "sample", "model": "m", "n": 4, "max_tokens": 200}],
        "objective": {"criteria": {"helpful": {"text": criterion}}},
        "evaluation": [judge],
        "instantiation": {"kind": "pairs"},
    }
    return tp.Recipe.model_validate(content)


def write_prompts(file: Path, count: int) -> Path:
    """Put the prompts into a JSONL file, as a user has them."""
    file.write_text("".join(f'{{"prompt": "{text}"}}\n' for text in prompt_texts(count)))
    return file
