"""Rows of prompts that are noise, copies of others, or tests (S8, S9, I12)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from triptych.audit.prompts import near_copies, seen_tests
from triptych.audit.repairs.repair import Repair, dropped
from triptych.audit.synthesis.prompts import NoisyPrompts

if TYPE_CHECKING:
    import polars as pl

    from triptych.audit.data import Data


def _of(data: Data, prompts: pl.LazyFrame, why: str) -> pl.DataFrame:
    """Drop the rows of some prompts (column prompt_id)."""
    return dropped(data.examples.select("id", "prompt_id").join(prompts, on="prompt_id", how="semi"), why)


class DropCopiedPrompts(Repair):
    """Rows go whose prompt is a near copy of an earlier one that has rows too (see `near_duplicate_prompts`)."""

    name = "drop_copied_prompts"
    mitigates = ("S9",)

    def changes(self, data: Data, seed: int) -> pl.DataFrame:
        """Drop all but the first prompt's."""
        used = data.prompts.join(
            data.examples.select(id="prompt_id").unique(), on="id", how="semi", maintain_order="left"
        )
        return _of(data, near_copies(used).lazy().drop_nulls("copy_of"), "its prompt is a near copy of an earlier one")


class DropNoisyPrompts(Repair):
    """Rows go whose prompt shows all signs of noise (see `noisy_prompts`)."""

    name = "drop_noisy_prompts"
    mitigates = ("S8",)

    def changes(self, data: Data, seed: int) -> pl.DataFrame:
        """Drop what can't be answered well."""
        return _of(data, NoisyPrompts().rows(data).filter("shows"), "its prompt shows all signs of noise")


class DropTestPrompts(Repair):
    """Rows go whose prompt holds a text of the test sets that the audit was given (see `tests_seen`)."""

    name = "drop_test_prompts"
    mitigates = ("S9",)

    def changes(self, data: Data, seed: int) -> pl.DataFrame:
        """Drop every prompt that holds a test, not only the one that holds the most of it."""
        import polars as pl

        held: list[str] = []
        for tests in data.test_sets.values():
            left = data.prompts
            while found := seen_tests(left, tests)["prompt_id"].drop_nulls().unique().to_list():
                held += found
                left = left.filter(~pl.col("id").is_in(held))
        return _of(data, pl.LazyFrame({"prompt_id": held}, schema={"prompt_id": pl.String}), "its prompt holds a test")
