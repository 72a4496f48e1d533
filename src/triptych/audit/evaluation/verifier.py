"""Whether judges agree with verifiers (E4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from triptych.audit.agreement import single_verdicts
from triptych.audit.diagnostic import Share
from triptych.audit.mitigations import judging
from triptych.instantiation.scores import verdicts

if TYPE_CHECKING:
    import polars as pl

    from triptych.audit.data import Data


class JudgeVerifierAgreement(Share):
    """Share of a judge's verdicts on pairs that a verifier tells apart, in which the two agree.

    Each order in which the judge was asked counts by itself; ties are left out. The verifier's score is the mean over its
    checks. Whoever judges without a model counts as a verifier.
    """

    name = "judge_verifier_agreement"
    told_by = "gold_accuracy"
    failure_mode = "E4"
    counts = (
        "verdicts of a model on responses that a program tells apart",
        "let `verify` and a judge both look at some of the responses",
    )
    good = (0.7, 1.0)
    error = (0.5, 1.0)
    by = ("evaluator", "evaluator_id", "criterion", "verifier", "verifier_id")
    change = "take a stronger judge, show it the reference, or let the verifier decide where it can"
    mitigations = (judging.another_judge, judging.critique_first, judging.debated)

    def rows(self, data: Data) -> pl.LazyFrame:
        """Each verdict of a judge on a pair that a verifier tells apart, and whether they agree."""
        import polars as pl

        passed = (
            verdicts(data.judgements.filter(pl.col("check").is_not_null()))
            .group_by("prompt_id", "response_id", "evaluator", "evaluator_id")
            .agg(pl.col("verdict").mean())
            .rename({"evaluator": "verifier", "evaluator_id": "verifier_id"})
        )
        sides = [
            passed,
            passed.rename({"verdict": "verdict_b"}),
        ]
        told = (pl.col("verdict") - pl.col("verdict_b")).round(9).sign().cast(pl.Float64)
        who = ["verifier", "verifier_id"]
        return (
            single_verdicts(data.by_models)
            .join(sides[0], left_on=["prompt_id", "a"], right_on=["prompt_id", "response_id"])
            .join(sides[1], left_on=["prompt_id", "b", *who], right_on=["prompt_id", "response_id", *who])
            .with_columns(told=told)
            .filter(pl.col("told") != 0)
            .with_columns(
                part=pl.col("told") == pl.col("prefers"),
                whole=1,
                id="judgement_id",
                shows=pl.col("told") != pl.col("prefers"),
            )
        )

    def say(self, judge: str, _id: str, criterion: str, verifier: str, _verifier_id: str) -> tuple[str, str]:  # type: ignore[override]
        """Name the judge and the criterion."""
        return (
            f"{judge}: {criterion}",
            f"Where {verifier} tells two responses apart, {judge} names the same one on {criterion} in",
        )
