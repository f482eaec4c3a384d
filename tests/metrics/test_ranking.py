import numpy as np
import pytest
from scipy import stats

from hmralign.metrics.ranking import kendall, pearson, pooled_pearson, pooled_spearman, regret, spearman
from hmralign.structures import InputError

DRAW = np.random.default_rng(0)
SCORES = DRAW.normal(size=(20, 9))
ERRORS = np.abs(DRAW.normal(size=(20, 9))) - 0.1 * SCORES + 1
TIED = np.round(SCORES)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [(spearman, stats.spearmanr), (pearson, stats.pearsonr), (kendall, stats.kendalltau)],
)
@pytest.mark.parametrize("scores", [SCORES, TIED], ids=["distinct", "tied"])
def test_each_group_is_what_scipy_says(ours, theirs, scores):
    expected = [theirs(s, -e).statistic for s, e in zip(scores, ERRORS, strict=True)]
    np.testing.assert_allclose(ours(scores, ERRORS), expected, atol=1e-9)


def test_pooled_is_what_scipy_says():
    assert pooled_spearman(TIED, ERRORS) == pytest.approx(stats.spearmanr(TIED.ravel(), -ERRORS.ravel()).statistic)
    assert pooled_pearson(TIED, ERRORS) == pytest.approx(stats.pearsonr(TIED.ravel(), -ERRORS.ravel()).statistic)


@pytest.mark.parametrize("measure", [spearman, pearson, kendall])
def test_the_ends_and_the_silent(measure):
    np.testing.assert_allclose(measure(-ERRORS, ERRORS), 1)
    np.testing.assert_allclose(measure(ERRORS, ERRORS), -1)
    assert (measure(np.full_like(ERRORS, 0.3), ERRORS) == 0).all()
    assert (measure(SCORES, np.full_like(ERRORS, 0.1)) == 0).all()


def test_regret_of_the_truth_is_zero_and_of_silence_the_mean():
    assert (regret(-ERRORS, ERRORS) == 0).all()
    np.testing.assert_allclose(regret(np.zeros_like(ERRORS), ERRORS), ERRORS.mean(1) - ERRORS.min(1))
    by_hand = [e[s.argmax()] - e.min() for s, e in zip(SCORES, ERRORS, strict=True)]
    np.testing.assert_allclose(regret(SCORES, ERRORS), by_hand)


def test_wrong_groups_are_named():
    with pytest.raises(InputError, match="same groups"):
        spearman(SCORES, ERRORS[:, :4])
    with pytest.raises(InputError, match="at least 2"):
        regret(SCORES[:, :1], ERRORS[:, :1])
    broken = SCORES.copy()
    broken[3, 2] = np.nan
    with pytest.raises(InputError, match="group 3, hypothesis 2 has a score"):
        kendall(broken, ERRORS)
