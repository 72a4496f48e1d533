"""Strengths of responses, and how far each judge goes by them, from choices that several judges made."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import polars as pl

_CELLS_AT_ONCE = 2**20
_LONGEST_STEP = 0.5
_SMALLEST_STEP = 1e-10
_MOST_STEPS = 1000
_NOTHING = 1e-300
_KEY = ("criterion", "evaluator_id")


class Effects(NamedTuple):
    """What a table of choices comes to."""

    strengths: pl.DataFrame
    """Columns criterion, prompt, row, strength (in log-odds) and group (a number for each prompt on a criterion)."""
    judges: pl.DataFrame
    """Columns criterion, evaluator_id, choices (how many it made), reliability, first (see `fitted`)."""


def fitted(choices: pl.DataFrame, prior: float) -> Effects:
    """The likeliest strengths, reliabilities and leanings to the first place, over all prompts at once.

    A judge of reliability a and leaning b finds a response of strength s, shown before one of strength t, better with the
    log-odds a (s - t) + b. So a counts the judge's opinions, as the quality of a worker does in Crowd-BT (X. Chen, P. N.
    Bennett, K. Collins-Thompson and E. Horvitz, 2013), and as the discrimination of a judge does in arXiv:2601.21817; b is an effect of order (R. R. Davidson and R. J. Beaver,
    1977).
    A judge has both for each criterion. Strengths and reliabilities have no unit in common but what is set: the mean
    reliability is 1, where each judge counts by its choices times its reliability. Reliabilities are not below 0.

    The prior holds reliabilities around 1 and leanings around 0, by a standard deviation of 1 each; of strengths it is
    that of `BradleyTerry`. Takes columns criterion, evaluator_id, prompt, row, response_id, row_b, response_id_b, games
    and won (how often the first was found better), where the first was shown before the other.
    """
    import polars as pl

    # By ids, so that the order of the tables makes no difference to any sum.
    choices = choices.sort(*_KEY, "response_id", "response_id_b")
    judges = choices.group_by(_KEY, maintain_order=True).agg(pl.sum("games").alias("choices"))
    ends = [
        choices.select("criterion", "prompt", row=f"row{end}", response_id=f"response_id{end}") for end in ("", "_b")
    ]
    members = (
        pl.concat(ends)
        .unique(["criterion", "row"])
        .sort("criterion", "response_id")
        .with_columns(group=pl.struct("criterion", "prompt").rank("dense") - 1)
        .with_columns(place=pl.int_range(pl.len()).over("group"), size=pl.len().over("group"))
        .with_row_index("item")
    )
    strengths, effects = _likeliest(_edges(choices, judges, members), members, judges, prior)
    return Effects(
        members.select("criterion", "prompt", "row", "group", strength=pl.Series(strengths)),
        judges.with_columns(reliability=pl.Series(effects[0]), first=pl.Series(effects[1])),
    )


class _Edges(NamedTuple):
    """Choices as numbers, one for each judge, two responses and their order."""

    first: Any
    other: Any
    judge: Any
    games: Any
    won: Any


def _edges(choices: pl.DataFrame, judges: pl.DataFrame, members: pl.DataFrame) -> _Edges:
    item = members.select("criterion", "row", "item")
    told = (
        choices.join(item, on=["criterion", "row"], maintain_order="left")
        .join(item.rename({"row": "row_b"}), on=["criterion", "row_b"], suffix="_b", maintain_order="left")
        .join(judges.select(_KEY).with_row_index("judge"), on=_KEY, maintain_order="left")
    )
    return _Edges(*(told[name].to_numpy() for name in ("item", "item_b", "judge", "games", "won")))


class _Block(NamedTuple):
    """Groups of one size, few enough to be worked on at once."""

    items: Any
    """groups x responses"""
    edges: Any
    cells: Any
    """For each edge, the cell of the first response's row and the other's column, counted over all groups."""
    mirrored: Any


def _blocks(edges: _Edges, members: pl.DataFrame) -> list[_Block]:
    import numpy as np

    group, place, size = (members[name].to_numpy().astype(np.int64) for name in ("group", "place", "size"))
    found = []
    for k in np.unique(size):
        groups, step = np.unique(group[size == k]), max(_CELLS_AT_ONCE // int(k) ** 2, 1)
        for start in range(0, len(groups), step):
            here = groups[start : start + step]
            inside = np.flatnonzero((size == k) & np.isin(group, here))
            items = inside[np.lexsort((place[inside], group[inside]))].reshape(len(here), int(k))
            chosen = np.flatnonzero((size[edges.first] == k) & np.isin(group[edges.first], here))
            one, other = place[edges.first[chosen]], place[edges.other[chosen]]
            before = np.searchsorted(here, group[edges.first[chosen]]) * k
            found.append(_Block(items, chosen, (before + one) * k + other, (before + other) * k + one))
    return found


def _likeliest(edges: _Edges, members: pl.DataFrame, judges: pl.DataFrame, prior: float) -> tuple[Any, Any]:
    """Strengths, and reliabilities and leanings as two rows: by Newton's method on the ones and the others in turns.

    Either is a concave problem while the others stand, and so do the weights of judges in the unit of strengths; where both
    have settled is near the optimum of all together under that unit, and is it where there is one judge. Steps are held short as in `BradleyTerry`.
    """
    import numpy as np

    blocks, strengths = _blocks(edges, members), np.zeros(members.height)
    effects = np.stack([np.ones(judges.height), np.zeros(judges.height)])
    criteria = judges["criterion"].rank("dense").to_numpy().astype(np.int64) - 1
    counts = judges["choices"].to_numpy()
    for _ in range(_MOST_STEPS):
        moved = max((_step_of_strengths(block, edges, strengths, effects, prior) for block in blocks), default=0.0)
        moved = max(moved, _step_of_judges(edges, strengths, effects, counts, criteria))
        if moved < _SMALLEST_STEP:
            break
    else:
        warnings.warn(
            f"strengths and leanings of judges still moved by {moved:.2g} after {_MOST_STEPS:,} rounds: where pairs are asked "
            "in one order alone they can hardly be told apart; ask in both",
            stacklevel=2,
        )
    return strengths, effects


def _step_of_strengths(block: _Block, edges: _Edges, strengths: Any, effects: Any, prior: float) -> float:
    """Move the strengths of these groups; gives the longest way."""
    import numpy as np

    at = block.edges
    reliability, leaning = effects[:, edges.judge[at]]
    chance = _logistic(reliability * (strengths[edges.first[at]] - strengths[edges.other[at]]) + leaning)
    pull = reliability * (edges.won[at] - edges.games[at] * chance)
    bend = reliability**2 * edges.games[at] * chance * (1 - chance)
    groups, size = block.items.shape
    here = strengths[block.items]
    ties = _logistic(here[:, :, None] - here[:, None, :])
    held = prior / (size - 1) * (1 - np.eye(size))
    total = groups * size * size
    pulls = np.bincount(block.cells, pull, total) - np.bincount(block.mirrored, pull, total)
    bends = np.bincount(block.cells, bend, total) + np.bincount(block.mirrored, bend, total)
    gradient = (pulls.reshape(ties.shape) + held * (0.5 - ties)).sum(axis=2)
    curvature = bends.reshape(ties.shape) + held * ties * (1 - ties)
    whole = curvature.sum(axis=2)
    # All strengths may move together; a multiple of the matrix of ones keeps their mean where it is.
    hessian = whole.mean(axis=1)[:, None, None] / size - curvature
    hessian[:, range(size), range(size)] += whole
    step = np.linalg.solve(hessian, gradient[:, :, None])[:, :, 0]
    widest = max(1.0, float(reliability.max(initial=1.0)))
    length = np.abs(step).max(axis=1) * widest
    step *= np.minimum(1, _LONGEST_STEP / np.maximum(length, _LONGEST_STEP))[:, None]
    strengths[block.items] += step
    return float(np.abs(step).max())


def _step_of_judges(edges: _Edges, strengths: Any, effects: Any, counts: Any, criteria: Any) -> float:
    """Move the judges' reliabilities and leanings, each criterion's around the mean of 1; gives the longest way."""
    import numpy as np

    apart = strengths[edges.first] - strengths[edges.other]
    reliability, leaning = effects
    chance = _logistic(reliability[edges.judge] * apart + leaning[edges.judge])
    pull, bend = edges.won - edges.games * chance, edges.games * chance * (1 - chance)

    def total(values: Any) -> Any:
        return np.bincount(edges.judge, values, len(counts))

    pulled, tilted = total(pull * apart) + 1 - reliability, total(pull) - leaning
    own, both, tilt = total(bend * apart**2) + 1, total(bend * apart), total(bend) + 1
    # Leanings follow at once; what is left is a problem in the reliabilities alone.
    own, pulled = own - both**2 / tilt, pulled - both / tilt * tilted
    weight = counts * reliability
    sums = [
        np.bincount(criteria, each) for each in (weight * (1 - reliability), weight * pulled / own, weight**2 / own)
    ]
    step = (pulled - ((sums[1] - sums[0]) / np.maximum(sums[2], _NOTHING))[criteria] * weight) / own
    farthest = np.zeros(len(counts))
    np.maximum.at(farthest, edges.judge, np.abs(apart))
    held = _LONGEST_STEP / np.maximum(np.abs(step) * np.maximum(farthest, 1), _LONGEST_STEP)
    found = np.maximum(reliability + step * held, 0)
    sideways = (tilted - both * (found - reliability)) / tilt
    sideways *= _LONGEST_STEP / np.maximum(np.abs(sideways), _LONGEST_STEP)
    moved = max(float(np.abs(found - reliability).max(initial=0)), float(np.abs(sideways).max(initial=0)))
    effects[0], effects[1] = found, leaning + sideways
    return moved


def _logistic(odds: Any) -> Any:
    import numpy as np

    return 1 / (1 + np.exp(-odds))
