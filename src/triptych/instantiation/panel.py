"""Panels: how the verdicts of several evaluators on one response become one score."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from triptych.errors import MissingExtra

if TYPE_CHECKING:
    import polars as pl

Weight = Annotated[float, Field(gt=0)]
_HIGH = 0.5


class Panel(BaseModel):
    """One score of a response on a criterion, from what each evaluator says of it in the mean, in [0, 1].

    `vote` is the share of evaluators whose verdict is above 0.5 (one of 0.5 counts half). `lower_bound` is the mean less
    `spread` standard deviations over the evaluators (of a sample, n - 1; 0 where one alone judged), and at least 0:
    conservative, as ensembles of reward models are made by taking off their variance (arXiv:2310.02743). `dawid_skene` takes verdicts above and below
    0.5 as labels of annotators who err each in their own way, and the score as the probability that the response's true
    label is the high one (A. P. Dawid and A. M. Skene, 1979; crowd-kit's expectation maximisation over all prompts).
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    combine: Literal["mean", "median", "min", "vote", "lower_bound", "dawid_skene"] = "mean"
    """How the verdicts are joined."""
    weights: dict[str, Weight] = Field(default_factory=dict)
    """With `mean` and `vote`: what evaluators count for, by their names; 1 where none is given."""
    spread: float = Field(default=1.0, ge=0)
    """With `lower_bound`: standard deviations that are taken off."""

    @model_validator(mode="after")
    def _weights_count(self) -> Panel:
        if self.weights and self.combine not in ("mean", "vote"):
            raise ValueError(f"weights count with mean and vote, not with {self.combine}")
        return self

    @property
    def across_prompts(self) -> bool:
        """Whether it needs the verdicts on all prompts at once."""
        return self.combine == "dawid_skene"

    def combined(self, means: pl.LazyFrame) -> pl.LazyFrame:
        """Join what each evaluator says of each response on each criterion.

        Takes columns unit (a number for each row and criterion), row, criterion, evaluator, evaluator_id, prompt, verdict;
        gives row, criterion, prompt, score.
        Raises `MissingExtra` where `dawid_skene` needs what is not installed.
        """
        import polars as pl

        each = ["row", "criterion"]
        if self.combine == "dawid_skene":
            named = means.with_columns(pl.col("criterion", "evaluator_id").cast(pl.String)).collect().lazy()
            return named.select(*each, "prompt").unique(each).join(_posterior(named), on=each)
        verdict = pl.col("verdict")
        declared = pl.lit(1.0)
        if self.weights:
            names = pl.col("evaluator").cast(pl.String)
            declared = names.replace_strict(self.weights, default=1.0, return_dtype=pl.Float64)
        weight = pl.col("weight")
        voted = pl.when(verdict == _HIGH).then(0.5).otherwise((verdict > _HIGH).cast(pl.Float64))
        score = {
            "mean": (verdict * weight).sum() / weight.sum(),
            "vote": (voted * weight).sum() / weight.sum(),
            "median": verdict.median(),
            "min": verdict.min(),
            "lower_bound": (verdict.mean() - self.spread * verdict.std().fill_null(0.0)).clip(0.0),
        }[self.combine]
        said = means.with_columns(weight=declared).group_by("unit", maintain_order=True)
        return said.agg(pl.first(*each, "prompt"), score.alias("score")).drop("unit")


def annotators(means: pl.LazyFrame) -> pl.DataFrame:
    """How each evaluator errs, by Dawid and Skene: for each criterion, the chances of a high verdict.

    Takes columns row, criterion, evaluator_id, verdict. Columns: criterion, evaluator_id, high_if_high (the chance that
    it calls a high one high), high_if_low. Raises `MissingExtra` without crowd-kit.
    """
    import polars as pl

    rows = []
    for criterion, model, _ in _fitted(means):
        errors = model.errors_  # rows: (worker, label said); columns: true label
        for worker in errors.index.get_level_values(0).unique():
            said = errors.loc[worker].reindex(index=[0, 1], columns=[0, 1]).fillna(0.0)
            rows.append((criterion, worker, float(said.loc[1, 1]), float(said.loc[1, 0])))
    types = {"criterion": pl.String, "evaluator_id": pl.String, "high_if_high": pl.Float64, "high_if_low": pl.Float64}
    return pl.DataFrame(rows, schema=types, orient="row").sort("criterion", "evaluator_id")


def _posterior(means: pl.LazyFrame) -> pl.LazyFrame:
    import polars as pl

    parts = [pl.LazyFrame(schema={"row": pl.UInt32, "criterion": pl.String, "score": pl.Float64})]
    for criterion, _, posterior in _fitted(means):
        high = posterior[1] if 1 in posterior.columns else posterior[0] * 0.0
        parts.append(
            pl.LazyFrame(
                {"row": posterior.index.to_numpy(), "score": high.to_numpy()},
                schema={"row": pl.UInt32, "score": pl.Float64},
            ).select("row", pl.lit(criterion).alias("criterion"), "score")
        )
    return pl.concat(parts)


def _fitted(means: pl.LazyFrame) -> list[tuple[str, Any, Any]]:
    """For each criterion, the fitted model and the posterior of the labels. A verdict of 0.5 is no label."""
    import polars as pl

    try:
        from crowdkit.aggregation import DawidSkene
    except ImportError as error:
        raise MissingExtra("dawid_skene needs crowd-kit: pip install 'triptych[panels]'") from error
    import pandas as pd

    told = means.filter(pl.col("verdict") != _HIGH).sort("criterion", "row", "evaluator_id").collect()
    found = []
    for (criterion,), part in told.group_by("criterion", maintain_order=True):
        labels = pd.DataFrame(
            {
                "task": part["row"].to_list(),
                "worker": part["evaluator_id"].to_list(),
                "label": (part["verdict"] > _HIGH).cast(pl.Int64).to_list(),
            }
        )
        model = DawidSkene(n_iter=200, tol=1e-8)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # crowd-kit's own, of what pandas will drop
            found.append((str(criterion), model, model.fit_predict_proba(labels)))
    return found
