"""Weights by age: what people preferred long ago counts for less."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field

from triptych.errors import TriptychError

if TYPE_CHECKING:
    import polars as pl

_MICROSECONDS_A_DAY = 86_400_000_000


class Decay(BaseModel):
    """Multiplies an example's weight with gamma ** (T - t), as NS-DPO does (arXiv:2407.18676).

    t is when the preference was stated, T is `now`. (The paper counts T one step later, and takes one off the exponent.)
    An example whose time is not known stops the making of all of them: the run says how many there are.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    gamma: float = Field(default=0.95, gt=0, le=1)
    """What a unit of time leaves of a weight."""
    of: Literal["tag", "round", "created_at"] = "tag"
    """Where t comes from: a tag of the prompt such as `t:3`; the round that the version `round-3` of a response's model
    names (1 where it names none); or the day on which a response was made. Of several responses the latest counts."""
    tag: str = Field(default="t", pattern=r"^[A-Za-z0-9_.]+$")
    """The tag's name, before the colon."""
    days: float = Field(default=1.0, gt=0)
    """With `created_at`: the unit of time, in days."""
    now: float | None = None
    """T, in the same units (with `created_at` since 1970); None takes the latest t of all examples."""

    def weighed(self, rows: pl.LazyFrame, responses: pl.LazyFrame, prompts: pl.LazyFrame | None) -> pl.LazyFrame:
        """Multiply `weight`. Rows have prompt_id and response_ids. Raises `TriptychError` where a time is not known."""
        import polars as pl

        made = rows.with_row_index("example").collect()
        times = self._of_prompts(made, prompts) if self.of == "tag" else self._of_responses(made, responses)
        timed = made.join(times, on="example", how="left", maintain_order="left")
        if lost := timed["time"].null_count():
            raise TriptychError(f"{lost:,} of {made.height:,} examples can't be weighed by age: {self._lack()}")
        now = pl.col("time").max() if self.now is None else pl.lit(self.now)
        weight = (pl.col("weight") * self.gamma ** (now - pl.col("time"))).round(12)
        return timed.lazy().with_columns(weight=weight).drop("example", "time")

    def _of_prompts(self, made: pl.DataFrame, prompts: pl.LazyFrame | None) -> pl.DataFrame:
        import polars as pl

        if prompts is None:
            raise TriptychError("a decay by tag needs the table of prompts")
        number = pl.element().str.extract(rf"^{self.tag.replace('.', '[.]')}:(-?[0-9]+(?:[.][0-9]+)?)$")
        time = pl.col("tags").list.eval(number).list.drop_nulls().list.first().cast(pl.Float64)
        known = prompts.select(pl.col("id").alias("prompt_id"), time.alias("time")).unique("prompt_id", keep="first")
        return made.lazy().select("example", "prompt_id").join(known, on="prompt_id").drop("prompt_id").collect()

    def _of_responses(self, made: pl.DataFrame, responses: pl.LazyFrame) -> pl.DataFrame:
        import polars as pl

        if self.of == "round":
            time = pl.col("model_version").str.extract(r"^round-([0-9]+)$").cast(pl.Float64).fill_null(1.0)
        else:
            time = pl.col("created_at").dt.epoch("us") / (_MICROSECONDS_A_DAY * self.days)
        known = responses.select(pl.col("id").alias("response_ids"), time.alias("time")).unique("response_ids")
        return (
            made.lazy()
            .select("example", "response_ids")
            .explode("response_ids")
            .join(known, on="response_ids")
            .group_by("example")
            .agg(pl.col("time").max())
            .collect()
        )

    def _lack(self) -> str:
        if self.of == "tag":
            return f"their prompts have no tag such as {self.tag}:3"
        return "when their responses were made is not recorded, as of responses that came with the prompts"
