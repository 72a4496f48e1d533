"""What a run may spend, and what it has spent."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from triptych.errors import BudgetReached


class Budget(BaseModel):
    """Limits of a run, counted over all its sittings. At most the calls in flight come on top."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    usd: float | None = Field(default=None, ge=0)
    """Most US dollars. Each model then needs a price."""
    calls: int | None = Field(default=None, ge=0)
    """Most calls that are sent."""
    tokens: int | None = Field(default=None, ge=0)
    """Most tokens, of prompts and answers together."""


class Ledger:
    """Adds up what this run pays, and says when the budget is spent."""

    def __init__(self, budget: Budget, *, calls: int = 0, tokens: int = 0, usd: float = 0.0) -> None:
        self.budget = budget
        self.calls = calls
        self.tokens = tokens
        self.usd = usd

    def add(self, tokens: int, usd: float) -> None:
        """Count one call that was paid for."""
        self.calls += 1
        self.tokens += tokens
        self.usd += usd

    def check(self) -> None:
        """Raise `BudgetReached` where no further call may be sent."""
        budget = self.budget
        if budget.usd is not None and self.usd >= budget.usd:
            self._stop(f"${self.usd:.4f} of ${budget.usd:g}")
        if budget.calls is not None and self.calls >= budget.calls:
            self._stop(f"{self.calls} of {budget.calls} calls")
        if budget.tokens is not None and self.tokens >= budget.tokens:
            self._stop(f"{self.tokens} of {budget.tokens} tokens")

    def _stop(self, spent: str) -> None:
        raise BudgetReached(f"the budget is spent ({spent}); raise it and run the same command again to go on")
