"""The repair: which training rows to drop or to weigh anew, so that a fault is mitigated without a new call."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    import polars as pl

    from triptych.audit.data import Data


class Repair(ABC):
    """One mitigation. Its docstring says what it does: the change log prints it."""

    name: ClassVar[str]
    mitigates: ClassVar[tuple[str, ...]]
    """Failure modes, such as `I5`."""

    @abstractmethod
    def changes(self, data: Data, seed: int) -> pl.DataFrame:
        """Say which examples change. Columns: id, weight (the new one; null where the row is dropped), why."""


def dropped(ids: pl.LazyFrame, why: str) -> pl.DataFrame:
    """Changes that drop the examples whose `id` is in `ids`."""
    import polars as pl

    return ids.select("id", weight=pl.lit(None, dtype=pl.Float64), why=pl.lit(why)).unique("id").collect()
