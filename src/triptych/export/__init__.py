"""Training files for trainers, with a data set card."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from triptych.errors import TriptychError

if TYPE_CHECKING:
    from triptych.export.trl import ExportResult
    from triptych.store.run import Run


def export_run(
    run: Run, to: str = "trl", out: str | Path | None = None, *, kinds: Sequence[str] | None = None
) -> ExportResult:
    """Write a run as files for the trainer `to`, with a card; `out` is `<run>/export/<to>` if not given.

    `kinds` takes only examples of these kinds, of those that the trainer has a format for.
    """
    if to != "trl":
        raise TriptychError(f"there is no export to {to!r}; there is: trl")
    from triptych.export.trl import export_trl

    return export_trl(run, Path(out) if out is not None else run.path / "export" / to, kinds=kinds)
