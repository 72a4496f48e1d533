"""Groups from which a group-relative policy gradient would learn nothing (S4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from triptych.audit.diagnostic import Share
from triptych.audit.instantiation.advantages import GROUPS, members
from triptych.audit.mitigations import pairing, sampling

if TYPE_CHECKING:
    import polars as pl

    from triptych.audit.data import Data

_ZERO = 1e-8
"""What TRL takes for none."""


class ZeroAdvantageGroups(Share):
    """Share of groups whose scores are all equal, so that every advantage is 0 (TRL's `frac_reward_zero_std`).

    Their rollouts are paid for and give no gradient; dynamic sampling replaces them (arXiv:2503.14476). An instantiation that
    drops them, as `groups` does by default, has none.
    """

    name = "zero_advantage_groups"
    failure_mode = "S4"
    needs = (GROUPS,)
    good = (0.0, 0.3)
    error = (0.0, 0.9)
    by = ("strategy", "strategy_id")
    change = "sample until scores differ, take prompts of medium difficulty, or drop these groups (zero_variance: drop)"
    repair = "drop_zero_groups"
    mitigations = (pairing.without_zero_groups, sampling.until_contrast)

    def rows(self, data: Data) -> pl.LazyFrame:
        """Each group, and whether its scores are all equal."""
        import polars as pl

        equal = pl.col("score").std() <= _ZERO
        return (
            members(data)
            .lazy()
            .group_by("id", "prompt_id", "strategy", "strategy_id")
            .agg(part=equal.fill_null(True))
            .with_columns(whole=1, shows="part")
        )

    def say(self, strategy: str, _id: str) -> tuple[str, str]:  # type: ignore[override]
        """Name the strategy."""
        return strategy, f"All advantages are 0 in {strategy} groups for"
