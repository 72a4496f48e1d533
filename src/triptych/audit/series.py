"""Numbers by round, and what becomes of them from the first round to this one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from triptych.audit.diagnostic import Diagnostic
from triptych.audit.estimates import difference, mean, quotient
from triptych.audit.finding import Curve, Finding
from triptych.audit.intervals import Estimate
from triptych.audit.needs import LIBRARIES, ROUNDS, Need

if TYPE_CHECKING:
    import polars as pl

    from triptych.audit.data import Data


class ByRound(Diagnostic):
    """The mean of a number in the first round that has it and in this one: the difference, or the quotient."""

    needs: ClassVar[tuple[Need, ...]] = (LIBRARIES, ROUNDS)
    axis: ClassVar[str]
    compared: ClassVar[Literal["difference", "quotient"]] = "difference"
    shared_prompts: ClassVar[bool] = False
    """Whether only prompts count that both rounds have."""
    within: ClassVar[tuple[float, float] | None] = None
    """The range of the number, if it has one and differences are taken."""

    def values(self, data: Data) -> Sequence[pl.DataFrame]:
        """For each round: prompt_id, value, and subject where there are several; the oldest first."""
        raise NotImplementedError

    def said(self, subject: str) -> str:
        """The sentence's beginning."""
        raise NotImplementedError

    def measure(self, data: Data) -> Iterator[Finding]:
        """Measure it for each subject."""
        import polars as pl

        rounds = [_with_subject(each) for each in self.values(data)]
        if not rounds:
            return
        for subject in sorted(rounds[-1]["subject"].unique().to_list()):
            its = [each.filter(pl.col("subject") == subject).drop("subject") for each in rounds]
            found = self._change(its)
            if found is not None:
                plot = curve(its, "value", self.axis)
                yield self.found(found, self.said(subject), subject=subject, plot=plot, data=data)

    def _change(self, its: Sequence[pl.DataFrame]) -> Estimate | None:
        """What becomes of it from the first round that has it."""
        import polars as pl

        first = next((place for place, each in enumerate(its[:-1]) if each.height), None)
        if first is None or not its[-1].height:
            return None
        before, after = its[first], its[-1]
        if self.shared_prompts:
            before, after = (
                before.join(after, on="prompt_id", how="semi"),
                after.join(before, on="prompt_id", how="semi"),
            )
        both = pl.concat([before.with_columns(now=pl.lit(False)), after.with_columns(now=pl.lit(True))])
        if self.compared == "quotient":
            return quotient(both, "value", "now")
        return difference(both, "value", "now", within=self.within)


def curve(
    rounds: Sequence[pl.DataFrame],
    column: str,
    axis: str,
    estimate: Callable[[pl.DataFrame, str], Estimate | None] = mean,
) -> Curve | None:
    """Draw a mean by round, with its intervals."""
    found = [(number, estimate(each, column)) for number, each in enumerate(rounds, 1) if each.height]
    told = [(number, each) for number, each in found if each is not None]
    return drawn(told, axis)


def drawn(told: Sequence[tuple[int, Estimate]], axis: str) -> Curve | None:
    """Draw estimates of some rounds."""
    if not told:
        return None
    return Curve(
        x=tuple(float(number) for number, _ in told),
        y=tuple(each.value for _, each in told),
        x_axis="round",
        y_axis=axis,
        low=tuple(each.low for _, each in told),
        high=tuple(each.high for _, each in told),
    )


def _with_subject(rows: pl.DataFrame) -> pl.DataFrame:
    import polars as pl

    rows = rows if "subject" in rows.columns else rows.with_columns(subject=pl.lit(""))
    return rows.select("prompt_id", pl.col("value").cast(pl.Float64), "subject").filter(pl.col("value").is_finite())
