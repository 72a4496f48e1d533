"""Pairs whose contrast is noise, whose chosen side is poor, or whose margin the loss is not told (I3, I8, I4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from triptych.audit.instantiation.margins import PairsWithinNoise
from triptych.audit.instantiation.quality import ChosenBelowFloor
from triptych.audit.instantiation.similarity import NEAR
from triptych.audit.repairs.repair import Repair, dropped
from triptych.audit.similarity import pair_similarity
from triptych.audit.synthesis.contrast import PairsWithoutMargin

if TYPE_CHECKING:
    import polars as pl

    from triptych.audit.data import Data


class DropNearIdentical(Repair):
    """Pairs go whose two texts share at least 95 % of their words, in their order (see `near_identical_pairs`)."""

    name = "drop_near_identical"
    mitigates = ("I4",)

    def changes(self, data: Data, seed: int) -> pl.DataFrame:
        """Drop what has next to no contrast."""
        import polars as pl

        near = (
            pair_similarity(data.pairs, data.responses, most=data.pairs.height)
            .lazy()
            .filter(pl.col("similarity") >= NEAR)
        )
        return dropped(near, "its two texts are nearly the same")


class DropSmallMargins(Repair):
    """Pairs go whose margin is below 0.05 (see `pairs_without_margin`)."""

    name = "drop_small_margins"
    mitigates = ("S3",)

    def changes(self, data: Data, seed: int) -> pl.DataFrame:
        """Drop pairs of responses that are about equally good."""
        return dropped(PairsWithoutMargin().rows(data).filter("shows"), "its two responses are about equally good")


class DropWithinNoise(Repair):
    """Pairs go whose margin is below twice its standard error (see `pairs_within_noise`)."""

    name = "drop_within_noise"
    mitigates = ("I3",)

    def changes(self, data: Data, seed: int) -> pl.DataFrame:
        """Drop what may well be the other way round."""
        return dropped(PairsWithinNoise().rows(data).filter("shows"), "its margin is no more than its judges' noise")


class DropLowChosen(Repair):
    """Pairs go whose chosen response scores below the middle of the scale (see `chosen_below_floor`)."""

    name = "drop_low_chosen"
    mitigates = ("I8",)

    def changes(self, data: Data, seed: int) -> pl.DataFrame:
        """Drop pairs of two poor responses."""
        return dropped(ChosenBelowFloor().rows(data).filter("shows"), "its chosen response is poor by itself")


class WeightByMargin(Repair):
    """Pairs weigh in proportion to their margins, as much as before in all."""

    name = "weight_by_margin"
    mitigates = ("I3",)

    def changes(self, data: Data, seed: int) -> pl.DataFrame:
        """Weigh pairs anew."""
        import polars as pl

        weight, margin = pl.col("weight"), pl.col("margin")
        rows = data.pairs.filter(margin.is_finite())
        by = "strategy_id"
        told = weight * margin.clip(0)
        scaled = rows.with_columns(new=told * weight.sum().over(by) / told.sum().over(by)).filter(pl.col("new").is_finite())
        return scaled.filter((pl.col("new") - weight).abs() > 1e-12).select(
            "id", weight="new", why=pl.lit("its margin says how much it counts")
        )
