"""Live progress of a run: a panel on a terminal, a line now and then in a log."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from triptych.app.text import console, count, duration, one_line, usd
from triptych.engines.local import Progress

if TYPE_CHECKING:
    from rich.console import Group

_PLAIN_EVERY_S = 15.0


@contextmanager
def showing_progress(*, quiet: bool) -> Iterator[Callable[[Progress], None] | None]:
    """Give the function that a run reports to; nothing is shown when quiet."""
    terminal = console(stderr=True)
    if quiet:
        yield None
    elif terminal.is_terminal:
        from rich.live import Live

        with Live(console=terminal, transient=True, auto_refresh=False) as live:
            yield lambda progress: live.update(_panel(progress), refresh=True)
    else:
        yield _PlainLines()


class _PlainLines:
    """One line every fifteen seconds: enough for a log file."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    def __call__(self, progress: Progress) -> None:
        now = time.monotonic()
        if now - self._last >= _PLAIN_EVERY_S:
            self._last = now
            console(stderr=True).print(_line(progress, now))


def _line(progress: Progress, now: float) -> str:
    stages = [counts for counts in (progress.evolution, progress.synthesis, progress.evaluation) if counts is not None]
    of = f"/{count(progress.total)}" if progress.total else ""
    parts = [
        f"{count(progress.evaluated)}{of} prompts judged",
        f"{count(sum(s.sent for s in stages))} calls, {count(sum(s.cached for s in stages))} from the log",
        f"{count(sum(s.failed for s in stages))} failed",
        usd(progress.spent_usd),
        f"{duration(now - progress.started)} gone{_eta(progress, now)}",
    ]
    return "; ".join(parts) + (f"; stopping: {one_line(progress.stopping, 300)}" if progress.stopping else "")


def _panel(progress: Progress) -> Group:
    from rich.console import Group
    from rich.table import Table

    now = time.monotonic()
    elapsed = max(now - progress.started, 1e-9)
    table = Table(box=None, pad_edge=False)
    for heading in ("stage", "prompts", "calls", "from log", "calls/s", "retried", "failed", "tokens", "cost"):
        table.add_column(heading, justify="left" if heading == "stage" else "right")
    of = f"/{count(progress.total)}" if progress.total else ""
    stages = (
        ("evolution", progress.evolved, progress.evolution),
        ("synthesis", progress.synthesised, progress.synthesis),
        ("evaluation", progress.evaluated, progress.evaluation),
    )
    for stage, done, counts in stages:
        if counts is None:
            continue
        table.add_row(
            stage,
            f"{count(done)}{of}",
            count(counts.sent),
            count(counts.cached),
            f"{counts.sent / elapsed:.1f}",
            count(counts.retried),
            count(counts.failed),
            count(counts.prompt_tokens + counts.completion_tokens),
            usd(counts.usd),
        )
    return Group(_title(progress, now), table)


def _title(progress: Progress, now: float) -> str:
    said = f"{count(progress.done)} prompts written, {count(progress.in_flight)} calls under way, "
    said += f"{usd(progress.spent_usd)} spent, {duration(now - progress.started)} gone{_eta(progress, now)}"
    return f"{said}\nstopping: {one_line(progress.stopping, 300)}" if progress.stopping else said


def _eta(progress: Progress, now: float) -> str:
    if not progress.total or not progress.evaluated or progress.stopping:
        return ""
    left = (progress.total - progress.evaluated) * (now - progress.started) / progress.evaluated
    return f", about {duration(left)} left" if left > 0 else ""
