"""Pairs that contradict other pairs of their prompt, or themselves (I6, E1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from triptych.audit.instantiation.labels import (
    ContradictoryPairs,
    ScoresAgainstLabel,
    as_texts,
    edges_of,
    in_circles,
)
from triptych.audit.repairs.repair import Repair, dropped

if TYPE_CHECKING:
    import polars as pl

    from triptych.audit.data import Data


class DropContradictions(Repair):
    """Pairs go whose two texts are the same, and pairs of a prompt of which another says the opposite.

    Texts are the same where only case and white space differ, prompts also where the marks at the ends of words do.
    """

    name = "drop_contradictions"
    mitigates = ("I6",)

    def changes(self, data: Data, seed: int) -> pl.DataFrame:
        """Drop both sides of a contradiction."""
        import polars as pl

        contradicted = ContradictoryPairs().rows(data).filter("shows").select("id")
        alike = as_texts(data).filter(pl.col("w") == pl.col("l")).select("id")
        return dropped(
            pl.concat([contradicted, alike]), "another pair of its prompt says the opposite, or its texts are alike"
        )


class BreakCycles(Repair):
    """Of pairs that go round in a circle those stay whose winner has the higher Copeland score, its wins less its losses among the
    pairs in circles of its prompt; the others go (see `preference_cycles`).

    In a circle of three all three go, since nothing tells which of them is wrong.
    """

    name = "break_cycles"
    mitigates = ("I6",)

    def changes(self, data: Data, seed: int) -> pl.DataFrame:
        """Drop what does not agree with an order of the texts."""
        import polars as pl

        circles = in_circles(edges_of(data)).select("asks", "w", "l")
        won = [circles.select("asks", text=side, won=pl.lit(by)) for side, by in (("w", 1), ("l", -1))]
        copeland = pl.concat(won).group_by("asks", "text").agg(pl.col("won").sum())
        for side in ("w", "l"):
            circles = circles.join(copeland.rename({"text": side, "won": f"won_{side}"}), on=["asks", side])
        wrong = circles.filter(pl.col("won_w") <= pl.col("won_l"))
        gone = as_texts(data).join(wrong.lazy(), on=["asks", "w", "l"], how="semi")
        return dropped(gone, "it goes round in a circle with other pairs of its prompt")


class DropAgainstScores(Repair):
    """Pairs go whose rejected response scores higher than the chosen one (see `scores_against_label`)."""

    name = "drop_against_scores"
    mitigates = ("I6",)

    def changes(self, data: Data, seed: int) -> pl.DataFrame:
        """Drop pairs whose scores contradict their label."""
        return dropped(ScoresAgainstLabel().rows(data).filter("shows"), "its scores contradict its label")


class SwapAverage(Repair):
    """Pairs go that rest on nothing but judges that do not name the same winner in both orders.

    That is what averaging the verdicts of both orders does: what the order decides becomes a tie. A judge counts only where
    the pair's label rests on its verdicts, so labels by people stay whatever a judge says of them beside.
    """

    name = "swap_average"
    mitigates = ("E1",)

    def changes(self, data: Data, seed: int) -> pl.DataFrame:
        """Drop pairs that rest on the order alone."""
        import polars as pl

        a_first, b_first = pl.col("a_first"), pl.col("b_first")
        both = data.duels.lazy().filter(a_first.is_not_null() & b_first.is_not_null())
        sways = ((a_first != b_first) | (a_first == 0)).alias("sways")
        judge = ["prompt_id", "a", "b", "evaluator_id", "criterion"]
        pairs = data.pairs.lazy().select(
            "id", "prompt_id", a=pl.min_horizontal("chosen", "rejected"), b=pl.max_horizontal("chosen", "rejected")
        )
        told = pairs.join(data.rests_on, on="id").join(both.select(*judge, sways), on=judge, how="left")
        swayed = told.group_by("id").agg(pl.col("sways").fill_null(False).all()).filter("sways")
        return dropped(swayed, "its judge names another winner when the order is swapped")
