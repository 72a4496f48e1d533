"""Whether several criteria are made one number although they disagree, or although one of them decides alone (E11)."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import TYPE_CHECKING

from triptych.audit.diagnostic import Diagnostic, Share
from triptych.audit.estimates import cluster_sums, smooth
from triptych.audit.finding import Bars, Finding
from triptych.audit.mitigations import pairing, scoring
from triptych.audit.needs import LIBRARIES, SEVERAL_CRITERIA, Need

if TYPE_CHECKING:
    import polars as pl

    from triptych.audit.data import Data

_MOST_RESPONSES = 16
_MOST_CRITERIA = 8
_NEARLY = 1e-9
_BY = ["evaluator", "evaluator_id", "criterion"]
_TWO_CRITERIA = Need(
    "verdicts on several criteria by one evaluator",
    "let a judge judge two or more criteria",
    lambda data: (
        max(
            (
                its["criterion"].n_unique()
                for rows in (data.scored, data.duels)
                for its in rows.partition_by("evaluator_id")
            ),
            default=0,
        )
        > 1
    ),
)


def _clearly(data: Data) -> pl.LazyFrame:
    """Which of two responses an evaluator clearly prefers, on each criterion: prompt_id, evaluator, evaluator_id,
    criterion, a, b, prefers, judgement_id.
    """
    import polars as pl

    kept = ["prompt_id", *_BY, "a", "b", "prefers", "judgement_id"]
    key = ["prompt_id", *_BY]
    scored = data.scored.lazy().with_columns(place=pl.int_range(pl.len()).over(key), sd=pl.col("score").std().over(_BY))
    few = scored.filter(pl.col("place") < _MOST_RESPONSES).select(*key, "response_id", "score", "sd", "judgement_id")
    apart = pl.col("score") - pl.col("score_b")
    of_scores = (
        few.join(few.select(*key, b="response_id", score_b="score"), on=key)
        .filter((pl.col("response_id") < pl.col("b")) & (apart.abs() >= pl.col("sd") - 1e-9) & (apart.abs() > 1e-9))
        .select(*key, "b", "judgement_id", a="response_id", prefers=apart.sign().cast(pl.Float64))
    )
    one, both = pl.coalesce("a_first", "b_first"), pl.coalesce("b_first", "a_first")
    as_pairs = data.duels.lazy().filter((one == both) & (one != 0)).with_columns(prefers=one.cast(pl.Float64))
    return pl.concat([of_scores.select(kept), as_pairs.select(kept)])


class CriteriaConflict(Share):
    """Share of pairs of responses on which an evaluator's two criteria clearly name opposite winners, of those on which both
    clearly name one.

    Clearly: by at least the standard deviation of the evaluator's scores on that criterion, so that noise between responses
    about as good counts for little; or as the winner in every order asked. Of more than 16 responses to a prompt the first
    16 are compared, of more than eight criteria those that tell most pairs apart. Made one number, such criteria cancel.
    """

    name = "criteria_conflict"
    failure_mode = "E11"
    needs = (_TWO_CRITERIA,)
    counts = (
        "responses to one prompt that two criteria of an evaluator clearly tell apart",
        "let a judge judge two criteria or more of several responses to a prompt",
    )
    good = (0.0, 0.15)
    error = (0.0, 0.6)
    by = ("evaluator", "evaluator_id", "one", "other")
    change = "keep the criteria apart: pairs that win on both, one set of pairs for each, or a constraint"
    mitigations = (pairing.pareto,)

    def rows(self, data: Data) -> pl.LazyFrame:
        """Each pair of responses and of criteria, and whether they conflict."""
        import polars as pl

        clear = _clearly(data).collect()
        most = clear.group_by("criterion").agg(n=pl.len()).sort(["n", "criterion"], descending=[True, False])
        names = sorted(most["criterion"].head(_MOST_CRITERIA))
        key = ["prompt_id", "evaluator", "evaluator_id", "a", "b"]
        sides = {name: clear.lazy().filter(pl.col("criterion") == name).drop("criterion") for name in names}
        empty = (
            clear.lazy()
            .head(0)
            .select(*key, id="judgement_id", one="criterion", other="criterion", shows=pl.lit(False))
        )
        both = [
            sides[one]
            .join(sides[other].select(*key, against="prefers"), on=key)
            .select(
                *key,
                id="judgement_id",
                one=pl.lit(one),
                other=pl.lit(other),
                shows=pl.col("prefers") != pl.col("against"),
            )
            for one, other in combinations(names, 2)
        ]
        return pl.concat([empty, *both]).with_columns(part="shows", whole=1)

    def say(self, evaluator: str, _id: str, one: str, other: str) -> tuple[str, str]:  # type: ignore[override]
        """Name the evaluator and the criteria."""
        return f"{evaluator}: {one}, {other}", f"{evaluator} names opposite winners on {one} and on {other} for"


class CriterionDominance(Diagnostic):
    """How much of the variance of the score that the objective makes of all criteria comes from one of them: the covariance
    of the weighted criterion with that score over the sum of those of all criteria, both less their mean over the prompt's
    responses, for the criterion of which it is highest.

    Of criteria that vary alike and count alike each has its equal part, also where they say the same. Near 1 the others are
    judged for nothing. Of more than eight criteria those count that most responses were judged on.
    """

    name = "criterion_dominance"
    failure_mode = "E11"
    needs = (LIBRARIES, SEVERAL_CRITERIA)
    counts = (
        "scores on two criteria that differ, over several prompts",
        "let a judge score two criteria or more",
    )
    good = (0.0, 0.9)
    change = "weigh the others more, rescale criteria that hardly vary, or leave out what does not count"
    mitigations = (scoring.lighter,)

    def measure(self, data: Data) -> Iterator[Finding]:
        """Measure it for each criterion, and tell of the highest."""
        names, rows = _weighted(data)
        if len(names) < 2:
            return
        sums = cluster_sums(rows, names)
        found = {}
        for place, name in enumerate(names):
            each = smooth(sums, lambda s, place=place: s[..., place] / s.sum(-1), n=rows.height)  # type: ignore[misc]
            if each is not None:
                found[name] = each
        if len(found) < 2 or sums.sum() <= _NEARLY:
            return
        highest = max(found, key=lambda name: found[name].value)
        told = list(found.values())
        bars = Bars(
            labels=tuple(found),
            values=tuple(each.value for each in told),
            axis="share of the overall score's variance",
            low=tuple(each.low for each in told),
            high=tuple(each.high for each in told),
        )
        said = f"Of {len(found)} criteria {highest} has, of the variance of the overall score, a share of"
        yield self.found(found[highest], said, subject=highest, plot=bars, data=data)


def _weighted(data: Data) -> tuple[list[str], pl.DataFrame]:
    """The criteria, and a column for each: its weighted score times the overall score, both less their mean over the prompt."""
    import polars as pl

    declared = data.recipe.objective.criteria if data.recipe is not None else {}
    score = data.said.group_by("prompt_id", "response_id", "criterion").agg(pl.col("verdict").mean())
    several = score.filter(pl.col("criterion").n_unique().over("prompt_id") > 1)
    most = several.group_by("criterion").agg(n=pl.len()).sort(["n", "criterion"], descending=[True, False])
    names = sorted(most["criterion"].head(_MOST_CRITERIA))
    apart = {
        name: (pl.col(name) - pl.col(name).mean().over("prompt_id")).fill_null(0.0)
        * (declared[name].weight if name in declared else 1.0)
        for name in names
    }
    overall = pl.col("score") - pl.col("score").mean().over("prompt_id")
    wide = several.filter(pl.col("criterion").is_in(names)).pivot(
        "criterion", index=["prompt_id", "response_id"], values="verdict"
    )
    rows = wide.join(data.overall, on=["prompt_id", "response_id"]).select(
        "prompt_id", **{name: each * overall for name, each in apart.items()}
    )
    return names, rows
