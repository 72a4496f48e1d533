"""Whether verdicts are too coarse for what they judge: few labels for many steps, or few rollouts for a step (E12)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from triptych.audit.diagnostic import Diagnostic, Share
from triptych.audit.estimates import cluster_sums, smooth
from triptych.audit.finding import Finding
from triptych.audit.mitigations import judging
from triptych.audit.needs import LIBRARIES, Need
from triptych.evaluation.rollouts import Rollouts
from triptych.instantiation.scores import verdicts

if TYPE_CHECKING:
    import polars as pl

    from triptych.audit.data import Data

_FEWEST_STEPS = 3
_NUMBERED = r"(?im)^[ \t>#*_]*step[ \t]+\d+\b"
_BLANK_LINES = r"\n[^\S\n]*\n\s*"
_LINES = r"(?m)^.*\S"


def steps_of(data: Data) -> pl.LazyFrame:
    """How many steps there are in each response of three steps or more that are a trajectory or answer a prompt with a checkable
    answer. Columns: prompt_id, response_id, steps.

    The steps of a trajectory are its messages by the assistant, those of a text as in `triptych.parts`.
    """
    import polars as pl

    message = pl.element().struct
    spoken = pl.col("messages").list.eval(pl.when(message.field("role") == "assistant").then(message.field("content")))
    said, text = pl.col("said").list, pl.col("text")
    numbered, paragraphs = text.str.count_matches(_NUMBERED), text.str.count_matches(_BLANK_LINES) + 1
    in_text = (
        pl.when(numbered > 0)
        .then(numbered)
        .when(paragraphs > 1)
        .then(paragraphs)
        .otherwise(text.str.count_matches(_LINES))
    )
    return (
        data.responses.filter(pl.col("status") == "ok")
        .select("prompt_id", response_id="id", said=spoken.list.drop_nulls())
        .join(_checkable(data).with_columns(checkable=True), on="prompt_id", how="left")
        .select("prompt_id", "response_id", "checkable", turns=said.len(), text=said.last().str.strip_chars())
        .filter(pl.col("checkable") | (pl.col("turns") > 1))
        .select("prompt_id", "response_id", steps=pl.when(pl.col("turns") > 1).then("turns").otherwise(in_text))
        .filter(pl.col("steps") >= _FEWEST_STEPS)
        .unique("response_id")
    )


def _checkable(data: Data) -> pl.LazyFrame:
    """Prompts whose answer a program can check: prompt_id."""
    import polars as pl

    checkable = pl.col("reference").is_not_null() | pl.col("constraints").str.contains("final_answer", literal=True)
    return data.prompts.filter(checkable.fill_null(False)).select(prompt_id="id").unique()


def _any_solution(data: Data) -> bool:
    """Whether any prompt can be checked, or any response holds two messages or more; how many steps is counted later."""
    import polars as pl

    if not _checkable(data).head(1).collect().is_empty():
        return True
    return not data.responses.filter(pl.col("messages").list.len() > 1).head(1).collect().is_empty()


LONG_SOLUTIONS = Need(
    "solutions of several steps",
    "audit data with answers that can be checked (a reference or final_answer) or with trajectories",
    _any_solution,
)


class LabelDensity(Share):
    """Labels over steps, of judged responses that have three steps or more and are trajectories or answer a prompt with a
    checkable answer.

    A response whose steps were judged has a label for each judged step, any other has one. Where it is low nothing says
    which step was wrong: the credit for an end is spread over all that led to it.
    """

    name = "label_density"
    failure_mode = "E12"
    needs = (LONG_SOLUTIONS,)
    counts = (
        "responses of several steps, some of them judged",
        "judge steps: rollouts, or a rubric with unit: step",
    )
    good = (0.2, 1.0)
    change = "judge steps: rollouts from each, or a rubric with unit: step"
    mitigations = (judging.judged_by_steps_too,)

    def rows(self, data: Data) -> pl.LazyFrame:
        """Each judged response, with its labels and its steps."""
        import polars as pl

        judged = (
            data.judgements.filter(pl.col("status") == "ok")
            .select(response_id="response_ids", step=pl.col("step").struct.field("index"))
            .explode("response_id")
            .group_by("response_id")
            .agg(labels=pl.col("step").n_unique() - pl.col("step").is_null().any().cast(pl.UInt32))
        )
        labels = pl.max_horizontal("labels", pl.lit(1))
        return (
            steps_of(data)
            .join(judged, on="response_id")
            .with_columns(part=pl.min_horizontal(labels, "steps"), whole="steps", id="response_id")
            .with_columns(shows=pl.col("part") < (self.good[0] * pl.col("whole")))
        )

    def say(self) -> tuple[str, str]:  # type: ignore[override]
        """About all long solutions."""
        return "", "Of the steps of longer solutions, verdicts give a label for"


def _estimates(data: Data) -> list[tuple[str, str, int]]:
    """The recipe's rollouts whose scores are shares: their place, their name, and how many each share is of."""
    made = data.recipe.evaluation if data.recipe is not None else ()
    return [
        (f"evaluation.{place}", one.name or one.kind, one.n)
        for place, one in enumerate(made)
        if isinstance(one, Rollouts) and one.find == "all_steps" and one.estimate == "soft" and one.n > 1
    ]


ROLLOUTS = Need(
    "a recipe whose rollouts score steps by shares",
    "audit a run that evaluates with rollouts, estimate: soft, n of 2 or more",
    lambda data: bool(_estimates(data)),
)


class StepScoreError(Diagnostic):
    """The standard error of steps' scores that are shares p of m rollouts: the root of the mean of p (1 - p) / (m - 1), an
    unbiased estimate of a share's variance.

    The last step of a response is left out: it is not continued.
    """

    name = "step_score_error"
    failure_mode = "E12"
    needs = (LIBRARIES, ROLLOUTS)
    good = (0.0, judging.WANTED_SD)
    error = (0.0, 0.35)
    change = "continue each step more often"
    mitigations = (judging.more_rollouts,)

    def measure(self, data: Data) -> Iterator[Finding]:
        """Measure it for each of the recipe's rollouts."""
        import polars as pl

        for _, name, m in _estimates(data):
            p = pl.col("verdict")
            rows = (
                verdicts(data.judgements, evaluators=(name,), of="steps")
                .filter(pl.col("step") < pl.col("step").max().over("response_id"))
                .select("prompt_id", id="judgement_id", variance=p * (1 - p) / (m - 1), one=pl.lit(1.0))
                .collect()
            )
            sums = cluster_sums(rows, ["variance", "one"])
            found = smooth(sums, lambda s: (s[..., 0] / s[..., 1]) ** 0.5, n=rows.height, within=(0.0, 1.0))
            if found is not None:
                worst = rows.sort("variance", "id", descending=[True, False])["id"][:10].to_list()
                said = f"The scores that {name} makes of {m} rollouts from a step have a standard error of"
                yield self.found(found, said, subject=name, rows=worst, data=data)

