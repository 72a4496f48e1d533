"""`triptych import`: preference data that others have made, as a run folder."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import click

from triptych.app.summary import summary, summary_json, summary_text
from triptych.app.text import console, count, duration, say
from triptych.engines.imports import ImportProgress, import_data

_PLAIN_EVERY_S = 15.0


def import_command(
    file: str,
    as_: str | None,
    out: str,
    split: str | None,
    file_format: str | None,
    scale: tuple[float, float] | None,
    verdicts: str | None,
    *,
    quiet: bool,
    as_json: bool,
) -> None:
    """Import a file, and show the summary of what came of it."""
    with telling(quiet=quiet or as_json) as progress:
        done = import_data(
            file,
            as_,
            out=out,
            split=split,
            file_format=cast(Any, file_format),
            scale=scale,
            verdicts=verdicts,
            progress=progress,
        )
    if as_json:
        click.echo(summary_json(summary(done)))
    elif not quiet:
        say(summary_text(summary(done)))


@contextmanager
def telling(*, quiet: bool) -> Iterator[Callable[[ImportProgress], None] | None]:
    """Say how far it is: on one line of a terminal that is written over, else in a line every fifteen seconds."""
    terminal = console(stderr=True)
    if quiet:
        yield None
    elif terminal.is_terminal:
        with terminal.status("reading") as status:
            yield lambda progress: status.update(_said(progress))
    else:
        yield _PlainLines()


class _PlainLines:
    """One line every fifteen seconds: enough for a log file."""

    def __init__(self) -> None:
        self._started = self._last = time.monotonic()

    def __call__(self, progress: ImportProgress) -> None:
        now = time.monotonic()
        if now - self._last >= _PLAIN_EVERY_S:
            self._last = now
            console(stderr=True).print(f"{_said(progress)}; {duration(now - self._started)} gone")


def _said(progress: ImportProgress) -> str:
    if progress.prompts:
        return f"making examples: {count(progress.prompts)} prompts"
    of = f" of about {count(progress.total)}" if progress.total else ""
    aside = f", {count(progress.set_aside)} set aside" if progress.set_aside else ""
    return f"reading: {count(progress.rows)}{of} rows{aside}"
