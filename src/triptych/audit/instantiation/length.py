"""Whether length tells chosen from rejected (I5)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from triptych.audit.diagnostic import Diagnostic, Share
from triptych.audit.estimates import auc, cluster_sums, correlation, smooth
from triptych.audit.finding import Finding, Histogram
from triptych.audit.instantiation.strategies import each_strategy
from triptych.audit.mitigations import pairing, scoring
from triptych.audit.needs import LIBRARIES, MARGINS, PAIRS

if TYPE_CHECKING:
    import polars as pl

    from triptych.audit.data import Data

_CHANGE = "pair responses of like length, or train with a loss that normalises length"
_BINS = 20
_MOST_ROWS = 10


class ChosenLonger(Share):
    """Share of pairs whose chosen response is the longer one, in characters of what the assistant says.

    Ties are left out, and pairs of equal length.
    """

    name = "chosen_longer"
    failure_mode = "I5"
    needs = (PAIRS,)
    counts = (
        "pairs whose responses differ in length",
        "none is needed where all are equally long",
    )
    good = (0.0, 0.65)
    error = (0.0, 0.8)
    by = ("strategy", "strategy_id")
    change = _CHANGE
    repair = "length_match"
    mitigations = (scoring.without_length, pairing.like_length)

    def rows(self, data: Data) -> pl.LazyFrame:
        """Each pair, and whether its chosen response is the longer one."""
        import polars as pl

        chars, longer = data.chars.lazy(), pl.col("chars") > pl.col("chars_b")
        return (
            data.pairs.lazy()
            .join(chars, left_on="chosen", right_on="response_id")
            .join(chars.rename({"chars": "chars_b"}), left_on="rejected", right_on="response_id")
            .filter(pl.col("chars") != pl.col("chars_b"))
            .with_columns(part=longer, whole=1, shows=longer)
        )

    def say(self, strategy: str, _id: str) -> tuple[str, str]:  # type: ignore[override]
        """Name the strategy."""
        return strategy, f"The chosen response is the longer one in {strategy} pairs for"


class LabelAucFromLength(Diagnostic):
    """How well length alone tells chosen from rejected responses: the chance that a chosen response of any pair is longer, in
    characters, than a rejected one of any pair (the area under the ROC curve; equal lengths count half).

    One half where length says nothing. A reward model, or the implicit one of a policy, can learn that much from length alone.
    """

    name = "label_auc_from_length"
    failure_mode = "I5"
    needs = (LIBRARIES, PAIRS)
    good = (0.35, 0.65)
    error = (0.2, 0.8)
    change = _CHANGE
    repair = "length_match"
    mitigations = (scoring.without_length, pairing.like_length)

    def measure(self, data: Data) -> Iterator[Finding]:
        """Measure it for each strategy."""
        import polars as pl

        for strategy, pairs in each_strategy(data.pair_features):
            sides = [
                pairs.select("prompt_id", chars=f"{side}_chars", chosen=pl.lit(side == "chosen"))
                for side in ("chosen", "rejected")
            ]
            found = auc(pl.concat(sides), "chars", "chosen")
            if found is not None:
                said = f"Length alone tells chosen from rejected responses of {strategy} pairs with an AUC of"
                yield self.found(
                    found, said, subject=strategy, data=data, rows=_longest_apart(pairs), plot=_ratios(pairs)
                )


class LengthEffect(Diagnostic):
    """How far apart the lengths of chosen and rejected responses are: Cohen's d, the difference of the means of the logarithms of
    1 + characters over the root of the mean of the two variances.

    0.5 is called a medium effect and 0.8 a large one (J. Cohen, Statistical Power Analysis, 1988).
    """

    name = "chosen_length_effect"
    failure_mode = "I5"
    needs = (LIBRARIES, PAIRS)
    counts = (
        "pairs of two or more prompts whose texts differ in length",
        "bring more pairs",
    )
    good = (-0.5, 0.5)
    error = (-1.2, 1.2)
    source = "J. Cohen, Statistical Power Analysis, 1988"
    change = _CHANGE
    repair = "length_match"
    mitigations = (scoring.without_length, pairing.like_length)

    def measure(self, data: Data) -> Iterator[Finding]:
        """Measure it for each strategy."""
        import polars as pl

        for strategy, pairs in each_strategy(data.pair_features):
            w, l = ((1 + pl.col(f"{side}_chars")).log() for side in ("chosen", "rejected"))  # noqa: E741
            rows = pairs.select("prompt_id", w=w, l=l).with_columns(ww=pl.col("w") ** 2, ll=pl.col("l") ** 2, one=1.0)
            found = smooth(cluster_sums(rows, ["w", "l", "ww", "ll", "one"]), _cohens_d, n=rows.height, rows_at=4)
            if found is not None:
                said = f"The lengths of chosen and rejected responses of {strategy} pairs differ by a Cohen's d of"
                yield self.found(found, said, subject=strategy, data=data, rows=_longest_apart(pairs))


class MarginFollowsLength(Diagnostic):
    """Spearman's rank correlation of a pair's margin with by how many characters its chosen response is the longer one.

    Losses that heed margins, and bands on them, then choose by length.
    """

    name = "margin_follows_length"
    failure_mode = "I5"
    needs = (LIBRARIES, MARGINS)
    counts = (
        "margins that differ, of pairs that differ in length",
        "score on a finer scale",
    )
    good = (-0.3, 0.3)
    error = (-0.7, 0.7)
    change = "take length out of the scores, keep pairs of like length, or leave margins out of the loss"
    repair = "length_match"
    mitigations = (scoring.without_length, pairing.like_length)

    def measure(self, data: Data) -> Iterator[Finding]:
        """Measure it for each strategy."""
        import polars as pl

        for strategy, pairs in each_strategy(data.pair_features):
            rows = pairs.filter(pl.col("margin").is_finite()).with_columns(longer=_longer())
            found = correlation(rows, "margin", "longer", ranks=True)
            if found is not None:
                said = (
                    f"The margins of {strategy} pairs follow the difference of their lengths with a rank correlation of"
                )
                yield self.found(found, said, subject=strategy, data=data, rows=_longest_apart(rows))


def _cohens_d(s: Any) -> Any:
    w, l, ww, ll, n = (s[..., i] for i in range(5))  # noqa: E741
    variance = ((ww - w**2 / n) + (ll - l**2 / n)) / (2 * (n - 1))
    return (w - l) / n / variance**0.5


def _longer() -> pl.Expr:
    import polars as pl

    return pl.col("chosen_chars") - pl.col("rejected_chars")


def _longest_apart(pairs: pl.DataFrame) -> tuple[str, ...]:
    """The pairs whose lengths are farthest apart."""
    return tuple(pairs.top_k(_MOST_ROWS, by=_longer().abs()).sort("id")["id"])


def _ratios(pairs: pl.DataFrame) -> Histogram | None:
    """How many times longer the chosen response is, from 1/8 to 8."""
    import numpy as np

    longer = np.log2((1 + pairs["chosen_chars"].to_numpy()) / (1 + pairs["rejected_chars"].to_numpy()))
    counts, edges = np.histogram(np.clip(longer, -3, 3), bins=_BINS, range=(-3, 3))
    return Histogram(tuple(map(float, edges)), tuple(map(float, counts)), "length of chosen over rejected (log2)")
