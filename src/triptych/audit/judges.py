"""Judge quality as a report of its own: each judge's figures side by side, and how the judges stand to each other."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import combinations
from typing import TYPE_CHECKING, Literal

import msgspec

from triptych.audit.agreement import each_evaluator
from triptych.audit.coefficients import cohen_kappa, gwet_ac1, krippendorff_alpha
from triptych.audit.diagnostic import ANY, Diagnostic
from triptych.audit.estimates import mean
from triptych.audit.evaluation import calibration, gold, length, position, saturation, stability, transitivity
from triptych.audit.evaluation.panel import effective
from triptych.audit.evaluation.self_preference import OwnFamilyAgainstOtherJudges, SelfPreferenceGap
from triptych.audit.finding import Finding, Severity
from triptych.audit.intervals import Estimate, shares, sums
from triptych.audit.win_rates import WinRate, win_rates

if TYPE_CHECKING:
    import polars as pl

    from triptych.audit.data import Data

_MOST_JUDGES, _MOST_WORK = 100, 40_000_000
"""Judges of whom every two are compared, and how many verdicts of two are looked at for it: 20 judges of 100,000 pairs."""
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


MORE: dict[str, tuple[str, Literal["share", "number"], str]] = {
    "accuracy_as_listed": (
        "gold",
        "share",
        "Share of pairs for which the judge names the better response, where they are shown in the order in which the data "
        "lists responses; ties and what can't be read are wrong.",
    ),
    "accuracy_turned": ("gold", "share", "The same where they are shown in the other order."),
    "kappa_as_listed": (
        "gold",
        "number",
        "Cohen's kappa of the place that the judge names with that of the better response, shown in the order of the data.",
    ),
    "kappa_turned": ("gold", "number", "The same where they are shown in the other order."),
    "positional_agreement": (
        "order",
        "share",
        "Share of pairs judged in both orders that have the same outcome in both, ties and unread ones included.",
    ),
    "gold_ac1": (
        "gold",
        "number",
        "Gwet's AC1 with gold, which does not fall apart where nearly all labels are the same.",
    ),
    "expected_calibration_error": (
        "calibration",
        "number",
        "The mean absolute difference between how sure the judge is and how often it is right, in bins; chance makes it larger.",
    ),
    "brier": ("calibration", "number", "The mean squared difference of its probabilities from the truth."),
    "kappa_with_other_judges": (
        "other judges",
        "number",
        "The mean of Cohen's kappas with each other judge, of a hundred at most; of the interval, the means of "
        "the ends.",
    ),
}
"""The figures beside those of the diagnostics: what each is about, its unit, and what it means."""


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """How a figure is computed, and what is expected of it."""

    about: str
    """Its group, such as `order` or `gold`."""
    unit: Literal["share", "number"]
    what: str
    good: tuple[float, float] = ANY
    """Where the value should lie."""
    expected: str = "any"
    """The same in words."""


@cache
def figures() -> dict[str, Figure]:
    """All figures of a judge by their names, those about the same together."""
    found = {
        each.name: Figure(
            about=about,
            unit=each.unit,
            what=" ".join((inspect.getdoc(each) or "").split()),
            good=each.good,
            expected=each.range_of(each.good),
        )
        for about, group in GROUPS.items()
        for each in group
    }
    found |= {name: Figure(about=about, unit=unit, what=what) for name, (about, unit, what) in MORE.items()}
    order = [*GROUPS, "other judges"]
    return dict(sorted(found.items(), key=lambda item: order.index(item[1].about)))


class Column(msgspec.Struct, frozen=True):
    """A figure that stands in the overview of all judges."""

    head: str
    names: tuple[str, ...]
    """Of these figures the first that a judge has."""
    what: str
    """In a few words."""


OVERVIEW = (
    Column("accuracy", ("gold_accuracy",), "verdicts that name what gold calls better, ties as half"),
    Column("swaps", ("swap_consistency",), "pairs shown in both orders with the same winner in both"),
    Column("first", ("first_slot_rate",), "verdicts for what is shown first"),
    Column("longer", ("judge_prefers_longer",), "preferences for the longer response"),
    Column("length", ("length_coefficient",), "log-odds for a standard deviation of length, gold and markup held"),
    Column("r length", ("score_length_correlation",), "correlation of its scores with length"),
    Column("own family", ("self_preference_gap", "own_family_against_other_judges"), "how much more often its own family wins"),
    Column("ties", ("tied_pairs", "tied_scores"), "two responses called equal"),
    Column("ends", ("scores_at_the_ends",), "scores that are the highest or the lowest"),
    Column("calibration", ("calibration_error",), "how far its confidence is from how often it is right"),
    Column("kappa", ("gold_kappa",), "Cohen's kappa with gold"),
    Column("others", ("kappa_with_other_judges",), "mean of Cohen's kappas with the other judges"),
    Column("cycles", ("cyclic_triads",), "three responses preferred in a circle"),
    Column("repeats", ("repeat_agreement",), "the same said when asked again"),
)
"""What the overview shows."""


class Judge(msgspec.Struct, frozen=True, kw_only=True):
    """One judge."""

    name: str
    verdicts: int
    """Its judgements, with those that can't be read."""
    measures: dict[str, Estimate]
    """Figures by their names: those of `GROUPS` and of `MORE`."""
    beyond: dict[str, Severity]
    """Figures whose whole interval lies beyond what is expected, and whether that is a warning or an error."""

    def shown(self, column: Column) -> str | None:
        """The figure that it has for a column of the overview."""
        return next((name for name in column.names if name in self.measures), None)

    def mark(self, name: str) -> str:
        """What is to be minded of a figure: `?` too few prompts to tell, `!` or `!!` beyond what is expected, a warning or an error."""
        if self.measures[name].few:
            return "?"
        return {"error": "!!", "warn": "!"}.get(self.beyond.get(name, ""), "")


class Two(msgspec.Struct, frozen=True):
    """Two judges, and Cohen's kappa of what they prefer."""

    one: str
    other: str
    kappa: Estimate


class Judges(msgspec.Struct, frozen=True, kw_only=True):
    """All judges of a data set."""

    judges: tuple[Judge, ...]
    """The most accurate first; then those without gold, the ones with the most verdicts first."""
    gold: tuple[str, ...]
    """The evaluators that count as true."""
    compared: tuple[str, ...]
    """The judges that `among` and `two` are about: up to a hundred, those with the most verdicts."""
    among: dict[str, Estimate]
    """How they agree: `alpha` (Krippendorff), `ac1` (Gwet), both on choices in pairs; `effective_judges`."""
    effective_of: int
    """Of how many judges `effective_judges` is the effective number: up to twenty, those with the most verdicts beside gold."""
    two: tuple[Two, ...]
    """Each two of them that judged the same pairs."""
    win_rates: tuple[WinRate, ...]
    """Of models against a baseline, where all of a judge's comparisons are with one, or it is named."""


def judges(data: Data, groups: Sequence[str] = tuple(GROUPS), baseline: str | None = None) -> Judges:
    """Measure every judge, and how they agree. What can't be measured is left out. Needs the extra `audit`.

    Of the diagnostics, those of some `groups` only, if given. Win rates are those against `baseline`; see `win_rates`.
    """
    asked = data.by_models.select("evaluator").collect()["evaluator"].value_counts(sort=False)
    count = dict(asked.iter_rows())
    measures: dict[str, dict[str, Estimate]] = {name: {} for name in sorted(count)}
    beyond: dict[str, dict[str, Severity]] = {name: {} for name in measures}
    for found in _diagnosed(data, groups):
        if found.subject in measures and found.value is not None and found.low is not None and found.high is not None:
            value = Estimate(found.value, found.low, found.high, found.n, found.prompts, found.effective_prompts)
            measures[found.subject].setdefault(found.name, value)
            if found.severity != "info":
                beyond[found.subject].setdefault(found.name, found.severity)
    wide, names = _wide(data)
    two = tuple(_two(wide, names))
    for subject, name, estimate in (*_compared(data), *_calibrated(data), *_by_others(two)):
        measures[subject].setdefault(name, estimate)
    told = [Judge(name=name, verdicts=count[name], measures=measures[name], beyond=beyond[name]) for name in measures]
    panel = effective(data.judged)
    return Judges(
        judges=tuple(sorted(told, key=_place)),
        gold=tuple(data.by_gold.select("evaluator").unique().collect()["evaluator"].sort()),
        compared=tuple(names),
        among=_among(wide, names) | ({} if panel is None else {"effective_judges": _times(*panel)}),
        effective_of=0 if panel is None else panel[1],
        two=two,
        win_rates=tuple(win_rates(data, baseline, guess=False)) if data.choices.height else (),
    )


def _place(judge: Judge) -> tuple[float, int, str]:
    right = judge.measures.get("gold_accuracy")
    return (1.0 if right is None else -right.value, -judge.verdicts, judge.name)


Told = Iterator[tuple[str, str, Estimate]]
"""Judge, figure, value."""


def _diagnosed(data: Data, groups: Sequence[str]) -> Iterator[Finding]:
    for diagnostic in (each for group in groups for each in GROUPS[group]):
        if diagnostic.lacks(data) is None:
            yield from diagnostic.measure(data)


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


def _two(wide: pl.DataFrame, names: Sequence[str]) -> Iterator[Two]:
    """Cohen's kappa of every two judges, of what they prefer in the order of the ids (which means nothing)."""
    import polars as pl

    for one, other in combinations(names, 2):
        both = wide.select("prompt_id", x=pl.col(one), y=pl.col(other)).drop_nulls()
        kappa = cohen_kappa(both["x"].to_numpy(), both["y"].to_numpy(), both["prompt_id"].to_numpy())
        if kappa is not None:
            yield Two(one, other, kappa)


def _by_others(two: Sequence[Two]) -> Told:
    """Each judge's mean kappa with the others."""
    import numpy as np

    kappas: dict[str, list[Estimate]] = {}
    for each in two:
        for name in (each.one, each.other):
            kappas.setdefault(name, []).append(each.kappa)
    for name, found in kappas.items():
        value, low, high = (float(np.mean([getattr(k, end) for k in found])) for end in ("value", "low", "high"))
        yield name, "kappa_with_other_judges", Estimate(value, low, high, sum(k.n for k in found), found[0].prompts)


def _wide(data: Data) -> tuple[pl.DataFrame, list[str]]:
    """What each judge prefers (1 a, -1 b, 0): a row for each pair and criterion, a column for each judge by its name.

    The prompts are numbers. Of very many judges, those with the most verdicts.
    """
    import polars as pl

    key = ["prompt_id", "criterion", "a", "b"]
    read = data.choices.drop_nulls("prefers").select(*key, "evaluator", "prefers")
    apart = data.preferences.select(*key, "evaluator", "prefers")
    told = pl.concat([read, apart.join(read, on=[*key, "evaluator"], how="anti")])
    most = told["evaluator"].value_counts().sort(["count", "evaluator"], descending=[True, False])
    rows = max(told.select(pl.struct(key).n_unique()).item(), 1)
    kept = min(_MOST_JUDGES, max(2, int((_MOST_WORK / rows) ** 0.5)))
    names = sorted(most["evaluator"][:kept].to_list())
    said = (
        told.filter(pl.col("evaluator").is_in(names))
        .with_columns(pl.col("prompt_id").rank("dense"))
        .group_by(*key, "evaluator")
        .agg(pl.col("prefers").sum().sign())
    )
    return said.pivot("evaluator", index=key, values="prefers") if said.height else said, names


def _among(wide: pl.DataFrame, names: Sequence[str]) -> dict[str, Estimate]:
    import numpy as np

    if len(names) < 2:
        return {}
    said = wide.select(names).to_numpy()
    counts = np.column_stack([(said == label).sum(1) for label in (-1, 0, 1)])
    clusters = wide["prompt_id"].to_numpy()
    found = {"alpha": krippendorff_alpha(counts, clusters), "ac1": gwet_ac1(counts, clusters)}
    return {name: value for name, value in found.items() if value is not None}


def _times(share: Estimate, judges: int) -> Estimate:
    return Estimate(share.value * judges, share.low * judges, share.high * judges, share.n, share.prompts)
