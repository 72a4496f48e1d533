"""Prompts that come with Triptych, to try a recipe on."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Literal

from triptych.operators import BadRow, Operator, PromptRow
from triptych.prompts.file import PromptFile


class ExamplePrompts(Operator):
    """Takes one of the sets of prompts that come with Triptych. They are for trying things out, not for training."""

    kind: Literal["examples"] = "examples"
    name: Literal["everyday", "maths"]
    """`everyday`: 64 short tasks with constraints that a program can check. `maths`: 20 easy word problems, each with
    its answer and a worked solution, whose source is `solution`."""

    def rows(self, folder: Path) -> Iterator[PromptRow | BadRow]:
        """Read the prompts in their order."""
        return self._file.rows(folder)

    def count(self, folder: Path) -> int | None:
        """Say how many there are."""
        return self._file.count(folder)

    @property
    def _file(self) -> PromptFile:
        return PromptFile(path=str(files("triptych.prompts") / "sets" / f"{self.name}.jsonl"))
