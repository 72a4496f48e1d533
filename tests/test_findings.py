"""Diagnostics on cases counted by hand, and whether their intervals hold what they promise."""

from __future__ import annotations

import random

import msgspec
import pytest

from triptych.audit.data import Data
from triptych.audit.evaluation.length import JudgePrefersLonger
from triptych.audit.evaluation.position import FirstSlotRate, OrdersAsked, SwapConsistency
from triptych.audit.evaluation.statuses import JudgementsWithoutAnswer, UnparsedJudgements
from triptych.audit.evaluation.verifier import JudgeVerifierAgreement
from triptych.audit.finding import Finding
from triptych.audit.instantiation.length import ChosenLonger, LabelAucFromLength, LengthEffect
from triptych.audit.intervals import ratio, wilson
from triptych.audit.run import findings_of_blocks
from triptych.audit.synthesis.contrast import NoContrast, UniqueAnswers
from triptych.audit.synthesis.no_answer import ResponsesWithoutAnswer
from triptych.records import Message, make_example, make_judgement, make_response
from triptych.store.tables import frame


def response(prompt, index, text=None, status="ok", model="m"):
    messages = (Message("assistant", text or f"{index}"),) if status == "ok" else ()
    return make_response(
        prompt_id=prompt,
        generator="g",
        generator_id="o",
        model=model,
        sample_index=index,
        messages=messages,
        status=status,
    )


def judged(responses, *, by="judge", model="big", criterion="good", repeat=0, **more):
    return make_judgement(
        prompt_id=responses[0].prompt_id,
        response_ids=tuple(r.id for r in responses),
        criterion=criterion,
        criterion_id="c",
        evaluator=by,
        evaluator_id=f"o_{by}",
        model=model,
        repeat=repeat,
        scale=(0.0, 1.0) if more.get("scores") else None,
        **more,
    )


def verified(one, score, repeat=0):
    return judged([one], by="verify", model=None, criterion="correct", check="words", scores=(score,), repeat=repeat)


def both_orders(a, b, first, second, **more):
    """Judge the pair (a, b), then (b, a); the verdicts are "a", "b" or "tie"."""
    ranks = {"a": (1, 2), "b": (2, 1), "tie": (1, 1)}
    return [judged([a, b], ranks=ranks[first], **more), judged([b, a], ranks=ranks[second][::-1], **more)]


def lazy(table, rows):
    return frame(table, rows).lazy()


def pairs(count, *verdicts, start=0):
    """One pair a prompt, with the same two verdicts on each."""
    made, said = [], []
    for number in range(start, start + count):
        a, b = response(f"p_{number}", 0), response(f"p_{number}", 1)
        made += [a, b]
        said += both_orders(a, b, *verdicts)
    return made, said


def many(*parts):
    """Join parts of (count, first verdict, second verdict) to one table, a prompt for each pair."""
    made, said, start = [], [], 0
    for count, first, second in parts:
        here = pairs(count, first, second, start=start)
        made, said, start = made + here[0], said + here[1], start + count
    return made, said


def told(diagnostic, **tables):
    return list(diagnostic.measure(Data({name: lazy(name, rows) for name, rows in tables.items()})))


def findings(**tables):
    return findings_of_blocks([{name: lazy(name, rows) for name, rows in tables.items()}])


def only(diagnostic, **tables):
    found = told(diagnostic, **tables)
    assert len(found) == 1, found
    return found[0]


def test_swap_consistency_counts_pairs_judged_in_both_orders():
    # 20 the same winner, 10 the other one (always the first shown), 5 with one tie, 5 two ties (name nobody)
    _, said = many((20, "a", "a"), (10, "a", "b"), (5, "a", "tie"), (5, "tie", "tie"))
    found = only(SwapConsistency(), judgements=said)
    assert (found.value, found.n, found.failure_mode, found.subject) == (20 / 35, 35, "E1", "judge")
    assert found.low < 20 / 35 < found.high < 0.8 == found.threshold
    assert found.severity == "warn"
    assert "57 % of 35" in found.message
    assert found.change
    inconsistent = {j.id for j in said[40:70]}
    assert found.rows
    assert set(found.rows) <= inconsistent


def test_a_judge_that_always_names_the_first_is_told_as_an_error():
    _, said = many((40, "a", "b"))
    consistency = only(SwapConsistency(), judgements=said)
    first = only(FirstSlotRate(), judgements=said)
    assert (consistency.value, consistency.severity) == (0.0, "error")
    assert (first.value, first.n, first.severity) == (1.0, 80, "error")


def test_first_slot_rate_leaves_ties_out():
    _, said = many((10, "a", "a"), (6, "a", "b"), (4, "b", "tie"))
    # Shown first and named: 10 of 20; 12 of 12; (a, b) says b and (b, a) a tie: 0 of 4.
    found = only(FirstSlotRate(), judgements=said)
    assert (found.value, found.n) == (22 / 36, 36)
    assert found.severity == "info"


def test_a_judge_without_position_bias_is_no_warning():
    _, said = many((30, "a", "a"), (30, "b", "b"))
    assert only(FirstSlotRate(), judgements=said).value == 0.5
    found = only(SwapConsistency(), judgements=said)
    assert (found.value, found.severity, found.rows, found.change) == (1.0, "info", (), "")
    assert found.high == 1.0 > found.low > 0.8


def test_pairs_judged_in_one_order_leave_position_bias_unmeasured():
    _, said = many((30, "a", "a"))
    said = said[::2]
    found = only(OrdersAsked(), judgements=said)
    assert (found.value, found.low, found.high, found.n, found.severity) == (None, None, None, 30, "warn")
    assert "one order only" in found.message
    assert told(SwapConsistency(), judgements=said) + told(FirstSlotRate(), judgements=said) == []


def test_few_prompts_are_too_few_to_tell():
    _, said = many((19, "a", "b"))
    found = only(SwapConsistency(), judgements=said)
    assert (found.value, found.severity) == (0.0, "info")
    assert "too few to tell" in found.message


def test_many_pairs_of_one_prompt_do_not_make_many_prompts():
    made = [response("p_0", i) for i in range(9)]
    said = [v for a in made for b in made if a.id < b.id for v in both_orders(a, b, "a", "b")]
    found = only(SwapConsistency(), judgements=said)
    assert (found.n, found.severity) == (36, "info")
    assert found.high > 0.9


def test_judges_are_told_apart_and_repeats_go_by_the_majority():
    _, said = many((30, "a", "a"))
    a, b = response("p_r", 0), response("p_r", 1)
    votes = [judged([a, b], by="other", ranks=r, repeat=i) for i, r in enumerate([(1, 2), (1, 2), (2, 1)])]
    votes += [judged([b, a], by="other", ranks=(2, 1))]
    judge, other = told(SwapConsistency(), judgements=said + votes)
    assert (judge.subject, judge.n, other.subject, other.n, other.value) == ("judge", 30, "other", 1, 1.0)


def test_judge_verifier_agreement_counts_every_verdict_where_the_verifier_differs():
    said = []
    cases = [("a", "a", 1, 0)] * 12 + [("b", "b", 1, 0)] * 18 + [("a", "b", 1, 0)] * 5 + [("a", "a", 1, 1)] * 5
    for number, (first, second, score_a, score_b) in enumerate(cases):
        a, b = response(f"p_{number}", 0), response(f"p_{number}", 1)
        said += [*both_orders(a, b, first, second), verified(a, float(score_a)), verified(b, float(score_b))]
    found = only(JudgeVerifierAgreement(), judgements=said)
    assert (found.value, found.n, found.failure_mode) == ((12 + 12 + 5) / 70, 70, "E4")
    assert found.severity == "warn"  # below 0.7 for sure, below 0.5 perhaps
    wrong = {j.id for j in said if j.prompt_id in {f"p_{i}" for i in range(12, 35)}}
    assert set(found.rows) <= wrong
    assert len(found.rows) == 10


def test_the_rows_of_disagreement_with_a_verifier_are_the_verdicts_that_disagree_and_no_others():
    said, wrong = [], set()
    for number in range(4):
        a, b = response(f"p_{number}", 0), response(f"p_{number}", 1)
        first, second = both_orders(a, b, "a", "b") if number % 2 else both_orders(b, a, "a", "b")
        repeats = [
            judged([a, b], ranks=(1, 2) if number % 2 else (2, 1), repeat=1),
            judged([a, b], ranks=(1, 1), repeat=2),
        ]
        verdicts = [first, second, *repeats] if number % 2 else [first, second]
        said += [*verdicts, verified(a, 1.0), verified(b, 0.0)]
        wrong |= {one.id for one in verdicts if one.ranks[one.response_ids.index(a.id)] == 2}
    found = only(JudgeVerifierAgreement(), judgements=said)
    assert (found.value, found.n) == (0.5, 8)
    assert sorted(found.rows) == sorted(wrong)


def test_a_rubric_judge_is_compared_by_its_scores_and_a_verifier_by_the_mean_of_its_checks():
    said = []
    for number in range(25):
        a, b, c = (response(f"p_{number}", i) for i in range(3))
        said += [judged([one], by="rubric", scores=(s,)) for one, s in ((a, 0.2), (b, 0.8), (c, 0.8))]
        said += [
            verified(a, 1.0),
            verified(a, 0.0, 1),
            verified(b, 1.0),
            verified(b, 1.0, 1),
            verified(c, 0.0),
        ]
    # Told apart by both: b over a (agree), a over c by the verifier but c over a by the judge.
    # The verifier alone tells b and c apart.
    found = only(JudgeVerifierAgreement(), judgements=said)
    assert (found.value, found.n, found.subject) == (0.5, 50, "rubric: good")


def test_the_judge_prefers_the_longer_response():
    made, said = [], []
    for number in range(40):
        short, long = response(f"p_{number}", 0, "x"), response(f"p_{number}", 1, "xx")
        made += [short, long]
        said += both_orders(long, short, *(("a", "a") if number < 36 else ("b", "b")))
    same = [response("p_same", 0, "xx"), response("p_same", 1, "yy")]
    said += both_orders(*same, "a", "a")
    found = only(JudgePrefersLonger(), responses=made + same, judgements=said)
    assert (found.value, found.n, found.failure_mode, found.severity) == (0.9, 40, "E2", "warn")


def pair(chosen, rejected, margin=0.5, **more):
    return make_example(
        kind="pair",
        prompt_id=chosen.prompt_id,
        response_ids=(chosen.id, rejected.id),
        margin=margin,
        strategy="best_vs_worst",
        strategy_id="o",
        **more,
    )


def test_the_chosen_response_is_longer():
    made, examples = [], []
    for number in range(50):
        short, long = response(f"p_{number}", 0, "x"), response(f"p_{number}", 1, "x y z")
        made += [short, long]
        examples.append(pair(long, short) if number < 49 else pair(short, long))
    tied = [response("p_tie", 0, "x"), response("p_tie", 1, "xyz")]
    examples.append(pair(*tied, margin=0.0, labels=(0.5, 0.5)))
    found = only(ChosenLonger(), responses=made + tied, examples=examples)
    assert (found.value, found.n, found.failure_mode, found.severity) == (0.98, 50, "I5", "error")


def test_prompts_whose_rows_are_those_of_one_are_too_few_to_tell():
    """570 pairs of one prompt, 24 of as many others: by their rows they count as (570 + 24)^2 / (570^2 + 24) prompts."""
    made, examples = [], []
    for number in range(594):
        prompt = f"p_{max(number - 569, 0)}"
        short, long = response(prompt, 2 * number, "x" * (1 + number % 7)), response(prompt, 2 * number + 1, "x" * 20)
        made += [short, long]
        examples.append(pair(long, short) if number < 570 else pair(short, long))
    for diagnostic in (ChosenLonger(), LabelAucFromLength(), LengthEffect()):
        found = only(diagnostic, responses=made, examples=examples)
        assert (found.severity, found.few, found.prompts) == ("info", True, 25)
        assert found.effective_prompts == pytest.approx(594**2 / (570**2 + 24))
        assert "25 prompts that count as 1.09 by their rows, too few to tell" in found.message
    alike = [each for each in examples[-24:] for _ in range(3)]
    found = only(ChosenLonger(), responses=made, examples=alike)
    assert (found.effective_prompts, found.few) == (pytest.approx(24), False)


def test_intervals_of_shares_hold_the_truth_where_prompts_differ_in_size():
    """Three prompts of 100 rows and forty of one, whose shares are drawn: by the number of prompts 78 % would hold it."""
    rng = random.Random(6)
    sizes = [100] * 3 + [1] * 40
    held = 0
    for _ in range(600):
        rates = [rng.betavariate(4, 1) for _ in sizes]
        parts = [sum(rng.random() < rate for _ in range(n)) for rate, n in zip(rates, sizes, strict=True)]
        products = [sum(a * b for a, b in zip(x, y, strict=True)) for x, y in ((parts, parts), (parts, sizes), (sizes, sizes))]
        found = ratio(len(sizes), sum(parts), sum(sizes), *products)
        held += found.low <= 0.8 <= found.high
    assert held / 600 > 0.87


def test_statuses_are_counted_for_each_model_and_evaluator():
    made = [response(f"p_{i}", 0, status="ok" if i < 21 else "failed") for i in range(30)]
    made += [response(f"p_{i}", 1, status="ok" if i < 29 else "refused", model="n") for i in range(30)]
    lost, fine = told(ResponsesWithoutAnswer(), responses=made)
    assert (lost.subject, lost.value, lost.n, lost.severity, len(lost.rows)) == ("m", 0.3, 30, "warn", 9)
    assert (fine.subject, fine.value, fine.severity) == ("n", 1 / 30, "info")
    status = ["ok"] * 5 + ["unparsed"] * 20 + ["failed"] * 4 + ["refused"]
    said = [judged([r], scores=(0.5,) if s == "ok" else None, status=s) for r, s in zip(made, status, strict=False)]
    bad = only(UnparsedJudgements(), judgements=said)
    assert (bad.value, bad.n, bad.severity) == (20 / 30, 30, "warn")
    assert set(bad.rows) <= {j.id for j in said[5:25]}
    assert only(JudgementsWithoutAnswer(), judgements=said).value == 5 / 30


def test_answers_that_say_the_same_are_counted_within_their_prompt():
    made = []
    for number in range(30):
        texts = ["a", "a", "a"] if number < 26 else ["a", "b", "a"]
        made += [response(f"p_{number}", i, text) for i, text in enumerate(texts)]
    made.append(response("p_alone", 0, "a"))
    found = only(UniqueAnswers(), responses=made)
    assert (found.value, found.n, found.severity) == ((26 + 4 * 2) / 90, 90, "warn")


def test_prompts_without_contrast_under_the_verifier():
    said = []
    for number in range(40):
        scores = (1.0, 1.0, 1.0) if number < 30 else (1.0, 0.0, 1.0)
        said += [verified(response(f"p_{number}", i), s) for i, s in enumerate(scores)]
    said.append(verified(response("p_alone", 0), 1.0))
    found = only(NoContrast(), judgements=said)
    assert (found.value, found.n, found.failure_mode, found.severity) == (0.75, 40, "S4", "warn")
    assert set(found.rows) <= {f"p_{i}" for i in range(30)}


def test_all_findings_come_with_the_gravest_first_and_can_be_written_as_json():
    made, said = many((40, "a", "b"))
    said += [verified(r, 1.0) for r in made]
    found = findings(responses=made, judgements=said, examples=[])
    order = [["error", "warn", "info"].index(f.severity) for f in found]
    assert order == sorted(order)
    assert order[0] == 0
    assert {f.name for f in found} == {
        "swap_consistency", "first_slot_rate", "no_contrast", "unique_answers", "unparsed_judgements",
        "judgements_without_answer", "responses_without_answer",
    }  # fmt: skip
    assert msgspec.json.decode(msgspec.json.encode(found), type=list[Finding]) == found
    assert findings(responses=[], judgements=[]) == []


def test_findings_do_not_depend_on_the_order_of_rows():
    made, said = many((20, "a", "a"), (10, "a", "b"))
    said += [verified(r, float(i % 2)) for i, r in enumerate(made)]
    rng = random.Random(1)
    first = findings(responses=made, judgements=said)
    for table in (made, said):
        rng.shuffle(table)
    assert findings(responses=made, judgements=said) == first


def estimate(clusters):
    return ratio(
        len(clusters),
        sum(y for y, _ in clusters),
        sum(m for _, m in clusters),
        sum(y * y for y, _ in clusters),
        sum(y * m for y, m in clusters),
        sum(m * m for _, m in clusters),
    )


@pytest.mark.parametrize("prompts", [25, 100])
@pytest.mark.parametrize("share", [0.5, 0.8, 0.95])
@pytest.mark.parametrize("together", [0.0, 0.3])
def test_the_interval_covers_what_it_should(prompts, share, together):
    """Simulated prompts of 1 to 6 rows; each row takes its prompt's coin at times, else one of its own."""
    rng = random.Random(7)
    times, covered = 1000, 0
    for _ in range(times):
        clusters = []
        for _ in range(prompts):
            own, size = rng.random() < share, rng.randint(1, 6)
            hits = sum(own if rng.random() < together**0.5 else rng.random() < share for _ in range(size))
            clusters.append((hits, size))
        found = estimate(clusters)
        covered += found.low <= share <= found.high
    assert 0.925 <= covered / times <= 0.99


def test_wilson_is_what_textbooks_give():
    # Newcombe, Statistics in Medicine 17 (1998), table I: 81 of 263 and 0 of 20, method 3.
    assert wilson(81 / 263, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)


def test_an_interval_lies_in_0_to_1_around_its_value():
    for clusters in ([(0, 1)], [(1, 1)], [(3, 3)] * 2, [(0, 4), (4, 4)], [(1, 2)] * 30):
        found = estimate(clusters)
        assert 0 <= found.low <= found.value <= found.high <= 1
        assert found.low < found.high
