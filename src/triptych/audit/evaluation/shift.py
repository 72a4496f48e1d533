"""Whether a judge is used on what it was not measured on (E9)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from triptych.audit.agreement import each_evaluator
from triptych.audit.diagnostic import Diagnostic
from triptych.audit.estimates import Floats, auc, cluster_sums, smooth
from triptych.audit.finding import Finding
from triptych.audit.needs import GOLD, LIBRARIES, Need

if TYPE_CHECKING:
    import polars as pl

    from triptych.audit.data import Data

_FEWEST, _MOST = 50, 20_000
_COUNTS = (
    "chars",
    "words",
    "lines",
    "bullets",
    "headings",
    "bold",
    "code_blocks",
    "exclamations",
    "questions",
    "hedges",
)


def _with_gold(data: Data) -> pl.DataFrame:
    """Responses that a model judged, and whether gold has something to say of them: prompt_id, response_id, measured."""
    import polars as pl

    gold = pl.concat([data.gold.select(response_id=side) for side in ("a", "b")]).unique()
    judged = data.by_models.select("prompt_id", response_id="response_ids").explode("response_id").unique().collect()
    return judged.with_columns(measured=pl.col("response_id").is_in(gold["response_id"].implode()))


def _both(data: Data) -> bool:
    measured = _with_gold(data)["measured"]
    return min(int(measured.sum()), len(measured) - int(measured.sum())) >= _FEWEST


UNMEASURED = Need(
    "judged responses with gold labels and such without, 50 or more of each", "keep gold labels of a part", _both
)


class JudgedOutsideGold(Diagnostic):
    """How well responses that are judged without a gold label can be told from those with one: an area under the ROC curve.

    A logistic model of counts in the text (characters, words, lines, markup, code, hedges), each as log(1 + count), fitted
    on four fifths of the prompts and read on the fifth, five times. 0.5 where the judge was measured on what it judges. Of
    more than 20,000 responses, a part drawn by their ids.
    """

    name = "judged_outside_gold"
    failure_mode = "E9"
    needs = (LIBRARIES, GOLD, UNMEASURED)
    good = (0.0, 0.75)
    error = (0.0, 0.95)
    change = "take gold labels on fresh responses, and calibrate anew"

    def measure(self, data: Data) -> Iterator[Finding]:
        """Tell them apart."""
        import numpy as np
        import polars as pl
        from sklearn.linear_model import LogisticRegression
        from sklearn.model_selection import GroupKFold, cross_val_predict
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        counts = data.features.select("response_id", *(pl.col(name).cast(pl.Float64).log1p() for name in _COUNTS))
        rows = _with_gold(data).join(counts, on="response_id").sort(pl.col("response_id").hash(), "response_id")[:_MOST]
        fresh = ~rows["measured"].to_numpy()
        groups = rows["prompt_id"].to_numpy()
        if len(np.unique(groups)) < 5 or len(np.unique(fresh)) < 2:
            return
        model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=200))
        folds = GroupKFold(5)
        if any(len(np.unique(fresh[train])) < 2 for train, _ in folds.split(fresh, groups=groups)):
            return
        told = cross_val_predict(
            model, rows.select(_COUNTS).to_numpy(), fresh, groups=groups, cv=folds, method="decision_function"
        )
        found = auc(rows.with_columns(score=pl.Series(told), fresh=pl.Series(fresh)), "score", "fresh")
        if found is not None:
            odd = rows.with_columns(score=pl.Series(told)).filter(~pl.col("measured")).sort("score", descending=True)
            said = "Responses judged without a gold label can be told from those with one by an area under the curve of"
            yield self.found(found, said, rows=odd["response_id"][:10].to_list(), data=data)


class ConfidenceDrop(Diagnostic):
    """How much surer a judge is, in the mean, on pairs with a gold label than on those without.

    How sure: max(p, 1 - p), of the probability that comes with its choice.
    """

    name = "confidence_drop"
    failure_mode = "E9"
    needs = (
        LIBRARIES,
        GOLD,
        Need(
            "probabilities of a judge's choices on pairs with gold labels and without",
            "use `pairwise` with read: logprobs",
            lambda data: 0 < data.confidences.height < data.choices["probability"].count(),
        ),
    )
    good = (-0.05, 0.05)
    error = (-0.2, 0.2)
    change = "take gold labels on fresh responses, and calibrate anew"

    def measure(self, data: Data) -> Iterator[Finding]:
        """Compare, for each judge."""
        import polars as pl

        p = pl.col("probability")
        known = data.gold.select("prompt_id", "a", "b", gold=pl.lit(1.0))
        rows = (
            data.choices.drop_nulls("probability")
            .join(known, on=["prompt_id", "a", "b"], how="left")
            .with_columns(pl.col("gold").fill_null(0.0), sure=pl.max_horizontal(p, 1 - p))
            .with_columns(
                fresh=1 - pl.col("gold"),
                s_gold=pl.col("gold") * pl.col("sure"),
                s_fresh=(1 - pl.col("gold")) * pl.col("sure"),
            )
        )
        for judge, part in each_evaluator(rows):
            found = smooth(
                cluster_sums(part, ["gold", "s_gold", "fresh", "s_fresh"]), _drop, n=part.height, within=(-0.5, 0.5)
            )
            if found is not None:
                said = f"{judge} is surer on pairs with a gold label than on those without by"
                yield self.found(found, said, subject=judge, data=data)


def _drop(s: Floats) -> Floats:
    return s[..., 1] / s[..., 0] - s[..., 3] / s[..., 2]
