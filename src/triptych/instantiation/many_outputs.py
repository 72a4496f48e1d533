"""Rows that teach how varied good outputs are: each is to be said with others of the same prompt in view."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, model_validator

from triptych.instantiation.scored import Scored, Unit, with_draw
from triptych.records import Objective
from triptych.store.tables import a_message, schema

if TYPE_CHECKING:
    import polars as pl


class ManyOutputs(Scored):
    """Puts the valid outputs to a prompt in drawn order, and makes a row of each, with those before it as earlier turns.

    Spectrum Tuning (arXiv:2510.06084) trains on one text of a description and many outputs, with the loss on the outputs
    alone. A causal model's loss on such a text is the sum of its losses on these rows. For a share `drop` of the prompts
    the description is left out, so that the model has to tell from the outputs what is wanted; then the first of them,
    which nothing tells, is not trained on. Outputs that say the same are all kept, since how often one comes is a part
    of what is to be learnt.
    """

    has_margins: ClassVar[bool] = False

    kind: Literal["many_outputs"] = "many_outputs"
    min_score: Unit = 0.5
    """Least score of a valid output, in [0, 1], inclusive."""
    least: int = Field(default=2, ge=2)
    """Fewest valid outputs of a prompt that makes rows."""
    most: int = Field(default=16, ge=2)
    """Most valid outputs of a prompt that make rows: those drawn first. A row shows all before it."""
    drop: Unit = 0.2
    """The share of the prompts, by a draw, whose description is left out."""
    ask: str = Field(default="One more.", min_length=1)
    """What the user says between outputs, and in place of a description that is left out."""

    @model_validator(mode="after")
    def _fits(self) -> ManyOutputs:
        if self.most < self.least:
            raise ValueError(f"most {self.most} is below least {self.least}: no prompt fits")
        return self

    @property
    def wants(self) -> tuple[Literal["prompts", "judges"], ...]:
        """The prompts, which are the descriptions."""
        return ("prompts",)

    def instantiate(
        self,
        responses: pl.LazyFrame,
        judgements: pl.LazyFrame,
        objective: Objective,
        seed: int,
        prompts: pl.LazyFrame,
    ) -> pl.LazyFrame:
        """Make the rows, prompt by prompt, in drawn order."""
        import polars as pl

        outputs = self._outputs(responses, judgements, objective, seed)
        place, nothing = pl.col("place"), pl.lit([], dtype=schema("prompts")["messages"])
        rows = (
            outputs.join(_before(outputs, self.ask), on=["prompt", "place"], how="left", maintain_order="left")
            .join(self._described(prompts, seed), on="prompt_id", maintain_order="left")
            .filter((place > 0) | ~pl.col("dropped"))
            .select(
                "prompt_id",
                pl.concat_list("judgement_ids", pl.col("earlier_ids").fill_null([])).list.unique(maintain_order=True),
                response_ids=pl.concat_list("response_id"),
                scores=pl.concat_list("score"),
                input=pl.concat_list("description", pl.col("turns").fill_null(nothing)),
            )
        )
        return self.as_examples(rows, kind="sft", strategy="many_outputs", version=objective.version)

    def _outputs(
        self, responses: pl.LazyFrame, judgements: pl.LazyFrame, objective: Objective, seed: int
    ) -> pl.LazyFrame:
        """The outputs that make rows, in order; `place` counts those of a prompt."""
        import polars as pl

        said = responses.select("messages").with_row_index("row")
        return (
            self.ranked(responses, judgements, objective, seed)
            .filter(pl.col("score") >= self.min_score)
            .sort("prompt", "drawn", "response_id")
            .with_columns(place=pl.int_range(pl.len()).over("prompt"), valid=pl.len().over("prompt"))
            .filter((pl.col("valid") >= self.least) & (pl.col("place") < self.most))
            .join(said, on="row", maintain_order="left")
            .collect()
            .lazy()
        )

    def _described(self, prompts: pl.LazyFrame, seed: int) -> pl.LazyFrame:
        """Each prompt's `description`, and whether it is `dropped`."""
        import polars as pl

        lots = with_draw(prompts.select("messages", pl.col("id").alias("response_id")), seed)
        dropped = pl.col("drawn") < int(self.drop * 2**32)
        return lots.select(
            pl.col("response_id").alias("prompt_id"),
            dropped.alias("dropped"),
            pl.when(dropped).then(a_message("user", pl.lit(self.ask))).otherwise("messages").alias("description"),
        ).unique("prompt_id", keep="first")


def _before(outputs: pl.LazyFrame, ask: str) -> pl.LazyFrame:
    """The outputs before each one, as `turns`, and the judgements that they rest on, as `earlier_ids`."""
    import polars as pl

    turn = pl.concat_list("messages", a_message("user", pl.lit(ask)))
    earlier = outputs.select(
        "prompt", pl.col("place").alias("at"), turn.alias("turns"), pl.col("judgement_ids").alias("earlier_ids")
    )
    return (
        outputs.select("prompt", "place")
        .join(earlier, on="prompt")
        .filter(pl.col("at") < pl.col("place"))
        .sort("prompt", "place", "at")
        .group_by("prompt", "place", maintain_order=True)
        .agg(pl.col("turns", "earlier_ids").list.explode())
    )
