"""The diagnostic: one statistic for one failure mode, what it needs, and what it says of what it finds."""

from __future__ import annotations

import inspect
import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from msgspec.structs import replace

from triptych.audit.finding import OURS, Finding, Plot, Severity
from triptych.audit.intervals import Estimate, shares, sums
from triptych.audit.mitigations.mitigation import Mitigation, proposed
from triptych.audit.needs import Need

if TYPE_CHECKING:
    import polars as pl

    from triptych.audit.data import Data

ANY = (-math.inf, math.inf)
KIND = "rows of the kind that it counts"
"""What is not there where a diagnostic says no more of what it counts."""


class Diagnostic(ABC):
    """One statistic. Its docstring is its definition: the report prints it beside the number."""

    name: ClassVar[str]
    """What it is called everywhere, such as `swap_consistency`."""
    failure_mode: ClassVar[str]
    """What it looks for, such as `E1`."""
    needs: ClassVar[tuple[Need, ...]] = ()
    """What must be there for it to be measured."""
    counts: ClassVar[tuple[str, str]] = ("", "")
    """What it counts, and how to get that: said where all that it `needs` is there, and still nothing that it counts."""
    good: ClassVar[tuple[float, float]] = ANY
    """The range in which the value should lie."""
    error: ClassVar[tuple[float, float]] = ANY
    """The range outside of which it is an error, if the whole interval is."""
    source: ClassVar[str] = OURS
    """Where that range comes from: an arXiv id, or `Triptych's default`."""
    unit: ClassVar[Literal["share", "number"]] = "number"
    """Whether it is told in per cent."""
    change: ClassVar[str] = ""
    """What to change in the recipe."""
    mitigations: ClassVar[tuple[Mitigation, ...]] = ()
    """Changes of the recipe, of which the first is proposed that changes anything; none where no setting mitigates it."""
    repair: ClassVar[str] = ""
    """The repair that needs no new call, by its name."""

    told_by: ClassVar[str] = ""
    """The statistic that tells the same fact: where that one is a warning, this one is no second one."""

    @abstractmethod
    def measure(self, data: Data) -> Iterable[Finding]:
        """Measure it, for each evaluator, model or strategy that it is about."""

    def lacks(self, data: Data) -> Need | None:
        """Name the first thing that it needs and `data` does not have."""
        return next((need for need in self.needs if not need.met(data)), None)

    def nothing_to_count(self) -> tuple[str, str]:
        """Say what is not there where it finds nothing to measure, and how to get it."""
        what, how = self.counts
        definition = " ".join((inspect.getdoc(self) or "").partition("\n\n")[0].split())
        return what or KIND, how or f"it measures: {definition}"

    def edits(self, data: Data, subject: str) -> Mapping[str, Any]:
        """Which settings of the recipe would mitigate it, by their dotted places; asked where something is found."""
        return proposed(self.mitigations, data, subject)

    def found(
        self,
        estimate: Estimate,
        said: str,
        *,
        subject: str = "",
        rows: Sequence[str] = (),
        plot: Plot | None = None,
        data: Data | None = None,
        change: str | None = None,
        counted: bool = False,
    ) -> Finding:
        """Say what an estimate means. `said` is the sentence's beginning, up to the number.

        `counted` says that it is no estimate: all rows there are were looked at.
        """
        if counted:
            estimate = replace(estimate, low=estimate.value, high=estimate.value, effective_prompts=None)
        outside = not self.good[0] <= estimate.value <= self.good[1]
        severity, verdict = self._verdict(estimate, outside, counted)
        return Finding(
            name=self.name,
            failure_mode=self.failure_mode,
            subject=subject,
            value=estimate.value,
            low=estimate.low if math.isfinite(estimate.low) and not counted else None,
            high=estimate.high if math.isfinite(estimate.high) and not counted else None,
            counted=counted,
            n=estimate.n,
            prompts=estimate.prompts,
            effective_prompts=estimate.effective_prompts,
            threshold=self._threshold(estimate.value),
            threshold_source=self.source,
            severity=severity,
            message=f"{said} {self._number(estimate, counted)}, {verdict}.",
            rows=tuple(rows) if outside else (),
            change=(self.change if change is None else change) if outside else "",
            edits=dict(self.edits(data, subject)) if severity != "info" and data is not None else {},
            repair=self.repair if severity != "info" else "",
            plot=plot,
        )

    def _verdict(self, estimate: Estimate, outside: bool, counted: bool) -> tuple[Severity, str]:
        least, most = self.good
        wanted = self.range_of(self.good)
        if not counted and estimate.few:
            worth = estimate.effective_prompts
            by_rows = "" if worth is None or worth > 0.95 * estimate.prompts else f" that count as {short(worth)} by their rows"
            return "info", f"from {estimate.prompts} prompt{'s' * (estimate.prompts != 1)}{by_rows}, too few to tell"
        if estimate.high < least or estimate.low > most:
            grave = estimate.high < self.error[0] or estimate.low > self.error[1]
            return "error" if grave else "warn", f"where {wanted} is expected"
        if wanted == "any":
            return "info", "for you to judge"
        return "info", f"{'perhaps not' if outside else 'as expected:'} {wanted}"

    def _threshold(self, value: float) -> float | None:
        least, most = self.good
        if self.unit == "share":
            return least if most >= 1 or value < least else most
        near = [edge for edge in (least, most) if math.isfinite(edge)]
        return min(near, key=lambda edge: abs(edge - value), default=None)

    def _number(self, estimate: Estimate, counted: bool) -> str:
        if counted:
            value = percent(estimate.value, True) if self.unit == "share" else short(estimate.value)
            return f"{value} (counted: {estimate.n:,} rows)"
        if self.unit == "number":
            known = math.isfinite(estimate.low) and math.isfinite(estimate.high)
            reach = f"95 % interval {short(estimate.low)} to {short(estimate.high)}" if known else "no interval"
            return f"{short(estimate.value)} ({reach}; {estimate.n:,} rows)"
        fine = estimate.high - estimate.low < 0.02
        value, low, high = (percent(each, fine) for each in (estimate.value, estimate.low, estimate.high))
        return f"{value} of {estimate.n:,} (95 % interval {low} to {high})"

    def range_of(self, ends: tuple[float, float]) -> str:
        """A range in words, such as `at most 5 %`."""
        least, most = ends
        write = percent if self.unit == "share" else short
        bottom, top = (0.0, 1.0) if self.unit == "share" else ANY
        if least <= bottom and most >= top:
            return "any"
        if most >= top:
            return f"at least {write(least)}"
        return f"at most {write(most)}" if least <= bottom else f"{write(least)} to {write(most)}"


class Share(Diagnostic):
    """A share of rows, for each group of them. It can be measured some whole prompts at a time."""

    unit = "share"
    by: ClassVar[tuple[str, ...]] = ()
    """The columns that make the groups."""

    @abstractmethod
    def rows(self, data: Data) -> pl.LazyFrame:
        """The rows: what `triptych.audit.intervals.sums` takes."""

    @abstractmethod
    def say(self, *group: str) -> tuple[str, str]:
        """From the group's values in `by` to whom it is about, and the sentence's beginning."""

    def tell(
        self, share: Estimate, shown: tuple[str, ...], group: tuple[str, ...], data: Data | None
    ) -> Finding | None:
        """Say what a group's share means; None where that is not worth a finding."""
        subject, said = self.say(*group)
        return self.found(share, said, subject=subject, rows=shown, data=data)

    def measure(self, data: Data) -> Iterator[Finding]:
        """Measure it on all rows at once."""
        counted = sums(self._grouped(data), self._by).collect()
        yield from self._told([counted], data)

    def measure_blocks(self, counted: Sequence[pl.DataFrame]) -> Iterator[Finding]:
        """Say what the sums of several blocks of whole prompts come to."""
        yield from self._told(counted, None)

    def count(self, data: Data) -> pl.LazyFrame:
        """What `measure_blocks` wants to know of a block."""
        return sums(self._grouped(data), self._by)

    @property
    def _by(self) -> tuple[str, ...]:
        return self.by or ("all",)

    def _grouped(self, data: Data) -> pl.LazyFrame:
        import polars as pl

        rows = self.rows(data)
        return rows if self.by else rows.with_columns(all=pl.lit(""))

    def _told(self, counted: Sequence[pl.DataFrame], data: Data | None) -> Iterator[Finding]:
        for group, share, shown in shares(counted, self._by):
            finding = self.tell(share, shown, group if self.by else (), data)
            if finding is not None:
                yield finding


def measure_blocks(diagnostics: Sequence[Share], blocks: Iterable[Data]) -> list[Finding]:
    """Measure on blocks of whole prompts, one after another, as if they were one table; memory is that of one block."""
    import polars as pl

    counted: list[list[pl.DataFrame]] = [[] for _ in diagnostics]
    for block in blocks:
        for kept, part in zip(counted, pl.collect_all([each.count(block) for each in diagnostics]), strict=True):
            kept.append(_apart(part))
    return [
        finding
        for each, parts in zip(diagnostics, counted, strict=True)
        if parts
        for finding in each.measure_blocks(parts)
    ]


def _apart(few: pl.DataFrame) -> pl.DataFrame:
    """Copy a few rows: their texts are views into buffers that hold the whole block's."""
    import polars as pl

    return pl.DataFrame(few.rows(), few.schema, orient="row")


def percent(value: float, fine: bool = False) -> str:
    """A share in per cent, with a decimal where it is small or `fine`."""
    return f"{100 * value:.2g} %" if value < 0.0995 else f"{100 * value:.{1 if fine else 0}f} %"


def short(value: float) -> str:
    """A number with three digits, or its thousands apart."""
    return f"{value:,.0f}" if 1000 <= abs(value) < math.inf else f"{value:.3g}"
