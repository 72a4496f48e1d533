"""Constraints on lists: bullets and numbered items."""

from __future__ import annotations

import re
from typing import Literal

from triptych.evaluation.constraints.bounds import Bounds
from triptych.evaluation.constraints.check import Check

_BULLET = re.compile(r"^[^\S\n]*[-*•][^\S\n]+(?=.*\w)", re.MULTILINE)
_BULLET_DOT = re.compile(r"^[^\S\n]*•(?=\w)", re.MULTILINE)
_NUMBERED = re.compile(r"^[^\S\n]*\d+[.)][^\S\n]+(?=.*\w)", re.MULTILINE)


class Bullets(Bounds):
    """So many bullets: lines that start with `-`, `*` or `•`, a space and then some text.

    A rule (`---`), bold text (`**so**`) and a negative number (`-5`) are no bullets. After `•` the space may miss.
    """

    kind: Literal["bullets"] = "bullets"

    def check(self, text: str) -> Check:
        """Count the bullets."""
        return self._judge(len(_BULLET.findall(text)) + len(_BULLET_DOT.findall(text)), "bullet")


class NumberedList(Bounds):
    """So many numbered items: lines that start with a number, `.` or `)`, a space and then some text.

    The numbers need not be in order: Markdown numbers them itself.
    """

    kind: Literal["numbered_list"] = "numbered_list"

    def check(self, text: str) -> Check:
        """Count the numbered items."""
        return self._judge(len(_NUMBERED.findall(text)), "numbered item")
