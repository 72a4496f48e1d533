"""Whether people agree, and who of them judges otherwise than the rest (E16)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from triptych.audit.diagnostic import Diagnostic
from triptych.audit.estimates import Floats, cluster_sums, mean, smooth
from triptych.audit.finding import FEWEST_PROMPTS, Bars, Finding
from triptych.audit.mitigations import pairing, scoring
from triptych.audit.needs import LIBRARIES, Need
from triptych.audit.people import by_people
from triptych.instantiation.scores import verdicts

if TYPE_CHECKING:
    import polars as pl

    from triptych.audit.data import Data

_MOST_BARS = 12
_UNIT = ["prompt_id", "criterion", "about"]


def ratings(data: Data) -> pl.DataFrame:
    """What people say of things that two or more of them judged: of a response by itself, or of which of two is better.

    Columns: prompt_id, criterion, about (what was judged), evaluator, evaluator_id, rating (a score in [0, 1]; of two
    responses 1 or 0 for the one or the other, 0.5 for a tie; the mean of what they said at several times), judgement_id (one).
    """
    import polars as pl

    said = verdicts(by_people(data))
    shown = by_people(data).select(judgement_id="id", shown="response_ids").unique("judgement_id")
    least = pl.col("shown").list.min()
    pair = pl.col("shown").list.len() == 2
    return (
        said.join(shown, on="judgement_id")
        .filter((pl.col("shown").list.len() == 1) | (pair & (pl.col("response_id") == least)))
        .with_columns(about=pl.col("shown").list.sort().list.join(" "))
        .group_by(*_UNIT, "evaluator", "evaluator_id", maintain_order=True)
        .agg(pl.col("judgement_id").min(), rating=pl.col("verdict").mean())
        .filter(pl.len().over(_UNIT) > 1)
        .collect()
    )


SEVERAL_PEOPLE = Need(
    "verdicts of several people on the same thing",
    "let two or more people judge some of it",
    lambda data: data.once(ratings).height > 0,
)


class AnnotatorAlpha(Diagnostic):
    """Krippendorff's alpha of people's verdicts, with squared differences of ratings in [0, 1]: 1 less the disagreement on
    the same thing over that between ratings of any two things (Krippendorff, Content Analysis, 2004).

    1 is agreement, 0 what chance gives. Choices between two responses count as 1, 0 or, tied, 0.5. 0.667 is the least on
    which Krippendorff draws even tentative conclusions; of preferences, people may disagree for good reasons: then labels
    should say so.
    """

    name = "annotator_alpha"
    failure_mode = "E16"
    needs = (LIBRARIES, SEVERAL_PEOPLE)
    good = (0.667, 1.0)
    error = (0.0, 1.0)
    source = "Krippendorff, Content Analysis, 2004"
    change = "word the criterion more sharply; keep the distribution of verdicts (soft labels), or labels by group"
    mitigations = (pairing.soft,)

    def measure(self, data: Data) -> Iterator[Finding]:
        """Measure it for each criterion."""
        import polars as pl

        for (criterion,), rows in sorted(data.once(ratings).partition_by("criterion", as_dict=True).items(), key=str):
            units = rows.group_by(_UNIT).agg(
                m=pl.len().cast(pl.Float64),
                x=pl.col("rating").sum(),
                xx=(pl.col("rating") ** 2).sum(),
                spread=pl.col("rating").std(),
                judgement_id=pl.col("judgement_id").min(),
            )
            within = (pl.col("m") * pl.col("xx") - pl.col("x") ** 2) / (pl.col("m") - 1)
            sums = cluster_sums(units.with_columns(within=within), ["m", "x", "xx", "within"])
            found = smooth(sums, alpha, n=rows.height, within=(-1.0, 1.0))
            if found is not None:
                apart = units.sort("spread", "judgement_id", descending=[True, False])["judgement_id"][:10].to_list()
                said = f"People agree on {criterion}, by Krippendorff's alpha,"
                yield self.found(found, said, subject=str(criterion), rows=apart, data=data)


def alpha(s: Floats) -> Floats:
    """Krippendorff's alpha with squared differences, of sums over units: ratings, their values, squares, and disagreement."""
    n, x, xx, within = (s[..., i] for i in range(4))
    return 1 - within / n / ((n * xx - x**2) / (n * (n - 1)))


class AnnotatorDistance(Diagnostic):
    """By how much one annotator's verdicts lie farther from those of the others than the others' do, on the things that three or
    more judged: the mean of |own rating - mean of the rest|, less the same of the other annotators.

    Ratings are in [0, 1]; of a choice between two, 0, 0.5 or 1. Told of the annotator for whom it is largest, among those with
    20 prompts or more.
    """

    name = "annotator_distance"
    failure_mode = "E16"
    needs = (LIBRARIES, SEVERAL_PEOPLE)
    good = (-1.0, 0.1)
    error = (-1.0, 0.5)
    change = "look at what this annotator was told and judged; train or leave out, or keep a label by group"
    mitigations = (scoring.without_annotator, scoring.dawid_skene)

    def measure(self, data: Data) -> Iterator[Finding]:
        """Measure it for each annotator, and tell of the farthest."""
        import polars as pl

        own = pl.col("rating")
        each = (
            data.once(ratings).with_columns(m=pl.len().over(_UNIT), all=own.sum().over(_UNIT))
            .filter(pl.col("m") > 2)
            .with_columns(d=(own - (pl.col("all") - own) / (pl.col("m") - 1)).abs())
            .with_columns(farther=pl.col("d") - (pl.col("d").sum().over(_UNIT) - pl.col("d")) / (pl.col("m") - 1))
        )
        told = []
        for (evaluator, evaluator_id), rows in sorted(
            each.partition_by("evaluator", "evaluator_id", as_dict=True).items(), key=str
        ):
            found = mean(rows, "farther")
            if found is not None and found.prompts >= FEWEST_PROMPTS:
                told.append((found, _called(str(evaluator), str(evaluator_id), each), rows))
        if not told:
            return
        told.sort(key=lambda one: -one[0].value)
        found, who, rows = told[0]
        top = told[:_MOST_BARS]
        bars = Bars(
            labels=tuple(name for _, name, _ in top),
            values=tuple(one.value for one, _, _ in top),
            axis="how much farther from the rest than the others are",
            low=tuple(one.low for one, _, _ in top),
            high=tuple(one.high for one, _, _ in top),
        )
        worst = rows.sort("d", "judgement_id", descending=[True, False])["judgement_id"][:10].to_list()
        said = f"Of {len(told)} annotators {who} lies farthest from the rest, beyond the others by"
        yield self.found(found, said, subject=who, rows=worst, plot=bars, data=data)


def _called(evaluator: str, evaluator_id: str, everyone: pl.DataFrame) -> str:
    """Their name, with the id where several have the same."""
    import polars as pl

    alike = everyone.filter(pl.col("evaluator") == evaluator)["evaluator_id"].n_unique()
    return evaluator if alike == 1 else f"{evaluator} {evaluator_id}"
