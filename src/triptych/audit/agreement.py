"""Whether judges agree with themselves in both orders, and with verifiers (failure modes E1 and E4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from triptych.audit.diagnostic import Diagnostic
from triptych.audit.finding import Finding, share_finding
from triptych.audit.intervals import Share
from triptych.instantiation.scores import verdicts

if TYPE_CHECKING:
    import polars as pl

_PAIR = ("prompt_id", "evaluator", "evaluator_id", "criterion", "a", "b")


def pair_verdicts(judgements: pl.LazyFrame) -> pl.LazyFrame:
    """What judges (models, not verifiers or people) said of the pairs they were shown, for each criterion.

    Columns: prompt_id, evaluator, evaluator_id, criterion, a and b (the two responses, by id), a_first and
    b_first (1 if a was preferred where it was shown first or second, -1 if b was, 0 for a tie, null if never
    asked; over repeats the majority), first_won and decided (verdicts that named the first shown, or any),
    judgement_id (one).
    """
    import polars as pl

    first, second = pl.col("response_id").first(), pl.col("response_id").last()
    won_first = pl.col("verdict").first() - pl.col("verdict").last()
    a_first, prefers = pl.col("shown_first") < pl.col("shown_second"), pl.col("prefers")
    sides = (
        verdicts(judgements.filter((pl.col("response_ids").list.len() == 2) & pl.col("model").is_not_null()))
        .group_by("judgement")
        .agg(
            pl.first("judgement_id", "prompt_id", "evaluator", "evaluator_id", "criterion"),
            first.alias("shown_first"),
            second.alias("shown_second"),
            won_first.sign().cast(pl.Float64).alias("named"),  # 1 the first shown, -1 the second, 0 neither
        )
        .filter(pl.col("shown_first") != pl.col("shown_second"))
        .with_columns(
            a=pl.min_horizontal("shown_first", "shown_second"),
            b=pl.max_horizontal("shown_first", "shown_second"),
            prefers=pl.when(a_first).then("named").otherwise(-pl.col("named")),
            a_first=a_first,
        )
    )

    def majority(shown: pl.Expr) -> pl.Expr:
        votes = pl.when(shown).then(prefers)
        return pl.when(votes.count() > 0).then(votes.sum().sign().cast(pl.Float64))

    return sides.group_by(_PAIR).agg(
        majority(pl.col("a_first")).alias("a_first"),
        majority(~pl.col("a_first")).alias("b_first"),
        (pl.col("named") == 1).sum().alias("first_won"),
        (pl.col("named") != 0).sum().alias("decided"),
        pl.col("judgement_id").min(),
    )


def preferences(judgements: pl.LazyFrame) -> pl.LazyFrame:
    """Which of two responses a judge prefers, on each criterion, where it says so clearly.

    Clearly: shown as a pair, in every order in which it was asked; or scored apart or ranked in a longer
    list, by the difference of the means of what it said. Columns: prompt_id, evaluator, evaluator_id,
    criterion, a, b, prefers (1 for a, -1 for b), judgement_id (one that shows it).
    """
    import polars as pl

    paired = pair_verdicts(judgements)
    in_one = pl.coalesce("a_first", "b_first")
    in_both = pl.coalesce("b_first", "a_first")
    as_pair = paired.filter((in_one == in_both) & (in_one != 0)).select(
        *_PAIR, in_one.cast(pl.Float64).alias("prefers"), "judgement_id"
    )
    alone = (
        verdicts(judgements.filter((pl.col("response_ids").list.len() != 2) & pl.col("model").is_not_null()))
        .group_by("prompt_id", "evaluator", "evaluator_id", "criterion", "response_id")
        .agg(pl.col("verdict").mean(), pl.col("judgement_id").min())
    )
    key = ["prompt_id", "evaluator", "evaluator_id", "criterion"]
    apart = (
        alone.join(alone, on=key, suffix="_b")
        .filter(pl.col("response_id") < pl.col("response_id_b"))
        .with_columns(prefers=(pl.col("verdict") - pl.col("verdict_b")).round(9).sign().cast(pl.Float64))
        .filter(pl.col("prefers") != 0)
        .rename({"response_id": "a", "response_id_b": "b"})
        .select(*_PAIR, "prefers", "judgement_id")
    )
    return pl.concat([as_pair, apart])


def single_verdicts(judgements: pl.LazyFrame) -> pl.LazyFrame:
    """Which of two responses a judge prefers, each order in which it was asked by itself; ties are left out.

    Unlike `preferences`, nothing is left out for being contradicted: a judge that always names the first response is
    right half of the time. Columns as in `preferences`.
    """
    import polars as pl

    paired = pair_verdicts(judgements)
    orders = [paired.select(*_PAIR, pl.col(order).alias("prefers"), "judgement_id") for order in ("a_first", "b_first")]
    apart = preferences(judgements.filter(pl.col("response_ids").list.len() != 2))
    return pl.concat([*orders, apart]).filter(pl.col("prefers").is_not_null() & (pl.col("prefers") != 0))


def swap_consistency(judgements: pl.LazyFrame) -> Diagnostic:
    """Share of pairs judged in both orders where both verdicts name the same winner (E1).

    A tie in one order and a winner in the other counts against the judge; two ties name nobody and do not
    count.
    """
    import polars as pl

    a_first, b_first = pl.col("a_first"), pl.col("b_first")
    both = a_first.is_not_null() & b_first.is_not_null() & ~((a_first == 0) & (b_first == 0))
    rows = (
        pair_verdicts(judgements)
        .filter(both)
        .with_columns(part=a_first == b_first, whole=1, id="judgement_id", shows=a_first != b_first)
    )

    def say(share: Share, shown: tuple[str, ...], evaluator: str, _id: str) -> Finding:
        return share_finding(
            share,
            name="swap_consistency",
            failure_mode="E1",
            subject=evaluator,
            said=f"{evaluator} names the same winner in both orders for",
            good=(0.8, 1.0),
            error=(0.5, 1.0),
            rows=shown,
            change="take a stronger judge; judging both orders makes a tie of what it contradicts",
        )

    return Diagnostic(rows, ("evaluator", "evaluator_id"), say)


def orders_asked(judgements: pl.LazyFrame) -> Diagnostic:
    """Share of pairs judged in both orders; told only of a judge that has none, since its position bias is unknown (E1)."""
    import polars as pl

    both = pl.col("a_first").is_not_null() & pl.col("b_first").is_not_null()
    rows = pair_verdicts(judgements).with_columns(part=both, whole=1, id="judgement_id", shows=False)

    def say(share: Share, shown: tuple[str, ...], evaluator: str, _id: str) -> Finding | None:
        return None if share.value else _one_order(evaluator, share)

    return Diagnostic(rows, ("evaluator", "evaluator_id"), say)


def _one_order(evaluator: str, share: Share) -> Finding:
    return Finding(
        name="swap_consistency",
        failure_mode="E1",
        subject=evaluator,
        value=None,
        low=None,
        high=None,
        n=share.n,
        prompts=share.prompts,
        severity="warn",
        message=f"{evaluator} saw each of its {share.n:,} pairs in one order only: its position bias is unknown.",
        change="judge each pair in both orders",
    )


def first_slot_rate(judgements: pl.LazyFrame) -> Diagnostic:
    """Share of decided verdicts that name the response shown first, over pairs judged in both orders (E1).

    Without position bias it is one half, whatever the responses are.
    """
    import polars as pl

    both = pl.col("a_first").is_not_null() & pl.col("b_first").is_not_null()
    rows = pair_verdicts(judgements).filter(both).with_columns(
        part="first_won", whole="decided", id="judgement_id", shows=pl.col("a_first") * pl.col("b_first") < 0
    )  # fmt: skip

    def say(share: Share, shown: tuple[str, ...], evaluator: str, _id: str) -> Finding:
        return share_finding(
            share,
            name="first_slot_rate",
            failure_mode="E1",
            subject=evaluator,
            said=f"{evaluator} names the response shown first in",
            good=(0.45, 0.55),
            error=(0.2, 0.8),
            rows=shown,
            change="judge each pair in both orders, and take a judge that depends less on the order",
        )

    return Diagnostic(rows, ("evaluator", "evaluator_id"), say)


def judge_verifier_agreement(judgements: pl.LazyFrame) -> Diagnostic:
    """Share of a judge's verdicts on pairs that a verifier tells apart, in which the two agree (E4).

    The verdicts are those of `single_verdicts`; the verifier's score is the mean over its checks. Whoever judges
    without a model counts as a verifier.
    """
    import polars as pl

    passed = (
        verdicts(judgements.filter(pl.col("check").is_not_null()))
        .group_by("prompt_id", "response_id", "evaluator", "evaluator_id")
        .agg(pl.col("verdict").mean())
        .rename({"evaluator": "verifier", "evaluator_id": "verifier_id"})
    )
    rows = (
        single_verdicts(judgements)
        .join(passed, left_on=["prompt_id", "a"], right_on=["prompt_id", "response_id"])
        .join(
            passed,
            left_on=["prompt_id", "b", "verifier", "verifier_id"],
            right_on=["prompt_id", "response_id", "verifier", "verifier_id"],
            suffix="_b",
        )
        .with_columns(told=(pl.col("verdict") - pl.col("verdict_b")).round(9).sign().cast(pl.Float64))
        .filter(pl.col("told") != 0)
        .with_columns(
            part=pl.col("told") == pl.col("prefers"),
            whole=1,
            id="judgement_id",
            shows=pl.col("told") != pl.col("prefers"),
        )
    )
    by = ("evaluator", "evaluator_id", "criterion", "verifier", "verifier_id")

    def say(
        share: Share, shown: tuple[str, ...], judge: str, _id: str, criterion: str, verifier: str, _verifier_id: str
    ) -> Finding:
        return share_finding(
            share,
            name="judge_verifier_agreement",
            failure_mode="E4",
            subject=f"{judge}: {criterion}",
            said=f"Where {verifier} tells two responses apart, {judge} names the same one on {criterion} in",
            good=(0.7, 1.0),
            error=(0.5, 1.0),
            rows=shown,
            change="take a stronger judge, show it the reference, or let the verifier decide where it can",
        )

    return Diagnostic(rows, by, say)
