"""Which two responses to a prompt are compared."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations, pairwise
from typing import Literal

from triptych.records import Response, draw

Which = Literal["all", "adjacent"]


def pairs_of(
    responses: Sequence[Response], which: Which, most: int | None, seed: int
) -> list[tuple[Response, Response]]:
    """All pairs in sample order, or only neighbours; at most so many, by draw. Two that say the same are no pair."""
    candidates = combinations(responses, 2) if which == "all" else pairwise(responses)
    pairs = [pair for pair in candidates if pair[0].messages != pair[1].messages]
    if most is None or len(pairs) <= most:
        return pairs
    # A draw for each response is cheaper than one for each pair, and every pair is as likely as every other.
    lots = {response.id: draw(seed, "pair", response.id) for response in responses}
    by_lot = sorted(range(len(pairs)), key=lambda place: lots[pairs[place][0].id] ^ lots[pairs[place][1].id])
    return [pairs[place] for place in sorted(by_lot[:most])]


def pair_count(responses: float, which: Which, most: int | None) -> float:
    """How many pairs so many responses make, if no two say the same."""
    pairs = responses * (responses - 1) / 2 if which == "all" else max(responses - 1, 0)
    return min(pairs, most or pairs)
