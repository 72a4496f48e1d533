"""Whether verifiers let wrong answers pass and hold right ones back (E15)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from triptych.audit.diagnostic import Share
from triptych.audit.needs import Need

if TYPE_CHECKING:
    import polars as pl

    from triptych.audit.data import Data


def _verified(data: Data) -> pl.LazyFrame:
    """What each verifier that is not gold says of each response: passed where all of its checks do."""
    import polars as pl

    from triptych.instantiation.scores import verdicts

    gold = pl.col("evaluator").is_in(list(data.gold_evaluators or ()))
    checks = data.judgements.filter(pl.col("check").is_not_null() & ~gold)
    return (
        verdicts(checks)
        .group_by("prompt_id", "response_id", "evaluator", "evaluator_id")
        .agg(passed=pl.col("verdict").min() >= 0.5, id=pl.col("judgement_id").min())
    )


def _against_gold(data: Data) -> pl.LazyFrame:
    """The same beside what people say, or whoever is named as gold."""
    import polars as pl

    from triptych.instantiation.scores import verdicts

    names = data.gold_evaluators
    people = pl.col("model").is_null() & pl.col("check").is_null()
    gold = pl.col("evaluator").is_in(list(names)) if names is not None else people
    truth = (
        verdicts(data.judgements.filter(gold & (pl.col("response_ids").list.len() == 1)))
        .group_by("prompt_id", "response_id")
        .agg(right=pl.col("verdict").mean())
    )
    return _verified(data).join(truth, on=["prompt_id", "response_id"])


VERIFIED_AND_GOLD = Need(
    "responses that both a verifier and people judge",
    "plant wrong answers and right ones in other words, label them, and name the evaluator that is gold",
    lambda data: _against_gold(data).limit(1).collect().height > 0,
)


class _Leak(Share):
    failure_mode = "E15"
    needs = (VERIFIED_AND_GOLD,)
    good = (0.0, 0.05)
    error = (0.0, 0.3)
    by = ("evaluator", "evaluator_id")


class VerifierFalsePositives(_Leak):
    """Share of responses that gold calls wrong (a mean score below one half) that a verifier passes on all its checks."""

    name = "verifier_false_positives"
    change = "make the checks stricter, or take a second verifier"

    def rows(self, data: Data) -> pl.LazyFrame:
        """Each wrong response, and whether it passes."""
        import polars as pl

        return _against_gold(data).filter(pl.col("right") < 0.5).with_columns(part="passed", whole=1, shows="passed")

    def say(self, evaluator: str, _id: str) -> tuple[str, str]:  # type: ignore[override]
        """Name the verifier."""
        return evaluator, f"{evaluator} passes wrong responses in"


class VerifierFalseNegatives(_Leak):
    """Share of responses that gold calls right (a mean score above one half) of which a check of a verifier fails."""

    name = "verifier_false_negatives"
    change = "let the checks read an answer in more forms, or take a second verifier"

    def rows(self, data: Data) -> pl.LazyFrame:
        """Each right response, and whether it fails."""
        import polars as pl

        failed = ~pl.col("passed")
        right = _against_gold(data).filter(pl.col("right") > 0.5)
        return right.with_columns(part=failed, whole=1, shows=failed)

    def say(self, evaluator: str, _id: str) -> tuple[str, str]:  # type: ignore[override]
        """Name the verifier."""
        return evaluator, f"{evaluator} fails right responses in"


class VerifierSplitsLikeAnswers(Share):
    """Of every two responses to a prompt that differ in case and white space alone, the share of which a verifier passes one.

    It needs no gold: one of the two verdicts is wrong, unless case or white space is what is asked for.
    """

    name = "verifier_splits_like_answers"
    failure_mode = "E15"
    needs = (
        Need("verified responses", "judge with `verify`", lambda data: _verified(data).limit(1).collect().height > 0),
    )
    good = (0.0, 0.05)
    error = (0.0, 0.5)
    by = ("evaluator", "evaluator_id")
    change = "let the checks disregard case and white space"

    def rows(self, data: Data) -> pl.LazyFrame:
        """Each group of like responses: how many of their pairs are split."""
        import polars as pl

        passed, n = pl.col("passed").sum().cast(pl.Float64), pl.len().cast(pl.Float64)
        features = data.features.lazy().select("response_id", "same", "alike")
        each = (
            _verified(data)
            .join(features, on="response_id")
            .unique(["prompt_id", "evaluator_id", "same"], maintain_order=True)
        )
        return (
            each.group_by("prompt_id", *self.by, "alike")
            .agg(part=passed * (n - passed), whole=n * (n - 1) / 2, id=pl.col("id").min())
            .filter(pl.col("whole") > 0)
            .with_columns(shows=pl.col("part") > 0)
        )

    def say(self, evaluator: str, _id: str) -> tuple[str, str]:  # type: ignore[override]
        """Name the verifier."""
        return evaluator, f"{evaluator} passes one of two responses that differ in case and white space alone in"
