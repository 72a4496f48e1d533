"""Tables of verdicts for tests of instantiation, and the objective's scores by plain Python."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

from hypothesis import strategies as st

from plain import plain_scores
from triptych.instantiation.pairs import Pairs
from triptych.instantiation.scores import objective_scores
from triptych.records import (
    Criterion,
    Judgement,
    Message,
    Objective,
    Response,
    StepLocator,
    make_judgement,
    make_response,
)
from triptych.store.tables import frame

OBJECTIVE = Objective(
    version="v7", criteria={"a": Criterion(text="A", weight=2), "idle": Criterion(text="I", weight=0)}
)


def response(prompt, index, text=None, status="ok"):
    messages = (Message("assistant", f"text {index}" if text is None else text),) if status != "failed" else ()
    return make_response(
        prompt_id=prompt,
        generator="g",
        generator_id="o_g",
        model="m",
        sample_index=index,
        messages=messages,
        status=status,
    )


def judged(responses, *, criterion="a", by="judge", scores=None, ranks=None, scale=(1.0, 5.0), repeat=0, **more):
    return make_judgement(
        prompt_id=responses[0].prompt_id,
        response_ids=tuple(r.id for r in responses),
        criterion=criterion,
        criterion_id=f"c_{criterion}",
        evaluator=by,
        evaluator_id=f"o_{by}",
        scores=scores,
        ranks=ranks,
        scale=scale if scores is not None else None,
        repeat=repeat,
        **more,
    )


@dataclass
class Tables:
    responses: list[Response] = field(default_factory=list)
    judgements: list[Judgement] = field(default_factory=list)

    def frames(self):
        return frame("responses", self.responses).lazy(), frame("judgements", self.judgements).lazy()

    def examples(self, pairs=None, seed=0, objective=OBJECTIVE):
        return (pairs or Pairs()).instantiate(*self.frames(), objective, seed).collect()

    def outcomes(self, pairs=None, seed=0):
        rows = (pairs or Pairs()).tally(*self.frames(), OBJECTIVE, seed).iter_rows(named=True)
        return {row["outcome"]: row["prompts"] for row in rows if row["prompts"]}

    def scores(self, **which):
        found = objective_scores(*self.frames(), OBJECTIVE, **which).collect()
        return dict(found.select("response_id", "score").iter_rows())


def scored(*scores, prompt="p_1", texts=None):
    """One prompt whose responses have these scores from 1 to 5."""
    made = [response(prompt, i, texts[i] if texts else None) for i in range(len(scores))]
    return Tables(made, [judged([r], scores=(s,)) for r, s in zip(made, scores, strict=True)])


def oracle_scores(tables, criteria=None, evaluators=None):
    """Response id -> (score or None, judgement ids), of the responses whose status is ok."""
    return plain_scores(tables.responses, tables.judgements, OBJECTIVE, criteria, evaluators)


# Random tables.

VERDICTS = st.sampled_from(["a", "b", "idle"])


@st.composite
def tables(draw):
    made = Tables()
    for number in range(draw(st.integers(1, 3))):
        prompt = f"p_{number}"
        here = [
            response(
                prompt,
                i,
                draw(st.sampled_from(["x", "y", "z", None])),
                draw(st.sampled_from(["ok"] * 6 + ["refused"])),
            )
            for i in range(draw(st.integers(1, 4)))
        ]
        made.responses += here
        shown = [r for r in here if r.status == "ok"]
        for criterion, judge in itertools.product(["a", "b", "idle"], ["rubric", "panel"]):
            if not draw(st.booleans()):
                continue
            for r in shown:
                if draw(st.integers(0, 9)) == 0:
                    continue
                for repeat in range(draw(st.integers(1, 2))):
                    status = draw(st.sampled_from(["ok"] * 7 + ["unparsed"]))
                    scores = (float(draw(st.integers(1, 5))),) if status == "ok" else None
                    step = StepLocator("step", 0) if draw(st.integers(0, 9)) == 0 else None
                    made.judgements.append(
                        judged(
                            [r],
                            criterion=criterion,
                            by=judge,
                            scores=scores,
                            status=status,
                            repeat=repeat,
                            step=step,
                        )
                    )
        if draw(st.booleans()):
            for a, b in itertools.permutations(shown, 2):
                ranks = draw(st.sampled_from([(1, 2), (2, 1), (1, 1)]))
                made.judgements.append(judged([a, b], criterion="overall", by="pairwise", ranks=ranks))
        if len(shown) > 2 and draw(st.booleans()):
            ranks = tuple(draw(st.integers(1, 3)) for _ in shown)
            made.judgements.append(judged(shown, criterion="overall", by="list", ranks=ranks))
    return made
