"""Training files for trainers, with a data set card."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from triptych.errors import TriptychError

if TYPE_CHECKING:
    from triptych.export.export import ExportResult
    from triptych.export.target import Target
    from triptych.store.run import Run

TARGETS = {
    "trl": "triptych.export.trl:TARGET",
    "openrlhf": "triptych.export.openrlhf:TARGET",
    "llama-factory": "triptych.export.llama_factory:TARGET",
    "axolotl": "triptych.export.axolotl:TARGET",
    "axolotl-orpo": "triptych.export.axolotl:ORPO",
    "verl": "triptych.export.verl:TARGET",
    "nemo-rl": "triptych.export.nemo_rl:TARGET",
    "jsonl": "triptych.export.whole:JSONL",
    "parquet": "triptych.export.whole:PARQUET",
    "datasets": "triptych.export.whole:DATASETS",
}
"""What exports can be written for."""


def find_target(name: str) -> Target:
    """The target of that name. Raises `TriptychError` where there is none."""
    if name not in TARGETS:
        raise TriptychError(f"there is no export to {name!r}; there are: {', '.join(TARGETS)}")
    module, attribute = TARGETS[name].split(":")
    found: Target = getattr(import_module(module), attribute)
    return found


def export_run(
    run: Run,
    to: str = "trl",
    out: str | Path | None = None,
    *,
    kinds: Sequence[str] | None = None,
    split: float | None = None,
    push: str | None = None,
) -> ExportResult:
    """Write a run as files for the trainer `to`, with a card; `out` is `<run>/export/<to>` if not given.

    `kinds` takes only examples of these kinds, of those that the trainer has a format for. `split` holds that share of
    the prompt families out, in files named `test`. `push` uploads the files to that data set of the Hugging Face Hub.
    """
    from triptych.export.export import export_to
    from triptych.export.hub import hub, push_to

    target, uploads = find_target(to), hub() if push else None  # before anything is written
    folder = Path(out) if out is not None else run.path / "export" / to
    result = export_to(run, target, folder, kinds=kinds, split=split)
    return result if uploads is None or push is None else push_to(uploads, push, result)
