"""Diagnostics of prompts, responses and loops: planted cases are found, clean ones are silent, numbers are right."""

from __future__ import annotations

import json
import math
import random
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import numpy as np
import polars as pl
import pytest
import sklearn.feature_extraction.text as sklearn_text
from sklearn.metrics import mutual_info_score

import triptych as tp
from test_findings import judged, lazy, pair, response, verified
from triptych.audit.audit import audit
from triptych.audit.data import Data
from triptych.audit.embeddings import embedded
from triptych.audit.features import features, packs, scripts
from triptych.audit.loop import DIAGNOSTICS as LOOP
from triptych.audit.loop.drift import (
    AnchorRegression,
    BackwardTransfer,
    DivergenceFromReference,
    DiversityRatio,
    EvaluatorDrift,
    PolicyAge,
    RoundsSinceGold,
    ScoreShift,
    score_shift,
)
from triptych.audit.prompts import near_copies, seen_tests
from triptych.audit.synthesis import DIAGNOSTICS as SYNTHESIS
from triptych.audit.synthesis.contrast import (
    AlignmentPotential,
    AlwaysOrNeverSolved,
    GroupsWithoutSpread,
    MarginEntropy,
    PairsWithoutMargin,
    WidestMargins,
)
from triptych.audit.synthesis.diversity import (
    ClusterEntropy,
    DistinctBigrams,
    EmbeddedSiblingCosine,
    NearDuplicateSiblings,
    SiblingCosine,
    VendiShare,
)
from triptych.audit.synthesis.leakage import LabelFromSurface, LabelSourceInformation, information
from triptych.audit.synthesis.no_answer import (
    CutOff,
    EmptyAnswers,
    Looping,
    OtherScript,
    Refusals,
    RefusalsByLabel,
    SharedAnswers,
    TemplateLeaks,
)
from triptych.audit.synthesis.prompts import (
    EffectivePrompts,
    NearDuplicatePrompts,
    NoisyPrompts,
    PromptGini,
    RejectedScore,
    TestsSeen,
    gini,
)
from triptych.audit.synthesis.self_play import AnchorGold, EntropyRatio, GoldPrefersRejected, MarginDecline, Novelty
from triptych.audit.synthesis.shift import EffectiveSampleShare, ExtraSurprise, OffPolicyShare, PolicyTellable
from triptych.audit.vectors import cluster_entropy, siblings, vendi
from triptych.errors import EndpointDown
from triptych.records import Message, make_prompt, make_response

WORDS = [f"word{number}" for number in range(3000)]


def says(rng, words=40, *, among=WORDS):
    return " ".join(rng.choices(among, k=words))


def data(*, rounds=(), **more):
    tables = ("prompts", "responses", "judgements", "examples")
    given = {name: lazy(name, more.pop(name)) for name in tables if name in more}
    return Data(given, rounds=rounds, **more)


def only(diagnostic, made):
    assert diagnostic.lacks(made) is None
    found = list(diagnostic.measure(made))
    assert len(found) == 1, found
    return found[0]


def prompt(text):
    return make_prompt(messages=(Message("user", text),))


def answer(prompt_id, index, text, **more):
    fields = {"generator": "sample", "generator_id": "o", "model": "m"} | more
    return make_response(prompt_id=prompt_id, sample_index=index, messages=(Message("assistant", text),), **fields)


def sampled(count, k, text, *, start=0, **more):
    """k responses to each prompt; `text` makes one from its prompt's number and its own."""
    return [answer(f"p_{n}", i, text(n, i), **more) for n in range(start, start + count) for i in range(k)]


# --- S1


def shifted(seed, apart):
    """One sample of the policy and one of another model for each of 60 prompts, in words of which `apart` differ."""
    rng = random.Random(seed)
    mine, other = WORDS[:300], WORDS[round(300 * apart) : 300 + round(300 * apart)]
    made = []
    for n in range(60):
        made.append(answer(f"p_{n}", 0, says(rng, among=mine), model="policy"))
        made.append(answer(f"p_{n}", 1, says(rng, among=other), model="teacher"))
    return made


def test_responses_of_others_than_the_policy_are_counted_in_the_examples():
    made = shifted(1, 0.0)
    examples = [pair(made[2 * n + 1], made[2 * n]) for n in range(60)]
    examples += [pair(made[2 * n + 1], made[1]) for n in range(40)]  # a teacher's against a teacher's
    found = only(OffPolicyShare(), data(responses=made, examples=examples, policy="policy"))
    assert (found.value, found.n, found.severity) == (140 / 200, 200, "warn")
    assert OffPolicyShare().lacks(data(responses=made)) is not None


def test_a_classifier_tells_another_models_words_from_the_policys_and_not_the_policys_own():
    told = only(PolicyTellable(), data(responses=shifted(2, 1.0), policy="policy"))
    alike = only(PolicyTellable(), data(responses=shifted(3, 0.0), policy="policy"))
    assert told.value > 0.95
    assert told.severity in ("warn", "error")
    assert 0.3 < alike.value < 0.7
    assert alike.severity == "info"


def logprobs(made, nats, reference=None):
    return pl.DataFrame(
        {
            "response_id": [r.id for r in made],
            "logprob": [-nats(r) * 10.0 for r in made],
            "tokens": [10 for _ in made],
            "reference_logprob": [reference(r) if reference else None for r in made],
        },
        schema_overrides={"reference_logprob": pl.Float64},
    )


def test_the_policy_is_more_surprised_by_others_responses():
    made = shifted(4, 0.0)
    rng = random.Random(4)
    shift = {r.id: (1.0 if r.model == "policy" else 2.5) + rng.gauss(0, 0.2) for r in made}
    told = data(responses=made, policy="policy", logprobs=logprobs(made, lambda r: shift[r.id]))
    found = only(ExtraSurprise(), told)
    theirs = np.mean([shift[r.id] for r in made if r.model == "teacher"])
    own = np.mean([shift[r.id] for r in made if r.model == "policy"])
    assert found.value == pytest.approx(theirs - own)
    assert found.severity == "warn"
    assert found.low < 1.5 < found.high


def test_effective_sample_size_is_that_of_wpos_weights():
    made = shifted(5, 0.0)
    rng = random.Random(5)
    nats = {r.id: rng.expovariate(0.5) for r in made}
    examples = [pair(made[2 * n], made[2 * n + 1]) for n in range(60)]
    told = data(responses=made, examples=examples, policy="policy", logprobs=logprobs(made, lambda r: nats[r.id]))
    weights = np.array([math.exp(-nats[made[2 * n].id] - nats[made[2 * n + 1].id]) for n in range(60)])
    found = only(EffectiveSampleShare(), told)
    assert found.value == pytest.approx(weights.sum() ** 2 / (60 * (weights**2).sum()))
    even = data(responses=made, examples=examples, policy="policy", logprobs=logprobs(made, lambda r: 1.0))
    assert only(EffectiveSampleShare(), even).value == pytest.approx(1.0)


# --- S2


def test_words_of_siblings_are_compared_as_scikit_learn_compares_them():
    texts = ["the cat sat on the mat", "the cat sat on a mat", "dogs bark loudly", "the cat sat on the mat"]
    made = [answer("p_0", i, text) for i, text in enumerate(texts)]
    made += [answer("p_1", i, text) for i, text in enumerate(["a b c", "a b d"])]
    found = siblings(data(responses=made).vectors).sort("prompt_id")
    vectorizer = sklearn_text.TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"[\w']+")
    x = vectorizer.fit_transform([r.messages[0].content for r in made]).toarray()
    cosines = x[:4] @ x[:4].T
    upper = cosines[np.triu_indices(4, 1)]
    assert found["cosine"][0] == pytest.approx(upper.mean(), abs=1e-6)
    assert found["cosine"][1] == pytest.approx(float(x[4] @ x[5]), abs=1e-6)
    eigen = np.linalg.eigvalsh(cosines / 4)
    eigen = eigen[eigen > 1e-12]
    assert found["vendi"][0] == pytest.approx(math.exp(-(eigen * np.log(eigen)).sum()), abs=1e-6)
    assert found["copies"][0] == 1  # the last is the first


def test_vendi_and_clusters_of_known_matrices():
    same, apart = np.ones((4, 4)), np.eye(4)
    two = np.kron(np.eye(2), np.ones((2, 2)))
    assert vendi(np.stack([same, apart, two])) == pytest.approx([1, 4, 2])
    assert cluster_entropy(np.stack([same, apart, two])) == pytest.approx([0, 1, 0.5])
    chain = np.eye(4)
    for i in range(3):
        chain[i, i + 1] = chain[i + 1, i] = 0.85
    assert cluster_entropy(chain[None]) == pytest.approx([0])


def test_collapsed_responses_are_found_and_diverse_ones_are_not():
    rng = random.Random(6)
    base = [says(rng) for _ in range(40)]
    collapsed = data(responses=sampled(40, 4, lambda n, i: f"{base[n]} end{i}"))
    diverse = data(responses=sampled(40, 4, lambda n, i: says(rng)))
    for diagnostic in (SiblingCosine(), VendiShare(), ClusterEntropy(), NearDuplicateSiblings()):
        bad, good = only(diagnostic, collapsed), only(diagnostic, diverse)
        assert bad.severity != "info", diagnostic.name
        assert bad.failure_mode == "S2"
        assert bad.rows
        assert good.severity == "info", diagnostic.name
        assert good.change == ""
    repeated = data(responses=sampled(40, 4, lambda n, i: base[n]))
    assert only(DistinctBigrams(), repeated).severity == "warn"
    assert only(DistinctBigrams(), diverse).severity == "info"


def test_distinct_2_is_counted_over_all_responses_of_a_prompt():
    made = sampled(25, 2, lambda n, i: "a b a b c" if i else "a b d")
    # a b, b a, a b, b c and a b, b d: 4 different ones of 6
    assert only(DistinctBigrams(), data(responses=made)).value == pytest.approx(4 / 6)


def test_embeddings_take_the_place_of_words():
    made = sampled(25, 2, lambda n, i: f"{n} {i}")
    vectors = [[1.0, 0.0] if r.sample_index else [1.0, 1.0] for r in made]
    embedded = pl.DataFrame({"response_id": [r.id for r in made], "vector": vectors})
    found = only(EmbeddedSiblingCosine(), data(responses=made, embeddings=embedded))
    assert found.value == pytest.approx(math.sqrt(0.5))
    assert found.severity == "info"
    assert EmbeddedSiblingCosine().lacks(data(responses=made)) is not None


# --- S3 and S4


def pairs_with(margins):
    made, examples = [], []
    for n, margin in enumerate(margins):
        two = [answer(f"p_{n}", i, f"{n} {i}") for i in range(2)]
        made += two
        examples.append(pair(*two, margin=margin))
    return {"responses": made, "examples": examples}


def test_margins_that_are_next_to_nothing_or_trivially_wide():
    narrow = data(**pairs_with([0.01] * 50 + [0.5] * 10))
    wide = data(**pairs_with([0.95] * 50 + [0.5] * 10))
    fine = data(**pairs_with([n / 60 for n in range(4, 54)]))
    assert only(PairsWithoutMargin(), narrow).value == 50 / 60
    assert only(PairsWithoutMargin(), narrow).severity == "error"
    assert only(WidestMargins(), wide).severity == "warn"
    assert only(MarginEntropy(), wide).severity == "info"
    one = only(MarginEntropy(), data(**pairs_with([0.5] * 60)))
    assert (one.value, one.severity) == (0.0, "warn")
    for diagnostic in (PairsWithoutMargin(), WidestMargins(), MarginEntropy()):
        assert only(diagnostic, fine).severity == "info"


def test_the_potential_of_pairs_that_the_policy_already_tells_apart_is_low():
    given = pairs_with([0.1 * (n % 5 + 1) for n in range(40)])
    margins = {e.response_ids[0]: e.margin for e in given["examples"]}
    known = logprobs(given["responses"], lambda r: -margins.get(r.id, 0.0), lambda r: 0.0)
    learnt = only(AlignmentPotential(), data(**given, logprobs=known))
    assert learnt.value == pytest.approx(0.0, abs=1e-9)
    reversed_ = logprobs(given["responses"], lambda r: margins.get(r.id, 0.0), lambda r: 0.0)
    unlearnt = only(AlignmentPotential(), data(**given, logprobs=reversed_))
    values = list(margins.values())
    assert unlearnt.value == pytest.approx(2 * np.mean(values) / np.sqrt(np.mean(np.square(values))))


def test_prompts_that_are_always_or_never_solved():
    said, made = [], []
    for n in range(40):
        passes = (1, 1) if n < 15 else (0, 0) if n < 30 else (1, 0)
        two = [response(f"p_{n}", i) for i in range(2)]
        made += two
        said += [verified(r, float(s)) for r, s in zip(two, passes, strict=True)]
    found = only(AlwaysOrNeverSolved(), data(responses=made, judgements=said))
    assert (found.value, found.severity, found.failure_mode) == (0.75, "warn", "S4")
    assert found.plot.counts == (15, 0, 0, 0, 0, 10, 0, 0, 0, 15)
    spread = only(GroupsWithoutSpread(), data(responses=made, judgements=said))
    assert (spread.value, spread.n) == (0.75, 40)


# --- S5


def labelled(seed, share, *, bullets=False):
    """80 pairs: in `share` of them the chosen one is of `big` (or has bullets), else the rejected one."""
    rng = random.Random(seed)
    made, examples = [], []
    for n in range(80):
        first = rng.random() < share
        text = "- a\n- b\n- " if bullets else ""
        two = [
            answer(f"p_{n}", 0, (text if first else "") + says(rng), model="m" if bullets or not first else "big"),
            answer(f"p_{n}", 1, ("" if first else text) + says(rng), model="m" if bullets or first else "big"),
        ]
        made += two
        examples.append(pair(*two))
    return {"responses": made, "examples": examples}


@pytest.mark.parametrize("bullets", [False, True])
def test_source_or_format_that_gives_the_label_away_is_found(bullets):
    leaky = only(LabelFromSurface(), data(**labelled(7, 0.95, bullets=bullets)))
    clean = only(LabelFromSurface(), data(**labelled(8, 0.5, bullets=bullets)))
    assert leaky.severity in ("warn", "error")
    assert leaky.low < 0.95 < leaky.high
    assert clean.severity == "info"


def test_information_of_the_source_is_scikit_learns_less_its_bias():
    given = labelled(9, 0.9)
    by_id = {r.id: r.model for r in given["responses"]}
    labels = [label for e in given["examples"] for label in (1, 0)]
    sources = [by_id[r] for e in given["examples"] for r in e.response_ids]
    plain = mutual_info_score(labels, sources) / math.log(2)
    found = only(LabelSourceInformation(), data(**given))
    assert found.value == pytest.approx(plain - 1 / (2 * 80 * math.log(2)))
    assert found.severity == "warn"
    assert only(LabelSourceInformation(), data(**labelled(10, 0.5))).severity == "info"


@pytest.mark.parametrize("share", [0.5, 0.6, 0.9])
def test_the_interval_of_the_information_covers_it(share):
    """Prompts of one to three pairs of two sources, whose first is chosen so often: the truth is 1 - H(share) bits."""
    rng = np.random.default_rng(24)
    truth = 1 + share * math.log2(share) + (1 - share) * math.log2(1 - share)
    times, covered = 200, 0
    for _ in range(times):
        pairs = rng.integers(1, 4, 100)
        hits = rng.binomial(pairs, share)
        found = information(np.stack([hits, pairs - hits, pairs - hits, hits], axis=-1).astype(float), 2 * pairs.sum())
        covered += found.low - 1e-12 <= truth <= found.high
    assert covered / times >= 0.9


# --- S6 and S7


def scored_round(number, gold, *, seed=0, judge=None, prompts=range(40), text=None, version=""):
    """A round: two responses a prompt; gold scores them gold[prompt], a judge judge[prompt]."""
    rng = random.Random(f"{seed} {number}")
    made, said = [], []
    for n in prompts:
        two = [
            answer(f"p_{n}", i, (text or (lambda n, i: says(rng)))(n, i), model="policy", model_version=version)
            for i in range(2)
        ]
        made += two
        said += [verified(r, gold(n, i)) for i, r in enumerate(two)]
        said += [judged([r], scores=(judge(n, i),)) for i, r in enumerate(two)] if judge else []
    return {"responses": made, "judgements": said}


def test_the_gold_score_of_anchors_falls_by_round():
    rng = random.Random(11)
    noisy = {(r, n, i): rng.gauss(0, 0.05) for r in range(3) for n in range(40) for i in range(2)}
    levels = (0.8, 0.7, 0.5)
    rounds = [data(**scored_round(r, lambda n, i, r=r: min(max(levels[r] + noisy[r, n, i], 0), 1))) for r in range(3)]
    tables = scored_round(2, lambda n, i: min(max(levels[2] + noisy[2, n, i], 0), 1))
    found = only(AnchorGold(), data(**tables, rounds=rounds[:2]))
    fell = np.mean([noisy[2, n, i] - noisy[0, n, i] for n in range(40) for i in range(2)]) - 0.3
    assert found.value == pytest.approx(fell, abs=1e-9)
    assert found.low < fell < found.high
    assert found.severity == "error"
    assert found.plot.y == pytest.approx(levels, abs=0.02)
    steady = only(AnchorGold(), data(**scored_round(0, lambda n, i: 0.8 + noisy[1, n, i]), rounds=rounds[:1]))
    assert steady.severity == "info"


def test_pairs_whose_rejected_response_gold_prefers():
    def of(wrong):
        tables = scored_round(1, lambda n, i: float(i == (0 if n < wrong else 1)))
        made = tables["responses"]
        return tables | {"examples": [pair(made[2 * n + 1], made[2 * n]) for n in range(40)]}

    found = only(GoldPrefersRejected(), data(**of(30), rounds=[data(**of(4))]))
    assert (found.value, found.n) == (30 / 40, 40)
    assert found.plot.y == (4 / 40, 30 / 40)
    assert found.severity == "error"


def test_a_round_that_says_what_was_said_before_is_not_new():
    def same(n, i):
        return f"answer{n} {WORDS[n]} {WORDS[n + 100 + i]}"

    first = data(**scored_round(1, lambda n, i: 1.0, text=same))
    again = only(Novelty(), data(**scored_round(2, lambda n, i: 1.0, text=same), rounds=[first]))
    fresh = only(Novelty(), data(**scored_round(3, lambda n, i: 1.0), rounds=[first]))
    assert again.value == pytest.approx(0, abs=1e-9)
    assert again.severity != "info"
    assert fresh.value > 0.9
    assert fresh.severity == "info"


def test_margins_and_entropy_by_round():
    first, last = pairs_with([0.4, 0.6] * 20), pairs_with([0.1, 0.11] * 20)
    found = only(MarginDecline(), data(**last, rounds=[data(**first)]))
    assert found.value == pytest.approx(0.105 / 0.5)
    assert found.severity == "warn"

    def drawn(nats):
        rng = random.Random(3)
        return sampled(
            40, 1, lambda n, i: says(rng), logprob=-10 * nats, token_logprobs=(-nats,) * 10, tokens=("a",) * 10
        )

    sharper = only(EntropyRatio(), data(responses=drawn(0.2), rounds=[data(responses=drawn(1.0))]))
    assert sharper.value == pytest.approx(0.2)
    assert sharper.severity == "warn"


# --- S8 and S9


def test_prompts_with_the_three_signs_of_noise():
    rng = random.Random(12)
    made, said, examples = [], [], []
    for n in range(60):
        noisy = n < 15
        two = [answer(f"p_{n}", 0, says(rng)), answer(f"p_{n}", 1, says(rng, 5 if noisy else 40))]
        scores = (0.9, 0.1) if noisy else (0.9, 0.7)
        made += two
        said += [judged([r], scores=(s,)) for r, s in zip(two, scores, strict=True)]
        examples.append(pair(*two, margin=scores[0] - scores[1]))
    tables = {"responses": made, "judgements": said, "examples": examples}
    found = only(NoisyPrompts(), data(**tables))
    assert (found.value, found.severity, found.failure_mode) == (0.25, "warn", "S8")
    assert set(found.rows) <= {f"p_{n}" for n in range(15)}
    assert only(RejectedScore(), data(**tables)).value == pytest.approx((15 * 0.1 + 45 * 0.7) / 60)


def jaccard(a, b):
    sets = [{tuple(words[i : i + 3]) for i in range(len(words) - 2)} for words in (a.split(), b.split())]
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1])


def test_near_copies_are_those_with_a_jaccard_similarity_of_0_8():
    rng = random.Random(13)
    texts = [says(rng, 60) for _ in range(100)]
    for original in texts[:30]:
        words = original.split()
        words[rng.randrange(60)] = "other"
        texts.append(" ".join(words))
    for original in texts[30:60]:
        words = original.split()
        for place in range(0, 60, 6):
            words[place] = "changed"
        texts.append(" ".join(words))
    prompts = [prompt(text) for text in texts]
    found = near_copies(lazy("prompts", prompts))
    truth = [any(jaccard(texts[j], text) >= 0.8 for j in range(i)) for i, text in enumerate(texts)]
    assert found["copy_of"].is_not_null().to_list() == truth
    assert sum(truth) == 30
    assert found["copy_of"][100] == prompts[0].id
    told = only(NearDuplicatePrompts(), data(prompts=prompts))
    assert (told.value, told.severity) == (30 / 160, "warn")
    assert only(NearDuplicatePrompts(), data(prompts=prompts[:100])).value == 0


def test_short_prompts_are_copies_only_of_the_same_words():
    prompts = [prompt(text) for text in ("hi", "hi!", "hello there", "", "Hello  there", "hi there")]
    found = near_copies(lazy("prompts", prompts))["copy_of"].is_not_null().to_list()
    assert found == [False, True, False, False, True, False]


def test_rows_per_prompt_that_are_unequal():
    made = [answer("p_big", i, f"{i}") for i in range(500)] + sampled(40, 1, lambda n, i: "x")
    counts = np.sort(np.array([500.0] + [1.0] * 40))
    found = only(PromptGini(), data(responses=made))
    plain = np.abs(counts[:, None] - counts[None]).mean() / (2 * counts.mean())
    assert found.value == pytest.approx(plain)
    share = only(EffectivePrompts(), data(responses=made))
    assert share.value == pytest.approx(540**2 / (41 * (500**2 + 40)))
    even = data(responses=sampled(40, 2, lambda n, i: "x"))
    assert only(PromptGini(), even).value == 0
    assert only(EffectivePrompts(), even).value == pytest.approx(1)


def test_the_interval_of_the_gini_coefficient_covers_it():
    """Geometric counts: the Gini coefficient of those on 1, 2, ... with success p is (1 - p) / (2 - p)."""
    rng = np.random.default_rng(14)
    p, times, covered = 0.3, 400, 0
    for _ in range(times):
        found = gini(np.sort(rng.geometric(p, 200).astype(float)))
        covered += found.low <= (1 - p) / (2 - p) <= found.high
    assert 0.9 <= covered / times <= 0.98


def test_tests_among_the_prompts():
    rng = random.Random(15)
    tests = [says(rng, 30) for _ in range(40)]
    prompts = [prompt(says(rng, 50)) for _ in range(50)]
    prompts += [prompt(f"Please answer: {test}") for test in tests[:5]]
    prompts.append(prompt(" ".join(tests[5].split()[:14])))  # less than half of it
    prompts.append(prompt(" ".join(tests[6].split()[:17])))  # more than half
    held = seen_tests(lazy("prompts", prompts), tests)
    assert held.filter(pl.col("prompt_id").is_not_null())["test"].to_list() == [0, 1, 2, 3, 4, 6]
    assert held["prompt_id"][0] == prompts[50].id
    found = only(TestsSeen(), data(prompts=prompts, test_sets={"mine": tests, "short": ["too short"]}))
    assert (found.value, found.n, found.subject, found.severity) == (6 / 40, 40, "mine", "error")
    assert only(TestsSeen(), data(prompts=prompts[:50], test_sets={"mine": tests})).severity == "info"


# --- S10


def test_defects_of_texts_are_counted_for_each_source():
    rng = random.Random(16)
    bad = {
        Looping(): "I am going round. " * 200,
        TemplateLeaks(): "Yes.<|im_end|>\n<|im_start|>user",
        EmptyAnswers(): " \n ",
        Refusals(): "I'm sorry, but I can't help with that.",
    }
    for diagnostic, text in bad.items():
        made = sampled(40, 1, lambda n, i, text=text: text if n < 20 else says(rng, 100))
        made += sampled(40, 1, lambda n, i: says(rng, 100), model="fine")
        fine, found = list(diagnostic.measure(data(responses=made)))
        assert (found.subject, found.value, found.failure_mode) == ("m", 0.5, "S10")
        assert found.severity != "info", diagnostic.name
        assert len(found.rows) == 10
        assert (fine.subject, fine.value, fine.severity) == ("fine", 0, "info")
    made = sampled(40, 1, lambda n, i: "a", finish_reason="length") + sampled(10, 1, lambda n, i: "b", start=40)
    assert only(CutOff(), data(responses=made)).value == 1.0  # of those whose end is known


def test_refusals_and_marks_of_templates_are_known_in_the_words_in_which_they_come():
    refusals = [
        "I'm unable to help with this.",
        "I’m not able to do that.",
        "I am not comfortable with this.",
        "I don't feel comfortable answering this.",
        "I cannot assist with that request.",
        "I can not say.",
        "Unfortunately, I'm unable to tell you that.",
        "No, I won't help you with that.",
        "I will not write this.",
        "I must respectfully decline.",
        "I'm afraid I can't do that.",
        "I'm really sorry, but no.",
        "Sorry, but I can't.",
        "My apologies, that is beyond me.",
        "As a large language model, I have no opinion.",
        "As an AI, I do not eat.",
        "That's not something I can help with.",
    ]
    answers = [
        "I can help with that.",
        "I'm able to do that.",
        "I am not sure whether it is 3 or 4.",
        "I think I should begin with the units.",
        "No, I think it is the third.",
        "I'm going to the shop, said Ann.",
        "Declining balances are written off.",
        "As an airline, they fly.",
        "She said: I'm sorry.",
    ]
    leaks = [
        *("A.<|im_end|>", "A.<|User|>hello", "A.<|eot_id|>", "A<|reserved_special_token_7|>", "A <｜end▁of▁sentence｜>"),
        *("A.<end_of_utterance>", "<start_of_turn>model", "[INST] A", "A</s>", "<bos>A", "### Response: A", "A\nHuman: B"),
    ]
    clean = ["x |> f <| y", "if a<|b|", "<end> of it", "the end_of_line mark", "a < b || c > d", "<b>bold</b>", "a Human: me"]
    marked = features(lazy("responses", [answer("p", n, text) for n, text in enumerate([*refusals, *answers])]))
    assert marked["refuses"].to_list() == [True] * len(refusals) + [False] * len(answers)
    marked = features(lazy("responses", [answer("p", n, text) for n, text in enumerate([*leaks, *clean])]))
    assert marked["leaks_template"].to_list() == [True] * len(leaks) + [False] * len(clean)


def test_how_short_a_text_packs_is_what_zlib_says():
    import zlib

    text = "abc " * 300
    assert packs(pl.Series([text, "short", None])).to_list() == [
        pytest.approx(1200 / len(zlib.compress(text.encode(), 1))),
        None,
        None,
    ]


def test_answers_in_another_script_than_the_prompts():
    prompts = [prompt(f"Answer in your own words, number {n}") for n in range(40)]
    made = [
        answer(p.id, 0, "Это ответ на другом языке" if n < 30 else "This is an answer") for n, p in enumerate(prompts)
    ]
    found = only(OtherScript(), data(prompts=prompts, responses=made))
    assert (found.value, found.severity) == (0.75, "error")
    told = scripts(
        pl.Series(["שלום לכם חברים יקרים", "日本語で答えてください、お願い", "plain English text", "12345", None])
    )
    assert told.to_list() == ["Hebrew", "East Asian", "Latin", None, None]


def test_one_text_in_answer_to_many_prompts_is_told_and_short_answers_are_not():
    rng = random.Random(18)
    canned = "I can certainly help you with this. Please tell me more about it."

    def says_often(n, i):
        if i == 0 and n < 30:
            return canned.upper() if n % 2 else f" {canned} "
        return ["yes", "42", "The class is: positive."][n % 3] if i == 1 else says(rng, 30)

    found = only(SharedAnswers(), data(responses=sampled(60, 3, says_often)))
    assert (found.value, found.n, found.failure_mode, found.severity) == (30 / 120, 120, "S10", "warn")
    own = sampled(60, 3, lambda n, i: canned.replace("this", f"number {n}"))  # the same thrice, but for one prompt
    assert only(SharedAnswers(), data(responses=own)).value == 0
    again = [prompt(f"{'What is' if n % 2 else 'what  IS'} number {n // 2}") for n in range(60)]
    made = [answer(one.id, 0, canned.replace("this", f"number {n // 2}")) for n, one in enumerate(again)]
    assert only(SharedAnswers(), data(prompts=again, responses=made)).value == 0  # prompts that ask the same
    unspaced = sampled(40, 1, lambda n, i: "对不起，我不能回答这个问题，因为它涉及到一些敏感的内容。" if n < 10 else "是")
    assert only(SharedAnswers(), data(responses=unspaced)).n == 10


def test_refusals_among_chosen_and_rejected():
    rng = random.Random(17)
    made, examples = [], []
    for n in range(50):
        chosen = "I'm sorry, but no." if n < 25 else says(rng)
        two = [answer(f"p_{n}", 0, chosen), answer(f"p_{n}", 1, says(rng))]
        made += two
        examples.append(pair(*two))
    found = only(RefusalsByLabel(), data(responses=made, examples=examples))
    assert (found.value, found.severity) == (0.5, "warn")


# --- loops


def test_the_age_of_what_a_round_is_trained_on():
    old = data(**scored_round(1, lambda n, i: 1.0, version="round-1"), policy="policy")
    recipe = tp.load_recipe("iterative-dpo")

    def at(number, version, **more):
        models = recipe.models | {"policy": tp.EmbeddedModel(version=f"round-{number}")}
        name = models["policy"].model
        made = sampled(40, 2, lambda n, i: f"{n} {i} {version}", model=name, model_version=version)
        return data(responses=made, recipe=recipe.model_copy(update={"models": models}), **more)

    rounds = [at(number, f"round-{number}") for number in (1, 2, 3)]
    stale = only(PolicyAge(), at(4, "round-1", rounds=rounds))
    fresh = only(PolicyAge(), at(4, "round-4", rounds=rounds))
    assert (stale.value, stale.severity) == (3.0, "warn")
    assert stale.plot.y == (0.0, 0.0, 0.0, 3.0)
    assert (fresh.value, fresh.severity) == (0.0, "info")
    assert old.policy.model == "policy"


def test_rounds_since_gold_was_seen():
    def at(gold, **more):
        tables = scored_round(1, lambda n, i: 1.0, judge=lambda n, i: 0.5)
        tables["judgements"] = [j for j in tables["judgements"] if gold or j.model is not None]
        return data(**tables, **more)

    stale = only(RoundsSinceGold(), at(False, rounds=[at(True), at(False), at(False)]))
    assert (stale.value, stale.severity) == (3.0, "warn")
    assert only(RoundsSinceGold(), at(True, rounds=[at(True)])).value == 0


def test_diversity_that_falls_by_round():
    rng = random.Random(18)
    wide = data(responses=sampled(40, 3, lambda n, i: says(rng)))
    shared = [says(rng, 30) for _ in range(40)]
    narrow = sampled(40, 3, lambda n, i: f"{shared[n]} {says(rng, 10)}")
    found = only(DiversityRatio(), data(responses=narrow, rounds=[wide]))
    assert found.severity in ("warn", "error")
    assert len(found.plot.y) == 2
    again = data(responses=sampled(40, 3, lambda n, i: says(rng)), rounds=[wide])
    assert only(DiversityRatio(), again).severity == "info"


def test_the_divergence_is_the_mean_log_ratio_over_the_policys_own_samples():
    made = shifted(19, 0.0)
    told = logprobs(made, lambda r: 1.0, lambda r: -10.0 - (60.0 if r.model == "policy" else 1000.0))
    found = only(DivergenceFromReference(), data(responses=made, policy="policy", logprobs=told))
    assert (found.value, found.n, found.severity) == (60.0, 60, "warn")


def test_an_evaluator_that_stays_while_what_it_judges_moves_on():
    def longer(n, i):
        return says(random.Random(n * 10 + i), 150)

    def at(text, score, **more):
        return data(**scored_round(1, lambda n, i: 1.0, judge=score, text=text), **more)

    rng = random.Random(20)
    first = at(None, lambda n, i: rng.random())
    moved = at(longer, lambda n, i: 0.9 + 0.1 * rng.random(), rounds=[first])
    stayed = at(None, lambda n, i: rng.random(), rounds=[first])
    assert only(EvaluatorDrift(), moved).severity in ("warn", "error")
    assert only(ScoreShift(), moved).severity == "error"
    assert only(EvaluatorDrift(), stayed).severity == "info"
    assert only(ScoreShift(), stayed).severity == "info"


def test_the_index_of_shifted_scores_is_about_nothing_by_chance():
    rng = np.random.default_rng(21)

    def drawn(shares, n):
        scores = rng.choice(10, n, p=shares) / 10 + 0.05
        return pl.DataFrame({"prompt_id": [f"p_{i}" for i in range(n)], "criterion": "c", "score": scores})

    def shift(before, after):
        return score_shift(before, after, "c")

    even = np.full(10, 0.1)
    skew = np.array([0.02, 0.04, 0.06, 0.08, 0.1, 0.1, 0.12, 0.14, 0.16, 0.18])
    chance = [shift(drawn(even, 300), drawn(even, 300)).value for _ in range(60)]
    assert abs(np.mean(chance)) < 0.02
    truth = float(((skew - even) * np.log(skew / even)).sum())
    found = [shift(drawn(even, 300), drawn(skew, 300)) for _ in range(200)]
    assert 0.9 <= np.mean([f.low <= truth <= f.high for f in found]) <= 0.99


def test_criteria_of_the_anchors_that_get_worse_and_what_is_forgotten():
    rng = random.Random(22)

    def at(level, *, prompts=range(40), **more):
        def score(n, i):
            return min(max(level + rng.gauss(0, 0.05), 0), 1)

        tables = scored_round(1, lambda n, i: 1.0, judge=score, prompts=prompts)
        tables["judgements"] = [j for j in tables["judgements"] if j.model is not None]
        return data(**tables, **more)

    worse = at(0.5, rounds=[at(0.8)])
    found = only(AnchorRegression(), worse)
    assert found.low < -0.3 < found.high
    assert (found.severity, found.subject) == ("error", "judge: good")
    assert only(AnchorRegression(), at(0.8, rounds=[at(0.8)])).severity == "info"
    rounds = [at(0.9, prompts=range(30)), at(0.7, prompts=range(20, 60))]
    back = only(BackwardTransfer(), at(0.6, prompts=range(60), rounds=rounds))
    assert back.value == pytest.approx((30 * -0.3 + 30 * -0.1) / 60, abs=0.03)
    assert back.n == 60
    assert back.severity == "error"
    other = [judged([response(f"p_{n}", 0)], by="new", scores=(0.1,)) for n in range(30)]
    assert list(AnchorRegression().measure(data(judgements=other, rounds=[at(0.8)]))) == []


def test_the_rounds_of_a_loop_are_found_beside_its_last(tmp_path):
    from test_rounds import declared, looped
    from triptych.store.run import open_run
    from world import world

    with world() as (_, base_url):
        loop = {"rounds": 3, "next": declared(base_url, "second", "third")}
        tp.run(looped(base_url, loop), tmp_path / "run", limit=4)
    last = Data.of(open_run(tmp_path / "run"))
    assert [each.responses.collect()["model"][0] for each in last.history] == ["policy", "second", "third"]
    assert [len(each.rounds) for each in last.history] == [0, 1, 2]
    assert only(PolicyAge(), last).value == 0
    alone = Data.of(open_run(tmp_path / "run" / "round-1"))
    assert alone.rounds == ()


# --- what data sets hold


def hostile():
    odd = ["", " ", "\u202eabc", "a" * 200_000, "שלום", "\x00", "<script>alert(1)</script>", "🙂" * 500]
    one = [answer("p_0", 0, "x")]
    same = sampled(30, 3, lambda n, i: "the same")
    nan = [judged([r], scores=(float("nan"),)) for r in same] + [judged([r], scores=(math.inf,)) for r in same[:5]]
    chosen = [pair(same[3 * n], same[3 * n + 1], margin=float("nan") if n % 2 else None) for n in range(30)]
    empty = {name: [] for name in ("prompts", "responses", "judgements", "examples")}
    yield "nothing", data()
    yield "empty", data(**empty)
    yield "one", data(prompts=[prompt("x")], responses=one)
    yield "same", data(prompts=[prompt("a b")] * 2, responses=same, judgements=nan, examples=chosen, policy="m")
    yield "odd", data(prompts=[prompt(t) for t in odd], responses=sampled(30, 4, lambda n, i: odd[(n + i) % 8]))
    lost = pl.DataFrame(
        {
            "response_id": [r.id for r in same[:4]],
            "logprob": [float("nan"), -math.inf, None, -1.0],
            "tokens": [0, 1, None, 2],
            "reference_logprob": [None, 1.0, math.inf, -2.0],
        }
    )
    yield "logprobs", data(responses=same, examples=chosen, policy="m", logprobs=lost)
    yield "rounds", data(**empty, rounds=[data(**empty)])
    yield "rounds", data(responses=same, judgements=nan, rounds=[data(responses=one), data(**empty)], policy="m")
    nulls = lazy("responses", same).with_columns(pl.lit(None, dtype=pl.String).alias("model"))
    yield "nulls", Data({"responses": nulls, "examples": lazy("examples", chosen)}, policy="m")
    yield "tests", data(prompts=[prompt(t) for t in odd], test_sets={"a": [], "b": odd, "c": ["1 2 3 4 5 6 7 8 9"]})


@pytest.mark.parametrize(("name", "made"), list(hostile()))
def test_odd_data_break_nothing_and_give_no_false_certainty(name, made):
    found = audit(made, [*SYNTHESIS, *LOOP])
    assert [each for each in found.unmeasured if each.defect] == []
    for each in found.findings:
        assert all(math.isfinite(v) for v in (each.value, each.low, each.high) if v is not None), each
        if each.prompts < 20:
            assert each.severity == "info"


def test_edits_build_a_recipe():
    recipe = tp.load_recipe("simpo")
    place = next(i for i, one in enumerate(recipe.synthesis) if one.kind == "sample")
    asked = recipe.synthesis[place].model
    name = recipe.models[asked if isinstance(asked, str) else asked[0]].model
    cool = tp.load_recipe("simpo", [f"synthesis.{place}.temperature=0.2"])
    rng = random.Random(23)
    base = [says(rng) for _ in range(40)]
    made = sampled(40, 3, lambda n, i: base[n], model=name, finish_reason="length")
    tables = {"responses": lazy("responses", made)}
    hotter = only(SiblingCosine(), Data(tables, recipe=cool)).edits
    assert hotter == {f"synthesis.{place}.temperature": 1.0}
    longer = only(CutOff(), Data(tables, recipe=recipe)).edits
    assert longer == {f"synthesis.{place}.max_tokens": 2 * recipe.synthesis[place].max_tokens}
    edits = [f"{where}={value}" for where, value in (hotter | longer).items()]
    assert tp.load_recipe("simpo", edits).synthesis[place].temperature == (1.0,)


def test_no_two_diagnostics_share_a_name_and_all_modes_are_there():
    both = [*SYNTHESIS, *LOOP]
    assert max(Counter(each.name for each in both).values()) == 1
    wanted = {f"S{n}" for n in range(1, 11)} | {f"L{n}" for n in range(1, 5)}
    assert {each.failure_mode for each in both} == wanted


# --- embeddings


class Embeds(BaseHTTPRequestHandler):
    """An endpoint of embeddings: how often a text says a, b and c, and 1. What says `refuse` is refused."""

    asked: ClassVar[list[str]] = []

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        text = body["input"]
        self.asked.append(f"{self.path} {body['model']} {text}")
        vector = [float(text.count(letter)) for letter in "abc"] + [1.0]
        said = {"data": [{"embedding": vector, "index": 0}], "usage": {"prompt_tokens": 7, "total_tokens": 7}}
        answer = json.dumps({"error": {"message": "no"}} if "refuse" in text else said).encode()
        self.send_response(400 if "refuse" in text else 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


def test_embeddings_come_from_an_endpoint_once(tmp_path):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Embeds)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    Embeds.asked.clear()
    model = tp.OpenAIModel(model="e5", base_url=f"http://127.0.0.1:{server.server_port}/v1")
    said = ["aab", "abc", "refuse", "", "c" * 5000]
    made = [answer(f"p_{n}", i, text) for n in range(2) for i, text in enumerate(said)]
    try:
        found = embedded(data(responses=made), model, tmp_path / "calls.sqlite")
        first = len(Embeds.asked)
        again = embedded(data(responses=made), model, tmp_path / "calls.sqlite")
    finally:
        server.shutdown()
        server.server_close()
    by_id = dict(found.iter_rows())
    assert by_id[made[0].id] == [2, 1, 0, 1]
    assert by_id[made[4].id] == [0, 0, 2000, 1]
    assert set(by_id) == {made[n].id for n in (0, 1, 4, 5, 6, 9)}
    assert again.equals(found)
    assert Counter(Embeds.asked)["/v1/embeddings e5 aab"] == 1
    assert all("refuse" in asked for asked in Embeds.asked[first:])
    cosines = siblings(data(responses=made, embeddings=found).vectors)
    rows = np.array([by_id[made[n].id] for n in (0, 1, 4)])
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    assert cosines["cosine"][0] == pytest.approx((rows @ rows.T)[np.triu_indices(3, 1)].mean())


@pytest.mark.slow
def test_the_embedded_model_gives_embeddings_where_a_pooling_is_declared(tmp_path):
    pytest.importorskip("xllamacpp")
    texts = ["A cat sleeps on the sofa.", "A cat is sleeping on a couch.", "Interest rates rose by two per cent."]
    made = [answer("p_0", i, text) for i, text in enumerate(texts)]
    found = embedded(data(responses=made), tp.EmbeddedModel(pooling="mean", slots=1), tmp_path / "calls.sqlite")
    rows = np.array(found["vector"].to_list())
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    assert rows[0] @ rows[1] > rows[0] @ rows[2]
    with pytest.raises(EndpointDown, match="declare a pooling"):
        embedded(data(responses=made[:1]), tp.EmbeddedModel(slots=1), tmp_path / "calls.sqlite")


@pytest.mark.parametrize("prompts", [20, 40, 200])
def test_information_about_sources_is_not_known_exactly_where_all_prompts_say_the_same(prompts):
    found = information(np.tile([1.0, 0.0, 0.0, 1.0], (prompts, 1)), 2 * prompts)
    often = 1 - 3 / prompts  # so often the source tells the label, and one sample in twenty does not show that it errs
    assert found.low <= 1 + often * np.log2(often) + (1 - often) * np.log2(1 - often)
    assert found.high == 1.0
