"""Reading a verdict from log-probabilities: how the judge's belief is spread over the allowed answers."""

from __future__ import annotations

import math
from collections.abc import Collection

from triptych.models.asking import Unparsable
from triptych.models.chat import Choice


def spread(choice: Choice, answers: Collection[str], min_mass: float) -> dict[str, float]:
    """Give each allowed one-token answer its probability, normalised over them.

    Looks at the first token that is one of the answers, or else at the first token. Spellings that differ in case or
    surrounding space count together. Raises `Unparsable` where less than `min_mass` of the probability is on them.
    """
    tokens = choice.logprobs
    if not tokens:
        raise Unparsable("the endpoint gave no log-probabilities")
    token = next((each for each in tokens if each.token.strip().upper() in answers), tokens[0])
    alternatives = dict(token.top) | {token.token: token.logprob}
    mass = dict.fromkeys(answers, 0.0)
    for word, logprob in alternatives.items():
        if (answer := word.strip().upper()) in mass:
            mass[answer] += math.exp(logprob)
    total = sum(mass.values())
    if total < min_mass or total == 0:
        raise Unparsable(f"only {total:.2f} of the probability is on {', '.join(answers)}; {min_mass:g} is needed")
    return {answer: share / total for answer, share in mass.items()}
