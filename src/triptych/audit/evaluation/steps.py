"""Whether the scores of steps say anything of how a response ends (E13)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from triptych.audit.diagnostic import Diagnostic, Share
from triptych.audit.estimates import auc
from triptych.audit.finding import Finding
from triptych.audit.mitigations import judging
from triptych.audit.needs import LIBRARIES, Need
from triptych.instantiation.scores import verdicts

if TYPE_CHECKING:
    import polars as pl

    from triptych.audit.data import Data

_GOOD = 0.5


def step_ends(data: Data) -> pl.DataFrame:
    """How each response whose steps were judged ends, as gold says. Columns: prompt_id, response_id, evaluator, evaluator_id,
    criterion; score (the mean over its steps), least, judgement_id; right (boolean)."""
    import polars as pl

    steps = (
        verdicts(data.by_models, of="steps")
        .group_by("prompt_id", "response_id", "evaluator", "evaluator_id", "criterion")
        .agg(
            score=pl.col("verdict").mean(),
            least=pl.col("verdict").min(),
            judgement_id=pl.col("judgement_id").min(),
        )
    )
    ends = (
        verdicts(data.by_gold.filter(pl.col("response_ids").list.len() == 1))
        .group_by("response_id")
        .agg(end=pl.col("verdict").mean().round(9))
        .filter(pl.col("end") != _GOOD)
        .select("response_id", right=pl.col("end") > _GOOD)
    )
    return steps.join(ends, on="response_id").collect()


JUDGED_ENDS = Need(
    "scores of steps beside gold labels of whole responses",
    "judge steps, and let people or a verifier judge the ends",
    lambda data: data.once(step_ends).height > 0,
)


class OutcomeAucFromSteps(Diagnostic):
    """How well the mean score of a response's steps tells right ends from wrong ones: the area under the ROC curve, with
    what gold says of the whole response as the truth (right above a half, in the mean).

    One half where steps are rewarded that do nothing for the end. Rollouts score the last step by the end itself, so of them
    more is to be expected.
    """

    name = "outcome_auc_from_steps"
    failure_mode = "E13"
    needs = (LIBRARIES, JUDGED_ENDS)
    good = (0.65, 1.0)
    error = (0.5, 1.0)
    change = "gate the scores of steps by the end, score only steps that the end depends on, or take rollouts"
    mitigations = (judging.by_rollouts,)

    def measure(self, data: Data) -> Iterator[Finding]:
        """Measure it for each judge of steps and criterion."""
        parts = data.once(step_ends).partition_by("evaluator", "evaluator_id", "criterion", as_dict=True)
        for (evaluator, _, criterion), rows in sorted(parts.items(), key=str):
            found = auc(rows, "score", "right")
            if found is not None:
                said = f"The mean of {evaluator}'s scores of steps on {criterion} tells right ends from wrong ones with an AUC of"
                wrong = rows.filter(~rows["right"]).sort("score", "response_id", descending=[True, False])
                highest = wrong["response_id"][:10].to_list()
                yield self.found(found, said, subject=f"{evaluator}: {criterion}", rows=highest, data=data)


class WrongEndsWithoutBadStep(Share):
    """Share of responses that gold calls wrong all of whose steps a judge scores as good, at half of the scale or more."""

    name = "wrong_ends_without_bad_step"
    failure_mode = "E13"
    needs = (JUDGED_ENDS,)
    good = (0.0, 0.3)
    error = (0.0, 0.7)
    by = ("evaluator", "evaluator_id", "criterion")
    change = "gate the scores of steps by the end, or take a judge that finds the first error"
    mitigations = (judging.by_rollouts,)

    def rows(self, data: Data) -> pl.LazyFrame:
        """Each wrong response, and whether no step is called bad."""
        import polars as pl

        praised = pl.col("least") >= _GOOD
        return (
            data.once(step_ends).lazy()
            .filter(~pl.col("right"))
            .with_columns(part=praised, whole=1, id="response_id", shows=praised)
        )

    def say(self, evaluator: str, _id: str, criterion: str) -> tuple[str, str]:  # type: ignore[override]
        """Name the judge."""
        return (
            f"{evaluator}: {criterion}",
            f"By {criterion}, {evaluator} finds no bad step in responses that are wrong:",
        )
