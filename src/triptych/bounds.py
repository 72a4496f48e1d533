"""Bounds on a statistic, as values or as quantiles: what of a table is kept by it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

if TYPE_CHECKING:
    import polars as pl

Share = Annotated[float, Field(ge=0, le=1)]


class Bounds(BaseModel):
    """Keeps the rows of which something lies within bounds; a row of which it is not known is dropped."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    of_what: ClassVar[str] = "row"

    min: float | None = None
    """Least value, inclusive."""
    max: float | None = None
    """Greatest value, inclusive."""
    min_quantile: Share | None = None
    """Least value as a quantile over all, whatever other bounds leave: 0.9 keeps the greatest tenth."""
    max_quantile: Share | None = None
    """Greatest value as a quantile."""

    @model_validator(mode="after")
    def _has_room(self) -> Bounds:
        if (self.min, self.max, self.min_quantile, self.max_quantile) == (None,) * 4:
            raise ValueError("has no bound; give min, max, min_quantile or max_quantile")
        for low, high in ((self.min, self.max), (self.min_quantile, self.max_quantile)):
            if low is not None and high is not None and low > high:
                raise ValueError(f"its least bound {low:g} is above its greatest {high:g}: no {self.of_what} fits")
        return self

    def within(self, value: pl.Expr) -> pl.Expr:
        """Whether each row's value is known and lies within the bounds. Quantiles are values of rows (the nearest)."""
        fits = value.is_not_null()
        if self.min is not None:
            fits &= value >= self.min
        if self.max is not None:
            fits &= value <= self.max
        if self.min_quantile is not None:
            fits &= value >= value.quantile(self.min_quantile, "nearest")
        if self.max_quantile is not None:
            fits &= value <= value.quantile(self.max_quantile, "nearest")
        return fits
