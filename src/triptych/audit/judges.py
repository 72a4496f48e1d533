"""Judge quality as a report of its own: each judge's figures side by side, and how the judges stand to each other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import TYPE_CHECKING

import msgspec

from triptych.audit.agreement import each_evaluator
from triptych.audit.coefficients import cohen_kappa, gwet_ac1, krippendorff_alpha
from triptych.audit.diagnostic import Diagnostic
from triptych.audit.estimates import mean
from triptych.audit.evaluation import calibration, gold, length, position, saturation, stability, transitivity
from triptych.audit.evaluation.panel import effective
from triptych.audit.evaluation.self_preference import OwnFamilyAgainstOtherJudges, SelfPreferenceGap
from triptych.audit.intervals import Estimate, shares, sums

if TYPE_CHECKING:
    import polars as pl

    from triptych.audit.data import Data

_MOST_JUDGES = 20
_BY = ("evaluator", "evaluator_id")

GROUPS: dict[str, tuple[Diagnostic, ...]] = {
    "order": (position.SwapConsistency(), position.FirstSlotRate(), position.FirstSlotInContradictions()),
    "gold": (gold.GoldAccuracy(), gold.GoldKappa(), gold.GoldAlpha()),
    "style": (
        length.JudgePrefersLonger(),
        length.LengthCoefficient(),
        length.MarkupCoefficient(),
        length.AccuracyGapByLength(),
        length.ScoreLengthCorrelation(),
    ),
    "own family": (SelfPreferenceGap(), OwnFamilyAgainstOtherJudges()),
    "scale": (
        saturation.ScoresAtTheEnds(),
        saturation.TiedScores(),
        saturation.TiedPairs(),
        saturation.ScoreLevels(),
    ),
    "calibration": (calibration.CalibrationSlope(), calibration.CalibrationError()),
    "consistency": (transitivity.CyclicTriads(), stability.RepeatAgreement()),
}
"""The diagnostics whose values the report shows, by what they are about. Their docstrings define them."""


class Judge(msgspec.Struct, frozen=True, kw_only=True):
    """One judge."""

    name: str
    verdicts: int
    """Its judgements, with those that can't be read."""
    measures: dict[str, Estimate]
    """Figures by their names: those of `GROUPS`, and

    - `accuracy_as_listed` and `accuracy_turned`: share of pairs for which it names the better response, where they are shown
      in the order in which the data lists responses, and in the other; ties and what can't be read are wrong;
    - `kappa_as_listed` and `kappa_turned`: Cohen's kappa there, of the place that it names with that of the better response;
    - `positional_agreement`: share of pairs judged in both orders with the same outcome in both, ties and unread included;
    - `gold_ac1`: Gwet's AC1 with gold;
    - `expected_calibration_error` (which chance makes larger) and `brier`;
    - `kappa_with_other_judges`: the mean of Cohen's kappas with each other judge."""


class Judges(msgspec.Struct, frozen=True, kw_only=True):
    """All judges of a data set."""

    judges: tuple[Judge, ...]
    among: dict[str, Estimate]
    """How they agree: `alpha` (Krippendorff), `ac1` (Gwet), both on choices in pairs; `effective_judges`."""


def judges(data: Data, groups: Sequence[str] = tuple(GROUPS)) -> Judges:
    """Measure every judge, and how they agree. What can't be measured is left out. Needs the extra `audit`.

    Of the diagnostics, those of some `groups` only, if given.
    """
    asked = data.by_models.select("evaluator").collect()["evaluator"].value_counts(sort=False)
    count = dict(asked.iter_rows())
    measures: dict[str, dict[str, Estimate]] = {name: {} for name in sorted(count)}
    for subject, name, estimate in (*_diagnosed(data, groups), *_compared(data), *_calibrated(data), *_by_others(data)):
        if subject in measures:
            measures[subject].setdefault(name, estimate)
    return Judges(
        judges=tuple(Judge(name=name, verdicts=count[name], measures=found) for name, found in measures.items()),
        among=_among(data),
    )


Told = Iterator[tuple[str, str, Estimate]]
"""Judge, figure, value."""


def _diagnosed(data: Data, groups: Sequence[str]) -> Told:
    for diagnostic in (each for group in groups for each in GROUPS[group]):
        if diagnostic.lacks(data) is None:
            for found in diagnostic.measure(data):
                if found.value is not None and found.low is not None and found.high is not None:
                    value = Estimate(found.value, found.low, found.high, found.n, found.prompts)
                    yield found.subject, found.name, value


def _compared(data: Data) -> Told:
    """Figures in each order, as benchmarks of judges publish them."""
    import polars as pl

    rows = data.choices
    if not rows.height:
        return
    both = rows.group_by("prompt_id", *_BY, "criterion", "a", "b").agg(
        orders=pl.col("a_first").n_unique(),
        outcomes=pl.col("prefers").n_unique(),
        id=pl.col("judgement_id").min(),
    )
    same = both.filter(pl.col("orders") == 2).with_columns(hit=pl.col("outcomes") == 1)
    yield from _named("positional_agreement", same)
    place = (
        data.responses.with_row_index("place").select("place", response="id").unique("response", keep="first").collect()
    )
    right = (pl.col("prefers") == pl.col("truth")).fill_null(False)
    told = (
        rows.join(data.gold, on=["prompt_id", "a", "b"])
        .join(place, left_on="a", right_on="response")
        .join(place, left_on="b", right_on="response", suffix="_b")
        .with_columns(hit=right, listed=pl.col("a_first") == (pl.col("place") < pl.col("place_b")), id="judgement_id")
    )
    for order, part in (("as_listed", told.filter("listed")), ("turned", told.filter(~pl.col("listed")))):
        yield from _named(f"accuracy_{order}", part)
        for name, own in each_evaluator(part.drop_nulls("prefers")):
            kappa = cohen_kappa(*gold.places(own), own["prompt_id"].to_numpy())
            if kappa is not None:
                yield name, f"kappa_{order}", kappa
    for name, own in each_evaluator(data.judged):
        ac1 = gwet_ac1(gold.counts(own), own["prompt_id"].to_numpy())
        if ac1 is not None:
            yield name, "gold_ac1", ac1


def _named(name: str, rows: pl.DataFrame) -> Told:
    """The share of rows that hit, for each judge."""
    import polars as pl

    if rows.height:
        counted = rows.lazy().with_columns(part="hit", whole=1, shows=pl.lit(False))
        for (judge, _), share, _rows in shares([sums(counted, _BY).collect()], _BY):
            yield judge, name, share


def _calibrated(data: Data) -> Told:
    import polars as pl

    for judge, rows in each_evaluator(data.confidences):
        off = rows.with_columns(off=(pl.col("probability") - (1 + pl.col("truth")) / 2) ** 2)
        for name, value in (
            ("expected_calibration_error", calibration.expected_calibration_error(rows)),
            ("brier", mean(off, "off")),
        ):
            if value is not None:
                yield judge, name, value


def _by_others(data: Data) -> Told:
    """Each judge's mean kappa with the others, of what it prefers in the order of the ids (which means nothing)."""
    import numpy as np
    import polars as pl

    wide, names = _wide(data)
    kappas: dict[str, list[Estimate]] = {}
    for one, other in combinations(names, 2):
        both = wide.select("prompt_id", x=pl.col(one), y=pl.col(other)).drop_nulls()
        kappa = cohen_kappa(both["x"].to_numpy(), both["y"].to_numpy(), both["prompt_id"].to_numpy())
        if kappa is not None:
            for name in (one, other):
                kappas.setdefault(name, []).append(kappa)
    for name, found in kappas.items():
        value, low, high = (float(np.mean([getattr(k, end) for k in found])) for end in ("value", "low", "high"))
        yield name, "kappa_with_other_judges", Estimate(value, low, high, sum(k.n for k in found), found[0].prompts)


def _wide(data: Data) -> tuple[pl.DataFrame, list[str]]:
    """What each judge prefers (1 a, -1 b, 0): a row for each pair and criterion, a column for each judge by its name."""
    import polars as pl

    key = ["prompt_id", "criterion", "a", "b"]
    read = data.choices.drop_nulls("prefers").select(*key, "evaluator", "prefers")
    apart = data.preferences.select(*key, "evaluator", "prefers")
    told = pl.concat([read, apart.join(read, on=[*key, "evaluator"], how="anti")])
    most = told["evaluator"].value_counts().sort(["count", "evaluator"], descending=[True, False])
    names = sorted(most["evaluator"][:_MOST_JUDGES].to_list())
    said = told.filter(pl.col("evaluator").is_in(names)).group_by(*key, "evaluator").agg(
        pl.col("prefers").sum().sign()
    )  # fmt: skip
    return said.pivot("evaluator", index=key, values="prefers") if said.height else said, names


def _among(data: Data) -> dict[str, Estimate]:
    import numpy as np

    wide, names = _wide(data)
    if len(names) < 2:
        return {}
    said = wide.select(names).to_numpy()
    counts = np.column_stack([(said == label).sum(1) for label in (-1, 0, 1)])
    clusters = wide["prompt_id"].to_numpy()
    panel = effective(data.judged)
    found = {
        "alpha": krippendorff_alpha(counts, clusters),
        "ac1": gwet_ac1(counts, clusters),
        "effective_judges": None if panel is None else _times(*panel),
    }
    return {name: value for name, value in found.items() if value is not None}


def _times(share: Estimate, judges: int) -> Estimate:
    return Estimate(share.value * judges, share.low * judges, share.high * judges, share.n, share.prompts)
