"""The faults: each changes a clean world by a rule that is written out here, and says what is then true of it.

`strength` is what the rule says, mostly the share of rows that it touches. `moderate` is the strength at which the audit must
find it.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from planted.world import (
    MODELS,
    SCALE,
    Answer,
    Choice,
    Pair,
    Question,
    Score,
    World,
    another_round,
    compare,
    more_answers,
    question_of,
    score_pairs,
    seen,
)

Plant = Callable[[World, float, random.Random], None]


@dataclass(frozen=True)
class Fault:
    """One way in which data goes wrong."""

    mode: str
    """The failure mode, such as `S2`."""
    name: str
    plant: Plant
    moderate: float
    says: str
    """What strength means."""
    truth: Mapping[str, Callable[[float], float]] = field(default_factory=dict)
    """What a statistic's value is then, by the statistic's name, from the strength."""
    most: float = 1.0
    """The highest strength that makes sense."""


FAULTS: list[Fault] = []


def fault(
    mode: str, moderate: float, says: str, most: float = 1.0, **truth: Callable[[float], float]
) -> Callable[[Plant], Plant]:
    def note(plant: Plant) -> Plant:
        FAULTS.append(Fault(mode, plant.__name__, plant, moderate, says, truth, most))
        return plant

    return note


def some(items: list, strength: float, rng: random.Random) -> list:
    return [item for item in items if rng.random() < strength]


# --- synthesis


@fault("S2", 0.8, "share of prompts whose answers all become copies of one", unique_answers=lambda s: 1 - 0.75 * s)
def answers_that_are_copies(world: World, strength: float, rng: random.Random) -> None:
    for question in some(world.questions, strength, rng):
        first = question.answers[0]
        question.answers[:] = [replace(first, index=a.index, model=a.model) for a in question.answers]


@fault("S3", 0.6, "share of prompts whose answers judges score nearly alike")
def scores_without_contrast(world: World, strength: float, rng: random.Random) -> None:
    flat = {q for q in range(len(world.questions)) if rng.random() < strength}
    levels = {q: rng.uniform(3, 8) for q in flat}
    for s in world.scores:
        if s.question in flat:
            s.score = round(levels[s.question] + rng.choice((-0.1, 0.0, 0.1)), 1)
    for pair in world.pairs:
        if pair.question in flat:
            pair.margin = rng.choice((0.005, 0.01, 0.015))


@fault(
    "S4",
    0.6,
    "share of prompts that all models solve, or none",
    no_contrast=lambda s: s,
    always_or_never_solved=lambda s: s,
)
def prompts_that_all_or_none_solve(world: World, strength: float, rng: random.Random) -> None:
    rows = world.unanimous()
    rng.shuffle(rows)
    for q in some(list(range(len(world.questions))), strength, rng):
        question = question_of(rows.pop(), rng)
        world.questions[q] = question
        for s in world.checks:
            if s.question == q:
                s.score = float(question.answers[s.answer].right)
        for s in world.scores:
            if s.question == q:
                s.score = seen(question.answers[s.answer].quality, rng)


@fault("S5", 0.7, "share of pairs whose chosen side is one model's")
def chosen_comes_from_one_model(world: World, strength: float, rng: random.Random) -> None:
    for pair in some(world.pairs, strength, rng):
        answers = world.questions[pair.question].answers
        answers[pair.chosen].model, answers[pair.rejected].model = MODELS[3], rng.choice(MODELS[:3])


@fault("S9", 0.4, "share of prompts that are another one with a word changed")
def prompts_nearly_repeated(world: World, strength: float, rng: random.Random) -> None:
    for q in some(list(range(1, len(world.questions))), strength, rng):
        words = world.questions[rng.randrange(q)].text.split()
        words[rng.randrange(len(words))] = "indeed"
        world.questions[q].text = " ".join(words)


@fault("S10", 0.3, "share of answers that stop in the middle", cut_off_responses=lambda s: s)
def answers_cut_off(world: World, strength: float, rng: random.Random) -> None:
    for question in world.questions:
        for a in some(question.answers, strength, rng):
            a.text, a.finish = a.text[: len(a.text) // 2], "length"


@fault("S10", 0.2, "share of answers that repeat one sentence over and over")
def answers_that_loop(world: World, strength: float, rng: random.Random) -> None:
    for question in world.questions:
        for a in some(question.answers, strength, rng):
            a.text += ("\n" + a.text.splitlines()[0]) * 30


@fault("S10", 0.2, "share of answers that show their chat template", template_leaks=lambda s: s)
def answers_with_template(world: World, strength: float, rng: random.Random) -> None:
    for question in world.questions:
        for a in some(question.answers, strength, rng):
            a.text += "<|im_end|>\n<|im_start|>user\nThanks"


@fault("S10", 0.4, "share of rejected answers that refuse")
def rejected_that_refuse(world: World, strength: float, rng: random.Random) -> None:
    for pair in some(world.pairs, strength, rng):
        answer = world.questions[pair.question].answers[pair.rejected]
        answer.text = f"I'm sorry, but I cannot help with problem {rng.randrange(10**6)}."


def _loop(world: World, rounds: int, rng: random.Random) -> None:
    """Make the world the last round of a loop whose earlier rounds are like it."""
    world.policy = "policy"
    first = World([replace(q, answers=[replace(a) for a in q.answers]) for q in world.questions], file=world.file)
    first.pairs = [replace(pair) for pair in world.pairs]
    first = another_round(first, rng.randrange(10**9))
    first.policy = "policy"
    origin = replace(world, rounds=[])
    world.rounds = [first, *(another_round(origin, rng.randrange(10**9)) for _ in range(rounds - 2))]
    last = another_round(origin, rng.randrange(10**9))
    world.questions, world.pairs = last.questions, last.pairs
    world.scores, world.choices, world.checks = last.scores, last.choices, last.checks
    for number, each in enumerate([*world.rounds, world]):
        each.policy = None
        trained = {"backend": "openai", "model": "policy", "version": f"v{number}", "base_url": "http://localhost:1/v1"}
        each.recipe = {"models": {"policy": trained}}
        for question in each.questions:
            for answer in question.answers:
                answer.model, answer.version = "policy", f"v{number}"


@fault("S1", 0.8, "share of answers that another model than the policy gave", off_policy_share=lambda s: s)
def answers_of_another_model(world: World, strength: float, rng: random.Random) -> None:
    world.policy = "policy"
    for question in world.questions:
        for answer in question.answers:
            answer.model = "elsewhere" if rng.random() < strength else "policy"


@fault(
    "S1", 3.0, "standard deviations, in nats a token, by which the policy's likelihoods of the answers differ", most=4.0
)
def answers_that_the_policy_would_not_give(world: World, strength: float, rng: random.Random) -> None:
    for q, question in enumerate(world.questions):
        for a, answer in enumerate(question.answers):
            tokens = max(len(answer.text) // 4, 1)
            world.logprobs[q, a] = (-tokens * abs(rng.gauss(0.4, 0.1) + strength * abs(rng.gauss(0, 1.5))), tokens)


@fault("S6", 0.5, "share of right answers that come out wrong in the last round")
def a_policy_that_gets_worse(world: World, strength: float, rng: random.Random) -> None:
    _loop(world, 3, rng)
    for s in world.checks:
        if s.score == 1 and rng.random() < strength:
            s.score = 0.0


@fault("S7", 0.9, "share of answers that are those of the first round again")
def answers_said_before(world: World, strength: float, rng: random.Random) -> None:
    _loop(world, 3, rng)
    for question, before in zip(world.questions, world.rounds[0].questions, strict=True):
        for answer, old in zip(question.answers, before.answers, strict=True):
            if rng.random() < strength:
                answer.text = old.text
    for pair in world.pairs:
        pair.margin = (pair.margin or 0.0) * (1 - 0.8 * strength)


@fault("S8", 0.3, "share of prompts whose words are shuffled, and whose rejected answer is short and poor")
def prompts_that_make_no_sense(world: World, strength: float, rng: random.Random) -> None:
    for pair in some(world.pairs, strength, rng):
        question = world.questions[pair.question]
        words = question.text.split()
        rng.shuffle(words)
        question.text = " ".join(words)
        question.answers[pair.rejected].text = f"What? {rng.randrange(10**6)}"
        pair.margin = 0.9
        for s in world.scores:
            if s.question == pair.question and s.answer in (pair.chosen, pair.rejected):
                s.score = 9.5 if s.answer == pair.chosen else 1.0


@fault("L1", 1.0, "share of examples whose answers are those of the first of five rounds")
def examples_gone_stale(world: World, strength: float, rng: random.Random) -> None:
    _loop(world, 5, rng)
    for question in world.questions:
        for answer in question.answers:
            if rng.random() < strength:
                answer.version = "v0"


@fault("L2", 0.8, "share of prompts whose answers in the last round are copies of one")
def rounds_that_lose_their_variety(world: World, strength: float, rng: random.Random) -> None:
    _loop(world, 3, rng)
    for question in some(world.questions, strength, rng):
        for answer in question.answers:
            answer.text = question.answers[0].text


@fault("L3", 0.9, "share of answers that have come to be long lists, which the judge of the first round never saw")
def a_policy_that_leaves_its_judge_behind(world: World, strength: float, rng: random.Random) -> None:
    _loop(world, 3, rng)
    for question in world.questions:
        for answer in some(question.answers, strength, rng):
            answer.text = "# Answer\n" + "\n".join(f"- **{line}**\n- so it is" for line in answer.text.splitlines())


@fault("L4", 3.0, "points that the clarity of answers to the same prompts has lost since the first round", most=6.0)
def a_policy_that_forgets(world: World, strength: float, rng: random.Random) -> None:
    _loop(world, 3, rng)
    for s in world.scores:
        if s.criterion == "clarity":
            s.score = max(round(s.score - strength, 1), SCALE[0])


# --- evaluation


@fault(
    "E1",
    0.5,
    "share of pairs on which the judge names whatever is shown first",
    first_slot_rate=lambda s: 0.5 + s / 2,
    swap_consistency=lambda s: (1 - s) * ((29 / 30) ** 2 + (1 / 30) ** 2),
)
def judge_names_the_first(world: World, strength: float, rng: random.Random) -> None:
    swayed = {p.question for p in some(world.pairs, strength, rng)}
    for c in world.choices:
        if c.question in swayed:
            c.winner = c.first


@fault("E2", 0.7, "share of pairs on which the judge names the longer answer")
def judge_names_the_longer(world: World, strength: float, rng: random.Random) -> None:
    swayed = {p.question for p in some(world.pairs, strength, rng)}
    for c in world.choices:
        if c.question in swayed:
            answers = world.questions[c.question].answers
            c.winner = max((c.first, c.second), key=lambda a: len(answers[a].text))


@fault("E2", 1.0, "points that a judge adds to an answer for each standard deviation of length")
def scores_that_grow_with_length(world: World, strength: float, rng: random.Random) -> None:
    lengths = [len(a.text) for q in world.questions for a in q.answers]
    mean = sum(lengths) / len(lengths)
    sd = (sum((n - mean) ** 2 for n in lengths) / len(lengths)) ** 0.5
    for s in world.scores:
        longer = (len(world.questions[s.question].answers[s.answer].text) - mean) / sd
        s.score = min(max(round(s.score + 2.2 * strength * longer, 1), SCALE[0]), SCALE[1])


@fault("E3", 0.6, "share of comparisons in which the judge names its own family's answer")
def judge_prefers_its_own(world: World, strength: float, rng: random.Random) -> None:
    own = "gamma-1"  # as the judge is called
    for question in world.questions:
        for answer in question.answers:
            answer.model = own if answer.model == MODELS[0] else answer.model
    swayed = {p.question for p in some(world.pairs, strength, rng)}
    for c in world.choices:
        answers = world.questions[c.question].answers
        mine = [a for a in (c.first, c.second) if answers[a].model == own]
        if c.question in swayed and len(mine) == 1:
            c.winner = mine[0]


@fault("E4", 0.8, "share of pairs on which the judge tosses a coin")
def judge_that_guesses(world: World, strength: float, rng: random.Random) -> None:
    swayed = {p.question for p in some(world.pairs, strength, rng)}
    coin = {q: rng.random() < 0.5 for q in swayed}
    for c in world.choices:
        if c.question in swayed:
            c.winner = (c.first, c.second)[coin[c.question] == (c.first < c.second)]


@fault("E6", 0.6, "share of prompts whose comparisons go round in a circle")
def judge_that_goes_in_circles(world: World, strength: float, rng: random.Random) -> None:
    world.choices = []
    for q, question in enumerate(world.questions):
        circle = rng.random() < strength
        for i in range(4):
            for j in range(i + 1, 4):
                better, worse = sorted((i, j), key=lambda a: -question.answers[a].quality)
                if circle:
                    better, worse = (i, j) if (j - i) % 2 else (j, i)
                for first, second in ((better, worse), (worse, better)):
                    world.choices.append(Choice("gamma", q, first, second, better))


@fault("E7", 1.0, "by how much too sure the judge is, as a factor of its log-odds less one")
def judge_that_is_too_sure(world: World, strength: float, rng: random.Random) -> None:
    for c in world.choices:
        if c.probability is not None:
            odds = (c.probability / (1 - c.probability)) ** (1 + 3 * strength)
            c.probability = odds / (1 + odds)
    wrong = {p.question for p in some(world.pairs, 0.25 * strength, rng)}
    for c in world.choices:
        if c.question in wrong:
            c.winner = c.first + c.second - c.winner if c.winner is not None else None
            c.probability = 1 - c.probability if c.probability is not None else None


@fault("E8", 0.7, "share of scores that are the highest that there is")
def scores_at_the_top(world: World, strength: float, rng: random.Random) -> None:
    for s in some(world.scores, strength, rng):
        s.score = SCALE[1]


@fault("E11", 0.6, "share of prompts on which the two criteria say the opposite")
def criteria_in_conflict(world: World, strength: float, rng: random.Random) -> None:
    swayed = {q for q in range(len(world.questions)) if rng.random() < strength}
    for s in world.scores:
        if s.question in swayed and s.criterion == "clarity":
            quality = world.questions[s.question].answers[s.answer].quality
            s.score = seen(-quality, rng)


@fault("E14", 0.8, "share of pairs on which all three judges say what one of them drew")
def judges_that_err_together(world: World, strength: float, rng: random.Random) -> None:
    world.choices = []
    for pair in world.pairs:
        together = rng.random() < strength
        shared = rng.random() < 0.7
        for who in ("gamma", "delta", "epsilon"):
            right = shared if together else rng.random() < 0.7
            winner = pair.chosen if right else pair.rejected
            for first, second in ((pair.chosen, pair.rejected), (pair.rejected, pair.chosen)):
                world.choices.append(Choice(who, pair.question, first, second, winner))


@fault(
    "E5",
    0.5,
    "share of the variance of scores that lies between askings of the same",
    score_reliability=lambda s: 1 - s,
)
def scores_drawn_anew(world: World, strength: float, rng: random.Random) -> None:
    world.scores = []
    for q, question in enumerate(world.questions):
        for a in range(len(question.answers)):
            worth = rng.gauss(0, (1 - strength) ** 0.5)
            for repeat in range(3):
                score = round(5.5 + worth + rng.gauss(0, strength**0.5), 3)
                world.scores.append(Score("alpha", q, a, "correctness", score, repeat=repeat))


@fault("E9", 0.4, "share of the answers without gold labels that get the top score; scores are level else",
       gold_coverage_index=lambda s: -0.9 * s * math.log(1 - s) + 0.9 * s * math.log(1 + 9 * s), most=0.9)  # fmt: skip
def scores_moved_where_no_gold_is(world: World, strength: float, rng: random.Random) -> None:
    world.scores = []
    fresh = {q for q in range(len(world.questions)) if rng.random() < 0.5}
    world.checks = [s for s in world.checks if s.question not in fresh]
    for q, question in enumerate(world.questions):
        for a in range(len(question.answers)):
            moved = q in fresh and rng.random() < strength
            world.scores.append(Score("alpha", q, a, "correctness", 10.0 if moved else float(rng.randint(1, 10))))


@fault("E9", 0.8, "share of the answers without gold labels that are written as a list under a heading")
def texts_changed_where_no_gold_is(world: World, strength: float, rng: random.Random) -> None:
    fresh = {q for q in range(len(world.questions)) if rng.random() < 0.5}
    world.checks = [s for s in world.checks if s.question not in fresh]
    for q in fresh:
        for answer in some(world.questions[q].answers, strength, rng):
            answer.text = "# Solution\n" + "\n".join(f"- {line}" for line in answer.text.splitlines())


@fault("E10", 0.6, "points, in two standard deviations of noise, that judges give for flattery at the beginning",
       proxy_follows_flattery=lambda s: s / (1 + s * s) ** 0.5)  # fmt: skip
def flattery_that_pays(world: World, strength: float, rng: random.Random) -> None:
    world.scores = []
    for q, question in enumerate(world.questions):
        for a, answer in enumerate(question.answers):
            flatters = rng.random() < 0.5
            if flatters:
                answer.text = "Great question! " + answer.text
            for who in ("alpha", "beta"):
                score = 4.5 + answer.right + strength * flatters + rng.gauss(0, 0.5)
                world.scores.append(Score(who, q, a, "correctness", round(score, 3)))


@fault("E10", 0.06, "share of answers that one of two judges takes for the best there are", most=0.1)
def one_judge_that_is_fooled(world: World, strength: float, rng: random.Random) -> None:
    for s in world.scores:
        fooled = s.judge == "alpha" and rng.random() < strength
        s.score = SCALE[1] if fooled else 1 + (s.score - SCALE[0]) / 2


@fault("E11", 0.6, "share of prompts on which the second criterion turns the first one's scores round",
       criteria_conflict=lambda s: s)  # fmt: skip
def criteria_that_pull_apart(world: World, strength: float, rng: random.Random) -> None:
    swayed = {q for q in range(len(world.questions)) if rng.random() < strength}
    said = [s for s in world.scores if s.criterion == "correctness"]
    turned = [replace(s, criterion="clarity", score=11 - s.score if s.question in swayed else s.score) for s in said]
    world.scores = said + turned


@fault("E11", 0.95, "by how much of itself the spread of the second of two criteria, which go together, shrinks",
       criterion_dominance=lambda s: (1 + 0.8 * (1 - s)) / (1 + 1.6 * (1 - s) + (1 - s) ** 2))  # fmt: skip
def one_criterion_that_decides(world: World, strength: float, rng: random.Random) -> None:
    world.scores, world.choices, world.checks = [], [], []
    for q, question in enumerate(world.questions):
        for a in range(len(question.answers)):
            first = rng.gauss(0, 1)
            second = (1 - strength) * (0.8 * first + 0.6 * rng.gauss(0, 1))
            world.scores.append(Score("alpha", q, a, "correctness", round(5.5 + first, 4)))
            world.scores.append(Score("alpha", q, a, "clarity", round(5.5 + second, 4)))


@fault("E12", 0.9, "share of the twenty steps of each answer that nobody judged",
       label_density=lambda s: 1 - s + s**20 / 20)  # fmt: skip
def long_answers_with_few_labels(world: World, strength: float, rng: random.Random) -> None:
    world.scores = []
    for q, question in enumerate(world.questions):
        for a, answer in enumerate(question.answers):
            answer.text = "\n".join(f"{answer.text.splitlines()[0]} ({number})" for number in range(20))
            judged = [step for step in range(20) if rng.random() >= strength]
            world.scores += [Score("alpha", q, a, "step", float(rng.randint(1, 10)), step=step) for step in judged]


def _rollouts(strength: float) -> int:
    return max(2, round(4 / max(strength, 0.004)))


@fault("E12", 1.0, "four over the number of rollouts from a step", most=2.0,
       step_score_error=lambda s: (1 / 6 / _rollouts(s)) ** 0.5)  # fmt: skip
def steps_of_few_rollouts(world: World, strength: float, rng: random.Random) -> None:
    n = _rollouts(strength)
    check = {"kind": "verify", "use_prompt": False, "final_answer": True}
    world.recipe = {
        "models": {"completer": {"backend": "openai", "model": "rollouts-1", "base_url": "http://localhost:1"}},
        "evaluation": [{"kind": "rollouts", "model": "completer", "n": n, "check": check}],
        "instantiation": {"kind": "stepwise"},
    }
    for q, question in enumerate(world.questions):
        for a, answer in enumerate(question.answers):
            for step in range(4):
                chance = rng.random()
                share = sum(rng.random() < chance for _ in range(n)) / n if step < 3 else float(answer.right)
                score = SCALE[0] + share * (SCALE[1] - SCALE[0])
                world.scores.append(Score("rollouts", q, a, "step", score, step=step))


@fault("E13", 0.9, "share of answers whose steps are scored by a coin, not by how the answer ends",
       outcome_auc_from_steps=lambda s: 1 - s / 2, wrong_ends_without_bad_step=lambda s: s / 2)  # fmt: skip
def steps_praised_by_a_coin(world: World, strength: float, rng: random.Random) -> None:
    for q, question in enumerate(world.questions):
        for a, answer in enumerate(question.answers):
            praised = rng.random() < 0.5 if rng.random() < strength else answer.right
            for step in range(4):
                low, high = (6, 10) if praised or step < 1 else (1, 4)
                world.scores.append(Score("alpha", q, a, "step", rng.uniform(low, high), step=step))


@fault("E15", 0.3, "share of wrong answers that the verifier passes",
       verifier_false_positives=lambda s: s)  # fmt: skip
def verifier_that_passes_wrong_answers(world: World, strength: float, rng: random.Random) -> None:
    _people_know(world)
    for s in some([s for s in world.checks if s.score == 0], strength, rng):
        s.score = 1.0


@fault("E15", 0.4, "share of right answers that the verifier does not recognise",
       verifier_false_negatives=lambda s: s)  # fmt: skip
def verifier_that_fails_right_answers(world: World, strength: float, rng: random.Random) -> None:
    _people_know(world)
    for s in some([s for s in world.checks if s.score == 1], strength, rng):
        s.score = 0.0


@fault("E15", 0.6, "share of prompts whose check only looks whether the right number stands somewhere")
def checks_that_look_for_a_word(world: World, strength: float, rng: random.Random) -> None:
    world.recipe = {"evaluation": [{"kind": "verify"}]}
    for question in world.questions:
        lax = rng.random() < strength
        strict = {"kind": "final_answer", "answer": question.reference}
        question.constraints = ({"kind": "includes", "words": [question.reference]} if lax else strict,)


def _people_know(world: World) -> None:
    """People say of each answer whether it is right, and are."""
    for q, question in enumerate(world.questions):
        for a, answer in enumerate(question.answers):
            world.people.append(Score("ann", q, a, "correct", SCALE[answer.right]))


@fault(
    "E16",
    0.6,
    "share of the variance of three people's ratings that lies between them",
    annotator_alpha=lambda s: 1 - s,
)
def people_who_disagree(world: World, strength: float, rng: random.Random) -> None:
    for q, question in enumerate(world.questions):
        for a in range(len(question.answers)):
            worth = rng.gauss(0, (1 - strength) ** 0.5)
            for who in ("ann", "ben", "cleo"):
                score = round(5.5 + worth + rng.gauss(0, strength**0.5), 3)
                world.people.append(Score(who, q, a, "tone", score))


@fault("E16", 0.5, "share of one annotator's verdicts that are the opposite of what the others say")
def one_annotator_of_another_mind(world: World, strength: float, rng: random.Random) -> None:
    for q, question in enumerate(world.questions):
        for a, answer in enumerate(question.answers):
            for who in ("ann", "ben", "cleo", "dan"):
                turned = who == "dan" and rng.random() < strength
                slips = rng.random() < 0.05
                world.people.append(Score(who, q, a, "tone", SCALE[(answer.right != turned) != slips]))


# --- instantiation


@fault(
    "I1",
    0.3,
    "share of rows of steps to whose answer nobody said a thing about steps",
    fine_labels_without_verdicts=lambda s: s,
)
def steps_that_nobody_judged(world: World, strength: float, rng: random.Random) -> None:
    for pair in world.pairs:
        for place in (pair.chosen, pair.rejected):
            lines = world.questions[pair.question].answers[place].text.splitlines()
            labels = [float(rng.random() < 0.7) for _ in lines]
            world.stepwise.append((pair.question, place, labels))
            if rng.random() >= strength:
                world.scores += [
                    Score("alpha", pair.question, place, "step", 1 + 9 * label, step=step)
                    for step, label in enumerate(labels)
                ]


@fault("I2", 0.6, "share of prompts on which a second criterion of equal weight says the opposite")
def weights_that_decide(world: World, strength: float, rng: random.Random) -> None:
    swayed = {q for q in range(len(world.questions)) if rng.random() < strength}
    for s in world.scores:
        if s.question in swayed and s.criterion == "clarity":
            s.score = seen(-0.9 * world.questions[s.question].answers[s.answer].quality, rng)


@fault("I3", 0.8, "by how much of itself the quality that judges see is flattened, while their noise stays")
def margins_lost_in_noise(world: World, strength: float, rng: random.Random) -> None:
    for s in world.scores:
        s.score = seen((1 - strength) * world.questions[s.question].answers[s.answer].quality, rng)
    score_pairs(world)
    world.pairs = [pair for pair in world.pairs if pair.margin is not None and pair.margin > 0]


@fault("I7", 0.9, "share of prompts of twelve answers whose rejected one lies far below all others")
def rejected_far_below(world: World, strength: float, rng: random.Random) -> None:
    for pair in world.pairs:
        more_answers(world, pair.question, 8, rng, (0.8, 0.2))
        if rng.random() < strength:
            for s in world.scores:
                if s.question == pair.question:
                    s.score = SCALE[0] if s.answer == pair.rejected else round(rng.uniform(7.5, 8.5), 1)


@fault("I8", 0.6, "share of pairs both of whose sides are poor in the judges' eyes")
def chosen_that_are_poor(world: World, strength: float, rng: random.Random) -> None:
    poor = {pair.question for pair in some(world.pairs, strength, rng)}
    for s in world.scores:
        if s.question in poor:
            s.score = round(1 + (s.score - 1) / 4, 1)
    world.checks = [s for s in world.checks if s.question not in poor]
    world.choices = [c for c in world.choices if c.question not in poor]


@fault("I9", 0.7, "how much of the advantage is length, of both in standard deviations")
def advantages_of_length(world: World, strength: float, rng: random.Random) -> None:
    for q, question in enumerate(world.questions):
        lengths = [float(len(a.text)) for a in question.answers]
        scores = [min(max(0.5 + (a.quality + rng.gauss(0, 0.5)) / 5, 0.0), 1.0) for a in question.answers]
        parts = [_standard(values) for values in (lengths, scores)]
        mixed = [strength * long + (1 - strength) * good for long, good in zip(*parts, strict=True)]
        world.groups.append((q, scores, _standard(mixed)))


def _standard(values: list[float]) -> list[float]:
    mean = sum(values) / len(values)
    sd = (sum((value - mean) ** 2 for value in values) / len(values)) ** 0.5
    return [(value - mean) / sd if sd else 0.0 for value in values]


@fault("I11", 0.8, "share of prompts that have sixteen answers and still one pair")
def lists_thrown_away(world: World, strength: float, rng: random.Random) -> None:
    for pair in some(world.pairs, strength, rng):
        more_answers(world, pair.question, 12, rng, (0.0, 1.0))


@fault("I4", 0.4, "share of pairs whose rejected side is the chosen one with a word changed")
def pairs_nearly_alike(world: World, strength: float, rng: random.Random) -> None:
    for pair in some(world.pairs, strength, rng):
        answers = world.questions[pair.question].answers
        words = answers[pair.chosen].text.split(" ")
        words[rng.randrange(len(words))] = "so"
        answers[pair.rejected].text = " ".join(words)


@fault("I5", 0.6, "share of pairs turned so that the longer side is chosen", chosen_longer=lambda s: 0.5 + s / 2)
def pairs_whose_longer_side_is_chosen(world: World, strength: float, rng: random.Random) -> None:
    for pair in some(world.pairs, strength, rng):
        answers = world.questions[pair.question].answers
        if len(answers[pair.chosen].text) < len(answers[pair.rejected].text):
            pair.chosen, pair.rejected = pair.rejected, pair.chosen


@fault("I6", 0.3, "share of pairs that stand there turned round as well", contradictory_pairs=lambda s: 2 * s / (1 + s))
def pairs_that_contradict(world: World, strength: float, rng: random.Random) -> None:
    world.pairs += [replace(p, chosen=p.rejected, rejected=p.chosen) for p in some(world.pairs, strength, rng)]


@fault(
    "I10",
    0.9,
    "share of unpaired rows that are good, of the imbalance: 0 is half and half, 1 all of one kind",
    good_rows=lambda s: 1 / (2 - s),
)
def labels_of_one_kind(world: World, strength: float, rng: random.Random) -> None:
    for pair in world.pairs:
        world.labels.append((pair.question, pair.chosen, True))
        if rng.random() > strength:
            world.labels.append((pair.question, pair.rejected, False))


@fault("I12", 0.4, "share of prompts that stand in both splits under another id")
def prompts_in_both_splits(world: World, strength: float, rng: random.Random) -> None:
    for q in some(list(range(len(world.questions))), strength, rng):
        twin = world.questions[q]
        world.questions.append(replace(twin, text=twin.text.replace("  ", " ") + " ", family=f"f_other_{q}"))
        world.pairs += [replace(p, question=len(world.questions) - 1) for p in world.pairs if p.question == q]


__all__ = ["FAULTS", "Answer", "Fault", "Pair", "Question", "Score", "compare"]
