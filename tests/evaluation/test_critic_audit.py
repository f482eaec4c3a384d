"""The measures of an audit: what must not change them, the ends of their scales, and SciPy as another way."""

import numpy as np
import pytest
from scipy.stats import kendalltau, pearsonr, spearmanr

from hmralign.evaluation.critic_audit import (
    COMPARED,
    audit_critic,
    fit_logistic,
    group_measures,
    one_per_instance,
)
from hmralign.metrics.intervals import cluster_counts
from hmralign.structures import InputError

RNG = np.random.default_rng(0)
ERRORS = RNG.gamma(4.0, 0.02, (60, 8))
NOISY = -ERRORS + RNG.normal(0, 0.04, ERRORS.shape)


def means(scores, errors=ERRORS):
    return {name: float(values.mean()) for name, values in group_measures(scores, errors).items()}


def test_the_truth_itself_is_perfect_by_every_measure():
    found = means(-ERRORS)
    for name in ("srcc", "plcc", "kendall", "pair_accuracy"):
        assert found[name] == pytest.approx(1.0)
    assert found["plcc_logistic"] == pytest.approx(1.0, abs=1e-3)
    assert found["regret_mm"] == found["tie_rate"] == found["silent"] == 0 and found["levels"] == 8


def test_a_silent_critic_counts_as_nothing_rather_than_being_left_out():
    audit = audit_critic(np.full_like(ERRORS, 3.0), ERRORS, draws=50)
    found = {n: i.mean for n, i in audit.per_group.items()}
    assert found["srcc"] == found["plcc"] == found["plcc_logistic"] == found["kendall"] == 0
    assert found["pair_accuracy"] == 0.5 and found["tie_rate"] == found["silent"] == found["levels"] == 1
    assert found["regret_mm"] == pytest.approx(1000 * (ERRORS.mean(1) - ERRORS.min(1)).mean())
    assert audit.pooled_levels == 1 and audit.pooled_kendall == 0
    assert [audit.pooled[n].high for n in audit.pooled] == [0, 0, 0]


def test_measures_against_scipy_group_by_group_and_pooled():
    scores = np.round(NOISY, 2)  # with ties
    found = group_measures(scores, ERRORS)
    for g in range(0, 60, 7):
        assert found["srcc"][g] == pytest.approx(spearmanr(scores[g], -ERRORS[g]).statistic)
        assert found["kendall"][g] == pytest.approx(kendalltau(scores[g], -ERRORS[g]).statistic)
        assert found["plcc"][g] == pytest.approx(pearsonr(scores[g], -ERRORS[g]).statistic)
        assert found["levels"][g] == len(set(scores[g]))
        pairs = [(i, j) for i in range(8) for j in range(i)]
        tied = [scores[g, i] == scores[g, j] for i, j in pairs]
        right = [(scores[g, i] > scores[g, j]) == (ERRORS[g, i] < ERRORS[g, j]) for i, j in pairs]
        expected = np.mean([0.5 if t else float(r) for t, r in zip(tied, right, strict=True)])
        assert found["tie_rate"][g] == pytest.approx(np.mean(tied))
        assert found["pair_accuracy"][g] == pytest.approx(expected)
    pooled = audit_critic(scores, ERRORS, draws=20)
    assert pooled.pooled["srcc"].mean == pytest.approx(spearmanr(scores.ravel(), -ERRORS.ravel()).statistic)
    assert pooled.pooled_kendall == pytest.approx(kendalltau(scores.ravel(), -ERRORS.ravel()).statistic)
    assert pooled.pooled_levels == len(np.unique(scores))


@pytest.mark.parametrize("change", [lambda s: 5 * s - 2, lambda s: np.exp(8 * s), lambda s: s**3 + s])
def test_ranks_do_not_ask_for_a_scale(change):
    a, b = means(NOISY), means(change(NOISY))
    for name in ("srcc", "kendall", "regret_mm", "pair_accuracy", "tie_rate"):
        assert a[name] == pytest.approx(b[name])


def test_the_logistic_straightens_a_bent_scale_and_turns_nothing_round():
    far = RNG.normal(0, 3, ERRORS.shape)  # errors level off at both ends of these scores
    level = 0.2 - 0.1 / (1 + np.exp(-far)) + RNG.normal(0, 0.005, ERRORS.shape)
    found = means(far, level)
    assert found["plcc_logistic"] > found["plcc"] + 0.02
    assert audit_critic(far, level, draws=20).pooled["plcc_logistic"].mean > 0.98
    upside_down = means(ERRORS)
    assert upside_down["plcc"] == pytest.approx(-1) and upside_down["plcc_logistic"] <= 1e-9
    # Truth that is a logistic of the scores is found exactly.
    scores = RNG.normal(0, 1, (40, 6))
    errors = 0.2 - 0.1 / (1 + np.exp(-(scores - 0.3) / 0.5))
    np.testing.assert_allclose(fit_logistic(scores, errors)(scores), -errors, atol=1e-6)


def test_replicates_of_the_pooled_rank_correlation_are_those_of_resampled_groups():
    scores, errors = np.round(NOISY[:12], 2), ERRORS[:12]
    got = audit_critic(scores, errors, draws=200, seed=5).pooled["srcc"]
    replicates = []
    for row in cluster_counts(np.arange(12), 200, 5):
        drawn = np.repeat(np.arange(12), row)
        replicates.append(spearmanr(scores[drawn].ravel(), -errors[drawn].ravel()).statistic)
    assert (got.low, got.high) == pytest.approx(tuple(np.quantile(replicates, [0.025, 0.975])))


def test_the_difference_to_a_reference_is_paired():
    better = -ERRORS + RNG.normal(0, 0.01, ERRORS.shape)
    audit = audit_critic(better, ERRORS, reference=NOISY, draws=300)
    assert audit.difference is not None and set(audit.difference) == set(COMPARED)
    own, other = group_measures(better, ERRORS), group_measures(NOISY, ERRORS)
    assert audit.difference["srcc"].mean == pytest.approx((own["srcc"] - other["srcc"]).mean())
    assert audit.difference["srcc"].low > 0 and audit.difference["regret_mm"].high < 0
    same = audit_critic(NOISY, ERRORS, reference=NOISY, draws=50).difference
    assert same is not None and all(i.low == i.mean == i.high == 0 for i in same.values())


def test_wrong_input_is_named():
    with pytest.raises(InputError, match="1 cluster for 60"):
        audit_critic(NOISY, ERRORS, ["a"])
    broken = NOISY.copy()
    broken[3, 2] = np.nan
    with pytest.raises(InputError, match="group 3, hypothesis 2 has a score"):
        audit_critic(broken, ERRORS)
    with pytest.raises(InputError, match="expected the same groups"):
        audit_critic(NOISY[:, :4], ERRORS)


def test_one_hypothesis_of_each_group_is_measured_as_scipy_does_over_instances():
    """Protocol adhmr-pooled: the picks are one of each group, the same for every critic, and no group counts twice."""
    draw = np.random.default_rng(3)
    errors = draw.random((40, 6))
    scores = -errors + 0.3 * draw.random((40, 6))
    counts = np.ones((2, 40), int)
    place = np.tile(np.arange(6.0), (40, 1)) + 100 * np.arange(40)[:, None]
    found = one_per_instance(scores, errors, counts, 5)
    taken = np.random.default_rng([5, 2025]).integers(6, size=40)
    one, error = scores[np.arange(40), taken], errors[np.arange(40), taken]
    assert found["plcc"].mean == pytest.approx(pearsonr(one, -error).statistic)
    assert found["srcc"].mean == pytest.approx(spearmanr(one, -error).statistic)
    assert found["srcc"].low == pytest.approx(found["srcc"].mean) == pytest.approx(found["srcc"].high)
    assert one_per_instance(place, -place, counts, 5)["srcc"].mean == pytest.approx(1)
    assert one_per_instance(np.ones((40, 6)), errors, counts, 5)["plcc"].mean == 0
