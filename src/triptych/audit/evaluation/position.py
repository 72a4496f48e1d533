"""Whether the order in which responses are shown decides (E1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from triptych.audit.diagnostic import Share
from triptych.audit.finding import Finding
from triptych.audit.intervals import Estimate
from triptych.audit.mitigations import judging
from triptych.audit.needs import BOTH_ORDERS

if TYPE_CHECKING:
    import polars as pl

    from triptych.audit.data import Data

_BY = ("evaluator", "evaluator_id")


def _in_both() -> pl.Expr:
    import polars as pl

    return pl.col("a_first").is_not_null() & pl.col("b_first").is_not_null()


class SwapConsistency(Share):
    """Share of pairs judged in both orders where both verdicts name the same winner.

    A tie in one order and a winner in the other counts against the judge; two ties name nobody and do not count.
    """

    name = "swap_consistency"
    failure_mode = "E1"
    needs = (BOTH_ORDERS,)
    good = (0.8, 1.0)
    error = (0.5, 1.0)
    by = _BY
    repair = "swap_average"
    change = "take a stronger judge; judging both orders makes a tie of what it contradicts"
    mitigations = (judging.both_orders, judging.scored_too)

    def rows(self, data: Data) -> pl.LazyFrame:
        """Each pair judged in both orders, and whether the judge stands by its verdict."""
        import polars as pl

        a_first, b_first = pl.col("a_first"), pl.col("b_first")
        told = _in_both() & ~((a_first == 0) & (b_first == 0))
        return (
            data.duels.lazy()
            .filter(told)
            .with_columns(part=a_first == b_first, whole=1, id="judgement_id", shows=a_first != b_first)
        )

    def say(self, evaluator: str, _id: str) -> tuple[str, str]:  # type: ignore[override]
        """Name the judge."""
        return evaluator, f"{evaluator} names the same winner in both orders for"


class OrdersAsked(Share):
    """Share of pairs judged in both orders; told only of a judge that has none, since its position bias is unknown."""

    name = "orders_asked"
    failure_mode = "E1"
    counts = (
        "a judge that was shown pairs in one order only",
        "none is needed: it is told of where position bias can't be measured at all",
    )
    by = _BY
    change = "judge each pair in both orders"
    mitigations = (judging.both_orders,)

    def rows(self, data: Data) -> pl.LazyFrame:
        """Each pair, and whether it was judged in both orders."""
        import polars as pl

        return data.duels.lazy().with_columns(part=_in_both(), whole=1, id="judgement_id", shows=pl.lit(False))

    def say(self, evaluator: str, _id: str) -> tuple[str, str]:  # type: ignore[override]
        """Name the judge."""
        return evaluator, f"{evaluator} judged both orders of"

    def tell(
        self, share: Estimate, shown: tuple[str, ...], group: tuple[str, ...], data: Data | None
    ) -> Finding | None:
        """Tell of a judge that was asked in one order only."""
        evaluator = group[0]
        if share.value:
            return None
        return Finding(
            name=SwapConsistency.name,
            failure_mode=self.failure_mode,
            subject=evaluator,
            value=None,
            low=None,
            high=None,
            n=share.n,
            prompts=share.prompts,
            severity="warn",
            message=f"{evaluator} saw each of its {share.n:,} pairs in one order only: its position bias is unknown.",
            change=self.change,
            edits=dict(self.edits(data, evaluator)) if data is not None else {},
        )


class FirstSlotRate(Share):
    """Share of decided verdicts that name the response shown first, over pairs judged in both orders.

    Without position bias it is one half, whatever the responses are.
    """

    name = "first_slot_rate"
    failure_mode = "E1"
    needs = (BOTH_ORDERS,)
    good = (0.45, 0.55)
    error = (0.2, 0.8)
    by = _BY
    repair = "swap_average"
    change = "judge each pair in both orders, and take a judge that depends less on the order"
    mitigations = (judging.both_orders, judging.scored_too)

    def rows(self, data: Data) -> pl.LazyFrame:
        """Each pair judged in both orders: how many verdicts name the first shown, of how many that are no tie."""
        import polars as pl

        return (
            data.duels.lazy()
            .filter(_in_both())
            .with_columns(
                part="first_won",
                whole="decided",
                id="judgement_id",
                shows=pl.col("a_first") * pl.col("b_first") < 0,
            )
        )

    def say(self, evaluator: str, _id: str) -> tuple[str, str]:  # type: ignore[override]
        """Name the judge."""
        return evaluator, f"{evaluator} names the response shown first in"


class FirstSlotInContradictions(Share):
    """Of pairs for which a judge names the same place in both orders, the share for which that place is the first.

    Only the order can have decided these. Without a lean to either place it is one half: with a pair a prompt, a binomial
    test of one half (McNemar, Psychometrika 12, 1947) says what the interval says.
    """

    name = "first_slot_in_contradictions"
    failure_mode = "E1"
    needs = (BOTH_ORDERS,)
    good = (0.25, 0.75)
    by = _BY
    change = "judge each pair in both orders; swapping averages a lean out, noise it does not"
    mitigations = (judging.both_orders, judging.scored_too)

    def rows(self, data: Data) -> pl.LazyFrame:
        """Each pair whose two verdicts contradict each other."""
        import polars as pl

        return (
            data.duels.lazy()
            .filter(_in_both() & (pl.col("a_first") * pl.col("b_first") < 0))
            .with_columns(part=pl.col("a_first") > 0, whole=1, id="judgement_id", shows=pl.lit(True))
        )

    def say(self, evaluator: str, _id: str) -> tuple[str, str]:  # type: ignore[override]
        """Name the judge."""
        return evaluator, f"Where it contradicts itself, {evaluator} names the first shown both times for"
