"""Making length say nothing about which response was chosen (I5, E2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from triptych.audit.repairs.repair import Repair, dropped
from triptych.instantiation.scored import with_draw

if TYPE_CHECKING:
    import polars as pl

    from triptych.audit.data import Data

_WIDTH = 0.1


class LengthMatch(Repair):
    """Among pairs of a strategy whose lengths differ about as much, as many keep the longer response chosen as the shorter.

    Pairs fall into bands by the ratio of their lengths, each a tenth of a natural logarithm wide; of each band the side that there is more of loses rows by a draw.
    Pairs of equal length stay.
    """

    name = "length_match"
    mitigates = ("I5", "E2")

    def changes(self, data: Data, seed: int) -> pl.DataFrame:
        """Drop what there is too much of."""
        import polars as pl

        sides = [data.chars.rename({"response_id": side, "chars": f"{side}_chars"}) for side in ("chosen", "rejected")]
        ratio = ((pl.col("chosen_chars") + 1) / (pl.col("rejected_chars") + 1)).log()
        told = (
            data.pairs.join(sides[0], on="chosen")
            .join(sides[1], on="rejected")
            .with_columns(ratio=ratio)
            .filter(pl.col("ratio") != 0)
            .with_columns(
                longer=pl.col("ratio") > 0,
                band=(pl.col("ratio").abs() / _WIDTH).floor(),
                response_id="id",
            )
        )
        place = pl.col("drawn").rank("ordinal").over("strategy_id", "band", "longer")
        other = pl.len().over("strategy_id", "band") - pl.len().over("strategy_id", "band", "longer")
        excess = with_draw(told.lazy(), seed).filter(place > other)
        return dropped(excess, "its chosen response is on the side of length that there is too much of")
