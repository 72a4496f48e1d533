"""Whether a judge says the same when it is asked again, or in other words (E5)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from triptych.audit.diagnostic import Share
from triptych.audit.mitigations import judging, scoring
from triptych.audit.needs import Need
from triptych.instantiation.scores import verdicts

if TYPE_CHECKING:
    import polars as pl

    from triptych.audit.data import Data


_KEY = ["prompt_id", "criterion", "criterion_id", "order", "check"]


def _asked_again(data: Data) -> pl.LazyFrame:
    """What a judge says of a response each time, by the same words and in the same order; see `verdicts`."""
    import polars as pl

    shown = pl.col("response_ids").list
    again = (
        data.by_models.filter(shown.len() <= 2)
        .with_columns(order=shown.join(" "))
        .filter(pl.len().over("evaluator_id", "criterion_id", "order", "check") > 1)
    )
    about = again.select("criterion_id", "check", "order", judgement_id="id").unique("judgement_id")
    return (
        verdicts(again.drop("order"))
        .join(about, on="judgement_id")
        .group_by("judgement", *_KEY, "evaluator", "evaluator_id", maintain_order=True)
        .agg(pl.col("judgement_id").first(), said=pl.col("verdict").first().round(9))
    )


def _same(rows: pl.LazyFrame, by: list[str], keep: list[str]) -> pl.LazyFrame:
    """Of every two of the rows that share `by`, how many say the same: part, whole, id and shows."""
    import polars as pl

    def two(n: pl.Expr) -> pl.Expr:
        return n * (n - 1) / 2

    each = rows.group_by(*by, *keep, "said").agg(n=pl.len().cast(pl.Float64), id=pl.col("judgement_id").min())
    return (
        each.group_by(*by, *keep)
        .agg(part=two(pl.col("n")).sum(), whole=two(pl.col("n").sum()), id=pl.col("id").min())
        .filter(pl.col("whole") > 0)
        .with_columns(shows=pl.col("part") < pl.col("whole"))
    )


def _repeats_are_counted(data: Data) -> bool:
    """Whether verdicts that say the same stay two: an import can't tell them from one that is written twice, and keeps one."""
    return data.recipe is None or getattr(data.recipe.prompts, "kind", "") != "imported" or bool(data.recipe.evaluation)


REPEATS = Need(
    "verdicts on the same thing, asked several times",
    "give the judge `repeats`, with a temperature above 0; an import keeps one of verdicts that say the same",
    lambda data: _repeats_are_counted(data) and RepeatAgreement().rows(data).limit(1).collect().height > 0,
)


class RepeatAgreement(Share):
    """Of every two verdicts of a judge on the same thing, asked the same way, the share that say the same.

    The same choice, or the same score.
    """

    name = "repeat_agreement"
    failure_mode = "E5"
    needs = (REPEATS,)
    good = (0.8, 1.0)
    error = (0.5, 1.0)
    by = ("evaluator", "evaluator_id")
    change = "take the mean of several repeats, a lower temperature, or a panel"
    mitigations = (judging.repeated, judging.cooler)

    def rows(self, data: Data) -> pl.LazyFrame:
        """Each thing that was judged several times by the same judge."""
        return _same(_asked_again(data), _KEY, list(self.by))

    def say(self, evaluator: str, _id: str) -> tuple[str, str]:  # type: ignore[override]
        """Name the judge."""
        return evaluator, f"Asked again, {evaluator} says the same in"


WORDINGS = Need(
    "verdicts by one model, asked in different words",
    "judge with a second template of the same model, or word the criterion anew",
    lambda data: WordingAgreement().rows(data).limit(1).collect().height > 0,
)


class WordingAgreement(Share):
    """Of every two choices of one judging model on the same pair in the same order, asked in other words, the share alike.

    Other words: another wording of the criterion of that name, or another evaluator (template, settings) of the same model.
    """

    name = "wording_agreement"
    failure_mode = "E5"
    needs = (WORDINGS,)
    good = (0.8, 1.0)
    error = (0.5, 1.0)
    by = ("model",)
    change = "take the mean over several wordings, a panel, or a judge that depends less on words"
    mitigations = (judging.another_judge, scoring.lower_bound)

    def rows(self, data: Data) -> pl.LazyFrame:
        """Each pair and order on which a model was asked in several words; over repeats the commonest choice."""
        import polars as pl

        key = ["prompt_id", "criterion", "a", "b", "a_first"]
        once = (
            data.choices.lazy()
            .drop_nulls(["named", "model"])
            .group_by(*key, "model", "evaluator_id", "criterion_id")
            .agg(said=pl.col("named").sum().sign(), judgement_id=pl.col("judgement_id").min())
        )
        return _same(once, key, ["model"])

    def say(self, model: str) -> tuple[str, str]:  # type: ignore[override]
        """Name the model."""
        return model, f"Asked in other words, {model} makes the same choice in"
