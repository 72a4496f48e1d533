"""Whether labels are fine enough (E12), and whether labels of steps say something of the end (E13)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from triptych.audit.agreement import each_evaluator
from triptych.audit.diagnostic import Diagnostic, Share
from triptych.audit.estimates import cluster_sums, correlation, smooth
from triptych.audit.finding import Finding
from triptych.audit.needs import LIBRARIES, RECIPE, Need
from triptych.evaluation.rollouts import Rollouts

if TYPE_CHECKING:
    import polars as pl

    from triptych.audit.data import Data

_FEWEST_LINES = 3

STEPS = Need(
    "judgements of single steps",
    "judge steps, with `rollouts` or a judge of steps",
    lambda data: data.steps.height > 0,
)


class ErrorsLocated(Share):
    """Share of wrong responses of three or more lines, to prompts with a reference answer, of which some step is judged.

    Wrong: the mean score of all that judge without a model is below one half. Without labels of steps, a loss blames all of
    a wrong response alike.
    """

    name = "errors_located"
    failure_mode = "E12"
    good = (0.2, 1.0)
    change = "judge steps: continue from each with `rollouts`, or let a judge find the first wrong one"

    def rows(self, data: Data) -> pl.LazyFrame:
        """Each wrong response, and whether a step of it is judged."""
        import polars as pl

        known = data.prompts.filter(pl.col("reference").is_not_null()).select(prompt_id="id").unique()
        wrong = (
            data.outcomes.lazy()
            .filter(pl.col("outcome") < 0.5)
            .join(data.features.lazy().select("response_id", "lines"), on="response_id")
            .filter(pl.col("lines") >= _FEWEST_LINES)
            .join(known, on="prompt_id", how="semi")
        )
        located = data.steps.lazy().select("response_id").unique().with_columns(part=pl.lit(True))
        return wrong.join(located, on="response_id", how="left").with_columns(
            pl.col("part").fill_null(False), whole=1, id="response_id", shows=pl.col("part").is_null()
        )

    def say(self, *group: str) -> tuple[str, str]:
        """Of all responses."""
        return "", "Some step is judged of wrong responses of several lines in"


class StepValueError(Diagnostic):
    """The standard error of the values of steps that come from continuations: sqrt(p (1 - p) / m), over all steps.

    p is a step's share of right ones among m continuations, and the error is the root of the mean of p (1 - p) / (m - 1),
    which is unbiased for the variance.
    """

    name = "step_value_error"
    failure_mode = "E12"
    needs = (
        LIBRARIES,
        RECIPE,
        STEPS,
        Need("values of steps from continuations", "use `rollouts`", lambda data: bool(_rollouts(data))),
    )
    good = (0.0, 0.15)
    error = (0.0, 0.35)
    change = "draw more continuations from each step"

    def measure(self, data: Data) -> Iterator[Finding]:
        """Measure it for each operator that continues steps."""
        import polars as pl

        for name, (_, n) in _rollouts(data).items():
            rows = data.steps.filter((pl.col("evaluator") == name) & ~pl.col("last"))
            told = rows.with_columns(v=pl.col("verdict") * (1 - pl.col("verdict")) / (n - 1), one=1.0)
            found = smooth(
                cluster_sums(told, ["v", "one"]),
                lambda s: (s[..., 0] / s[..., 1]) ** 0.5,
                n=rows.height,
                within=(0.0, float("inf")),
            )
            if found is not None:
                said = f"The values of steps by {name}, of {n} continuations each, have a standard error of"
                yield self.found(found, said, subject=name, data=data)

    def edits(self, data: Data, subject: str) -> Mapping[str, Any]:
        """Twice as many continuations, which is what the operator allows at most where that is fewer."""
        place, n = _rollouts(data)[subject]
        return {f"evaluation.{place}.n": min(2 * n, 1000)}


def _rollouts(data: Data) -> dict[str, tuple[int, int]]:
    """Operators that score steps by shares of continuations: name -> place in the panel, continuations."""
    found = {}
    for place, operator in enumerate(data.recipe.evaluation if data.recipe is not None else ()):
        if isinstance(operator, Rollouts) and (operator.find, operator.estimate) == ("all_steps", "soft"):
            found[operator.name or operator.kind] = (place, operator.n)
    return {name: (place, n) for name, (place, n) in found.items() if n > 1}


class StepsAndOutcome(Diagnostic):
    """Pearson's correlation of a response's mean step score with its outcome, both less their means over the prompt.

    The outcome is the mean score of all that judge the whole response without a model. A step score that does not go with
    the end rewards steps that the end does not need.
    """

    name = "steps_and_outcome"
    failure_mode = "E13"
    needs = (
        LIBRARIES,
        STEPS,
        Need(
            "outcomes beside judgements of steps",
            "let a verifier judge the whole response too",
            lambda data: data.steps.join(data.outcomes, on="response_id", how="semi").height > 0,
        ),
    )
    good = (0.2, 1.0)
    error = (-0.2, 1.0)
    change = "let the outcome gate the scores of steps, or take their values from continuations"

    def measure(self, data: Data) -> Iterator[Finding]:
        """Correlate, for each evaluator of steps."""
        import polars as pl

        by = ["prompt_id", "evaluator_id"]
        each = ["prompt_id", "response_id", "evaluator", "evaluator_id"]
        rows = (
            data.steps.filter(~pl.col("last"))
            .group_by(each)
            .agg(pl.col("verdict").mean())
            .join(data.outcomes.select("response_id", "outcome"), on="response_id")
            .filter(pl.len().over(by) > 1)
            .with_columns(pl.col("verdict", "outcome") - pl.col("verdict", "outcome").mean().over(by))
        )
        for name, part in each_evaluator(rows):
            found = correlation(part, "verdict", "outcome")
            if found is not None:
                odd = part.sort(pl.col("verdict") * pl.col("outcome"))["response_id"][:10].to_list()
                said = f"Within prompts, the step scores of {name} go with the outcome by a correlation of"
                yield self.found(found, said, subject=name, rows=odd, data=data)


class RewardByNumberOfSteps(Diagnostic):
    """Spearman's correlation of a response's sum of step scores with its number of steps, among responses of one outcome.

    Both less their means over the prompt's responses of that outcome. Near 1, more steps mean more reward, whatever they do.
    """

    name = "reward_by_number_of_steps"
    failure_mode = "E13"
    needs = StepsAndOutcome.needs
    good = (-1.0, 0.8)
    change = "take the mean or the least of step scores in place of the sum, or reward progress"

    def measure(self, data: Data) -> Iterator[Finding]:
        """Correlate, for each evaluator of steps."""
        import polars as pl

        by = ["prompt_id", "evaluator_id", "outcome"]
        rows = (
            data.steps.group_by("prompt_id", "response_id", "evaluator", "evaluator_id")
            .agg(reward=pl.col("verdict").sum(), steps=pl.len().cast(pl.Float64))
            .join(data.outcomes.select("response_id", "outcome"), on="response_id")
            .filter(pl.len().over(by) > 1)
            .with_columns(pl.col("reward", "steps") - pl.col("reward", "steps").mean().over(by))
        )
        for name, part in each_evaluator(rows):
            found = correlation(part, "reward", "steps", ranks=True)
            if found is not None:
                said = f"Summed up, the step scores of {name} go with the number of steps by a rank correlation of"
                yield self.found(found, said, subject=name, data=data)
