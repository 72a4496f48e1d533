"""A clean world: real solutions of four models to real problems, with what people, judges and a program say of them.

The texts are those of `gsm8k_example_model_solutions` (MIT): each solution is marked correct or not. All verdicts but that
mark are drawn here, by rules that are written out below, so that what is true of them is known. Of `triptych.audit` nothing is used
but the form in which it takes data.
"""

from __future__ import annotations

import gzip
import json
import math
import random
from collections import defaultdict
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import polars as pl

from triptych.audit.data import Data
from triptych.recipes.load import build_recipe
from triptych.recipes.write import recipe_yaml
from triptych.records import Message, StepLocator, make_example, make_judgement, make_prompt, make_response
from triptych.store.run import RECIPE, Manifest, Run, write_manifest, write_whole
from triptych.store.tables import frame

MODELS = ("6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification")
SCALE = (1.0, 10.0)
EXCERPT = Path(__file__).parents[1] / "data" / "gsm8k_solutions_excerpt.jsonl.gz"
"""450 of the 1,319 problems: some 110 pairs. Benchmarks name the whole file instead: some 250."""


@dataclass
class Answer:
    """A response."""

    text: str
    model: str
    right: bool
    finish: str = "stop"
    version: str = ""
    index: int = 0
    skill: float = 0.0
    """Its quality, beside whether it is right: what judges see through noise."""
    logprob: float | None = None

    @property
    def quality(self) -> float:
        return (1.0 if self.right else -1.0) + self.skill


@dataclass
class Question:
    """A prompt with its answers."""

    text: str
    answers: list[Answer]
    reference: str = ""
    family: str | None = None
    tags: tuple[str, ...] = ()
    source: str = "gsm8k"
    constraints: tuple[dict[str, Any], ...] = ()


@dataclass
class Score:
    """A judge's score of one answer."""

    judge: str
    question: int
    answer: int
    criterion: str
    score: float
    repeat: int = 0
    step: int | None = None


@dataclass
class Choice:
    """A judge's verdict on two answers: which is better, as they were shown."""

    judge: str
    question: int
    first: int
    second: int
    winner: int | None
    """The better answer; None for a tie."""
    criterion: str = "better"
    probability: float | None = None
    """That the first shown is the better one."""
    repeat: int = 0


@dataclass
class Pair:
    """A training pair."""

    question: int
    chosen: int
    rejected: int
    margin: float | None = None
    weight: float = 1.0


@dataclass
class World:
    """All of it."""

    questions: list[Question]
    file: Path = EXCERPT
    scores: list[Score] = field(default_factory=list)
    choices: list[Choice] = field(default_factory=list)
    checks: list[Score] = field(default_factory=list)
    """What the verifier says: 1 or 0."""
    people: list[Score] = field(default_factory=list)
    """What people say of an answer."""
    recipe: dict[str, Any] | None = None
    """What its recipe says beside what every world's does; None where the audit is given no recipe."""
    pairs: list[Pair] = field(default_factory=list)
    groups: list[tuple[int, list[float], list[float]]] = field(default_factory=list)
    """Groups of all answers to a question: question, scores in [0, 1], advantages."""
    stepwise: list[tuple[int, int, list[float]]] = field(default_factory=list)
    """Rows of labelled steps: question, answer, labels."""
    labels: list[tuple[int, int, bool]] = field(default_factory=list)
    """Unpaired rows: question, answer, whether it is good."""
    rankings: list[tuple[int, tuple[int, ...]]] = field(default_factory=list)

    policy: str | None = None
    """The model that is to be trained."""
    logprobs: dict[tuple[int, int], tuple[float, int]] = field(default_factory=dict)
    """What the policy says of an answer: its log-probability, and of how many tokens; by question and answer."""
    rounds: list[World] = field(default_factory=list)
    """Earlier rounds of the same loop, the oldest first."""

    def unanimous(self) -> list[dict[str, Any]]:
        """Problems that all models solve, or none."""
        return list(_solved(self.file)[1])

    def data(self) -> Data:
        """The world as the audit is given it."""
        tables = self.tables()
        known: dict[str, Any] = {"policy": self.policy, "rounds": [each.data() for each in self.rounds]}
        if self.logprobs:
            known["logprobs"] = _logprobs(self)
        if self.recipe is not None:
            known["recipe"] = build_recipe(_recipe(self), "planted")
        return Data(tables, **known)

    def tables(self) -> dict[str, Any]:
        """The four tables, as Polars LazyFrames."""
        return {name: frame(name, rows).lazy() for name, rows in _records(self).items()}


@lru_cache(2)
def _solved(file: Path) -> tuple[tuple[dict[str, Any], ...], tuple[dict[str, Any], ...]]:
    """The problems on which the models differ, and those that all models solve, or none."""
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    right = [sum(row[m]["is_correct"] for m in MODELS) for row in rows]
    return (
        tuple(row for row, n in zip(rows, right, strict=True) if 0 < n < 4),
        tuple(row for row, n in zip(rows, right, strict=True) if n in (0, 4)),
    )


def question_of(row: dict[str, Any], rng: random.Random) -> Question:
    """A problem with its four solutions, in an order that a draw decides."""
    models = list(MODELS)
    rng.shuffle(models)
    answers = [
        Answer(row[m]["solution"], m, row[m]["is_correct"], index=i, skill=rng.gauss(0, 0.25))
        for i, m in enumerate(models)
    ]
    return Question(row["question"], answers, reference=row["ground_truth"].rsplit("A:", 1)[-1].strip())


def clean(seed: int, n: int = 240, file: Path = EXCERPT) -> World:
    """A world of up to `n` problems without a fault that is looked for.

    Each problem gives one pair of a right and a wrong solution. Of any two models, and of longer and shorter, as many pairs
    have the one chosen as the other: what is left over is not used. So neither who wrote a text nor how long it is says
    which was chosen.
    """
    rng = random.Random(f"clean {seed}")
    rows = list(_solved(file)[0])
    rng.shuffle(rows)
    cells: dict[tuple[str, str, bool], list[tuple[Question, int, int]]] = defaultdict(list)
    for row in rows:
        question = question_of(row, rng)
        right = [i for i, a in enumerate(question.answers) if a.right]
        wrong = [i for i, a in enumerate(question.answers) if not a.right]
        chosen, rejected = rng.choice(right), rng.choice(wrong)
        c, r = question.answers[chosen], question.answers[rejected]
        if len(c.text) != len(r.text):
            cells[c.model, r.model, len(c.text) > len(r.text)].append((question, chosen, rejected))
    kept: list[tuple[Question, int, int]] = []
    for i, one in enumerate(MODELS):
        for other in MODELS[i + 1 :]:
            four = [cells[a, b, longer] for a, b in ((one, other), (other, one)) for longer in (True, False)]
            fewest = min(map(len, four))
            kept += [item for cell in four for item in cell[:fewest]]
    rng.shuffle(kept)
    world = World([], file=file)
    for place, (question, chosen, rejected) in enumerate(kept[:n]):
        world.questions.append(question)
        world.pairs.append(Pair(place, chosen, rejected))
    judge(world, rng)
    return world


def judge(world: World, rng: random.Random) -> None:
    """Let judges and the verifier speak.

    - `verify` (a program) says whether an answer is right.
    - `alpha` and `beta` score each answer for correctness and clarity on 1 to 10: quality through their own noise.
    - `gamma` compares the two of each pair in both orders. It is right with a probability that it states; the order moves it
      once in thirty times.
    - margins are alpha's and beta's mean difference on correctness, on a scale of 0 to 1; a pair that they see the other way
      round is no pair.
    """
    world.scores, world.choices, world.checks = [], [], []
    for q, question in enumerate(world.questions):
        for a, answer in enumerate(question.answers):
            world.checks.append(Score("verify", q, a, "final_answer", float(answer.right)))
            for who in ("alpha", "beta"):
                world.scores += read(who, q, a, answer, rng)
    score_pairs(world)
    world.pairs = [pair for pair in world.pairs if pair.margin is not None and pair.margin > 0]
    for pair in world.pairs:
        compare(world, pair, rng)


def more_answers(world: World, q: int, count: int, rng: random.Random, quality: tuple[float, float]) -> None:
    """Give a question more answers: those it has, with a sentence of their own, judged like the others.

    `quality` is the mean and the standard deviation of how good the judges find them.
    """
    answers = world.questions[q].answers
    for number in range(count):
        like = answers[number % 4]
        skill = rng.gauss(*quality) - (1.0 if like.right else -1.0)
        text = f"{like.text}\nThat is answer {rng.randrange(10**6)} of this kind."
        answers.append(Answer(text, like.model, like.right, index=len(answers), skill=skill))
        for who in ("alpha", "beta"):
            world.scores += read(who, q, len(answers) - 1, answers[-1], rng)


def read(who: str, q: int, a: int, answer: Answer, rng: random.Random) -> list[Score]:
    """What a judge says of an answer: of its clarity nearly what it says of its correctness."""
    score = seen(answer.quality, rng)
    near = min(max(round(score + rng.gauss(0, 0.2), 1), SCALE[0]), SCALE[1])
    return [Score(who, q, a, "correctness", score), Score(who, q, a, "clarity", near)]


def seen(quality: float, rng: random.Random) -> float:
    """A score of 1 to 10, in tenths, of a quality about -1 to 1 that is seen through noise."""
    return min(max(round(5.5 + 2.2 * (quality + rng.gauss(0, 0.8)), 1), 1.0), 10.0)


def compare(world: World, pair: Pair, rng: random.Random, judge: str = "gamma") -> None:
    """Ask a judge in both orders. It is as right as it says."""
    sure = 0.75 + 0.24 * rng.random()
    right = rng.random() < sure
    for first, second in ((pair.chosen, pair.rejected), (pair.rejected, pair.chosen)):
        truth = pair.chosen if right else pair.rejected
        if rng.random() < 1 / 30:
            truth = pair.chosen + pair.rejected - truth
        says_first = sure if truth == first else 1 - sure
        world.choices.append(Choice(judge, pair.question, first, second, truth, probability=says_first))


def score_pairs(world: World) -> None:
    """Give pairs their margins."""
    told: dict[tuple[int, int], list[float]] = defaultdict(list)
    for s in world.scores:
        if s.criterion == "correctness" and s.repeat == 0 and s.step is None:
            told[s.question, s.answer].append((s.score - SCALE[0]) / (SCALE[1] - SCALE[0]))
    for pair in world.pairs:
        means = [math.fsum(v := told[pair.question, side]) / len(v) for side in (pair.chosen, pair.rejected)]
        pair.margin = means[0] - means[1]


def _logprobs(world: World) -> pl.DataFrame:
    made = iter(_records(world)["responses"])
    rows = []
    for q, question in enumerate(world.questions):
        for a in range(len(question.answers)):
            logprob, tokens = world.logprobs[q, a]
            rows.append(
                {"response_id": next(made).id, "logprob": logprob, "tokens": tokens, "reference_logprob": logprob}
            )
    return pl.DataFrame(rows)


def aside(world: World, rng: random.Random) -> str:
    """What has nothing to do with the question: two real solutions of other problems."""
    others = [rng.choice(world.unanimous())[rng.choice(MODELS)]["solution"] for _ in range(2)]
    return "".join(f"{other}\n" for other in others)


def another_round(world: World, seed: int) -> World:
    """The same questions, answered anew: each by the same model, with a way of its own that is a solution of another problem."""
    rng = random.Random(f"round {seed}")
    again = World([], file=world.file, policy=world.policy)
    for question in world.questions:
        answers = [replace(a, text=aside(world, rng) + a.text, skill=rng.gauss(0, 0.25)) for a in question.answers]
        again.questions.append(replace(question, answers=answers))
    again.pairs = [replace(pair) for pair in world.pairs]
    judge(again, rng)
    return again


def _records(world: World) -> dict[str, list[Any]]:
    prompts = [
        make_prompt(
            (Message("user", q.text),),
            reference=q.reference or None,
            source=q.source,
            tags=q.tags,
            family_id=q.family,
            constraints=q.constraints,
        )
        for q in world.questions
    ]
    answers = [
        [
            make_response(
                prompt_id=prompt.id,
                generator="given",
                generator_id=f"o_{a.model}",
                sample_index=place,
                messages=(Message("assistant", a.text),),
                model=a.model,
                model_version=a.version,
                finish_reason=a.finish,
                logprob=a.logprob,
            )
            for place, a in enumerate(question.answers)
        ]
        for prompt, question in zip(prompts, world.questions, strict=True)
    ]

    def judged(who: str, q: int, shown: tuple[int, ...], criterion: str, **said: Any) -> Any:
        return make_judgement(
            prompt_id=prompts[q].id,
            response_ids=tuple(answers[q][a].id for a in shown),
            criterion=criterion,
            criterion_id=f"c_{criterion}",
            evaluator=who,
            evaluator_id=f"o_{who}",
            **said,
        )

    judgements = [
        judged(
            s.judge, s.question, (s.answer,), s.criterion, model=f"{s.judge}-1", scores=(s.score,), scale=SCALE,
            repeat=s.repeat, step=None if s.step is None else StepLocator("step", s.step),
        )
        for s in world.scores
    ]  # fmt: skip
    judgements += [
        judged("verify", s.question, (s.answer,), "correct", check=s.criterion, scores=(s.score,), scale=(0.0, 1.0))
        for s in world.checks
    ]
    judgements += [
        judged(s.judge, s.question, (s.answer,), s.criterion, scores=(s.score,), scale=SCALE, repeat=s.repeat)
        for s in world.people
    ]
    for c in world.choices:
        ranks = (1, 1) if c.winner is None else (1, 2) if c.winner == c.first else (2, 1)
        judgements.append(
            judged(
                c.judge, c.question, (c.first, c.second), c.criterion, model=f"{c.judge}-1", ranks=ranks,
                probability=c.probability, repeat=c.repeat,
            )
        )  # fmt: skip
    examples = [
        make_example(
            kind="pair",
            prompt_id=prompts[p.question].id,
            response_ids=(answers[p.question][p.chosen].id, answers[p.question][p.rejected].id),
            margin=p.margin,
            weight=p.weight,
            strategy="best_vs_worst",
            strategy_id="i_pairs",
        )
        for p in world.pairs
    ]
    examples += [
        make_example(
            kind="unpaired", prompt_id=prompts[q].id, response_ids=(answers[q][a].id,), labels=(float(good),),
            strategy="unpaired", strategy_id="i_unpaired",
        )
        for q, a, good in world.labels
    ]  # fmt: skip
    examples += [
        make_example(
            kind="group", prompt_id=prompts[q].id, response_ids=tuple(one.id for one in answers[q]), scores=tuple(scores),
            labels=tuple(advantages), strategy="groups", strategy_id="i_groups",
        )
        for q, scores, advantages in world.groups
    ]  # fmt: skip
    examples += [
        make_example(
            kind="stepwise", prompt_id=prompts[q].id, response_ids=(answers[q][a].id,), labels=tuple(labels),
            strategy="stepwise", strategy_id="i_stepwise",
        )
        for q, a, labels in world.stepwise
    ]  # fmt: skip
    return {
        "prompts": prompts,
        "responses": [one for some in answers for one in some],
        "judgements": judgements,
        "examples": examples,
    }


def _recipe(world: World) -> dict[str, Any]:
    criteria = {name: {"text": name} for name in ("correctness", "clarity", "better")}
    return {
        "name": "planted",
        "seed": 5,
        "prompts": {"kind": "inline", "prompts": [world.questions[0].text]},
        "synthesis": {"kind": "given"},
        "objective": {"criteria": criteria},
        "instantiation": {"kind": "pairs", "choose": "best_vs_worst"},
    } | (world.recipe or {})


def save(world: World, folder: Path) -> Run:
    """Write a world as a run folder of imported data."""
    folder.mkdir(parents=True)
    tables = world.tables()
    for name, table in tables.items():
        table.sink_parquet(folder / f"{name}.parquet")
    recipe = build_recipe(_recipe(world), "planted")
    manifest = Manifest(
        run="planted", recipe="planted", recipe_id=recipe.id, status="imported", prompts=len(world.questions), calls="",
        imported="a planted world",
    )  # fmt: skip
    write_whole(folder / RECIPE, recipe_yaml(recipe).encode())
    write_manifest(folder, manifest)
    return Run(folder, manifest)
