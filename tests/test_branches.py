"""Branches from a wrong step, trees of solutions, and the rows that steps give: against solvers that are known."""

from __future__ import annotations

import asyncio
import math
import re
from itertools import accumulate

import msgspec
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from judging import Scripted, case
from test_steps import CHECK, STEPS, Solver, solution
from triptych.instantiation.pairs import Pairs
from triptych.instantiation.scores import objective_scores
from triptych.instantiation.stepwise import Stepwise
from triptych.operators import Outlook
from triptych.parts import located
from triptych.records import StepLocator
from triptych.store.tables import frame
from triptych.synthesis.branch import Branch
from triptych.synthesis.search import Search
from verdict_tables import OBJECTIVE, Tables, judged, response

BISECTION = {"kind": "rollouts", "model": "judge", "check": CHECK, "n": 1, "find": "first_error"}


def branched(*solutions, **settings):
    one = case(*map(solution, solutions), reference="42")
    operator = Branch(model="judge", **settings)
    return one, asyncio.run(operator.respond(one, Solver(1.0)))


@given(st.lists(STEPS, min_size=1, max_size=3, unique_by=tuple))
@settings(deadline=None, max_examples=30)
def test_a_branch_shares_all_before_the_first_error_with_its_parent(solutions):
    one, made = branched(*solutions, evaluator=BISECTION, n=2)
    parents = {response.id: response for response in one.responses}
    wrong = [steps for steps in solutions if False in steps]
    assert len(made) == 2 * len(wrong)
    assert len({branch.id for branch in made}) == len(made)
    for branch in made:
        parent = parents[branch.parent_id]
        first = located(parent, "step", 32)[branch.params["step"]]
        shared = parent.text[: branch.params["prefix"]]
        assert first.start == branch.params["prefix"]
        assert branch.text.startswith(shared)
        assert "a slip" in parent.text[first.start : first.end]
        assert "a slip" not in shared


def test_every_step_but_the_first_may_be_branched():
    _one, made = branched([True, True, True], at="every_step", n=1)
    assert [branch.params["step"] for branch in made] == [1, 2]
    loads, _outlook = Branch(model="judge", at="every_step", n=1, max_parts=5).forecast(
        Outlook(prompt_tokens=1, responses=1, response_tokens=120, longest_response_tokens=200)
    )
    assert (loads[0].calls, loads[0].most_calls) == (2, 4)
    with pytest.raises(ValidationError, match="needs an evaluator of steps"):
        Branch(model="judge")


def test_branches_are_paired_with_their_parent_and_not_with_strangers():
    one, made = branched([True, False, True], [False, True, True], evaluator=BISECTION, n=2)
    everything = msgspec.structs.replace(one, responses=(*one.responses, *made))
    from triptych.evaluation.verify import Verify

    judgements = asyncio.run(Verify(use_prompt=False, final_answer=True).judge(everything, None))
    pairs = Pairs(choose="all_pairs", within="prefix")
    tables = frame("responses", list(everything.responses)).lazy(), frame("judgements", judgements).lazy()
    rows = pairs.instantiate(*tables, one.objective, 0).collect()
    parents = {branch.id: branch.parent_id for branch in made if "42" in branch.text}
    assert {tuple(ids) for ids in rows["response_ids"]} == set(parents.items())
    assert rows["id"].is_unique().all()
    counted = pairs.tally(*tables, one.objective, 0)
    assert counted.filter(outcome="pair").row(0)[3:] == (1, len(parents))
    # Without prefixes the branches of one would be paired with the other as well.
    assert Pairs(choose="all_pairs").instantiate(*tables, one.objective, 0).collect().height > rows.height


# --- search


class Letters(Scripted):
    """Writes three lines of a letter each, drawn by the seed; goes on where it is told to."""

    def __init__(self):
        super().__init__(self.go_on)

    def go_on(self, request):
        asked = request.messages[-1].content
        begun = len(re.findall(r"^\d[LR]", asked, re.MULTILINE))
        letters = ["LR"[(request.seed >> (7 * bit)) % 2] for bit in range(3)]
        return "\n".join(f"{number}{letters[number - 1]}" for number in range(begun + 1, 4))


LEFT = {
    "kind": "verify",
    "use_prompt": False,
    "constraints": [{"kind": "regex", "pattern": f"{n}L"} for n in (1, 2, 3)],
}


def searched(**settings):
    script = Letters()
    operator = Search(model="judge", evaluator=LEFT, temperature=1.0, **settings)
    return asyncio.run(operator.respond(case(), script)), script, operator


@pytest.mark.parametrize("settings", [{"how": "mcts", "rounds": 5}, {"how": "beam", "rounds": 3, "width": 2}])
def test_a_search_grows_a_tree_of_whole_solutions(settings):
    found, script, operator = searched(**settings)
    load, _outlook = operator.forecast(Outlook(prompt_tokens=10))
    assert len(found) == len(script.requests) <= load[0].most_calls
    assert len({row.id for row in found}) == len(found)
    by_id = {row.id: row for row in found}
    from_the_root = operator.branching
    assert [row.parent_id is None for row in found] == [place < from_the_root for place in range(len(found))]
    for row in found[from_the_root:]:
        begun, above = row.text[: row.params["prefix"]], row.params["depth"] - 1
        drawn = [one.id for one in found if one.params.get("depth", 0) == above and one.text.startswith(begun)]
        assert row.parent_id == drawn[0], "the first of those drawn a step above that begin so"
    for row in found:
        assert [line[0] for line in row.text.split()] == ["1", "2", "3"]
        assert row.params["value"] == pytest.approx(row.text.count("L") / 3)
        if row.parent_id is not None:
            assert row.text.startswith(by_id[row.parent_id].text[: row.params["prefix"]])
            assert row.params["depth"] == row.text[: row.params["prefix"]].count("\n") + 1
    again, _, _ = searched(**settings)
    assert [row.id for row in again] == [row.id for row in found]


def test_a_tree_search_ends_when_everything_was_looked_at():
    found, _, _ = searched(how="mcts", rounds=200)
    assert len(found) < 400
    assert max(row.params["value"] for row in found) == 1.0


def first_letters(found, start, end):
    return {row.text[1] for row in found[start:end]}


def test_a_tree_search_weighs_value_against_what_was_seldom_tried():
    """Six solutions of the root open both letters; a step to the left is worth more."""
    greedy, _, _ = searched(how="mcts", rounds=4, branching=6, exploration=0.0)
    assert first_letters(greedy, 0, 6) == {"L", "R"}
    assert [first_letters(greedy, start, start + 6) for start in (6, 12)] == [{"L"}, {"L"}]
    curious, _, _ = searched(how="mcts", rounds=4, branching=6, exploration=100.0)
    seldom = min("LR", key=lambda letter: sum(row.text[1] == letter for row in curious[:6]))
    assert first_letters(curious, 6, 12) == {seldom}


class Tree:
    """A tree search by its rows alone: nodes are the lines up to which a solution was gone on with."""

    def __init__(self):
        self.drawn = []  # (lines of the solution, lines it was gone on from, value)

    def through(self, node):
        return [value for lines, start, value in self.drawn if lines[: start + 1][: len(node)] == node]

    def children(self, node):
        return list(dict.fromkeys(lines[: start + 1] for lines, start, _ in self.drawn if lines[:start] == node))

    def closed(self, node):
        return len(node) == 3 or (bool(self.children(node)) and all(map(self.closed, self.children(node))))

    def next(self, exploration, node=()):
        """Where the rule leads to; more than one place where bounds are equal."""
        if not self.children(node):
            return {node}
        above, bounds = len(self.through(node)), {}
        for child in self.children(node):
            values = self.through(child)
            if not self.closed(child):
                bounds[child] = sum(values) / len(values) + exploration * (math.log(above) / len(values)) ** 0.5
        best = max(bounds.values())
        return set().union(*(self.next(exploration, child) for child in bounds if bounds[child] > best - 1e-9))


@given(st.integers(0, 10**6), st.sampled_from([0.0, 0.5, 1.4, 10.0]), st.integers(1, 3))
@settings(deadline=None, max_examples=40)
def test_a_tree_search_goes_where_uct_by_hand_goes(seed, exploration, branching):
    operator = Search(
        model="judge", evaluator=LEFT, temperature=1.0, rounds=7, branching=branching, exploration=exploration
    )
    one = msgspec.structs.replace(case(), seed=seed)
    found = asyncio.run(operator.respond(one, Letters()))
    tree = Tree()
    for start in range(0, len(found), branching):
        batch = found[start : start + branching]
        wanted = tree.next(exploration)
        for row in batch:
            shared = row.text[: row.params.get("prefix", 0)]
            begun = tuple(shared.split("\n") if shared else ())
            assert begun in wanted
            assert row.params.get("depth", 0) == len(begun)
        for row in batch:
            lines = tuple(row.text.split("\n"))
            tree.drawn.append((lines, len(begun), row.params["value"]))
    assert len(found) == 7 * branching or tree.closed(())


def test_a_beam_goes_on_from_the_best_alone():
    found, _, _ = searched(how="beam", rounds=3, width=1, branching=4)
    first = found[:4]
    best = max(row.params["value"] for row in first)
    roots = {row.text.split()[0]: [] for row in first}
    for row in first:
        roots[row.text.split()[0]].append(row.params["value"])
    means = {root: sum(values) / len(values) for root, values in roots.items()}
    assert {row.text.split()[0] for row in found[4:8]} == {max(means, key=means.get)}
    assert best <= 1


# --- rows of steps


def stepped(scores, by="judge", criterion="step"):
    """A response whose steps have these scores; None where a step was not judged."""
    one = response("p_0", hash((by, tuple(scores))) % 1000)
    return one, on_steps(one, scores, by, criterion)


def on_steps(one, scores, by="judge", criterion="step"):
    return [
        judged([one], criterion=criterion, by=by, scores=(score,), scale=(0.0, 1.0), step=StepLocator("step", index))
        for index, score in enumerate(scores)
        if score is not None
    ]


SCORES = st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0, None]), min_size=1, max_size=5)


@given(st.lists(SCORES, min_size=1, max_size=4), st.sampled_from([0.0, 0.5]), st.sampled_from(["hard", "soft"]))
@settings(deadline=None, max_examples=60)
def test_steps_become_labels_where_none_is_missing(solutions, good, labels):
    made = Tables()
    for index, scores in enumerate(solutions):
        one = response("p_0", index)
        made.responses.append(one)
        made.judgements += on_steps(one, scores)
    rows = Stepwise(labels=labels, good=good).instantiate(*made.frames(), OBJECTIVE, 0).collect()
    wanted = []
    for one, scores in zip(made.responses, solutions, strict=True):
        told = [score for score in scores if score is not None]
        last = max((at for at, score in enumerate(scores) if score is not None), default=-1)
        if told and len(told) == last + 1:
            hard = [float(score > 0 if good == 0 else score >= good) for score in told]
            wanted.append(([one.id], hard if labels == "hard" else told))
    assert list(zip(rows["response_ids"].to_list(), rows["labels"].to_list(), strict=True)) == wanted


def test_several_evaluators_of_a_step_are_averaged_and_whole_verdicts_left_out():
    one = response("p_0", 0)
    judgements = [*on_steps(one, [1.0, 0.0]), *on_steps(one, [0.5, 0.5], by="other"), judged([one], scores=(5.0,))]
    rows = Stepwise(labels="soft").instantiate(*Tables([one], judgements).frames(), OBJECTIVE, 0).collect()
    assert rows["labels"].to_list() == [[0.75, 0.25]]
    assert {*rows["judgement_ids"][0]} == {made.id for made in judgements[:-1]}


FOLDS = {
    "min": min,
    "mean": lambda s: sum(s) / len(s),
    "last": lambda s: s[-1],
    "prod": lambda s: list(accumulate(s, lambda a, b: a * b))[-1],
}


@pytest.mark.parametrize("fold", FOLDS)
def test_a_fold_makes_one_score_of_the_steps(fold):
    scores = [1.0, 0.5, 0.25, 0.75]
    one = response("p_0", 0)
    tables = Tables([one], on_steps(one, scores)).frames()
    found = objective_scores(*tables, OBJECTIVE, fold=fold).collect()
    assert found["score"].to_list() == [pytest.approx(FOLDS[fold](scores))]
    assert found["judgement_ids"].list.len().to_list() == [4]
    assert objective_scores(*tables, OBJECTIVE).collect()["score"].to_list() == [None]
    assert isinstance(found, pl.DataFrame)


# --- rows of steps, against plain Python


def by_hand(made, objective, good=0.5, combine=lambda verdicts: sum(verdicts) / len(verdicts)):
    """(response id, unit) -> labels, of what may become an example."""
    said = {}
    for one in made.judgements:
        weight = objective.criteria[one.criterion].weight if one.criterion in objective.criteria else 1.0
        if one.step is not None and one.status == "ok" and weight > 0:
            part = said.setdefault((one.response_ids[0], one.step.unit), {}).setdefault(one.step.index, {})
            part.setdefault((one.criterion, weight), {}).setdefault(one.evaluator_id, []).append(
                (one.step, one.scores[0])
            )
    found = {}
    for key, steps in said.items():
        asked = {criterion for by_criterion in steps.values() for criterion in by_criterion}
        complete = {index: told for index, told in steps.items() if {*told} == asked}
        apart = any(
            len({(step.start, step.end) for by in told.values() for each in by.values() for step, _ in each}) > 1
            for told in complete.values()
        )
        if complete and not apart and sorted(complete) == list(range(len(complete))):
            found[key] = []
            for index in range(len(complete)):
                means = {
                    weighed: combine([sum(score for _, score in each) / len(each) for each in by.values()])
                    for weighed, by in complete[index].items()
                }
                whole = sum(weight for _, weight in means)
                score = sum(weight * mean for (_, weight), mean in means.items()) / whole
                found[key].append(float(round(score, 12) >= good))
    return found


@st.composite
def on_parts(draw):
    made = Tables()
    for index in range(draw(st.integers(1, 3))):
        one = response("p_0", index)
        made.responses.append(one)
        for by, criterion, unit in [
            ("x", "a", "step"),
            ("y", "a", "step"),
            ("x", "b", "step"),
            ("z", "a", "sentence"),
            ("x", "idle", "step"),
        ]:
            wide = 11 if draw(st.integers(0, 9)) == 0 else 10
            for step, score in enumerate(draw(st.lists(st.sampled_from([0.0, 0.5, 1.0, 1.0, None]), max_size=3))):
                if score is not None:
                    at = StepLocator(unit, step, start=10 * step, end=10 * step + wide)
                    made.judgements.append(
                        judged([one], criterion=criterion, by=by, scores=(score,), scale=(0.0, 1.0), step=at)
                    )
    made.judgements = draw(st.permutations(made.judgements))
    return made


PANELS = {None: lambda v: sum(v) / len(v), "min": min, "median": lambda v: sum(v) / len(v)}


@given(on_parts(), st.sampled_from(list(PANELS)))
@settings(deadline=None, max_examples=150)
def test_rows_of_steps_are_those_of_plain_python(made, combine):
    panel = combine and {"combine": combine}
    rows = Stepwise(panel=panel).instantiate(*made.frames(), OBJECTIVE, 0).collect()
    units = {one.id: one.step.unit for one in made.judgements}
    found = {
        (row["response_ids"][0], *{units[j] for j in row["judgement_ids"]}): row["labels"]
        for row in rows.iter_rows(named=True)
    }
    assert len(found) == rows.height
    assert found == by_hand(made, OBJECTIVE, combine=PANELS[combine])
    assert rows["id"].is_unique().all()
    order = [one.id for one in made.responses]
    places = [order.index(ids[0]) for ids in rows["response_ids"].to_list()]
    assert places == sorted(places)
    places = {one.id: place for place, one in enumerate(made.judgements)}
    steps = {one.id: one.step.index for one in made.judgements}
    for ids in rows["judgement_ids"].to_list():
        assert ids == sorted(ids, key=lambda each: (steps[each], places[each]))
        assert len({*ids}) == len(ids)


@pytest.mark.parametrize(
    ("setting", "said"), [({"fold": "min"}, "leave fold out"), ({"length": "residual"}, "not that of steps"), ({"style": "residual"}, "not that of steps")]
)
def test_what_means_nothing_for_steps_is_refused(setting, said):
    with pytest.raises(ValidationError, match=said):
        Stepwise(**setting)
