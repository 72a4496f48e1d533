"""Everything Triptych raises on purpose: one tree, each error a sentence for a person and an exit code."""

from __future__ import annotations

from dataclasses import dataclass


class TriptychError(Exception):
    """The root of all errors that Triptych raises on purpose. `str(error)` is fit to be shown."""

    exit_code = 1
    """What the command line exits with."""


@dataclass(frozen=True)
class Problem:
    """One thing wrong with a recipe, and where."""

    message: str
    """What is wrong and what to do."""
    field: str = ""
    """Dotted path of the field, such as `evaluation.0.model`."""
    line: int | None = None
    """Line in the recipe's file, from 1; None where the recipe was made in Python."""

    def __str__(self) -> str:
        place = f"line {self.line}, " if self.line is not None else ""
        return f"{place}{self.field}: {self.message}" if self.field else f"{place}{self.message}"


class RecipeError(TriptychError):
    """A recipe that can't be read or does not hold together."""

    exit_code = 2

    def __init__(self, source: str, problems: list[Problem]) -> None:
        self.source = source
        self.problems = problems
        super().__init__("\n".join(f"{source}: {problem}" for problem in problems))


class PromptError(TriptychError):
    """A source of prompts that can't be read at all. Single bad rows are set aside instead."""

    exit_code = 2


class MissingExtra(TriptychError):
    """Something optional is not installed; the message has the command that installs it."""

    exit_code = 2


class RunFolderError(TriptychError):
    """A run folder that can't be used: in use, unwritable, full, or another recipe's."""

    exit_code = 3


class OperatorFailed(TriptychError):
    """An operator raised something or gave something back that it should not have: a defect in it, or in Triptych."""

    exit_code = 70


class StopRun(TriptychError):
    """Ends a run in order: what was paid for is in the call log, and the run can be resumed."""

    exit_code = 4


class EndpointDown(StopRun):
    """An endpoint that can't be reached, or that has stopped answering."""


class KeyRefused(StopRun):
    """An endpoint that refuses the key (401 or 403), or a key that is declared and absent."""


class BudgetReached(StopRun):
    """The declared budget is spent."""

    exit_code = 5


class AwaitsPolicy(StopRun):
    """A round of a loop is complete, and the policy of the next one is not declared yet."""

    exit_code = 6


class TrainingFailed(StopRun):
    """The command that trains a loop's policy failed; the round before it is complete."""

    exit_code = 7


class FoundWarnings(TriptychError):
    """An audit that was to fail on warnings (`--fail-on warn`) has told some, and no error."""

    exit_code = 8


class FoundErrors(TriptychError):
    """An audit that was to fail (`--fail-on error` or `warn`) has told an error about the data."""

    exit_code = 9


class Interrupted(StopRun):
    """The user asked to stop (Ctrl-C)."""

    exit_code = 130
