"""Whether the source of a response, its length or its format gives the label away (S5)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from triptych.audit.diagnostic import Diagnostic
from triptych.audit.estimates import cluster_sums, smooth
from triptych.audit.finding import Bars, Finding
from triptych.audit.intervals import Estimate
from triptych.audit.mitigations import sampling, scoring
from triptych.audit.needs import LIBRARIES, PAIRS
from triptych.audit.told_apart import FORM, every, form, right_of_pairs

if TYPE_CHECKING:
    import numpy as np
    import polars as pl

    from triptych.audit.data import Data

_MOST_PAIRS = 10_000
_MOST_SOURCES = 20
_BALANCE = "pair responses of one source, balance which source is chosen, or judge with style controlled"


class LabelFromSurface(Diagnostic):
    """How often source, length and format alone tell which response of a training pair is the chosen one.

    It is the area under the curve within pairs of a logistic model on the differences of the source (each model or other
    source that made responses, up to 20), the logarithms of characters, words and lines, and of bullets, headings, bold
    text and code blocks; fitted on one half of the prompts and measured on the other; up to 10,000 pairs. One half where they tell nothing.
    """

    name = "label_auc_from_source_and_form"
    failure_mode = "S5"
    needs = (LIBRARIES, PAIRS)
    counts = (
        "pairs of five or more prompts",
        "bring more prompts",
    )
    good = (0.0, 0.65)
    error = (0.0, 0.8)
    unit = "share"
    change = _BALANCE
    mitigations = (scoring.without_style, sampling.policy_only)

    def measure(self, data: Data) -> Iterator[Finding]:
        """Measure it over all pairs whose texts are there."""
        pairs = every(data.pair_features, _MOST_PAIRS)
        if not pairs.height:
            return
        named = _sources(pairs)
        first, second = (_surface(pairs, side, named) for side in ("chosen", "rejected"))
        told = right_of_pairs(pairs, first, second)
        if told is None:
            return
        found, weights = told
        names = (*named, *FORM)
        most = sorted(range(len(names)), key=lambda place: -abs(float(weights[place])))[:8]
        plot = Bars(
            tuple(names[place] for place in most),
            tuple(round(float(weights[place]), 4) for place in most),
            "weight towards chosen, for one standard deviation",
        )
        said = f"Source, length and format (most of all: {names[most[0]]}) tell the chosen response in pairs for"
        yield self.found(found, said, plot=plot, data=data)


class LabelSourceInformation(Diagnostic):
    """The mutual information of the label and the source of a response, in bits, over the responses of training pairs.

    0 where each source is as often chosen as rejected; 1 where the source tells all. It is corrected for its bias (Miller
    and Madow: sources less one, over 2 n log 2 for n pairs, whose two responses are no two draws) and never below 0. A source is the model, or what a
    response that came with the data says of itself.
    """

    name = "label_source_information"
    failure_mode = "S5"
    needs = (LIBRARIES, PAIRS)
    counts = (
        "pairs whose responses come from two or more sources",
        "sample from two models or more, or import a column that says who answered",
    )
    good = (0.0, 0.1)
    error = (0.0, 0.5)
    change = _BALANCE
    mitigations = (sampling.policy_only,)

    def measure(self, data: Data) -> Iterator[Finding]:
        """Measure it over all pairs whose texts are there."""
        import polars as pl

        pairs = data.pair_features
        named = _sources(pairs)
        if len(named) < 2:
            return
        counts = pairs.select(
            "prompt_id",
            *(
                (pl.col(f"{side}_model").fill_null("") == name).cast(pl.Float64).alias(f"{side} {name}")
                for side in ("chosen", "rejected")
                for name in named
            ),
        )
        columns = counts.columns[1:]
        found = information(cluster_sums(counts, columns), 2 * pairs.height)
        if found is None:
            return
        totals = counts.select(pl.col(columns).sum()).row(0)
        chosen, rejected = totals[: len(named)], totals[len(named) :]
        shares = tuple(c / (c + r) if c + r else 0.0 for c, r in zip(chosen, rejected, strict=True))
        said = "Which source a response is of tells of its label, in bits,"
        yield self.found(
            found, said, plot=Bars(tuple(n or "?" for n in named), shares, "share that is chosen"), data=data
        )


def _sources(pairs: pl.DataFrame) -> list[str]:
    """The most frequent sources of the responses in pairs, the most frequent first."""
    import polars as pl

    both = pl.concat([pairs["chosen_model"].rename("source"), pairs["rejected_model"].rename("source")])
    counted = both.fill_null("").value_counts(name="n").sort(["n", "source"], descending=[True, False])
    return counted["source"].head(_MOST_SOURCES).to_list()


def _surface(pairs: pl.DataFrame, side: str, named: list[str]) -> np.ndarray:
    import numpy as np

    source = pairs[f"{side}_model"].fill_null("").to_numpy()
    made_by = np.array([source == name for name in named], dtype=float).T.reshape(pairs.height, len(named))
    return np.concatenate([made_by, form(pairs, f"{side}_")], axis=1)


def information(counts: Any, n: int) -> Estimate | None:
    """Mutual information in bits from each prompt's counts of each source as chosen, then as rejected.

    The interval reaches to 0 where a likelihood-ratio test of independence does not reject it at 5 %: near 0 the
    jackknife's would end above it.
    """
    import numpy as np
    from scipy.stats import chi2

    found = smooth(counts, _information, n=n, within=(0.0, 1.0))
    if found is None:
        return None
    total = counts.sum(axis=0)
    half = len(total) // 2
    free = max(int(((total[:half] + total[half:]) > 0).sum()) - 1, 1)
    nats = total.sum() * np.log(2)  # twice the pairs
    plain = found.value + free / nats
    low, high = found.low, found.high
    if high - low < 1e-9 and found.value > 0:
        # All prompts say the same, of which the jackknife learns nothing: 3.7 that say the opposite might be unseen.
        low = min(low, float(_information(total + 3.7 * np.roll(total, half) / len(counts))))
        high = 1.0
    if nats * plain <= chi2.isf(0.05, free):
        low = 0.0
    return Estimate(found.value, low, high, found.n, found.prompts)


def _information(counts: Any) -> Any:
    """Mutual information in bits of label and source, from counts of each source as chosen, then as rejected."""
    import numpy as np

    half = counts.shape[-1] // 2
    table = np.stack([counts[..., :half], counts[..., half:]], axis=-2)
    total = table.sum(axis=(-2, -1), keepdims=True)
    p = table / total
    expected = p.sum(axis=-1, keepdims=True) * p.sum(axis=-2, keepdims=True)
    plain = (p * np.log2(np.where(p > 0, p / np.where(expected > 0, expected, 1), 1))).sum(axis=(-2, -1))
    present = (table.sum(axis=-2) > 0).sum(axis=-1)
    return np.clip(plain - (present - 1) / (total[..., 0, 0] * np.log(2)), 0, 1)
