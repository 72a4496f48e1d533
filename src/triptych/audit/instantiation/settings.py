"""Where in a recipe an instantiation's setting stands: what edits are made of, and strategies told apart."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import polars as pl

    from triptych.audit.data import Data


def each_strategy(rows: pl.DataFrame) -> Iterator[tuple[str, pl.DataFrame]]:
    """Tell rows of different strategies apart, by their names and the hash of their settings."""
    import polars as pl

    named = rows.with_columns(pl.col("strategy", "strategy_id").fill_null(""))
    for (strategy, _), its in sorted(
        named.partition_by("strategy", "strategy_id", as_dict=True).items(), key=lambda one: str(one[0])
    ):
        yield str(strategy), its


def instantiations(data: Data, kind: str, **has: Any) -> dict[str, Any]:
    """The recipe's instantiations of a kind whose settings have these values, by their dotted places."""
    made = data.recipe.instantiation if data.recipe is not None else ()
    return {
        f"instantiation.{place}": one
        for place, one in enumerate(made)
        if getattr(one, "kind", "") == kind and all(getattr(one, name, None) == value for name, value in has.items())
    }


def setting(data: Data, kind: str, changes: Mapping[str, Any], **has: Any) -> dict[str, Any]:
    """Change settings of each instantiation of a kind whose settings have the values `has`."""
    places = instantiations(data, kind, **has)
    return {f"{place}.{name}": value for place in places for name, value in changes.items()}


def kept_also(data: Data, band: Mapping[str, Any], **has: Any) -> dict[str, Any]:
    """Add a band to what each instantiation of pairs keeps (see `triptych.instantiation.bands.Band`)."""
    return {
        f"{place}.keep": [*(each.model_dump(exclude_none=True) for each in one.keep), dict(band)]
        for place, one in instantiations(data, "pairs", **has).items()
    }
