"""Arms are compared person by person: what all persons share cancels."""

import numpy as np
import pytest

from hmralign.evaluation.multiview_arms import arm_row, over_seeds, spread_over_seeds
from hmralign.structures import InputError

DRAW = np.random.default_rng(0)
BASE = DRAW.uniform(0.05, 0.3, 64)
ALL = np.ones(64, bool)


def test_a_gain_that_every_person_has_is_certain_although_persons_differ():
    row = arm_row([{"mpjpe": BASE - 0.005}], [{"mpjpe": BASE}], ALL)
    assert row["difference"].mean == pytest.approx(-0.005) and row["difference"].high < 0
    assert row["difference"].high - row["difference"].low < 1e-9 < row["value"].high - row["value"].low
    assert row["change"].mean == pytest.approx(-0.005 / BASE.mean())


def test_only_chosen_persons_count_and_seeds_are_averaged():
    half = np.arange(64) < 32
    better = np.where(half, BASE * 0.9, BASE * 1.1)
    assert arm_row([{"mpjpe": better}], [{"mpjpe": BASE}], half)["change"].mean == pytest.approx(-0.1)
    seeds = [{"mpjpe": BASE * 0.8}, {"mpjpe": BASE * 1.2}]
    np.testing.assert_allclose(over_seeds(seeds)["mpjpe"], BASE)
    assert spread_over_seeds(seeds, ALL) == pytest.approx(0.4 * BASE.mean() / np.sqrt(2))
    assert np.isnan(spread_over_seeds(seeds[:1], ALL))
    with pytest.raises(InputError, match="no run"):
        over_seeds([])
