"""What evaluators said that the form of the training rows does not keep (I11)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from triptych.audit.diagnostic import Share
from triptych.audit.mitigations import pairing
from triptych.audit.needs import Need

if TYPE_CHECKING:
    import polars as pl

    from triptych.audit.data import Data


def _any_list(data: Data) -> bool:
    return (
        bool((data.overall.group_by("prompt_id").len()["len"] > 2).any())
        and not data.examples.head(1).collect().is_empty()
    )


LISTS = Need(
    "three or more scored responses to a prompt, and training rows",
    "sample n of 3 or more, and score all of them",
    _any_list,
)


class RelationsKept(Share):
    """Relations between two responses to a prompt that training rows hold, over those that the scores hold: k (k - 1) / 2 of k
    responses of different scores. Counts prompts with three or more scored responses that have a training row.

    A pair holds one relation; a ranking or a group of k all that there are between them.
    """

    name = "relations_kept"
    failure_mode = "I11"
    needs = (LISTS,)
    good = (0.1, 1.0)
    change = "make rankings or groups, or pair the best with each of the others"
    mitigations = (pairing.best_against_each,)

    def rows(self, data: Data) -> pl.LazyFrame:
        """Each prompt: how many relations its rows hold, of how many."""
        import polars as pl

        size, tied = pl.col("len").sum(), pl.col("len")
        of_equals = (tied * (tied - 1) / 2).sum()
        there = (
            data.overall.lazy()
            .with_columns(pl.col("score").round(9))
            .group_by("prompt_id", "score")
            .len()
            .group_by("prompt_id")
            .agg(whole=size * (size - 1) / 2 - of_equals, size=size)
            .filter((pl.col("size") > 2) & (pl.col("whole") > 0))
        )
        kept = _relations(data).group_by("prompt_id").agg(pl.len().alias("part"))
        return there.join(kept, on="prompt_id", how="inner").with_columns(
            part=pl.min_horizontal(pl.col("part").cast(pl.Float64), "whole"), id="prompt_id", shows=pl.lit(True)
        )

    def say(self) -> tuple[str, str]:  # type: ignore[override]
        """About all training rows."""
        return "", "Of the relations that the scores of a prompt's responses hold, the training rows keep"


class ResponsesUsed(Share):
    """Share of scored responses that are in some training row, of prompts that have one. The others were paid for, and teach
    nothing."""

    name = "responses_used"
    failure_mode = "I11"
    needs = (LISTS,)
    good = (0.2, 1.0)
    change = "sample fewer responses a prompt, or make rankings, groups or more pairs of them"
    mitigations = (pairing.best_against_each,)

    def rows(self, data: Data) -> pl.LazyFrame:
        """Each scored response, and whether a row has it."""
        import polars as pl

        rows = data.examples.select("prompt_id", "response_ids")
        used = rows.select(response_id="response_ids").explode("response_id").unique().with_columns(part=pl.lit(1))
        return (
            data.overall.lazy()
            .join(rows.select("prompt_id").unique(), on="prompt_id", how="semi")
            .join(used, on="response_id", how="left")
            .with_columns(pl.col("part").fill_null(0), whole=1, id="response_id", shows=pl.col("part").is_null())
        )

    def say(self) -> tuple[str, str]:  # type: ignore[override]
        """About all training rows."""
        return "", "Of scored responses to prompts that have a training row, one has"



def _relations(data: Data) -> pl.LazyFrame:
    """Two responses that a training row holds against one another, each once. Columns: prompt_id, a, b."""
    import polars as pl

    ids = data.examples.select("prompt_id", "response_ids").filter(pl.col("response_ids").list.len() > 1)
    place = pl.int_ranges(pl.col("response_ids").list.len()).alias("place")
    each = ids.with_row_index("row").with_columns(place).explode("response_ids", "place")
    return (
        each.join(each.select("row", "place", other="response_ids"), on="row")
        .filter(pl.col("place") < pl.col("place_right"))
        .select(
            "prompt_id",
            a=pl.min_horizontal("response_ids", "other"),
            b=pl.max_horizontal("response_ids", "other"),
        )
        .filter(pl.col("a") != pl.col("b"))
        .unique()
    )
