"""Prompts of another run: all of them, or those whose responses were judged there as wanted."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from triptych.bounds import Bounds, Share
from triptych.errors import PromptError, RunFolderError
from triptych.operators import BadRow, Operator, PromptRow
from triptych.records import Objective, Prompt
from triptych.store.run import Run, open_run
from triptych.store.tables import records

if TYPE_CHECKING:
    import polars as pl

Statistic = Literal["gap", "advantage", "best", "worst", "mean", "pass_rate", "worst_length"]
_ROWS_AT_ONCE = 2048
_DECIMALS = 10
"""Two less than scores have: their differences are off by as much as scores are, and equal gaps must be equal."""

Names = Annotated[tuple[str, ...], Field(min_length=1)]


class PromptBand(Bounds):
    """Keeps the prompts whose responses lie within bounds in some respect; those without a score are dropped."""

    of_what: ClassVar[str] = "prompt"

    of: Statistic
    """What is held to the bounds: a statistic of the prompt's responses, as `by` takes."""


class RunPrompts(Operator):
    """Takes over the prompts of another run, in their order: all, or those whose responses there fit.

    What is looked at are the objective's scores of the responses, in [0, 1], by the objective of that run. So R.I.P.
    (arXiv:2501.18578) keeps prompts whose worst response is good, long, and near to the best; DAPO (arXiv:2503.14476)
    those that are solved at times and not always; eva (arXiv:2411.00062) those with the largest gaps.
    """

    kind: Literal["run"] = "run"
    path: str
    """A run's folder, or a loop's, of which the last round is taken; relative to the recipe's folder."""
    keep: tuple[PromptBand, ...] = ()
    """Bounds on statistics of a prompt's responses, each a `PromptBand`. Quantiles are over all prompts with a score."""
    by: Statistic | None = None
    """The statistic by which prompts are chosen among those that `keep` leaves: `gap` is the best score less the worst,
    `advantage` the best less the mean; `best`, `worst` and `mean` are scores; `pass_rate` is the share of responses
    that score `passing` or more; `worst_length` the length of the worst response, in characters."""
    share: float = Field(default=1.0, gt=0, le=1)
    """The share of these that is chosen, rounded up."""
    drawn: bool = False
    """Whether they are drawn, with chances in proportion to the statistic, rather than the greatest taken."""
    seed: int = Field(default=0, ge=0, lt=2**63)
    """What draws follow from."""
    passing: Share = 0.5
    """The score from which on a response has passed."""
    criteria: Names | None = None
    """The criteria that count; None takes all that were judged."""
    evaluators: Names | None = None
    """The evaluators that count, by name; None takes all."""

    @model_validator(mode="after")
    def _chosen_by_something(self) -> RunPrompts:
        if self.by is None and (self.share < 1 or self.drawn):
            raise ValueError("share and drawn need by: the statistic that prompts are chosen by")
        return self

    def rows(self, folder: Path) -> Iterator[PromptRow | BadRow]:
        """Read the prompts in their order. A row's number is the prompt's number in that run, from 1."""
        run, places = self._chosen(folder)
        for start in range(0, len(places), _ROWS_AT_ONCE):
            here = places[start : start + _ROWS_AT_ONCE]
            first = int(here[0])
            table = run.prompts().slice(first, int(here[-1]) - first + 1).collect()[(here - first).to_list()]
            for place, prompt in zip(here, records("prompts", table.iter_rows(named=True)), strict=True):
                assert isinstance(prompt, Prompt)
                yield PromptRow(int(place) + 1, prompt)

    def count(self, folder: Path) -> int:
        """Say how many there are."""
        return len(self._chosen(folder)[1])

    def _chosen(self, folder: Path) -> tuple[Run, pl.Series]:
        """The run, and where the chosen prompts stand in its table, from 0."""
        import polars as pl

        try:
            run = open_run(folder / Path(self.path).expanduser())
            prompts = run.prompts().select("id").with_row_index("place")
            if self.by is None and not self.keep:
                return run, prompts.collect()["place"]
            known = self._statistics(run)
        except RunFolderError as error:
            raise PromptError(str(error)) from error
        found = prompts.join(known, left_on="id", right_on="prompt_id", maintain_order="left")
        found = found.filter(*(band.within(pl.col(band.of)) for band in self.keep))
        if self.by is not None:
            found = self._best(found)
        return run, found.sort("place").collect()["place"]

    def _best(self, found: pl.LazyFrame) -> pl.LazyFrame:
        """The share of the prompts with the greatest statistic, or so many drawn in proportion to it.

        Drawn without replacement: the greatest u^(1/w), where u is uniform and w is what a chance is proportional to
        (P. Efraimidis and P. Spirakis, 2006).
        """
        import polars as pl

        from triptych.instantiation.scored import with_draw

        value = pl.col(self.by or "")
        found = with_draw(found.filter(value.is_not_null()).rename({"id": "response_id"}), self.seed)
        chance = (pl.col("drawn") + 0.5) / 2**32
        order = pl.when(value > 0).then(chance.log() / value).otherwise(-math.inf) if self.drawn else value
        some = (pl.len() * self.share - 1e-9).ceil().cast(pl.Int64)
        ranked = found.with_columns(order=order).sort("order", "drawn", "place", descending=[True, False, False])
        return ranked.filter(pl.int_range(pl.len()) < some)

    def _statistics(self, run: Run) -> pl.LazyFrame:
        """What is known of each prompt that has a score. Columns: prompt_id, and one for each `Statistic`."""
        import polars as pl

        from triptych.instantiation.scores import objective_scores

        responses, score = run.responses(), pl.col("score")
        scores = objective_scores(responses, run.judgements(), _objective(run), self.criteria, self.evaluators)
        characters = pl.col("messages").list.eval(pl.element().struct.field("content").str.len_chars()).list.sum()
        lengths = responses.select(pl.col("id").alias("response_id"), characters.alias("length")).unique("response_id")
        statistics = {
            "gap": score.max() - score.min(),
            "advantage": score.max() - score.mean(),
            "best": score.max(),
            "worst": score.min(),
            "mean": score.mean(),
            "pass_rate": (score >= self.passing).mean(),
            "worst_length": pl.col("length").sort_by("score", "row").first().cast(pl.Float64),
        }
        return (
            scores.filter(score.is_not_null())
            .join(lengths, on="response_id", how="left")
            .group_by("prompt_id")
            .agg(statistic.round(_DECIMALS).alias(name) for name, statistic in statistics.items())
        )


def _objective(run: Run) -> Objective:
    """The objective that a run's recipe declares."""
    try:
        return run.objective()
    except RunFolderError as error:
        raise PromptError(str(error)) from error
