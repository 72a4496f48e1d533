"""A second file of verdicts, by what they are about. It is held in memory whole."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable
from typing import Any

from triptych.errors import PromptError
from triptych.imports.item import Row, Setting
from triptych.operators import BadRow
from triptych.prompts.text_files import jsonl_records, open_bytes


def verdicts_beside(setting: Setting, key: Callable[[Row], Hashable]) -> dict[Hashable, list[dict[str, Any]]]:
    """The rows of the file of verdicts by their keys; none where no such file was named.

    Raises `PromptError` where the file can't be read, or a row of it.
    """
    found: defaultdict[Hashable, list[dict[str, Any]]] = defaultdict(list)
    path = setting.verdicts
    if path is None:
        return {}
    try:
        with open_bytes(path) as stream:
            for record in jsonl_records(stream, str(path)):
                if isinstance(record, BadRow):
                    raise PromptError(f"{path}, row {record.row} {record.reason}")
                try:
                    found[key(record.values)].append(dict(record.values))
                except KeyError as error:
                    raise PromptError(f"{path}, row {record.row} has no field {error.args[0]}") from None
    except OSError as error:
        raise PromptError(f"there are no verdicts to read in {path}: {error.strerror or error}") from error
    return dict(found)
