"""Win rates of models against a baseline, as a judge sees them, and what they would be at equal length."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from triptych.audit.estimates import bounded_mean
from triptych.audit.intervals import Estimate

if TYPE_CHECKING:
    import polars as pl

    from triptych.audit.data import Data

EASE, LENGTH, SLOPE = 0.04, 2.0, 20.0
"""Penalties on what the model shares out: see `length_controlled`."""
Array = Any
"""An array of numbers."""


class WinRate(msgspec.Struct, frozen=True, kw_only=True):
    """How often a judge prefers a model's responses to the baseline's."""

    evaluator: str
    model: str
    baseline: str
    win_rate: Estimate
    """The mean probability that its response is the better one, or of 1, 0.5 and 0 where the judge gives none."""
    length_controlled: float | None
    """What that would be if both responses were equally long; None without another model, or where it can't be fitted."""


_JUDGE = ("evaluator", "evaluator_id")
_SIDE = ("prompt_id", *_JUDGE, "model", "baseline", "won", "longer")


def win_rates(data: Data, baseline: str | None = None, *, guess: bool = True) -> list[WinRate]:
    """Win rates of all models against `baseline`, or against the model that the judge compares with most others.

    If not to `guess`, that is taken for the baseline only where all of the judge's comparisons are with it, and there are
    two models or more beside it. Each judge by itself; the models in the order of their names.
    """
    import polars as pl

    found = []
    table = comparisons(data, baseline, guess=guess)
    for (evaluator, _), rows in sorted(table.partition_by(*_JUDGE, as_dict=True).items()):
        controlled = length_controlled(rows)
        for model in sorted(rows["model"].unique()):
            rate = bounded_mean(rows.filter(pl.col("model") == model), "won")
            if rate is not None:
                found.append(
                    WinRate(
                        evaluator=evaluator,
                        model=model,
                        baseline=rows["baseline"][0],
                        win_rate=rate,
                        length_controlled=controlled.get(model),
                    )
                )
    return found


def comparisons(data: Data, baseline: str | None = None, *, guess: bool = True) -> pl.DataFrame:
    """Each verdict on a response of the baseline's and one of another model's; `baseline` and `guess` as in `win_rates`.

    Columns: prompt_id, evaluator, evaluator_id, model, baseline, won (in [0, 1]), longer (characters of the model's
    response less those of the baseline's).
    """
    import polars as pl

    sides = _sides(data)
    met = sides.group_by(*_JUDGE, "baseline").agg(pl.col("model").n_unique(), n=pl.len())
    if baseline is not None:
        met = met.filter(pl.col("baseline") == baseline)
    elif not guess:
        all_of_it = pl.col("n").sum().over(_JUDGE) == 2 * pl.col("n")  # each comparison has two sides
        met = met.filter(all_of_it & (pl.col("model") > 1))
    best = met.sort(["model", "n", "baseline"], descending=[True, True, False]).unique(
        _JUDGE, keep="first", maintain_order=True
    )
    return sides.join(best.select(*_JUDGE, "baseline"), on=[*_JUDGE, "baseline"])


def _sides(data: Data) -> pl.DataFrame:
    """Verdicts on responses of two models, told once of each of them: the other is called the baseline."""
    import polars as pl

    said = (1 + pl.col("prefers")) / 2
    told = data.choices.drop("model").with_columns(won=pl.coalesce("probability", said)).drop_nulls("won")
    about = data.features.select("response_id", "model", "chars")
    both = (
        told.join(about, left_on="a", right_on="response_id")
        .join(about, left_on="b", right_on="response_id", suffix="_b")
        .drop_nulls(["model", "model_b"])
        .filter(pl.col("model") != pl.col("model_b"))
        .with_columns(longer=pl.col("chars") - pl.col("chars_b"), baseline="model_b")
    )
    other = both.with_columns(model="model_b", baseline="model", won=1 - pl.col("won"), longer=-pl.col("longer"))
    return pl.concat([both.select(_SIDE), other.select(_SIDE)])


def length_controlled(rows: pl.DataFrame) -> dict[str, float]:
    """Each model's win rate at equal length, in [0, 1], from rows of `comparisons` of one judge.

    After AlpacaEval's (arXiv:2404.04475): a logistic model of who wins, with a term for the model, one for
    tanh(difference of characters / its standard deviation for this model), and one for how hard the baseline is to beat on
    the prompt. The win rate is the mean prediction with the length term at 0. The original takes difficulties that were
    fitted on more than a hundred models, and pulls the coefficients of each model to those of two versions of the baseline.
    Here all models are fitted at once, so difficulties come from the models at hand: normal with precision `EASE`; the
    coefficients of length are pulled to their mean with precision `LENGTH`, those of difficulty to 1 with `SLOPE`.
    """
    import numpy as np
    import polars as pl
    from scipy.optimize import minimize
    from scipy.special import expit

    spread = pl.col("longer").cast(pl.Float64)
    told = rows.with_columns(length=(spread / spread.std().over("model")).tanh().fill_nan(0.0).fill_null(0.0))
    names = sorted(told["model"].unique())
    if len(names) < 2:
        return {}
    model = np.searchsorted(np.array(names), told["model"].to_numpy())
    prompts, prompt = np.unique(told["prompt_id"].to_numpy(), return_inverse=True)
    won, length = told["won"].to_numpy(), told["length"].to_numpy()
    m, k = len(names), len(prompts)

    def parts(p: Array) -> tuple[Array, ...]:
        return p[:m], p[m : 2 * m], p[2 * m : 3 * m], p[3 * m], p[3 * m + 1 :]

    def loss(p: Array) -> tuple[float, Array]:
        skill, by_length, slope, centre, ease = parts(p)
        z = skill[model] + by_length[model] * length + slope[model] * ease[prompt]
        off = expit(z) - won
        pull, tilt = by_length - centre, slope - 1
        penalty = (LENGTH * (pull @ pull) + SLOPE * (tilt @ tilt) + EASE * (ease @ ease)) / 2
        gradient = np.concatenate(
            [
                np.bincount(model, off, m),
                np.bincount(model, off * length, m) + LENGTH * pull,
                np.bincount(model, off * ease[prompt], m) + SLOPE * tilt,
                [-LENGTH * pull.sum()],
                np.bincount(prompt, off * slope[model], k) + EASE * ease,
            ]
        )
        return float((np.logaddexp(0, z) - won * z).sum() + penalty), gradient

    start = np.zeros(3 * m + 1 + k)
    start[2 * m : 3 * m] = 1
    fitted = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 2000})
    skill, _, slope, _, ease = parts(fitted.x)
    at_equal_length = expit(skill[model] + slope[model] * ease[prompt])
    rates = np.bincount(model, at_equal_length, m) / np.bincount(model, minlength=m)
    return {name: float(rate) for name, rate in zip(names, rates, strict=True) if np.isfinite(rate)}
