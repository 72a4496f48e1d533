"""Prompts and responses of data that others have made, for a run that judges them anew."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from pydantic import Field

from triptych.imports.formats import find_format
from triptych.imports.item import Setting
from triptych.imports.records import RecordMaker
from triptych.operators import BadRow, GivenResponse, Operator, PromptRow
from triptych.prompts.file import Format as FileFormat
from triptych.prompts.file import PromptFile
from triptych.prompts.row import as_bad_row


class ImportedPrompts(Operator):
    """Reads the prompts of preference data in one of the formats of `triptych import`, with the responses.

    The verdicts of the data are left out: a run makes its own. Of rows with the same prompt the first counts, and the others
    are set aside. A folder made by `triptych import` has it in its recipe, to say where the data is from.
    """

    kind: Literal["imported"] = "imported"
    path: str = Field(min_length=1)
    """A file or folder, relative to the recipe's folder, as `file` reads it."""
    format: str = Field(min_length=1)
    """The format of its rows, such as `hh-rlhf` or `ultrafeedback`."""
    file_format: FileFormat | None = None
    """That of the file; None goes by the ending of the path."""
    split: str | None = None
    """Names the split where a folder holds several."""

    def rows(self, folder: Path) -> Iterator[PromptRow | BadRow]:
        """Read the prompts in their order, one at a time. Raises `PromptError` where the file can't be read at all."""
        form, path = find_format(self.format), folder / Path(self.path).expanduser()
        read, made = form.reader(Setting(path)), RecordMaker(form, path.name)
        first_rows: dict[int, int] = {}
        for record in self._file.records(folder):
            if isinstance(record, BadRow):
                yield record
                continue
            try:
                prompt, responses, _ = made(read(record.values))
            except (ValueError, TypeError, OverflowError, RecursionError) as error:
                yield as_bad_row(record, str(error))
                continue
            first = first_rows.setdefault(int(prompt.id[2:18], 16), record.row)
            if first != record.row:
                yield as_bad_row(record, f"has the prompt of row {first}; only the responses of that row are taken")
                continue
            yield PromptRow(record.row, prompt, tuple(GivenResponse(one.text, one.model) for one in responses))

    def count(self, folder: Path) -> int | None:
        """Say quickly how many rows there are, about."""
        return self._file.count(folder)

    @property
    def _file(self) -> PromptFile:
        return PromptFile(path=self.path, format=self.file_format, split=self.split)
