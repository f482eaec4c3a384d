"""Merging: a judge without noise is given back, levels and places are taken out, errors mean what they say."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.stats import f as f_distribution
from scipy.stats import kstest

from hmralign.critics.vlm.answers import Preference
from hmralign.critics.vlm.merge import (
    MergeOptions,
    _win_chances,
    induced_preferences,
    mean_scores,
    mean_z_scores,
    merge,
    merge_preferences,
)
from hmralign.critics.vlm.plan import pairs, permutations, windows
from hmralign.structures import Critique, Finding, InputError, Verdict


def judged(orders, quality, *, levels=None, slope=0.0, noise=0.0, seed=0) -> list[Critique]:
    """A judge that gives quality + level of the call + slope * place + noise."""
    random = np.random.default_rng(seed)
    calls = []
    for number, order in enumerate(orders):
        level = 0.0 if levels is None else levels[number]
        place = np.arange(len(order)) / max(1, len(order) - 1) - 0.5
        said = np.asarray(quality)[list(order)] + level + slope * place + noise * random.standard_normal(len(order))
        calls.append(Critique(tuple(Finding(i, float(s)) for i, s in zip(order, said, strict=True))))
    return calls


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


QUALITY = np.linspace(30, 70, 12)[np.random.default_rng(5).permutation(12)]


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), window=st.integers(3, 12), renaming=st.permutations(range(12)))
def test_a_judge_without_noise_is_given_back_whatever_the_order_of_the_input(seed, window, renaming):
    """Windows, order of calls and numbering of hypotheses do not matter."""
    orders = windows(12, window, 2, seeded(seed))
    assert np.allclose(merge(judged(orders, QUALITY), 12).scores, QUALITY, atol=1e-9)
    renamed_quality = np.empty(12)
    renamed_quality[renaming] = QUALITY
    renamed = [tuple(renaming[i] for i in order) for order in reversed(orders)]
    assert np.allclose(merge(judged(renamed, renamed_quality), 12).scores[renaming], QUALITY, atol=1e-9)


def test_levels_of_calls_and_a_planted_position_bias_are_found_and_removed():
    orders = windows(12, 6, 2, seeded(3))
    levels = np.array([9.0, -4.0, 3.0, -8.0])
    calls = judged(orders, QUALITY, levels=levels, slope=8.0)
    merged = merge(calls, 12)
    assert np.allclose(merged.scores, QUALITY, atol=1e-9) and np.allclose(merged.levels, levels, atol=1e-9)
    assert abs(merged.position_slope - 8) < 1e-9
    assert np.abs(mean_scores(calls, 12) - QUALITY).max() > 4
    ignored = merge(calls, 12, MergeOptions(position="ignore"))
    assert np.isnan(ignored.position_slope) and np.abs(ignored.scores - QUALITY).max() > 0.5
    known = merge(calls, 12, MergeOptions(position=8.0))
    assert np.allclose(known.scores, QUALITY, atol=1e-9) and known.position_slope == 8


def test_the_slope_is_unbiased_and_its_error_is_the_one_it_says():
    slopes, errors = [], []
    for seed in range(300):
        orders = windows(12, 6, 2, seeded(seed))
        merged = merge(judged(orders, QUALITY, slope=6.0, noise=4.0, seed=seed), 12)
        slopes.append(merged.position_slope)
        errors.append(merged.position_slope_error)
    assert abs(np.mean(slopes) - 6) < 4 * np.std(slopes) / 300**0.5
    assert abs(np.mean(errors) / np.std(slopes) - 1) < 0.2


def _oracle(calls, count):
    """Dense regression with explicit constraints: levels sum to zero. Written without the code's decomposition."""
    rows, scores = [], []
    for c, call in enumerate(calls):
        for k, f in enumerate(call.findings):
            row = np.zeros(count + len(calls) + 1)
            row[f.hypothesis], row[count + c], row[-1] = 1, 1, k / (len(call.findings) - 1) - 0.5
            rows.append(row)
            scores.append(f.score)
    X, y = np.array(rows), np.array(scores)
    basis = np.eye(count + len(calls) + 1)[:, [i for i in range(count + len(calls) + 1) if i != count + len(calls) - 1]]
    basis[count + len(calls) - 1, count : count + len(calls) - 1] = -1  # the last level is minus the others
    beta, *_ = np.linalg.lstsq(X @ basis, y, rcond=None)
    left = y - X @ basis @ beta
    variance = left @ left / (len(y) - basis.shape[1])
    covariance = variance * np.linalg.inv((X @ basis).T @ X @ basis)[:count, :count]
    centring = np.eye(count) - 1 / count
    return beta[:count], np.sqrt(np.diag(centring @ covariance @ centring.T)), variance**0.5, beta[-1]


@pytest.mark.parametrize("seed", range(5))
def test_scores_and_errors_are_those_of_an_independent_regression(seed):
    orders = windows(11, 5, 3, seeded(seed))
    calls = judged(orders, QUALITY[:11], levels=np.arange(len(orders)) * 3.0, slope=-5.0, noise=3.0, seed=seed)
    merged = merge(calls, 11)
    scores, errors, noise, slope = _oracle(calls, 11)
    assert np.allclose(merged.scores, scores, atol=1e-8) and np.allclose(merged.standard_error, errors, atol=1e-8)
    assert abs(merged.noise - noise) < 1e-8 and abs(merged.position_slope - slope) < 1e-8


def test_standard_errors_cover_the_truth():
    inside = total = 0
    for seed in range(200):
        orders = windows(12, 6, 2, seeded(seed))
        merged = merge(judged(orders, QUALITY, levels=np.arange(4) * 5.0, noise=5.0, seed=seed), 12)
        wrong = (merged.scores - merged.scores.mean()) - (QUALITY - QUALITY.mean())
        inside += int((np.abs(wrong) < 2.31 * merged.standard_error).sum())  # t, 8 degrees of freedom, 95 %
        total += 12
    assert 0.92 < inside / total < 0.98


def test_equal_scores_come_out_equal():
    random = np.random.default_rng(0)
    for seed in range(20):
        quality = random.integers(8, 13, 12) * 5.0
        merged = merge(judged(windows(12, 6, 2, seeded(seed)), quality, levels=[5.0, -5, 5, -5], slope=10.0), 12)
        assert (merged.scores == quality).all()


def test_one_call_is_taken_as_it_is_and_says_nothing_of_its_noise():
    calls = judged(permutations(6, 1, seeded(0)), QUALITY[:6])
    merged = merge(calls, 6)
    assert np.allclose(merged.scores, QUALITY[:6]) and merged.informative
    assert np.isnan(merged.standard_error).all() and np.isnan(merged.noise) and np.isnan(merged.position_slope)
    assert np.isnan(merged.p_value)
    verdict = merged.verdict(calls)
    assert isinstance(verdict, Verdict) and verdict.critiques == tuple(calls)
    assert torch.allclose(verdict.scores, torch.tensor(QUALITY[:6]).float())


def test_constant_scores_are_not_informative():
    for count in (1, 2):
        merged = merge(judged(permutations(6, count, seeded(0)), np.full(6, 55.0)), 6)
        assert not merged.informative and np.allclose(merged.scores, 55)
    shifted = merge(judged(windows(12, 6, 2, seeded(1)), np.full(12, 55.0), levels=[1.0, 2, 3, -6]), 12)
    assert not shifted.informative and np.allclose(shifted.scores, 55)


GROUPS = 200
AT_MOST = 0.05 + 3 * (0.05 * 0.95 / GROUPS) ** 0.5
"""What a share of 0.05 can look like in so many groups, three standard errors above."""

DESIGNS = {
    "windows of 10, mirrored": (20, lambda g: windows(20, 10, 2, g, mirrored=True)),
    "windows of 5": (12, lambda g: windows(12, 5, 3, g)),
    "all, mirrored": (8, lambda g: permutations(8, 2, g, mirrored=True)),
}
NOISE = {
    "normal": lambda r, n: 6 * r.standard_normal(n),
    "multiples of 5": lambda r, n: 5 * np.round(6 * r.standard_normal(n) / 5),
    "hardly any": lambda r, n: np.round(0.5 * r.standard_normal(n)),
    "heavy tails": lambda r, n: 4 * r.standard_t(3, n),
    "anything": lambda r, n: np.round(r.uniform(-50, 50, n)),
}


def share_informative(design, noise, quality=0.0, options=None, groups=GROUPS) -> float:
    """Of judges with levels and a position bias whose hypotheses differ by `quality` (standard deviation, points)."""
    size, orders = DESIGNS[design]
    random, found = np.random.default_rng(0), 0
    for seed in range(groups):
        calls, true = [], 50 + quality * random.standard_normal(size)
        for order in orders(seeded(seed)):
            said = true[list(order)] + 5 * random.standard_normal() + np.linspace(-4, 4, len(order))
            said = np.clip(said + NOISE[noise](random, len(order)), 0, 100)
            calls.append(Critique(tuple(Finding(i, float(x)) for i, x in zip(order, said, strict=True))))
        found += merge(calls, size, options).informative
    return found / groups


@pytest.mark.parametrize(
    ("design", "noise"), [*((d, "normal") for d in DESIGNS), *(("all, mirrored", n) for n in list(NOISE)[1:])]
)
def test_of_groups_in_which_a_judge_sees_nothing_at_most_alpha_pass(design, noise):
    assert share_informative(design, noise) <= AT_MOST


@pytest.mark.parametrize(("design", "least"), [("windows of 10, mirrored", 0.98), ("all, mirrored", 0.75)])
def test_of_groups_in_which_a_judge_sees_clear_differences_most_pass(design, least):
    assert share_informative(design, "normal", quality=12, groups=100) >= least


def test_noise_passes_only_where_it_is_told_to():
    everything = MergeOptions(alpha=1.0, min_reliability=0.0)
    assert share_informative("all, mirrored", "normal", options=everything, groups=50) == 1
    for wrong in (0.0, 1.1, float("nan")):
        with pytest.raises(InputError, match="alpha is"):
            MergeOptions(alpha=wrong)


def test_both_bounds_count():
    """One group on which the two differ in each direction."""
    calls = judged(windows(12, 6, 2, seeded(3)), np.linspace(40, 60, 12), noise=4.0, seed=3)
    merged = merge(calls, 12)
    assert 0.001 < merged.p_value < 0.2 and 0.2 < merged.reliability < 0.95
    for alpha, share in ((merged.p_value * 0.99, 0.0), (1.0, merged.reliability + 0.01)):
        assert not merge(calls, 12, MergeOptions(alpha=alpha, min_reliability=share)).informative
    assert merge(calls, 12, MergeOptions(alpha=merged.p_value, min_reliability=merged.reliability)).informative


def test_the_p_value_is_uniform_where_nothing_differs_and_that_of_nested_regressions():
    found = []
    for seed in range(GROUPS):
        orders = windows(12, 6, 2, seeded(seed))
        calls = judged(orders, np.full(12, 50.0), levels=np.arange(4) * 7.0, slope=9.0, noise=6.0, seed=seed)
        found.append(merge(calls, 12).p_value)
        if seed < 10:
            item = np.array([finding.hypothesis for call in calls for finding in call.findings])
            rows = [(k, n, said.score) for n, c in enumerate(calls) for k, said in enumerate(c.findings)]
            place, call, score = (np.array(column) for column in zip(*rows, strict=True))
            without = np.column_stack([np.eye(4)[call], place])
            both = np.column_stack([without, np.eye(12)[item]])
            left = [float(np.square(score - X @ np.linalg.lstsq(X, score)[0]).sum()) for X in (without, both)]
            freedom = len(score) - np.linalg.matrix_rank(both)
            expected = f_distribution.sf((left[0] - left[1]) / 11 / (left[1] / freedom), 11, freedom)
            assert found[-1] == pytest.approx(expected, rel=1e-6)
    assert kstest(found, "uniform").pvalue > 0.01


def test_reliability_is_the_squared_correlation_with_quality():
    said, true = [], []
    for seed in range(200):
        quality = 50 + 8 * np.random.default_rng(1000 + seed).standard_normal(20)
        merged = merge(judged(windows(20, 10, 2, seeded(seed)), quality, noise=8.0, seed=seed), 20)
        said.append(merged.reliability)
        true.append(np.corrcoef(merged.scores, quality)[0, 1] ** 2)
    assert abs(np.mean(said) - np.mean(true)) < 0.05


def test_calls_that_share_nothing_are_refused_or_given_one_mean():
    calls = judged([(0, 1, 2), (3, 4, 5)], [50, 60, 70, 20, 30, 40], levels=[0.0, 30.0])
    with pytest.raises(InputError, match="hypotheses 0 and 3 are in calls that share no hypothesis"):
        merge(calls, 6)
    merged = merge(calls, 6, MergeOptions(disconnected="centre", position="ignore"))
    assert np.allclose(merged.scores, [50, 60, 70, 50, 60, 70])


def test_what_cannot_be_merged_is_named():
    with pytest.raises(InputError, match="no call judged hypothesis 2"):
        merge(judged([(0, 1)], QUALITY), 3)
    with pytest.raises(InputError, match="hypothesis 5; the group has 0 to 3"):
        merge(judged([(0, 1, 5)], QUALITY), 4)
    with pytest.raises(InputError, match="call 0 judged nothing"):
        merge([Critique(())], 2)
    with pytest.raises(InputError, match="at least 2"):
        merge(judged([(0,)], QUALITY), 1)
    with pytest.raises(InputError, match="0 to 1"):
        MergeOptions(min_reliability=2.0)


def test_plain_means_and_z_scores():
    calls = judged([(0, 1, 2), (2, 1, 0)], [10.0, 20, 60], levels=[0.0, 10.0])
    assert np.allclose(mean_scores(calls, 3), [15, 25, 65])
    z = (np.array([10.0, 20, 60]) - 30) / np.std([10.0, 20, 60])
    assert np.allclose(mean_z_scores(calls, 3), z)
    assert np.allclose(mean_z_scores(judged([(0, 1)], [5.0, 5]), 2), 0)


# -- pairs ------------------------------------------------------------------------------------------------------------


def _answers(size, strength, rounds, seed, bias=0.0, repeats=1) -> list[Preference]:
    random = np.random.default_rng(seed)
    calls = [c for r in range(repeats) for c in pairs(size, rounds, seeded(seed + r))]
    chance = [1 / (1 + np.exp(-(strength[a] - strength[b] + bias))) for a, b in calls]
    return [Preference(a, b, float(random.random() < p)) for (a, b), p in zip(calls, chance, strict=True)]


def test_strengths_are_the_most_probable_ones_by_another_optimiser():
    answers = _answers(8, np.linspace(-2, 2, 8), 3, 0)
    merged = merge_preferences(answers, 8, MergeOptions(position="ignore"))

    def cost(s):
        left = np.array([s[p.first] - s[p.second] for p in answers])
        wins = np.array([p.first_wins for p in answers])
        return np.sum(np.logaddexp(0, left) - wins * left) + s @ s / 8

    s = minimize(cost, np.zeros(8), tol=1e-12).x
    expected = [100 * np.mean([1 / (1 + np.exp(s[j] - s[i])) for j in range(8) if j != i]) for i in range(8)]
    assert np.allclose(merged.scores, expected, atol=1e-3)


def test_a_side_that_always_wins_stays_finite_and_ties_give_equal_scores():
    perfect = [Preference(a, b, float(a < b)) for a, b in pairs(8, 3, seeded(0))]
    merged = merge_preferences(perfect, 8)
    assert np.isfinite(merged.scores).all() and (np.diff(merged.scores) < 0).all() and merged.informative
    assert 0 < merged.scores.min() and merged.scores.max() < 100
    ties = merge_preferences([Preference(a, b, 0.5) for a, b in pairs(8, 3, seeded(0))], 8)
    assert np.allclose(ties.scores, 50) and not ties.informative


def test_a_bias_towards_the_first_is_found():
    found = [
        merge_preferences(_answers(10, np.linspace(-1, 1, 10), 4, seed, bias=1.0, repeats=3), 10).position_slope
        for seed in range(10)
    ]
    assert abs(np.mean(found) + 1) < 0.25  # logits, negative: the first is favoured


@pytest.mark.parametrize("bias", [0.0, 1.0])
@pytest.mark.parametrize(("size", "rounds"), [(8, 2), (8, 3), (20, 2)])
def test_of_groups_judged_in_pairs_by_the_toss_of_a_coin_at_most_alpha_pass(size, rounds, bias):
    found = [
        merge_preferences(_answers(size, np.zeros(size), rounds, seed, bias), size).informative
        for seed in range(GROUPS)
    ]  # fmt: skip
    assert np.mean(found) <= AT_MOST


@pytest.mark.parametrize("position", ["fit", "ignore", 0.7])
def test_the_p_value_of_pairs_is_that_of_nested_regressions(position):
    """Beside a bias where it is fitted, against a known one, or against none."""
    answers = _answers(8, np.linspace(-2, 2, 8), 3, seed=1, bias=1.5)
    X = np.zeros((len(answers), 8))
    for row, answer in enumerate(answers):
        X[row, answer.first], X[row, answer.second] = 1, -1
    known = 0.5 if isinstance(position, str) else 1 / (1 + np.exp(position))
    y = np.array([p.first_wins for p in answers]) - known
    without = np.ones((len(y), int(position == "fit")))
    both = np.column_stack([without, X])
    left = [
        float(np.square(y - A @ np.linalg.lstsq(A, y)[0]).sum()) if A.size else float(y @ y) for A in (without, both)
    ]
    freedom = len(y) - np.linalg.matrix_rank(both)
    expected = f_distribution.sf((left[0] - left[1]) / 7 / (left[1] / freedom), 7, freedom)
    found = merge_preferences(answers, 8, MergeOptions(position=position)).p_value
    assert found == pytest.approx(expected, rel=1e-6) and 1e-6 < found < 0.9


def test_of_groups_judged_in_pairs_by_who_sees_clear_differences_most_pass():
    strengths = np.random.default_rng(0).permuted(np.tile(np.linspace(-4, 4, 12), (GROUPS, 1)), axis=1)
    found = [merge_preferences(_answers(12, s, 3, seed), 12).informative for seed, s in enumerate(strengths)]
    assert np.mean(found) >= 0.9
    ring = merge_preferences(_answers(12, strengths[0], 1, 0), 12)
    assert np.isnan(ring.p_value), "one neighbour on either side leaves nothing to know chance by"


def test_win_chances_have_their_own_derivatives():
    strengths, step = np.array([0.3, -1.2, 0.8, 2.0]), 1e-6
    scores, slopes = _win_chances(strengths)
    for k in range(4):
        moved, _ = _win_chances(strengths + step * np.eye(4)[k])
        assert np.allclose((moved - scores) / step, slopes[:, k], atol=1e-3)
    assert scores.mean() == pytest.approx(50)


def test_errors_of_pairwise_scores_cover_the_truth():
    random, inside = np.random.default_rng(0), []
    for seed in range(60):
        strength = 2 * random.standard_normal(10)
        true = np.array(
            [
                100 * np.mean([1 / (1 + np.exp(strength[j] - strength[i])) for j in range(10) if j != i])
                for i in range(10)
            ]
        )
        merged = merge_preferences(_answers(10, strength, 4, seed), 10, MergeOptions(position="ignore"))
        inside.append(np.abs(merged.scores - true) < 2 * merged.standard_error)
    assert 0.9 < np.mean(inside) < 0.99


def test_pairs_induced_by_calls():
    found = induced_preferences([Critique((Finding(3, 50.0), Finding(1, 60.0), Finding(2, 60.0)))])
    assert found == (Preference(3, 1, 0.0), Preference(3, 2, 0.0), Preference(1, 2, 0.5))


def test_pairs_that_cannot_be_merged_are_named():
    with pytest.raises(InputError, match="no pair has hypothesis 2"):
        merge_preferences([Preference(0, 1, 1.0)], 3)
    with pytest.raises(InputError, match="no chain of pairs"):
        merge_preferences([Preference(0, 1, 1.0), Preference(2, 3, 1.0)], 4)
