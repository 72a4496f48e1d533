"""How well a classifier tells two kinds of rows apart on prompts that it was not fitted on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from triptych.audit.estimates import auc, bounded_mean
from triptych.audit.intervals import Estimate
from triptych.records.ids import draw

if TYPE_CHECKING:
    import numpy as np
    import polars as pl

FORM = ("chars", "words", "lines", "bullets", "headings", "bold", "code_blocks")
"""Features of length and format."""


def form(features: pl.DataFrame, prefix: str = "") -> np.ndarray:
    """Length and format as an array of shape (rows, features), in logarithms: ten bullets more matter less than one."""
    import polars as pl

    return features.select(
        (pl.col(f"{prefix}{name}").fill_null(0).cast(pl.Float64) + 1).log() for name in FORM
    ).to_numpy()


def every(rows: pl.DataFrame, most: int) -> pl.DataFrame:
    """Take up to `most` rows, evenly over the table."""
    return rows if rows.height <= most else rows.gather_every(-(-rows.height // most))


def told_apart(rows: pl.DataFrame, numbers: Any, label: str) -> Estimate | None:
    """The area under the curve of a logistic model that is fitted on one half of the prompts and measured on the other.

    So do classifier two-sample tests (arXiv:1610.06545). Cross-validation would measure on all, but two prompts that are
    in turn fitted and measured on say the same twice: where there is little to tell, its variance is up to twice what it
    seems. `rows` has prompt_id and the boolean `label`; `numbers` is an array or a sparse matrix with a row for each. None
    where a half lacks one kind.
    """
    import polars as pl

    truth = rows[label].to_numpy().astype(bool)
    fitted, held = _halves(rows)
    if len(set(truth[fitted])) < 2 or len(set(truth[held])) < 2:
        return None
    scores = _model(numbers[fitted], truth[fitted]).decision_function(numbers[held])
    return auc(rows[held].select("prompt_id", label).with_columns(score=pl.Series(scores)), "score", label)


def right_of_pairs(rows: pl.DataFrame, first: np.ndarray, second: np.ndarray) -> tuple[Estimate, np.ndarray] | None:
    """How often a logistic model knows the first of two by their features; ties count half.

    It is the area under the curve within pairs; fitted on one half of the prompts and measured on the other, as in
    `told_apart`. Also gives the model's coefficients, for features of unit variance.
    """
    import numpy as np
    import polars as pl

    apart = first - second
    spread = apart.std(axis=0)
    apart = apart / np.where(spread > 0, spread, 1)
    fitted, held = _halves(rows)
    if not len(fitted) or not len(held):
        return None
    weights = _symmetric(apart[fitted])
    said = apart[held] @ weights
    hit = (np.sign(np.where(np.abs(said) < 1e-12, 0, said)) + 1) / 2
    found = bounded_mean(rows[held].select("prompt_id").with_columns(hit=pl.Series(hit)), "hit")
    return (found, weights) if found is not None else None


def _halves(rows: pl.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Rows to fit on and rows to measure on: those of one half of the prompts, drawn by their ids, and those of the other."""
    import numpy as np

    prompts = sorted(rows["prompt_id"].unique(), key=lambda prompt: draw(0, "halves", str(prompt)))
    one = rows["prompt_id"].is_in(prompts[::2]).to_numpy()
    return np.flatnonzero(one), np.flatnonzero(~one)


def _model(numbers: Any, truth: np.ndarray) -> Any:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    scale = StandardScaler(with_mean=not hasattr(numbers, "tocsr"))
    parts = [LogisticRegression(class_weight="balanced", max_iter=200)]
    return make_pipeline(*([] if hasattr(numbers, "tocsr") else [scale]), *parts).fit(numbers, truth)


def _symmetric(apart: np.ndarray) -> np.ndarray:
    """Coefficients of a model that knows which comes first from the differences, whichever way round."""
    import numpy as np
    from sklearn.linear_model import LogisticRegression

    both = np.concatenate([apart, -apart])
    truth = np.repeat([True, False], len(apart))
    return np.asarray(LogisticRegression(fit_intercept=False, max_iter=200).fit(both, truth).coef_[0])
