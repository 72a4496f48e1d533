"""NeMo RL's preference data: `context`, and `completions` with a rank each, of which the lower is the better.

As in github.com/NVIDIA-NeMo/RL, nemo_rl/data/datasets/preference_datasets; `reward`, where a completion has one, is kept.
"""

from __future__ import annotations

from triptych.imports.fields import field, listed, number, prompt, reply
from triptych.imports.item import Answer, Format, Item, Read, Row, Setting, Verdict, pair, ranking


def _read(row: Row, scale: tuple[float, float] | None) -> Item:
    messages = prompt(field(row, "context"))
    answers: list[Answer] = []
    ranks: list[float] = []
    rewards: list[float | None] = []
    for place, completion in enumerate(listed(field(row, "completions"), "completions"), 1):
        if not isinstance(completion, dict):
            raise ValueError(f"completion {place} is not an object")
        answers.append(Answer(reply(field(completion, "completion"), f"completion {place}")))
        ranks.append(number(field(completion, "rank"), f"the rank of completion {place}"))
        reward = completion.get("reward")
        rewards.append(None if reward is None else number(reward, f"the reward of completion {place}"))
    if len(answers) < 2:
        raise ValueError(f"ranks {len(answers)} completions; there must be two at least")
    if len(answers) == 2 and ranks[0] != ranks[1]:
        best, worst = sorted((0, 1), key=ranks.__getitem__)
        scores = (rewards[best], rewards[worst])
        return pair(
            messages, answers[best].messages, answers[worst].messages, scores=scores, scale=scale, score="reward"
        )
    given = [
        Verdict(of=(place,), criterion="reward", scores=(reward,), scale=scale)
        for place, reward in enumerate(rewards)
        if reward is not None
    ]
    return Item(messages=messages, answers=tuple(answers), verdicts=(ranking(ranks), *given), gives="ratings")


def _reader(setting: Setting) -> Read:
    return lambda row: _read(row, setting.scale)


FORMAT = Format(
    name="nemo-rl",
    about="context, and completions with a rank each, the lower the better",
    looks_like=lambda row: {"context", "completions"} <= row.keys(),
    reader=_reader,
)
