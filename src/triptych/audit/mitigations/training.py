"""Mitigations in training: what the trainer is given, and what a loop carries from round to round."""

from __future__ import annotations

from typing import TYPE_CHECKING

from triptych.audit.mitigations.mitigation import Edits, mitigation
from triptych.audit.mitigations.places import panel, trainer

if TYPE_CHECKING:
    from triptych.audit.data import Data

_WITH_BETA = ("DPOTrainer", "KTOTrainer", "CPOTrainer", "ORPOTrainer", "GRPOTrainer", "RLOOTrainer")


@mitigation
def likelihood_term(data: Data, subject: str) -> Edits:
    """Add the likelihood of the chosen response to DPO's loss (TRL's `loss_type: [..., sft]`)."""
    given = trainer(data, "DPOTrainer")
    losses = given.get("loss_type", "sigmoid")
    losses = [losses] if isinstance(losses, str) else list(losses)
    if not given or "sft" in losses:
        return {}
    weights = given.get("loss_weights") or [1.0] * len(losses)
    return {"method.trl.loss_type": [*losses, "sft"], "method.trl.loss_weights": [*weights, 1.0]}


def _scaled_beta(data: Data, by: float) -> Edits:
    beta = trainer(data, *_WITH_BETA).get("beta")
    return {"method.trl.beta": round(beta * by, 6)} if isinstance(beta, int | float) and beta > 0 else {}


@mitigation
def higher_beta(data: Data, subject: str) -> Edits:
    """Double beta, which holds the policy to the reference."""
    return _scaled_beta(data, 2)


@mitigation
def lower_beta(data: Data, subject: str) -> Edits:
    """Halve beta, so that fewer pairs count as satisfied."""
    return _scaled_beta(data, 0.5)


@mitigation
def more_replay(data: Data, subject: str) -> Edits:
    """Train on a greater share of the examples of earlier rounds again (`loop.replay`)."""
    loop = data.recipe.loop if data.recipe is not None else None
    return {} if loop is None or loop.replay >= 1 else {"loop.replay": min(max(2 * loop.replay, 0.2), 1.0)}


@mitigation
def less_replay(data: Data, subject: str) -> Edits:
    """Train on a smaller share of the examples of earlier rounds (`loop.replay`)."""
    loop = data.recipe.loop if data.recipe is not None else None
    return {} if loop is None or loop.replay == 0 else {"loop.replay": loop.replay / 2}


@mitigation
def older_for_less(data: Data, subject: str) -> Edits:
    """Have examples count for less the older they are, in rounds (`decay`)."""
    every = panel(data, "instantiation")
    return {f"{place}.decay": {"of": "round"} for place, one in every.items() if getattr(one, "decay", ()) is None}
