"""TRL's formats: a file for each kind of examples, in the form that its trainer reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from triptych.errors import TriptychError
from triptych.export import export
from triptych.export.export import ExportResult, export_to
from triptych.export.target import Part, Target
from triptych.export.trainer import kind_read_by, settings_file, trainer_of
from triptych.export.trl.group import GROUP
from triptych.export.trl.pair import PAIR
from triptych.export.trl.sft import SFT
from triptych.export.trl.stepwise import STEPWISE
from triptych.export.trl.unpaired import UNPAIRED
from triptych.store.run import Run

_LOADERS = {"parquet": "parquet", "jsonl": "json"}


def _snippet(part: Part, settings: Mapping[str, Any]) -> tuple[str, str]:
    """How to load the rows, and to train on them where TRL can: by the method's settings if they are for such rows."""
    loaded = "from datasets import load_dataset\n"
    trainer, module, given = trainer_of(settings)
    if kind_read_by(trainer) != part.format.kind:
        if part.format.trainer is None:
            return "python", f"{loaded}\n{_rows(part)}"
        trainer, module, given = trainer_of({"trainer": part.format.trainer})
    config = trainer.removesuffix("Trainer") + "Config"
    said = "".join(f", {name}={value!r}" for name, value in given.items())
    reward = "reward_funcs=your_reward, " if part.format.kind == "group" else ""
    verifier = ""
    if reward and part.checkable:
        loaded = f"import triptych as tp\n{loaded}"
        verifier = (
            'your_reward = tp.reward_function(tp.load_recipe("recipe.yaml"))  # the recipe below: its verifiers\n'
        )
    held_out = ", eval_dataset=held_out" if part.tests else ""
    return "python", (
        f"{loaded}from {module} import {config}, {trainer}\n\n"
        f"{_rows(part)}\n"
        f"{verifier}"
        f'settings = {config}(output_dir="trained"{said})\n'
        f'trainer = {trainer}(model="your-org/your-model", {reward}args=settings, train_dataset=rows{held_out})\n'
        "trainer.train()"
    )


def _rows(part: Part) -> str:
    names = {"rows": part.files, "held_out": part.tests}
    return "\n".join(
        f'{name} = load_dataset("{_LOADERS[files[0].rpartition(".")[2]]}", data_files="{files[0]}", split="train")'
        for name, files in names.items()
        if files
    )


def _texts(parts: Sequence[Part], settings: Mapping[str, Any], out: Path) -> dict[str, str]:
    return {"trl.yaml": settings_file(settings, out, [part.format.kind for part in parts])} if settings else {}


TARGET = Target(
    name="trl",
    title="TRL",
    formats={each.kind: each for each in (PAIR, UNPAIRED, SFT, GROUP, STEPWISE)},
    endings=(".parquet", ".jsonl"),
    snippet=_snippet,
    others={
        "ranking": "TRL has no format for rankings; `pairs` with choose: all_pairs or best_vs_rest makes pairs of them",
    },
    texts=_texts,
)


def export_trl(
    run: Run,
    out: Path,
    *,
    formats: Sequence[Literal["parquet", "jsonl"]] = ("parquet", "jsonl"),
    kinds: Sequence[str] | None = None,
) -> ExportResult:
    """Write a run's examples as `train.parquet` and `train.jsonl`, with the card `README.md` (see `export_to`).

    Where the recipe's method names settings of TRL, they are written as `trl.yaml`.
    """
    unknown = set(formats) - {"parquet", "jsonl"}
    if unknown or not formats:
        raise TriptychError(f"can't write the formats {list(formats)}; there are: parquet, jsonl")
    endings = [f".{form}" for form in ("parquet", "jsonl") if form in formats]
    return export_to(run, TARGET, out, kinds=kinds, endings=endings)


def writable(run: Run) -> bool:
    """Whether a run has examples of a kind that TRL has a format for."""
    return export.writable(run, TARGET)
