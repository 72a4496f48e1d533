"""Responses to imitate under what was said of them, so that what is wanted can be asked for later."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, field_validator

from triptych.instantiation.scored import Scored, Unit
from triptych.instantiation.scores import criterion_scores
from triptych.instantiation.texts import for_each, with_text
from triptych.records import Objective
from triptych.templates import checked_template, render

if TYPE_CHECKING:
    import polars as pl

TEMPLATE = "The response is to have these attributes: {{ attributes }}"


class Conditioned(Scored):
    """Makes a row to imitate of each scored response, good or bad, and shows with the prompt what was said of it.

    So do SteerLM (arXiv:2310.05344) and HelpSteer2 (arXiv:2406.08673). The attributes are the criteria by name, each with
    the mean verdict on the response, on the scale on which its prompt's responses were judged: `quality:4,toxicity:0`.
    """

    has_margins: ClassVar[bool] = False

    kind: Literal["conditioned"] = "conditioned"
    template: str = TEMPLATE
    """A Jinja template for what is added to the prompt; may use attributes."""
    place: Literal["user", "system"] = "user"
    """Where it stands: at the end of the last message, if that is the user's, or of a system message at the beginning;
    where there is no such message, one is added."""
    scale: tuple[float, float] | None = None
    """What 0 and 1 stand for in the attributes; None takes the scale on which each criterion was judged."""
    decimals: int = Field(default=0, ge=0, le=6)
    """Decimals of an attribute."""
    min_score: Unit = 0.0
    """Least score of a row, in [0, 1], inclusive."""
    keep: int | None = Field(default=None, ge=1)
    """Most rows of a prompt, the best first; None keeps all."""

    @field_validator("template")
    @classmethod
    def _usable(cls, template: str) -> str:
        return checked_template(template, {"attributes": "quality:4"})

    @property
    def wants(self) -> tuple[Literal["prompts", "judges"], ...]:
        """The prompts, which the rows show with the attributes."""
        return ("prompts",)

    def instantiate(
        self,
        responses: pl.LazyFrame,
        judgements: pl.LazyFrame,
        objective: Objective,
        seed: int,
        prompts: pl.LazyFrame,
    ) -> pl.LazyFrame:
        """Make the rows, prompt by prompt, from best to worst."""
        import polars as pl

        ranked = self.ranked(responses, judgements, objective, seed).filter(pl.col("score") >= self.min_score)
        if self.keep is not None:
            ranked = ranked.filter(pl.int_range(pl.len()).over("prompt") < self.keep)
        asked = prompts.select(pl.col("id").alias("prompt_id"), "messages").unique("prompt_id", keep="first")
        rows = (
            ranked.join(self._attributes(responses, judgements, objective), on="response_id", maintain_order="left")
            .join(asked, on="prompt_id", maintain_order="left")
            .with_columns(pl.col("attributes").map_batches(lambda column: for_each(column, self._text)))
            .select(
                "prompt_id",
                "judgement_ids",
                response_ids=pl.concat_list("response_id"),
                scores=pl.concat_list("score"),
                input=with_text(pl.col("messages"), pl.col("attributes"), self.place),
            )
        )
        return self.as_examples(rows, kind="sft", strategy="conditioned", version=objective.version)

    def _text(self, attributes: str) -> str:
        return render(self.template, {"attributes": attributes})

    def _attributes(
        self, responses: pl.LazyFrame, judgements: pl.LazyFrame, objective: Objective
    ) -> pl.LazyFrame:
        """The line of attributes of each response: criteria as they are named here, else as the objective has them."""
        import polars as pl

        named = list(self.criteria or objective.criteria)
        order = pl.col("criterion").replace_strict(named, range(len(named)), default=len(named), return_dtype=pl.Int32)
        low, high = pl.col("low"), pl.col("high")
        value = (low + (high - low) * pl.col("score")).round(self.decimals)
        said = value.cast(pl.Int64 if self.decimals == 0 else pl.Float64).cast(pl.String)
        return (
            criterion_scores(self.what_counts(responses, judgements, objective), self.panel)
            .join(self._scales(judgements), on=["response_id", "criterion"], how="left")
            .with_columns(pl.col("low").fill_null(0.0), pl.col("high").fill_null(1.0))
            .sort("response_id", order, "criterion")
            .group_by("response_id", maintain_order=True)
            .agg((pl.col("criterion") + ":" + said).str.join(",").alias("attributes"))
        )

    def _scales(self, judgements: pl.LazyFrame) -> pl.LazyFrame:
        """The scale of each response's criterion: the one declared here, or that of its prompt's first judgement."""
        import polars as pl

        known = judgements.filter((pl.col("status") == "ok") & (pl.col("response_ids").list.len() > 0))
        own = pl.col("scale").drop_nulls().first().over("prompt_id", "criterion")
        scale = own if self.scale is None else pl.lit(list(self.scale), dtype=pl.List(pl.Float64))
        return (
            known.with_columns(scale.alias("scale"))
            .select(
                "response_ids",
                "criterion",
                *(pl.col("scale").list.get(place).alias(name) for place, name in enumerate(("low", "high"))),
            )
            .explode("response_ids")
            .rename({"response_ids": "response_id"})
            .unique(["response_id", "criterion"], keep="first", maintain_order=True)
        )
