"""Which of two responses an evaluator prefers, however it was asked: the tables that agreement is measured on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from triptych.instantiation.scores import verdicts

if TYPE_CHECKING:
    import polars as pl

MOST_COMPARED = 32
"""Responses to a prompt, scored apart, of which every two are compared."""
_PAIR = ("prompt_id", "evaluator", "evaluator_id", "criterion", "a", "b")


def pair_verdicts(judgements: pl.LazyFrame) -> pl.LazyFrame:
    """What evaluators said of the pairs they were shown, for each criterion.

    Columns: prompt_id, evaluator, evaluator_id, criterion, a and b (the two responses, by id), a_first and
    b_first (1 if a was preferred where it was shown first or second, -1 if b was, 0 for a tie, null if never
    asked; over repeats the majority), a_first_id and b_first_id (a judgement that said so, null where none did),
    first_won and decided (verdicts that named the first shown, or any), judgement_id (one of all).
    """
    import polars as pl

    first, second = pl.col("response_id").first(), pl.col("response_id").last()
    won_first = pl.col("verdict").first() - pl.col("verdict").last()
    a_first, prefers = pl.col("shown_first") < pl.col("shown_second"), pl.col("prefers")
    sides = (
        verdicts(judgements.filter(pl.col("response_ids").list.len() == 2))
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

    def showing(shown: pl.Expr) -> pl.Expr:
        return pl.col("judgement_id").filter(shown & (prefers == majority(shown))).min()

    return sides.group_by(_PAIR).agg(
        majority(pl.col("a_first")).alias("a_first"),
        majority(~pl.col("a_first")).alias("b_first"),
        showing(pl.col("a_first")).alias("a_first_id"),
        showing(~pl.col("a_first")).alias("b_first_id"),
        (pl.col("named") == 1).sum().alias("first_won"),
        (pl.col("named") != 0).sum().alias("decided"),
        pl.col("judgement_id").min(),
    )


def preferences(judgements: pl.LazyFrame) -> pl.LazyFrame:
    """Which of two responses an evaluator prefers, on each criterion, where it says so clearly.

    Clearly: shown as a pair, in every order in which it was asked; or scored apart or ranked in a longer
    list, by the difference of the means of what it said. Of more than 32 responses to a prompt that it scored apart, those
    with the 32 least ids, which are hashes, are compared: the number of pairs grows with that of the responses, and what two
    evaluators both say of these responses is kept. Columns: prompt_id, evaluator, evaluator_id,
    criterion, a, b, prefers (1 for a, -1 for b), judgement_id (one that shows it).
    """
    import polars as pl

    key = ["prompt_id", "evaluator", "evaluator_id", "criterion"]
    paired = pair_verdicts(judgements)
    in_one = pl.coalesce("a_first", "b_first")
    in_both = pl.coalesce("b_first", "a_first")
    as_pair = paired.filter((in_one == in_both) & (in_one != 0)).select(
        *_PAIR,
        in_one.cast(pl.Float64).alias("prefers"),
        pl.min_horizontal("a_first_id", "b_first_id").alias("judgement_id"),
    )
    alone = (
        verdicts(judgements.filter(pl.col("response_ids").list.len() != 2))
        .group_by("prompt_id", "evaluator", "evaluator_id", "criterion", "response_id")
        .agg(pl.col("verdict").mean(), pl.col("judgement_id").min())
        .filter(pl.col("response_id").rank("ordinal").over(key) <= MOST_COMPARED)
    )
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
    """Which of two responses an evaluator prefers, each order in which it was asked by itself; ties are left out.

    Unlike `preferences`, nothing is left out for being contradicted: a judge that always names the first response is
    right half of the time. Columns as in `preferences`.
    """
    import polars as pl

    paired = pair_verdicts(judgements)
    orders = [
        paired.select(*_PAIR, pl.col(order).alias("prefers"), pl.col(f"{order}_id").alias("judgement_id"))
        for order in ("a_first", "b_first")
    ]
    apart = preferences(judgements.filter(pl.col("response_ids").list.len() != 2))
    return pl.concat([*orders, apart]).filter(pl.col("prefers").is_not_null() & (pl.col("prefers") != 0))


def choices(judgements: pl.LazyFrame) -> pl.LazyFrame:
    """What evaluators said of each pair that they were shown, every time that they were asked, also what can't be read.

    Where a judgement has ranks they are its choice, else its scores are. Columns: prompt_id, evaluator, evaluator_id, model,
    criterion, criterion_id, a, b (a < b by id), a_first, named (1 the first shown, -1 the second, 0 neither, null if it can't
    be read), prefers (1 for a, -1 for b, 0, null), probability (that a is the better one), judgement_id.
    """
    import polars as pl

    place, ok = pl.col("response_ids").list, pl.col("status") == "ok"
    known = judgements.collect_schema().names()
    whole = pl.col("step").struct.field("index").is_null() & (place.len() == 2)
    if "about" in known:
        whole &= pl.col("about").list.len().fill_null(0) == 0

    def two(name: str) -> tuple[pl.Expr, pl.Expr]:
        return tuple(
            pl.when(pl.col(name).list.len() == 2).then(pl.col(name).list.get(i, null_on_oob=True)).cast(pl.Float64)
            for i in (0, 1)
        )  # type: ignore[return-value]

    ranks, scores = two("ranks"), two("scores")
    finite = scores[0].is_finite() & scores[1].is_finite()
    named = pl.coalesce((ranks[1] - ranks[0]).sign(), pl.when(finite).then((scores[0] - scores[1]).sign()))
    first, second = place.get(0, null_on_oob=True), place.get(1, null_on_oob=True)
    turn = pl.when("a_first").then(1.0).otherwise(-1.0)
    p = pl.when(ok & pl.col("probability").is_between(0, 1)).then(pl.col("probability"))
    return (
        judgements.filter(whole & (first != second))
        .select(
            *("prompt_id", "evaluator", "evaluator_id", "model", "criterion", "criterion_id"),
            a=pl.min_horizontal(first, second),
            b=pl.max_horizontal(first, second),
            a_first=first < second,
            named=pl.when(ok).then(named),
            probability=p,
            judgement_id="id",
        )
        .with_columns(
            prefers=pl.col("named") * turn,
            probability=pl.when("a_first").then("probability").otherwise(1 - pl.col("probability")),
        )
    )


def each_evaluator(rows: pl.DataFrame) -> Iterator[tuple[str, pl.DataFrame]]:
    """The rows of each evaluator, in the order of their names."""
    if rows.height:
        parts = rows.partition_by("evaluator", "evaluator_id", as_dict=True)
        for (name, _), part in sorted(parts.items(), key=lambda item: tuple(map(str, item[0]))):
            yield str(name), part
