"""Intervals hold the truth as often as they say: simulations with known truth, of prompts of unequal sizes that are alike.

Each estimator at few prompts and more, where nothing is to be seen and where much is. Cheap versions with fixed seeds of
what docs/auditing.md tells of many repetitions. Above 98 % is allowed where rates are near 0 or 1 and prompts few.
"""

from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest

pytest.importorskip("statsmodels")
from scipy.stats import norm

from triptych.audit.coefficients import cohen_kappa, gwet_ac1, krippendorff_alpha
from triptych.audit.estimates import (
    auc,
    bounded_mean,
    correlation,
    difference,
    effective_share,
    logit,
    mean,
    quotient,
    tail_shape,
)
from triptych.audit.told_apart import right_of_pairs, told_apart

TIMES = 200


def prompts_of(rng, n):
    """Which prompt each row is of: 2 to 13 rows a prompt, mostly few."""
    return np.repeat(np.arange(n), 1 + rng.geometric(0.35, n).clip(1, 12))


def alike(rng, prompt, within=0.3):
    """Standard normal, with a correlation of 0.3 between rows of a prompt."""
    shared = rng.standard_normal(prompt.max() + 1)[prompt]
    return math.sqrt(within) * shared + math.sqrt(1 - within) * rng.standard_normal(len(prompt))


def table(prompt, **columns):
    return pl.DataFrame({"prompt_id": prompt, **columns})


def coverage(n, estimate, truth, times=TIMES):
    """The share of intervals that hold the truth, of `times` samples of n prompts."""
    found = [estimate(np.random.default_rng([number, n]), n) for number in range(times)]
    assert all(one is not None for one in found)
    return sum(one.low - 1e-12 <= truth <= one.high + 1e-12 for one in found) / times


def of_mean(spread):
    return lambda rng, n: mean(table(p := prompts_of(rng, n), v=np.exp(spread * alike(rng, p))), "v")


def of_rate(rate):
    return lambda rng, n: bounded_mean(table(p := prompts_of(rng, n), v=alike(rng, p) < norm.ppf(rate)), "v")


def of_rates(one, other):
    def estimate(rng, n):
        prompt = prompts_of(rng, n)
        second = rng.random(len(prompt)) < 0.5
        hit = alike(rng, prompt) < norm.ppf(np.where(second, other, one))
        return difference(table(prompt, v=hit, s=second), "v", "s", within=(0.0, 1.0))

    return estimate


def of_two(compare, one, other):
    def estimate(rng, n):
        prompt = prompts_of(rng, n)
        second = rng.random(len(prompt)) < 0.5
        values = np.exp(0.5 * alike(rng, prompt)) * np.where(second, other, one)
        return compare(table(prompt, v=values, s=second), "v", "s")

    return estimate


def of_correlation(rho, ranks):
    def estimate(rng, n):
        prompt = prompts_of(rng, n)
        x = alike(rng, prompt)
        y = rho * x + math.sqrt(1 - rho**2) * alike(rng, prompt)
        return correlation(table(prompt, x=x, y=y), "x", "y", ranks=ranks)

    return estimate


def of_auc(apart):
    def estimate(rng, n):
        prompt = prompts_of(rng, n)
        label = alike(rng, prompt) < norm.ppf(0.4)
        return auc(table(prompt, s=alike(rng, prompt) + apart * label, l=label), "s", "l")

    return estimate


def of_logit(slope):
    def estimate(rng, n):
        prompt = prompts_of(rng, n)
        x, other = alike(rng, prompt), alike(rng, prompt)
        y = rng.random(len(prompt)) < 1 / (1 + np.exp(-slope * x))
        return logit(table(prompt, y=y, x=x, o=other), "y", ["x", "o"])["x"]

    return estimate


E_HALF = math.exp(0.125)
CASES = {
    "a mean of skewed numbers": (of_mean(0.7), math.exp(0.245)),
    "a rate of a half": (of_rate(0.5), 0.5),
    "a rate of 2 %": (of_rate(0.02), 0.02),
    "a rate of 98 %": (of_rate(0.98), 0.98),
    "two rates, of 2 % and 98 %": (of_rates(0.02, 0.98), 0.96),
    "two rates, both of a half": (of_rates(0.5, 0.5), 0.0),
    "a difference of means": (of_two(difference, 1.0, 2.0), E_HALF),
    "a quotient of means": (of_two(quotient, 1.0, 3.0), 3.0),
    "a correlation of 0": (of_correlation(0.0, False), 0.0),
    "a correlation of 0.95": (of_correlation(0.95, False), 0.95),
    "a rank correlation of 0": (of_correlation(0.0, True), 0.0),
    "a rank correlation of 0.9": (of_correlation(0.9, True), 6 / math.pi * math.asin(0.45)),
    "an area of a half": (of_auc(0.0), 0.5),
    "an area of 95 %": (of_auc(2.3), norm.cdf(2.3 / math.sqrt(2))),
    "a coefficient of 0": (of_logit(0.0), 0.0),
    "a coefficient of 2": (of_logit(2.0), 2.0),
}


@pytest.mark.parametrize("n", [20, 50, 200])
@pytest.mark.parametrize("case", CASES)
def test_the_interval_of_an_estimate_holds_the_truth(case, n):
    estimate, truth = CASES[case]
    assert 0.9 <= coverage(n, estimate, truth) <= (0.995 if n < 200 else 0.985)


def _said(rng, n, together, rate, raters):
    """What raters say of each of some prompts' rows: yes at a rate; how like each other they are is `together`."""
    prompt = prompts_of(rng, n)
    truth = alike(rng, prompt)
    heard = [math.sqrt(together) * truth + math.sqrt(1 - together) * alike(rng, prompt) for _ in range(raters)]
    return prompt, [(each < norm.ppf(rate)).astype(int) for each in heard]


def _agreement(measure, together, rate):
    def estimate(rng, n):
        prompt, said = _said(rng, n, together, rate, 2 if measure is cohen_kappa else 3)
        if measure is cohen_kappa:
            return cohen_kappa(*said, prompt)
        return measure(np.column_stack([(np.array(said) == label).sum(0) for label in (0, 1)]), prompt)

    return estimate


@pytest.mark.parametrize("n", [20, 50])
@pytest.mark.parametrize(("together", "rate"), [(0.0, 0.5), (0.97, 0.5), (0.9, 0.05)])
@pytest.mark.parametrize("measure", [cohen_kappa, krippendorff_alpha, gwet_ac1])
def test_the_interval_of_a_coefficient_of_agreement_holds_the_truth_with_a_rare_label_too(measure, together, rate, n):
    estimate = _agreement(measure, together, rate)
    truth = estimate(np.random.default_rng(1), 100_000).value
    found = [estimate(np.random.default_rng([number, n]), n) for number in range(TIMES)]
    told = [one for one in found if one is not None]  # where nobody ever says the rare label there is no coefficient
    assert len(told) >= 0.95 * TIMES
    assert 0.9 <= sum(one.low <= truth <= one.high for one in told) / len(told) <= 0.985


# --- two kinds of rows, told apart by a classifier


def _pairs_of_rows(rng, n, apart):
    """Two rows to each prompt, one of each kind, that have what the prompt is about in common: 300 features."""
    label = np.tile([True, False], n)
    about, own = rng.standard_normal((n, 1, 300)), rng.standard_normal((n, 2, 300))
    numbers = (0.6 * about + own).reshape(2 * n, 300) / np.sqrt(np.arange(1, 301))
    numbers[:, 5:25] += apart * label[:, None]
    return np.repeat(np.arange(n), 2), label, numbers / np.linalg.norm(numbers, axis=1, keepdims=True)


@pytest.mark.parametrize("n", [50, 150])
def test_the_area_of_a_classifier_that_has_nothing_to_tell_is_a_half_within_its_interval(n):
    held = 0
    for number in range(120):
        prompt, label, numbers = _pairs_of_rows(np.random.default_rng([number, n]), n, 0.0)
        found = told_apart(table(prompt, l=label), numbers, "l")
        held += found.low <= 0.5 <= found.high
    assert held / 120 >= 0.9  # in five folds it would be 83 to 90 %


def test_a_classifier_that_has_something_to_tell_is_measured_on_prompts_that_it_was_not_fitted_on():
    prompt, label, numbers = _pairs_of_rows(np.random.default_rng(3), 200, 0.4)
    found = told_apart(table(prompt, l=label), numbers, "l")
    assert found.low > 0.75
    assert (found.n, found.prompts) == (200, 100)
    unlike = np.where(
        np.arange(400)[:, None] == np.arange(400), 1.0, 0.0
    )  # a feature for each row: known by heart, no use
    assert told_apart(table(prompt, l=label), unlike, "l").value == pytest.approx(0.5, abs=0.1)
    assert told_apart(table(prompt[:2], l=label[:2]), numbers[:2], "l") is None


@pytest.mark.parametrize("n", [40, 150])
def test_the_share_of_pairs_whose_first_is_known_is_a_half_within_its_interval(n):
    held = 0
    for number in range(TIMES):
        rng = np.random.default_rng([number, n])
        prompt = prompts_of(rng, n)
        sides = rng.standard_normal((2, len(prompt), 7)) + 0.5 * rng.standard_normal(n)[prompt][None, :, None]
        found, _ = right_of_pairs(table(prompt), *sides)
        held += found.low <= 0.5 <= found.high
    assert 0.9 <= held / TIMES <= 0.985


# --- weights


def _share_of(weights):
    sums = np.column_stack([weights, weights**2, np.ones_like(weights)])
    return effective_share(sums, weights)


WEIGHTS = {
    "likelihoods": (lambda rng, n: np.exp(-rng.gamma(2, 1, n)), (1 / 4) ** 2 / (1 / 9)),
    "level": (lambda rng, n: rng.random(n), 0.75),
    "log-normal 1": (lambda rng, n: np.exp(rng.standard_normal(n)), math.exp(-1)),
    "log-normal 2": (lambda rng, n: np.exp(2 * rng.standard_normal(n)), math.exp(-4)),
    "Pareto 0.7": (lambda rng, n: rng.random(n) ** -0.7, 0.0),  # an infinite variance
}


@pytest.mark.parametrize("n", [20, 100, 500])
@pytest.mark.parametrize("kind", WEIGHTS)
def test_the_effective_share_of_weights_is_bounded_from_below_only_where_a_sample_can_tell(kind, n):
    drawn, truth = WEIGHTS[kind]
    told = [_share_of(drawn(np.random.default_rng([number, n]), n)) for number in range(TIMES)]
    assert sum(found.low <= truth <= found.high for found, _ in told) / TIMES >= 0.9
    light = kind in ("likelihoods", "level") and n >= 100
    unbounded = sum(bool(said) for _, said in told) / TIMES
    assert unbounded <= 0.25 if light else unbounded >= 0.85
    assert all((found.low == 0) == bool(said) for found, said in told)


def test_the_shape_of_a_tail_is_that_of_the_distribution_it_is_drawn_from():
    rng = np.random.default_rng(7)
    for shape in (0.2, 0.5, 1.0):
        assert tail_shape(rng.random(100_000) ** -shape)[0] == pytest.approx(shape, abs=0.1)
    assert tail_shape(rng.random(100_000))[0] == pytest.approx(-1, abs=0.1)
    assert tail_shape(np.exp(rng.standard_normal(50))) == (math.inf, 10)
    assert tail_shape(np.ones(1000))[0] == -1
