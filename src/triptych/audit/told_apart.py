"""How well a classifier tells two kinds of rows apart on prompts that it was not fitted on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from triptych.audit.estimates import auc, cluster_sums, smooth
from triptych.audit.intervals import Estimate

if TYPE_CHECKING:
    import numpy as np
    import polars as pl

_FOLDS = 5
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
    """The area under the curve of a logistic model, cross-validated in five folds of whole prompts.

    `rows` has prompt_id and the boolean `label`; `numbers` is an array or a sparse matrix with a row for each. None
    where a fold would lack one kind.
    """
    import numpy as np
    import polars as pl

    truth = rows[label].to_numpy().astype(bool)
    scores = np.full(len(truth), np.nan)
    for fitted, held in _folds(rows):
        if len(set(truth[fitted])) < 2:
            return None
        scores[held] = _model(numbers[fitted], truth[fitted]).decision_function(numbers[held])
    if np.isnan(scores).any():
        return None
    return auc(rows.select("prompt_id", label).with_columns(score=pl.Series(scores)), "score", label)


def right_of_pairs(rows: pl.DataFrame, first: np.ndarray, second: np.ndarray) -> tuple[Estimate, np.ndarray] | None:
    """How often a logistic model knows the first of two by their features, on held-out prompts; ties count half.

    It is the area under the curve within pairs. Also gives the model's coefficients, for features of unit variance.
    """
    import numpy as np
    import polars as pl

    apart = first - second
    spread = apart.std(axis=0)
    apart = apart / np.where(spread > 0, spread, 1)
    hit = np.full(len(apart), np.nan)
    weights = np.zeros(apart.shape[1])
    for fitted, held in _folds(rows):
        model = _symmetric(apart[fitted])
        said = apart[held] @ model
        hit[held] = (np.sign(np.where(np.abs(said) < 1e-12, 0, said)) + 1) / 2
        weights += model / _FOLDS
    if np.isnan(hit).any() or not len(hit):
        return None
    told = rows.select("prompt_id").with_columns(hit=pl.Series(hit), one=1.0)
    found = smooth(
        cluster_sums(told, ["hit", "one"]), lambda s: s[..., 0] / s[..., 1], n=rows.height, within=(0.0, 1.0)
    )
    return (found, weights) if found is not None else None


def _folds(rows: pl.DataFrame) -> list[tuple[np.ndarray, np.ndarray]]:
    """Rows to fit on and rows to hold out, five times; no fold where there are fewer prompts."""
    import numpy as np
    from sklearn.model_selection import GroupKFold

    groups = rows["prompt_id"].rank("dense").to_numpy()
    if len(np.unique(groups)) < _FOLDS:
        return []
    return list(GroupKFold(_FOLDS).split(groups, groups=groups))


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
