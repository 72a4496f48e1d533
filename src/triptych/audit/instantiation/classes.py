"""Rows marked good that outnumber those marked bad, or the other way round (I10)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from triptych.audit.diagnostic import Diagnostic, Share
from triptych.audit.estimates import cluster_sums, smooth
from triptych.audit.finding import Finding
from triptych.audit.mitigations import pairing
from triptych.audit.mitigations.mitigation import Edits, mitigation
from triptych.audit.mitigations.places import trainer
from triptych.audit.needs import LIBRARIES, Need

if TYPE_CHECKING:
    import polars as pl

    from triptych.audit.data import Data

_LEAST, _MOST = 1.0, 4 / 3
"""What KTO's paper recommends (arXiv:2402.01306)."""


def _marked(data: Data) -> pl.LazyFrame:
    """Rows of single responses whose label is 1 or 0. Columns: id, prompt_id, strategy, strategy_id, weight, good."""
    import polars as pl

    label = pl.col("labels").list.first()
    return data.examples.filter((pl.col("kind") == "unpaired") & label.is_in([0.0, 1.0])).select(
        "id", "prompt_id", "strategy", "strategy_id", pl.col("weight").fill_null(1.0).fill_nan(0.0), good=label == 1.0
    )


def _any_marked(data: Data) -> bool:
    return not _marked(data).head(1).collect().is_empty()


MARKED = Need("responses marked good or bad", "instantiate unpaired rows", _any_marked)


@mitigation
def balanced(data: Data, subject: str) -> Edits:
    """Weigh the rarer class more in KTO's loss (TRL's `desirable_weight` or `undesirable_weight`)."""
    good, bad = _weights(data).select("w", "l").sum().row(0)
    to = _balanced(data, good / bad) if bad and trainer(data, "KTOTrainer") else None
    return {} if to is None else {f"method.trl.{to[0]}": float(f"{to[1]:.3g}")}


class GoodRows(Share):
    """Share of rows of single responses that are marked good."""

    name = "good_rows"
    failure_mode = "I10"
    needs = (MARKED,)
    good = (0.2, 0.8)
    error = (0.02, 0.98)
    by = ("strategy", "strategy_id")
    change = "move the thresholds good and bad, mark against the prompt's mean, or weigh the rarer class more"
    repair = "balance_labels"
    mitigations = (pairing.against_their_mean, balanced)

    def rows(self, data: Data) -> pl.LazyFrame:
        """Each row, and whether it is marked good."""
        import polars as pl

        return _marked(data).with_columns(part="good", whole=1, shows=pl.col("good") == (pl.col("good").mean() > 0.5))

    def say(self, strategy: str, _id: str) -> tuple[str, str]:  # type: ignore[override]
        """Name the strategy."""
        return strategy, f"Rows of {strategy} are marked good for"


class ClassWeightRatio(Diagnostic):
    """What the rows marked good weigh together, over what those marked bad do: the sum of the rows' weights, times
    `desirable_weight` and `undesirable_weight` of the recipe's trainer if it has them.

    KTO's paper wants it between 1 and 4/3 (arXiv:2402.01306), and TRL's trainer warns outside of that.
    """

    name = "class_weight_ratio"
    failure_mode = "I10"
    needs = (LIBRARIES, MARKED)
    good = (_LEAST, _MOST)
    error = (0.1, 10.0)
    source = "arXiv:2402.01306"
    repair = "balance_labels"
    mitigations = (balanced, pairing.against_their_mean)

    def measure(self, data: Data) -> Iterator[Finding]:
        """Measure it over all rows that are marked, which are trained on together."""

        summed = _weights(data)
        found = smooth(
            cluster_sums(summed, ["w", "l"]),
            lambda s: s[..., 0] / s[..., 1],
            n=summed.height,
            within=(0.0, math.inf),
        )
        if found is not None:
            said = "What is marked good weighs, over what is marked bad,"
            yield self.found(found, said, data=data, change=_said(data, found.value))


def _weights(data: Data) -> pl.DataFrame:
    """What each row weighs. Columns: prompt_id, w (if it is marked good), l (if bad)."""
    import polars as pl

    good, bad = (_trainer(data)[name] for name in _FACTORS)
    weight = pl.col("weight")
    w = pl.when("good").then(weight * good).otherwise(0.0)
    return _marked(data).select("prompt_id", w=w, l=pl.when("good").then(0.0).otherwise(weight * bad)).collect()


_FACTORS = ("desirable_weight", "undesirable_weight")


def _trainer(data: Data) -> dict[str, float]:
    method: Any = data.recipe.method if data.recipe is not None else None
    trl = (method.trl if method is not None else None) or {}
    return {name: float(trl.get(name, 1.0)) for name in _FACTORS}


def _balanced(data: Data, ratio: float) -> tuple[str, float] | None:
    """The weight of the trainer that makes up for a ratio, and what it has to be; None where none does."""
    if ratio <= 0:
        return None
    good, bad = _FACTORS
    factors = _trainer(data)
    return (good, factors[good] * _LEAST / ratio) if ratio < _LEAST else (bad, factors[bad] * ratio / _MOST)


def _said(data: Data, ratio: float) -> str:
    to = _balanced(data, ratio)
    if to is None:
        return "mark some responses good: without any there is nothing to learn from"
    return f"set {to[0]} to {to[1]:.3g} in the trainer"
