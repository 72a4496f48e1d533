"""Live progress of a run: a panel on a terminal, a line now and then in a log."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import click

from triptych.app.text import console, count, duration, one_line, usd
from triptych.engines.local import Progress

_PLAIN_EVERY_S = 15.0
_LEAST_NEEDED_FIRST = ("calls/s", "retried", "tokens", "from log", "cost", "calls", "failed")


@contextmanager
def showing_progress(*, quiet: bool) -> Iterator[Callable[[Progress], None] | None]:
    """Give the function that a run reports to; nothing is shown when quiet."""
    terminal = console(stderr=True)
    if quiet:
        yield None
    elif terminal.is_terminal:
        from rich.live import Live

        with Live(console=terminal, transient=True, auto_refresh=False) as live:

            def show(progress: Progress) -> None:
                with suppress(OSError):  # the terminal is gone, and the run goes on
                    live.update(_panel(progress, terminal.width), refresh=True)

            yield show
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
            with suppress(OSError):  # nobody reads it any more, and the run goes on
                click.echo(_line(progress, now), err=True)


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


def _panel(progress: Progress, width: int) -> str:
    """What the terminal shows: a title, and a line for each stage in as many columns as fit."""
    now = time.monotonic()
    elapsed = max(now - progress.started, 1e-9)
    of = f"/{count(progress.total)}" if progress.total else ""
    stages = (
        ("evolution", progress.evolved, progress.evolution),
        ("synthesis", progress.synthesised, progress.synthesis),
        ("evaluation", progress.evaluated, progress.evaluation),
    )
    rows = [
        {
            "stage": stage,
            "prompts": f"{count(done)}{of}",
            "calls": count(counts.sent),
            "from log": count(counts.cached),
            "calls/s": f"{counts.sent / elapsed:.1f}",
            "retried": count(counts.retried),
            "failed": count(counts.failed),
            "tokens": count(counts.prompt_tokens + counts.completion_tokens),
            "cost": usd(counts.usd),
        }
        for stage, done, counts in stages
        if counts is not None
    ]
    return "\n".join([_title(progress, now), *_aligned(rows, width)])


def _aligned(rows: list[dict[str, str]], width: int) -> list[str]:
    """Rows with their headings; columns that don't fit are left out whole, since half a number is a wrong one."""
    for heading in _LEAST_NEEDED_FIRST:
        lines = _in_columns(rows)
        if max(map(len, lines)) <= width:
            return lines
        rows = [{name: cell for name, cell in row.items() if name != heading} for row in rows]
    return _in_columns(rows)


def _in_columns(rows: list[dict[str, str]]) -> list[str]:
    wide = {name: max(len(name), *(len(row[name]) for row in rows)) for name in rows[0]}
    table = [{name: name for name in wide}, *rows]
    return ["  ".join(f"{row[name]:{'<' if name == 'stage' else '>'}{wide[name]}}" for name in wide) for row in table]


def _title(progress: Progress, now: float) -> str:
    said = f"{count(progress.done)} prompts written, {count(progress.in_flight)} calls under way, "
    said += f"{usd(progress.spent_usd)} spent, {duration(now - progress.started)} gone{_eta(progress, now)}"
    return f"{said}\nstopping: {one_line(progress.stopping, 300)}" if progress.stopping else said


def _eta(progress: Progress, now: float) -> str:
    if not progress.total or not progress.evaluated or progress.stopping:
        return ""
    left = (progress.total - progress.evaluated) * (now - progress.started) / progress.evaluated
    return f", about {duration(left)} left" if left > 0 else ""
