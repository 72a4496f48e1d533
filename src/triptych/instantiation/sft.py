"""Responses to imitate: supervised rows of the best ones, or of all with what they score."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from triptych.instantiation.scored import Unit
from triptych.instantiation.weighed import Weighed
from triptych.records import Objective

if TYPE_CHECKING:
    import polars as pl


class Sft(Weighed):
    """Keeps the best scored responses to each prompt as rows to imitate: best-of-n, or rejection sampling.

    So do RAFT (arXiv:2304.06767), with `keep: 1`, and ReST (arXiv:2308.08998), with `keep: null` and a
    `min_score` that rises from one instantiation to the next.
    """

    has_margins: ClassVar[bool] = False

    kind: Literal["sft"] = "sft"
    keep: int | None = Field(default=1, ge=1)
    """Most rows of a prompt, the best first; None keeps all."""
    min_score: Unit = 0.0
    """Least score of a row, in [0, 1], inclusive."""
    distinct: bool = True
    """Never keep two responses to a prompt that say the same."""
    weight: Literal["one", "score"] = "one"
    """The row's weight: 1, or its score."""

    def instantiate(
        self,
        responses: pl.LazyFrame,
        judgements: pl.LazyFrame,
        objective: Objective,
        seed: int,
        prompts: pl.LazyFrame | None = None,
    ) -> pl.LazyFrame:
        """Make the rows, prompt by prompt, from best to worst."""
        import polars as pl

        says = pl.struct("messages").struct.json_encode().alias("says")
        kept = (
            self.ranked(responses, judgements, objective, seed)
            .filter(pl.col("score") >= self.min_score)
            .join(responses.select(says).with_row_index("row"), on="row", how="left", maintain_order="left")
        )
        if self.distinct:
            kept = kept.unique(["prompt", "says"], keep="first", maintain_order=True)
        if self.keep is not None:
            kept = kept.filter(pl.int_range(pl.len()).over("prompt") < self.keep)
        rows = kept.select(
            "prompt_id",
            "judgement_ids",
            response_ids=pl.concat_list("response_id"),
            scores=pl.concat_list("score"),
            weight=pl.col("score") if self.weight == "score" else pl.lit(1.0),
        )
        rows = self.weighed(rows, responses, judgements, objective, prompts)
        return self.as_examples(rows, kind="sft", strategy="best", version=objective.version)
