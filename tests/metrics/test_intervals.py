"""Bootstrap intervals: cover the mean as often as they say, pair what belongs together, repeat themselves."""

import numpy as np
import pytest
from scipy import stats

from hmralign.metrics.intervals import bootstrap_mean, cluster_counts, cluster_interval, cluster_rate, paired_difference
from hmralign.structures import InputError


def test_interval_agrees_with_scipy():
    values = np.random.default_rng(0).gamma(2.0, size=300)
    ours = bootstrap_mean(values, draws=4000)
    theirs = stats.bootstrap((values,), np.mean, n_resamples=4000, method="percentile", random_state=1)
    assert ours.mean == pytest.approx(values.mean())
    assert ours.low == pytest.approx(theirs.confidence_interval.low, abs=0.02)
    assert ours.high == pytest.approx(theirs.confidence_interval.high, abs=0.02)


def test_intervals_cover_the_mean_about_as_often_as_they_say():
    rng = np.random.default_rng(1)
    hits = [i.low <= 2.0 <= i.high for i in (bootstrap_mean(rng.gamma(2.0, size=80), draws=400) for _ in range(300))]
    assert 0.88 < np.mean(hits) < 0.98


def test_pairing_removes_what_both_share():
    rng = np.random.default_rng(2)
    hard = rng.gamma(2.0, 50.0, size=200)
    a, b = hard + 1.0 + rng.normal(0, 0.5, 200), hard
    difference = paired_difference(a, b)
    assert 0.8 < difference.low < difference.mean < difference.high < 1.2
    assert bootstrap_mean(a).low < bootstrap_mean(b).high, "unpaired, the two cannot be told apart"


def test_same_seed_same_interval_other_seed_another():
    values = np.random.default_rng(3).random(50)
    assert bootstrap_mean(values) == bootstrap_mean(values)
    assert bootstrap_mean(values) != bootstrap_mean(values, seed=1)


def test_scaling_scales_all_three():
    interval = bootstrap_mean(np.array([1.0, 2.0, 4.0])).scaled(1000.0)
    assert interval.mean == pytest.approx(7000 / 3) and interval.low < interval.mean < interval.high


@pytest.mark.parametrize("values", [[], [[1.0, 2.0]], [1.0, np.nan], [np.inf, 1.0]])
def test_wrong_values(values):
    with pytest.raises(InputError):
        bootstrap_mean(np.array(values))


def test_persons_must_match():
    with pytest.raises(InputError, match="same persons"):
        paired_difference(np.zeros(3), np.zeros(4))


def test_intervals_of_persons_alone_are_those_of_the_bootstrap_and_clusters_widen_them():
    rng = np.random.default_rng(4)
    values = rng.normal(0, 1, 60)
    got = cluster_interval(values, cluster_counts(np.arange(60), 1000, 3))
    expected = bootstrap_mean(values, seed=3)
    assert (got.low, got.high) == pytest.approx((expected.low, expected.high))
    # Ten copies of six persons say no more than six persons.
    copies = np.repeat(rng.normal(0, 1, 6), 10)
    together = cluster_interval(copies, cluster_counts(np.repeat(np.arange(6), 10), 1000, 3))
    alone = cluster_interval(copies, cluster_counts(np.arange(60), 1000, 3))
    assert together.high - together.low > 2 * (alone.high - alone.low)


def test_a_rate_of_clusters_is_that_of_the_items_that_drawn_persons_bring():
    """Persons have two groups each and a group any number of items, none too."""
    rng = np.random.default_rng(5)
    clusters, group = np.repeat(np.arange(8), 2), np.sort(rng.integers(0, 16, 30))
    values, counts = rng.random(30), cluster_counts(clusters, 400, 2)
    assert (counts[:, ::2] == counts[:, 1::2]).all() and (counts[:, ::2].sum(1) == 8).all()
    found = cluster_rate(values, group, counts)
    means = [np.repeat(values, row[group]).mean() for row in counts if row[group].sum()]
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(means, [0.025, 0.975])))
    assert found.mean == pytest.approx(values.mean())
    each = cluster_rate(values[:16], np.arange(16), counts)
    assert each == cluster_interval(values[:16], counts), "one item per group is the mean over groups"
    with pytest.raises(InputError, match="at least one item"):
        cluster_rate(values[:0], group[:0], counts)
