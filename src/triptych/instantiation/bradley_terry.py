"""Scores by a Bradley-Terry model of the choices between the responses to a prompt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from triptych.errors import MissingExtra
from triptych.instantiation.judge_effects import Effects, fitted

if TYPE_CHECKING:
    import polars as pl

_DECIMALS = 10
"""Two less than scores have, since these come of sums and solutions that are off by as much."""
_CELLS_AT_ONCE = 2**20
_LONGEST_STEP = 0.5
_SMALLEST_STEP = 1e-9
_MOST_STEPS = 200


class BradleyTerry(BaseModel):
    """Scores responses by whom they were found better than, and not by how often alone.

    A response of strength a is found better than one of strength b with the chance a / (a + b) (R. A. Bradley and M. E.
    Terry, 1952). The strengths that make what was chosen among the responses to a prompt likeliest are found for each
    criterion and evaluator, and the score is the mean chance against each other response that was compared. Where every
    two were compared equally often, this puts responses in the order of the share that they won; where they were not, it
    makes up for strong and weak opponents.

    A tie is half a win for each. A ranking of k responses is the choices between every two of them, each counted
    2 / k times, so that it weighs as much as the k - 1 choices by which the model of Plackett and Luce makes a ranking; by
    that model, each of them is a choice by the same strengths. What evaluators scored instead of ranking stays as it is.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    prior: float = Field(default=1.0, ge=0.01)
    """What is taken for granted: as if each response had been compared so many times with the others, with each of them
    equally often, and all had ended in ties. So one that won everything has a finite strength, and responses that no
    chain of comparisons connects stand around the same mean."""
    pooled: bool = False
    """Whether the choices of all evaluators are taken together, as where each of many people made few; otherwise each
    evaluator has strengths of its own, and they are joined as other scores are."""
    judge_effects: bool = False
    """Whether each evaluator has a reliability and a leaning to the response that it was shown first, which are found with
    the strengths over all prompts at once: choices of all evaluators are taken together, those of one who goes by other
    things count for less, and what the place explains is taken out."""

    @property
    def across_prompts(self) -> bool:
        """Whether it needs the choices on all prompts at once."""
        return self.judge_effects

    def scored(self, said: pl.LazyFrame, judgements: pl.LazyFrame) -> pl.LazyFrame:
        """Put the chance of a response in the place of each verdict that comes of a rank.

        `said` has the columns of `verdicts`, and row and prompt; a response that was compared with none that is shown
        loses those verdicts. Raises `MissingExtra` without NumPy.
        """
        import polars as pl

        together = self.pooled or self.judge_effects
        by = ["prompt", "criterion", *([] if together else ["evaluator_id"])]
        compared = _compared(said, judgements)
        if self.judge_effects:
            chances = _against_others(self._effects(compared, judgements).strengths)
        else:
            chances = self._chances(_wins(compared, by), by)
        columns = said.collect_schema().names()
        anew = compared.lazy().drop("verdict").join(chances.lazy(), on=[*by, "row"]).select(columns)
        return pl.concat([said.join(_rankings(judgements), on="judgement_id", how="anti"), anew])

    def judges(self, said: pl.LazyFrame, judgements: pl.LazyFrame) -> pl.DataFrame:
        """How far each evaluator goes by the strengths, and by the place: with `judge_effects` or without.

        Takes what `scored` does. Columns: criterion, evaluator_id, choices (how many it made; a ranking of k counts as k -
        1), reliability (at least 0; 1 is the mean of what counts), first (the log-odds with which it takes the first of
        two that are alike).
        """
        return self._effects(_compared(said, judgements), judgements).judges

    def strengths(self, said: pl.LazyFrame, judgements: pl.LazyFrame) -> pl.DataFrame:
        """The strengths of responses beside these effects: columns criterion, prompt, row, strength (in log-odds)."""
        return self._effects(_compared(said, judgements), judgements).strengths.drop("group")

    def _effects(self, compared: pl.DataFrame, judgements: pl.LazyFrame) -> Effects:
        _numpy()
        return fitted(_in_order(compared, judgements), self.prior)

    def _chances(self, wins: pl.DataFrame, by: list[str]) -> pl.DataFrame:
        """The mean chance of each response against the others: columns by, row, verdict."""
        import polars as pl

        # Responses stand in the order of their ids, so that the order of the tables makes no difference to any sum.
        members = (
            wins.select(*by, "row", "response_id")
            .unique([*by, "row"])
            .sort(*by, "response_id")
            .with_columns(place=pl.int_range(pl.len()).over(by), size=pl.len().over(by))
        )
        opponents = members.select(*by, "place", row_b="row")
        placed = wins.join(members.drop("response_id"), on=[*by, "row"]).join(opponents, on=[*by, "row_b"], suffix="_b")
        parts = [members.clear().select(*by, "row", verdict=pl.lit(None, dtype=pl.Float64))]
        for (size,), part in members.group_by("size", maintain_order=True):
            groups = part.select(by).unique(maintain_order=True).with_row_index("group")
            won = placed.filter(pl.col("size") == size).join(groups, on=by).select("group", "place", "place_b", "won")
            found = _mean_chances(won, groups.height, int(str(size)), self.prior)
            parts.append(part.select(*by, "row", verdict=pl.Series(found).round(_DECIMALS)))
        return pl.concat(parts)


def _rankings(judgements: pl.LazyFrame) -> pl.LazyFrame:
    """The judgements whose ranks count: those without scores on a scale (see `verdicts`). Column: judgement_id."""
    import polars as pl

    k = pl.col("response_ids").list.len()
    low, high = (pl.col("scale").list.get(place, null_on_oob=True) for place in (0, 1))
    has_scores = ((pl.col("scores").list.len() == k) & (low < high)).fill_null(False)
    has_ranks = ((pl.col("ranks").list.len() == k) & (k > 1)).fill_null(False)
    return judgements.filter(has_ranks & ~has_scores).select(judgement_id="id").unique()


def _compared(said: pl.LazyFrame, judgements: pl.LazyFrame) -> pl.DataFrame:
    """What is said by rank."""
    return said.join(_rankings(judgements), on="judgement_id", how="semi").collect()


def _wins(compared: pl.DataFrame, by: list[str]) -> pl.DataFrame:
    """How often each response won against each other one: columns by, row, response_id, row_b, won."""
    import polars as pl

    return (
        _two_by_two(compared.lazy())
        .group_by(*by, "row", "row_b")
        .agg(pl.first("response_id"), (_won() * pl.col("weight")).sum().alias("won"))
        .collect()
    )


def _two_by_two(compared: pl.LazyFrame) -> pl.LazyFrame:
    """The choices between every two that a judgement shows, each from both sides: the other's columns end in _b."""
    import polars as pl

    told = compared.with_columns(weight=2 * pl.col("counts") / pl.len().over("judgement"))
    others = [name for name in ("row", "response_id", "verdict", "shown") if name in told.collect_schema().names()]
    both = told.join(told.select("judgement", *others), on="judgement", suffix="_b")
    return both.filter(pl.col("row") != pl.col("row_b"))


def _won() -> pl.Expr:
    import polars as pl

    return (1 + (pl.col("verdict") - pl.col("verdict_b")).sign()) / 2


def _in_order(compared: pl.DataFrame, judgements: pl.LazyFrame) -> pl.DataFrame:
    """How often each evaluator found the one that it was shown before another the better one (see `fitted`)."""
    import polars as pl

    shown = (
        judgements.select(judgement_id="id", response_id="response_ids")
        .filter(pl.col("response_id").list.len() > 1)
        .unique("judgement_id")
        .with_columns(shown=pl.int_ranges(pl.col("response_id").list.len()))
        .explode("response_id", "shown")
    )
    key = ["criterion", "evaluator_id", "prompt", "row", "row_b"]
    return (
        _two_by_two(compared.lazy().join(shown, on=["judgement_id", "response_id"], how="inner"))
        .filter(pl.col("shown") < pl.col("shown_b"))
        .group_by(key)
        .agg(
            pl.first("response_id", "response_id_b"),
            pl.sum("weight").alias("games"),
            (_won() * pl.col("weight")).sum().alias("won"),
        )
        .collect()
    )


def _against_others(strengths: pl.DataFrame) -> pl.DataFrame:
    """The mean chance of each response against the others: columns criterion, prompt, row, verdict."""
    import polars as pl

    others = strengths.select("group", "row", "strength")
    chance = 1 / (1 + (pl.col("strength_b") - pl.col("strength")).exp())
    return (
        strengths.join(others, on="group", suffix="_b", maintain_order="left_right")
        .filter(pl.col("row") != pl.col("row_b"))
        .group_by("criterion", "prompt", "row", maintain_order=True)
        .agg(chance.mean().round(_DECIMALS).alias("verdict"))
    )


def _numpy() -> Any:
    try:
        import numpy as np
    except ImportError as error:
        raise MissingExtra("bradley_terry needs NumPy: pip install 'triptych[panels]'") from error
    return np


def _mean_chances(won: pl.DataFrame, groups: int, size: int, prior: float) -> Any:
    """The mean chance of each of `size` responses in so many groups against the others, group by group."""
    np = _numpy()
    won = won.sort("group")
    group, one, other, times = (won[name].to_numpy() for name in ("group", "place", "place_b", "won"))
    found = np.empty((groups, size))
    step = max(_CELLS_AT_ONCE // size**2, 1)
    for start in range(0, groups, step):
        stop = min(start + step, groups)
        here = slice(*np.searchsorted(group, (start, stop)))
        wins = np.full((stop - start, size, size), prior / (2 * (size - 1)))
        wins[:, range(size), range(size)] = 0.0
        wins[group[here] - start, one[here], other[here]] += times[here]
        found[start:stop] = (_chance(_log_strengths(wins)).sum(axis=2) - 0.5) / (size - 1)
    return found.ravel()


def _chance(strengths: Any) -> Any:
    """The chance of each over each other, from log-strengths (groups x responses)."""
    import numpy as np

    return 1 / (1 + np.exp(strengths[:, None, :] - strengths[:, :, None]))


def _log_strengths(wins: Any) -> Any:
    """The log-strengths, 0 in the mean, that make wins likeliest (groups x winners x losers): by Newton's method.

    Steps are held so short that the curvature can't change by more than e on the way, so each is a gain (F. Bach, 2010,
    on self-concordance of the logistic loss). A group that has arrived is left alone: what it comes to depends on its
    own wins and on nothing else.
    """
    import numpy as np

    size = wins.shape[1]
    strengths, moving = np.zeros(wins.shape[:2]), np.arange(len(wins))
    for _ in range(_MOST_STEPS):
        won = wins[moving]
        chance, games = _chance(strengths[moving]), won + won.transpose(0, 2, 1)
        gradient = (won - games * chance).sum(axis=2)
        curvature = games * chance * (1 - chance)
        total = curvature.sum(axis=2)
        # All strengths may move together; a multiple of the matrix of ones keeps their mean where it is.
        hessian = total.mean(axis=1)[:, None, None] / size - curvature
        hessian[:, range(size), range(size)] += total
        step = np.linalg.solve(hessian, gradient[:, :, None])[:, :, 0]
        length = np.abs(step).max(axis=1)
        strengths[moving] += step * np.minimum(1, _LONGEST_STEP / np.maximum(length, _LONGEST_STEP))[:, None]
        moving = moving[length > _SMALLEST_STEP]
        if not moving.size:
            break
    return strengths
