"""Whether the people who label see things alike (E16)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from triptych.audit import agreement
from triptych.audit.coefficients import krippendorff_alpha
from triptych.audit.diagnostic import Diagnostic
from triptych.audit.estimates import Floats, cluster_sums, smooth
from triptych.audit.finding import FEWEST_PROMPTS, Finding
from triptych.audit.needs import LIBRARIES, Need

if TYPE_CHECKING:
    import polars as pl

    from triptych.audit.data import Data

_UNIT = ["prompt_id", "criterion", "a", "b"]
_MOST_SLICES = 20


def labelled(data: Data) -> pl.DataFrame:
    """What people choose of each pair. Columns: prompt_id, criterion, a, b, evaluator (the group), prefers (1, 0, -1)."""
    import polars as pl

    people = data.judgements.filter(pl.col("model").is_null() & pl.col("check").is_null())
    return agreement.choices(people).drop_nulls("prefers").select(*_UNIT, "evaluator", "prefers").collect()


def _counts(labels: pl.DataFrame) -> pl.DataFrame:
    import polars as pl

    said = [
        (pl.col("prefers") == label).sum().alias(name) for name, label in (("worse", -1), ("tie", 0), ("better", 1))
    ]
    return labels.group_by(_UNIT).agg(said).filter(pl.sum_horizontal("worse", "tie", "better") > 1)


SEVERAL_PEOPLE = Need(
    "pairs that several people labelled",
    "let two or more people judge some of the same pairs",
    lambda data: _counts(labelled(data)).height > 0,
)


class AnnotatorAlpha(Diagnostic):
    """Krippendorff's nominal alpha of what people choose of the same pairs, ties being a label of their own.

    0.667 is the least on which Krippendorff (Content Analysis, 2004) draws even tentative conclusions; preferences of text
    often lie lower, which need not be noise.
    """

    name = "annotator_alpha"
    failure_mode = "E16"
    needs = (LIBRARIES, SEVERAL_PEOPLE)
    good = (0.4, 1.0)
    error = (0.0, 1.0)
    change = "keep the distribution of labels (soft labels) in place of a majority; make the instructions clearer"

    def measure(self, data: Data) -> Iterator[Finding]:
        """Measure it over all people, and where prompts have tags, within each of the commonest."""
        import polars as pl

        counts = _counts(labelled(data))
        slices = [("", counts)]
        tags = data.prompts.select(prompt_id="id", tag="tags").explode("tag").drop_nulls().unique().collect()
        tags = tags.join(counts.select("prompt_id").unique(), on="prompt_id", how="semi")
        size = tags.group_by("tag").agg(pl.len()).filter(pl.col("len") >= FEWEST_PROMPTS)
        for tag in size.sort(["len", "tag"], descending=[True, False])["tag"][:_MOST_SLICES]:
            slices.append((tag, counts.join(tags.filter(pl.col("tag") == tag), on="prompt_id", how="semi")))
        for tag, part in slices:
            found = krippendorff_alpha(part.select("worse", "tie", "better").to_numpy(), part["prompt_id"].to_numpy())
            if found is not None:
                said = f"People agree{f' on prompts tagged {tag}' if tag else ''} by Krippendorff's alpha"
                yield self.found(found, said, subject=tag, data=data)


class GroupsOfAnnotators(Diagnostic):
    """By how much two people of different groups disagree more often than two of the same group, on the same pairs.

    P(differ | different groups) - P(differ | same group), the latter in the mean of both groups: an energy distance, 0
    where groups label alike. Groups are evaluators of different names. Pairs count that two or more of each group labelled.
    """

    name = "groups_of_annotators"
    failure_mode = "E16"
    needs = (
        LIBRARIES,
        SEVERAL_PEOPLE,
        Need(
            "several groups of people",
            "give groups of annotators names of their own",
            lambda data: labelled(data)["evaluator"].n_unique() > 1,
        ),
    )
    good = (-1.0, 0.05)
    error = (-1.0, 0.3)
    change = "keep a label for each group, or draw the groups as the people are whom the policy serves"

    def measure(self, data: Data) -> Iterator[Finding]:
        """Compare every two of the ten groups that labelled most."""
        from itertools import combinations

        import polars as pl

        labels = labelled(data)
        most = labels["evaluator"].value_counts().sort(["count", "evaluator"], descending=[True, False])
        each = labels.group_by(*_UNIT, "evaluator").agg(
            *((pl.col("prefers") == label).sum().cast(pl.Float64).alias(f"n{i}") for i, label in enumerate((-1, 0, 1))),
            n=pl.len().cast(pl.Float64),
        ).filter(pl.col("n") > 1)  # fmt: skip
        for one, other in combinations(sorted(most["evaluator"][:10].to_list()), 2):
            sides = [each.filter(pl.col("evaluator") == name).drop("evaluator") for name in (one, other)]
            both = sides[0].join(sides[1], on=_UNIT, suffix="_b")
            n, n_b = pl.col("n"), pl.col("n_b")
            alike = pl.sum_horizontal(pl.col(f"n{i}") * pl.col(f"n{i}_b") for i in range(3)) / (n * n_b)
            within = [
                pl.sum_horizontal(pl.col(f"n{i}{s}") * (pl.col(f"n{i}{s}") - 1) for i in range(3)) / (m * (m - 1))
                for s, m in (("", n), ("_b", n_b))
            ]
            told = both.with_columns(excess=(within[0] + within[1]) / 2 - alike, one=1.0)
            found = smooth(cluster_sums(told, ["excess", "one"]), _mean, n=told.height, within=(-1.0, 1.0))
            if found is not None:
                said = f"Two people of {one} and {other} disagree more often than two of one group, by a share of"
                yield self.found(found, said, subject=f"{one} and {other}", data=data)


def _mean(s: Floats) -> Floats:
    return s[..., 0] / s[..., 1]
