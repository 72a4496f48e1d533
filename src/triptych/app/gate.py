"""`--fail-on`: an exit code by the severity of what was found, for scripts."""

from __future__ import annotations

from triptych.app.text import many
from triptych.errors import FoundErrors, FoundWarnings


def fail(where: str, errors: int, warnings: int, fail_on: str, *, failed: int = 0) -> None:
    """Raise what the exit code comes from, if `fail_on` (`error`, `warn` or `never`) wants one.

    What could not be looked at, as something `failed`, counts as an error: a gate that can't see lets nothing through.
    """
    if failed and not errors and fail_on != "never":
        raise FoundErrors(f"{many(failed, 'diagnostic')} failed on {where}, which is a defect in Triptych")
    if errors and fail_on != "never":
        raise FoundErrors(f"{many(errors, 'error')} found in {where}")
    if warnings and fail_on == "warn":
        raise FoundWarnings(f"{many(warnings, 'warning')} found in {where}")
